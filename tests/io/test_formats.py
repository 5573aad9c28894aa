"""The same events in every format: TTree, RNTuple, Parquet and HDF5."""

from __future__ import annotations

import contextlib
import functools
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hepgen.errors import DataError, FileError, InputError
from hepgen.events import Events
from hepgen.io.formats import FORMATS, event_writer, format_of
from hepgen.io.tables import describe, read, read_metadata, resolve

SUFFIX = {"ttree": ".root", "rntuple": ".root", "parquet": ".parquet", "hdf5": ".h5"}
every_format = pytest.mark.parametrize("format", FORMATS)


def events(first: int = 0, rows: int = 50) -> Events:
    """Rows of every type that is written, with empty lists."""
    rng = np.random.default_rng(first)
    number = rng.integers(0, 4, rows)
    pt = ak.unflatten(rng.exponential(30, number.sum()).astype(np.float32), number)
    columns = {
        "run": np.arange(first, first + rows, dtype=np.int64),
        "ok": rng.random(rows) > 0.5,
        "byte": rng.integers(0, 255, rows).astype(np.uint8),
        "mass": rng.normal(91, 3, rows),
        "met": rng.exponential(10, rows).astype(np.float32),
        "tag": ak.Array([f"é{i % 3}" for i in range(rows)]),
        "Muon_pt": pt,
        "Muon_charge": ak.values_astype(ak.where(pt > 30, 1, -1), np.int32),
        "Jet_pt": ak.unflatten(rng.normal(size=2 * rows), 2),
    }
    return Events.from_columns(columns)


def written(folder: Path, format: str, *parts: Events) -> Path:
    path = folder / f"{format}{SUFFIX[format]}"
    with event_writer(path, format=format) as writer:
        for part in parts or (events(), events(50, 7)):
            writer.write(part)
        writer.metadata({"generated": 57, "seed": 3, "list": [1, 2]})
    return path


@every_format
def test_events_come_back_as_they_were(format: str, tmp_path: Path) -> None:
    path, whole = written(tmp_path, format), Events.concatenate([events(), events(50, 7)])
    found = read(path).read()
    assert set(found.fields) == set(whole.fields)
    for name in whole.fields:
        one, other = (ak.from_regular(a, axis=None) for a in (found[name], whole[name]))
        assert ak.array_equal(one, other, dtype_exact=True), name
    assert read_metadata(path) == {"generated": 57, "seed": 3, "list": [1, 2]}
    (table,) = [t for t in describe(path).trees if t.name == "Events"]
    assert table.entries == 57


@every_format
@pytest.mark.parametrize("step", [1, 13, 57, 1000])
def test_a_selection_is_the_same_in_any_chunks(format: str, step: int, tmp_path: Path) -> None:
    path = written(tmp_path, format)
    columns = {"m": "mass", "lead": "max(Muon_pt)", "n": "count(Jet_pt)"}
    options = {"cut": "count(Muon_pt) > 0 and tag != 'é1'", "entry_stop": 55}
    found = read(path, columns, step_size=step, **options).read()
    (tmp_path / "other").mkdir()
    whole = read(written(tmp_path / "other", "ttree"), columns, **options).read()
    for name in columns:
        assert ak.array_equal(found[name], whole[name]), name


@every_format
def test_a_file_that_fails_is_not_there(format: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{SUFFIX[format]}"

    def fail() -> None:
        with event_writer(path, format=format) as writer:
            writer.write(events())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with pytest.raises(DataError, match="no events were written"), event_writer(path):
        pass
    assert list(tmp_path.iterdir()) == []


@every_format
def test_a_column_or_a_table_that_is_not_there_is_named(format: str, tmp_path: Path) -> None:
    path = written(tmp_path, format)
    with pytest.raises(DataError, match=r"no (branch|column|dataset) 'mas'.*'mass'"):
        read(path, ["mas"])
    with pytest.raises(FileError, match=r"no (tree|table) 'Evnets'"):
        read(f"{path}:Evnets")


@pytest.mark.parametrize("format", ["parquet", "hdf5"])
def test_a_file_of_another_kind_is_refused(format: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{SUFFIX[format]}"
    path.write_bytes(b"no such thing")
    for act in (read, read_metadata, describe):
        with pytest.raises(FileError, match=r"cannot be read as a(n HDF5| Parquet) file"):
            act(path)


def test_the_format_is_that_of_the_name_unless_it_is_asked_for() -> None:
    names = {"a.root": "ttree", "a.parquet": "parquet", "a.h5": "hdf5", "a.HDF5": "hdf5"}
    assert {name: format_of(Path(name)) for name in names} == names
    assert format_of(Path("a.root"), "rntuple") == "rntuple"
    with pytest.raises(InputError, match="did you mean 'parquet'"):
        format_of(Path("a.parquet"), "parket")
    with pytest.raises(InputError, match=r"expected a name that ends in \.parquet"):
        format_of(Path("a.root"), "parquet")


def test_a_folder_is_read_whatever_its_files_are(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        with event_writer(tmp_path / name) as writer:
            writer.write(events())
    assert len(resolve(tmp_path)) == 2
    assert len(read(tmp_path).read()) == 100


def test_parquet_of_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    muons = [[{"pt": 4.0, "eta": 0.1}], [], [{"pt": 5.0, "eta": 2.0}, {"pt": 3.0, "eta": 1.0}]]
    table = pa.table({"mass": [91.0, 92.0, 93.0], "some": [1.0, None, 3.0], "Muon": muons})
    pq.write_table(table, path)
    assert read(path, {"m": "mass", "pt": "Muon.pt"}).read()["pt"].tolist() == [[4], [], [5, 3]]
    with pytest.raises(DataError, match="missing in 1 of 3 rows"):
        read(path, ["some"]).read()
    assert read(path, ["some"], drop_invalid=True).read()["some"].tolist() == [1, 3]


def test_hdf5_of_other_programs(tmp_path: Path) -> None:
    path, other = tmp_path / "x.h5", tmp_path / "secret.h5"
    records = np.array([(91.0, 1), (92.0, 2)], dtype=[("mass", "f8"), ("run", "i4")])
    with h5py.File(other, "w") as file:
        file["password"] = np.arange(3.0)
    with h5py.File(path, "w") as file:
        file["records"] = records
        file["flat/mass"] = np.array([1.0, 2.0, 3.0])
        file["flat/leak"] = h5py.ExternalLink("secret.h5", "password")
        file["uneven/a"], file["uneven/b"] = np.zeros(2), np.zeros(3)
    assert read(f"{path}:records").read()["run"].tolist() == [1, 2]
    assert read(f"{path}:flat").read().fields == ["mass"]
    with pytest.raises(DataError, match="different lengths"):
        read(f"{path}:uneven")
    with pytest.raises(FileError, match=r"which table\? It has .*records"):
        read(path)


def test_a_dataset_that_cannot_be_in_its_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("Events/mass", shape=(10**12,), dtype="f8", chunks=(1000,))
    with pytest.raises(FileError, match="cannot be in this file"):
        read(path)


@pytest.mark.parametrize("counts", [[2, 2], [-1, 3], [2**40, 0]])
def test_a_counter_that_counts_something_else_is_refused(counts: list[int], tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("Events/Muon_pt", data=np.arange(3.0))
        data.attrs["counter"] = np.bytes_(b"nMuon")
        file["Events/nMuon"] = np.array(counts)
    with pytest.raises(FileError, match=r"counts? nothing|by its counter"):
        read(path).read()


@contextlib.contextmanager
def server(folder: Path, handler: type[http.server.SimpleHTTPRequestHandler]) -> Iterator[str]:
    """A folder behind HTTP, on this machine."""
    bound = functools.partial(handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), bound)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class _Whole(http.server.SimpleHTTPRequestHandler):
    """Gives whole files, whatever is asked for."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Ranges(_Whole):
    """Gives a part of a file where one is asked for, as servers of data do."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None or not path.is_file():
            super().do_GET()
            return
        content = path.read_bytes()
        first, last = int(asked[1]), min(int(asked[2]), len(content) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(content[first : last + 1])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    with server(tmp_path, _Ranges) as address:
        yield address


@pytest.mark.parametrize("format", ["ttree", "rntuple"])
def test_a_server_of_whole_files_is_named(format: str, tmp_path: Path) -> None:
    """What is read of one looks like a file with nothing in it."""
    pytest.importorskip("aiohttp")
    path = written(tmp_path, format)
    with (
        server(tmp_path, _Whole) as address,
        pytest.raises(FileError, match=r"sends no ranges of bytes.*download the file"),
    ):
        read(f"{address}/{path.name}")


@every_format
def test_the_same_behind_a_url(format: str, tmp_path: Path, served: str) -> None:
    pytest.importorskip("aiohttp")
    path = written(tmp_path, format)
    found = read(f"{served}/{path.name}", ["mass", "Muon_pt"]).read()
    assert found["mass"].tolist() == read(path).read()["mass"].tolist()
    with pytest.raises(FileError, match="nothing-there"):
        read(f"{served}/nothing-there{SUFFIX[format]}", ["mass"])
