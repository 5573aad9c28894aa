"""Files of a few bytes that say they unpack to gigabytes, or lead to other files."""

from __future__ import annotations

import gzip
import json
import resource
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot

ENERGIES, SHOWERS, PROVENANCE = "incident_energies", "showers", "hepgen_provenance"


def _zeros(group: Any, name: str, shape: tuple[int, ...], stored: bool) -> Any:
    """A dataset that says it is of zeros: in packed chunks, or with no bytes at all."""
    packed: dict[str, Any] = {"compression": "gzip", "fillvalue": 0} if stored else {}
    data = group.create_dataset(
        name, shape=shape, dtype="u1", chunks=(*shape[:-1], 2**20), **packed
    )
    if stored:
        for start in range(0, shape[-1], 2**24):
            data[..., start : start + 2**24] = 0
    return data


def provenance(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["Events/x"] = np.zeros(3)
        _zeros(file, PROVENANCE, (1, 1_200_000_000), stored=False)


def images(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file[ENERGIES] = np.ones((4096, 1), "f4")
        file.create_dataset(SHOWERS, (4096, 100_000), "f4", chunks=(1, 100_000))


def jagged(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["Events/n"] = np.array([200_000_000])
        data = _zeros(file, "Events/x", (200_000_000,), stored=True)
        data.attrs["counter"] = np.bytes_(b"n")


def declared(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["Events/n"] = np.array([200_000_000])
        _zeros(file, "Events/x", (200_000_000,), False).attrs["counter"] = np.bytes_(b"n")
        file["pad"] = np.zeros(500_000, "u1")


def chunk(path: Path) -> None:
    """One number, in a chunk of a gigabyte that is empty but for it."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "Events/x", (4,), "f8", chunks=(2**27,), maxshape=(None,), compression="gzip"
        )
        packed = zlib.compressobj(9)
        body = b"".join(packed.compress(bytes(2**24)) for _ in range(64)) + packed.flush()
        data.id.write_direct_chunk((0,), body)


def one_list(path: Path, name: str = "x") -> None:
    lists = pa.LargeListArray.from_arrays(pa.array([0, 20_000_000]), pa.array(np.zeros(20_000_000)))
    pq.write_table(pa.table({name: lists}), path, compression="zstd")


def basket(path: Path) -> None:
    with uproot.recreate(path, compression=uproot.ZSTD(9)) as file:
        file.mktree("Events", {"x": "float64"})
        file["Events"].extend({"x": np.zeros(20_000_000)})


def baskets(path: Path) -> None:
    """None too large, but all together."""
    with uproot.recreate(path, compression=uproot.ZSTD(9)) as file:
        file.mktree("Events", {f"x_{i}": "uint8" for i in range(12)})
        file["Events"].extend({f"x_{i}": np.zeros(60_000_000, "u1") for i in range(12)})


def note(path: Path) -> None:
    with uproot.recreate(path, compression=uproot.ZSTD(9)) as file:
        file.mktree("Events", {"x": "float64"})
        file["Events"].extend({"x": np.zeros(3)})
        file[PROVENANCE] = " " * 200_000_000


def page(path: Path) -> None:
    with uproot.recreate(path, compression=uproot.ZSTD(9)) as file:
        file.mkrntuple("Events", {"x": np.zeros(20_000_000)})


def cluster(path: Path) -> None:
    with uproot.recreate(path, compression=uproot.ZSTD(9)) as file:
        file.mkrntuple("Events", {n: np.zeros(200_000_000, "u1") for n in "abc"})


def text(path: Path) -> None:
    """A word of 10 kB, written once and meant 200,000 times."""
    words = pa.DictionaryArray.from_arrays(np.zeros(200_000, "i4"), pa.array(["x" * 10_000]))
    pq.write_table(pa.table({"x": words}), path, store_schema=False)


def texts(path: Path) -> None:
    """The same in a list."""
    words = pa.DictionaryArray.from_arrays(np.zeros(200_000, "i4"), pa.array(["x" * 10_000]))
    lists = pa.ListArray.from_arrays(pa.array([0, 200_000], pa.int32()), words)
    pq.write_table(pa.table({"x": lists}), path, store_schema=False)


def line(path: Path) -> None:
    with gzip.open(path, "wb", 1) as file:
        for _ in range(300):
            file.write(b"a" * 10**6)


def lines(path: Path) -> None:
    with gzip.open(path, "wb", 1) as file:
        file.write(b"<LesHouchesEvents>\n<header>\n")
        for _ in range(1500):
            file.write(b"a" * (2 * 10**5) + b"\n")


def _show(path: Path) -> Any:
    from hepgen.pipeline.show import show

    return show(str(path))[0]


def _read(path: Path) -> Any:
    from hepgen.io.tables import read

    return read(path).read()


def _metadata(path: Path) -> Any:
    from hepgen.io.tables import read_metadata

    return read_metadata(path)


def _images(path: Path) -> Any:
    from hepgen.io.hdf5 import ImageReader

    return [len(images) for images in ImageReader(path)]


def _lhe(path: Path) -> Any:
    from hepgen.io.event_files import open_events

    return open_events("lhe", path)


def _hepmc(path: Path) -> Any:
    from hepgen.io.event_files import open_events

    return open_events("hepmc", path)


BOMBS: dict[str, tuple[str, Callable[[Path], None], Callable[[Path], Any]]] = {
    "HDF5 provenance": ("a.h5", provenance, _show),
    "HDF5 images": ("a.hdf5", images, _images),
    "HDF5 jagged, packed": ("a.h5", jagged, _read),
    "HDF5 jagged, declared": ("a.h5", declared, _read),
    "HDF5 chunk": ("a.h5", chunk, _read),
    "Parquet list": ("a.parquet", one_list, _read),
    "Parquet name with a dot": ("a.parquet", partial(one_list, name="x.y"), _read),
    "Parquet text": ("a.parquet", text, _read),
    "Parquet list of texts": ("a.parquet", texts, _read),
    "ROOT basket": ("a.root", basket, _read),
    "ROOT provenance": ("a.root", note, _metadata),
    "RNTuple page": ("a.root", page, _read),
    "RNTuple cluster": ("a.root", cluster, _read),
    "LHE line": ("a.lhe.gz", line, _lhe),
    "LHE lines": ("a.lhe.gz", lines, _lhe),
    "HepMC line": ("a.hepmc.gz", line, _hepmc),
    "HepMC lines": ("a.hepmc.gz", lines, _hepmc),
    "ROOT baskets": ("a.root", baskets, _read),
}


def _memory() -> int:
    """The largest resident set until now, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(folder: Path) -> None:
    """Read all, and print for each by how much the memory grew and what was said."""
    import hepgen.pipeline.show  # noqa: F401 (what it takes is no part of what is measured)
    from hepgen.errors import InputError

    for number, (name, (file, _, reads)) in enumerate(BOMBS.items()):
        before = _memory()
        try:
            words = f"read: {reads(folder / str(number) / file)}"
        except InputError as error:
            words = str(error)
        print(json.dumps({"name": name, "grown": _memory() - before, "words": words}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
