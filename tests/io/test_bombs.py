"""A small file that says it is large is refused in a sentence, before it fills the memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from hepgen.errors import FileError
from hepgen.io.hdf5 import ImageReader
from hepgen.io.root.pages import check_pages
from hepgen.io.tables import read
from hepgen.pipeline.show import show
from tests.io.bombs import BOMBS

REPOSITORY = Path(__file__).parents[2]
WORDS = {
    "HDF5 provenance": "expected 0 dimensions",
    "HDF5 images": "cannot be in this file",
    "HDF5 jagged, packed": "an event has 200000000 elements",
    "HDF5 jagged, declared": "cannot be in this file",
    "HDF5 chunk": "chunks of 1073741824 bytes",
    "Parquet list": "the column 'x' unpacks from",
    "Parquet name with a dot": "the column 'x.y' unpacks from",
    "Parquet text": "the text of the column 'x' unpacks from",
    "Parquet list of texts": "the text of the column 'x' unpacks from",
    "ROOT basket": "bytes unpack to 160000000",
    "ROOT provenance": "bytes unpack to 200000",
    "RNTuple page": "bytes unpack to 160000000",
    "RNTuple cluster": "1 clusters unpack from",
    "LHE line": "a line has more than 16777216 bytes",
    "LHE lines": "bytes without a new event",
    "HepMC line": "a line has more than 16777216 bytes",
    "HepMC lines": "bytes without a new event",
    "ROOT baskets": "and others before to",
}
MOST = dict.fromkeys(BOMBS, 150) | {"ROOT baskets": 700}
"""MiB that a file of a few bytes may take; of many small pieces, more."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What a process of its own says of each, and how much its memory grew."""
    folder = tmp_path_factory.mktemp("bombs")
    for number, (name, make, _) in enumerate(BOMBS.values()):
        place = folder / str(number)
        place.mkdir()
        make(place / name)
        assert (place / name).stat().st_size < 4_000_000
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.io.bombs", str(folder)],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {entry["name"]: entry for entry in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_what_unpacks_to_far_more_than_it_is_is_refused(
    name: str, found: dict[str, dict[str, Any]]
) -> None:
    assert WORDS[name] in found[name]["words"]
    assert found[name]["grown"] < MOST[name]


@pytest.mark.parametrize("kind", ["mktree", "mkrntuple"])
@pytest.mark.parametrize("place", ["", "memory:/"], ids=["local", "remote"])
def test_a_bound_holds_from_everywhere_and_for_hepgen_alone(
    kind: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others read with uproot in the same process is none of its business."""
    path = tmp_path / "a.root"
    with uproot.recreate(path, compression=uproot.ZSTD(9)) as file:
        getattr(file, kind)("Events", {"x": np.zeros(100_000), "y": np.arange(100_000.0)})
    if place:
        fsspec.filesystem("memory").pipe(str(path), path.read_bytes())
    assert len(read(f"{place}{path}").read()) == 100_000
    monkeypatch.setattr("hepgen.io.root.unpacking.MOST_UNPACKED", 100_000)
    assert len(read(f"{place}{path}", ["y"]).read()) == 100_000
    with pytest.raises(FileError, match=r"bytes unpack to 800\d{3}; at most 100000 are read"):
        read(f"{place}{path}").read()
    with uproot.open(path) as file:
        assert not file["Events"].arrays(["x"])["x"].to_numpy().any()


def test_pages_that_are_alike_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that many clusters point to is in the file once, and in memory each time."""
    path = tmp_path / "a.root"
    with uproot.recreate(path, compression=None) as file:
        ntuple = file.mkrntuple("Events", {"x": np.arange(1000.0)})
        for _ in range(4):
            ntuple.extend({"x": np.arange(1000.0)})
    monkeypatch.setattr("hepgen.io.root.pages._MOST_UNPACKED", 10_000)
    assert len(read(path).read()) == 5000
    with uproot.open(path) as file:
        tree = file["Events"]
        check_pages(tree, "a", {0}, range(5))
        for link in tree.page_link_list:
            link[0].pages[0].num_elements *= 201
        check_pages(tree, "a", {1}, range(5))
        check_pages(tree, "a", {0}, range(0))
        with pytest.raises(FileError, match="5 clusters unpack from 40000 to 8040000 bytes"):
            check_pages(tree, "a", {0}, range(5))
        for link in tree.page_link_list:
            link[0].pages[0].num_elements = 50_000
            link[0].pages[0].locator.offset = 1000
        with pytest.raises(FileError, match="5 clusters unpack from 8000 to 2000000 bytes"):
            check_pages(tree, "a", {0}, range(5))


READ_WITH_A_BYTE_CHANGED = """
from pathlib import Path
from hepgen.errors import InputError
from hepgen.io.tables import read
path, whole = Path("broken.parquet"), Path("a.parquet").read_bytes()
start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
for place in range(start, len(whole)):
    path.write_bytes(whole[:place] + bytes([whole[place] + 1 & 255]) + whole[place + 1 :])
    try:
        read(path).read()
    except InputError:
        continue
    print(place)
"""


def test_no_byte_of_a_parquet_footer_ends_the_process(tmp_path: Path) -> None:
    # Arrow ends it where a column is asked for whose histogram of list depths cannot be.
    table = pa.table({"x": [1.0, 2.0], "list": [[1, 2], []], "word": ["muon", "tau"]})
    pq.write_table(table, tmp_path / "a.parquet", store_schema=False)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ_WITH_A_BYTE_CHANGED],
        cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    footer = int.from_bytes((tmp_path / "a.parquet").read_bytes()[-8:-4], "little") + 8
    assert 0 < len(done.stdout.split()) < 0.9 * footer  # some bytes say nothing, and not all


def test_text_that_is_repeated_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    words = ["muon", "electron", "", "tau"] * 50
    lists = [words[:n] for n in (0, 3, 1, 4)] * 50
    missing = [None, "muon"] * 100
    table = pa.table({"word": words, "list": lists, "missing": missing})
    for written in (table, table.set_column(0, "word", table["word"].dictionary_encode())):
        pq.write_table(written, path, row_group_size=70)
        events = read(path, ["word", "list"], step_size=33).read()
        assert events["word"].to_list() == words
        assert events["list"].to_list() == lists
        kept = read(path, ["word", "missing"], drop_invalid=True).read()
        assert kept["missing"].to_list() == ["muon"] * 100


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["s"] = np.full((2, 4), 42.0, "f4")
        file["json"] = np.bytes_(b'{"secret": 42}')
    return path


def test_images_in_other_files_are_not_read(secret: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file["incident_energies"] = np.ones((2, 1), "f4")
        file.create_dataset("showers", (2, 4), "f4", external=[(str(secret), 0, 32)])
    with pytest.raises(FileError, match=r"'/showers' are in other files.*copy them"):
        ImageReader(path)
    for name, link in (("external", h5py.ExternalLink(str(secret), "/s")),
                       ("virtual", _virtual(secret))):  # fmt: skip
        path = tmp_path / f"{name}.hdf5"
        with h5py.File(path, "w") as file:
            file["incident_energies"] = np.ones((2, 1), "f4")
            if isinstance(link, h5py.VirtualLayout):
                file.create_virtual_dataset("showers", link)
            else:
                file["showers"] = link
        with pytest.raises(FileError, match=r"showers.* (other files|is a link)"):
            ImageReader(path)


def _virtual(secret: Path) -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout(shape=(2, 4), dtype="f4")
    layout[:] = h5py.VirtualSource(str(secret), "s", shape=(2, 4))
    return layout


def test_notes_in_other_files_are_not_shown(secret: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["Events/x"] = np.zeros(3)
        file["hepgen_provenance"] = h5py.ExternalLink(str(secret), "/json")
    with pytest.raises(FileError, match=r"'hepgen_provenance' is a link.*not followed"):
        show(str(path))


def test_records_in_other_files_are_no_table(secret: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        records = np.dtype([("x", "f4")])
        file.create_dataset("records", (2,), records, external=[(str(secret), 0, 8)])
    with pytest.raises(FileError, match="there is no table in it"):
        read(path)


@pytest.mark.parametrize("rows", [[3, 0, 2], [5, 5, 5], [0, 0]])
def test_events_of_many_elements_are_read_a_few_at_a_time(
    rows: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hepgen.io.hdf5.events._MOST_ELEMENTS", 5)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["Events/x"] = np.arange(float(sum(rows)))
        file["Events/x"].attrs["counter"] = np.bytes_(b"n")
        file["Events/n"] = np.array(rows)
    ends = np.cumsum(rows)
    lists = [list(range(end - n, end)) for n, end in zip(rows, ends, strict=True)]
    assert read(path).read()["x"].tolist() == lists


def test_notes_of_images_as_they_were_before_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file["incident_energies"], file["showers"] = np.ones((2, 1)), np.ones((2, 4))
        file["hepgen_provenance"] = '{"seed": 3}'
    assert ImageReader(path).metadata == {"seed": 3}
