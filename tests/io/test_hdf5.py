"""Calorimeter images in HDF5: what is written is read, whole or not at all."""

from __future__ import annotations

import io
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgen.errors import DataError, FileError
from hepgen.events import Events
from hepgen.io.hdf5 import ImageReader, ImageWriter
from hepgen.io.hdf5.disk import Disk

SHAPE = (2, 3, 4)


def events(seed: int, n: int) -> tuple[Events, np.ndarray[Any, np.dtype[np.float64]]]:
    """Events with any number of cells, none included, and their images in GeV."""
    generator = np.random.default_rng(seed)
    images = generator.exponential(size=(n, 24)) * (generator.random((n, 24)) < 0.2)
    images[::3] = 0
    rows = [np.flatnonzero(image) for image in images]
    columns = {
        "theta_energy": generator.uniform(1, 100, n),
        "Cell_index": ak.Array([list(map(int, row)) for row in rows] or [[]]),
        "Cell_energy": ak.Array(
            [list(image[row]) for image, row in zip(images, rows, strict=True)]
        ),
    }
    return Events.from_columns(columns), images


def write(path: Path, sizes: tuple[int, ...] = (5, 1, 700), **options: Any) -> Any:
    parts = [events(i, n) for i, n in enumerate(sizes)]
    with ImageWriter(path, SHAPE, **options) as writer:
        for part, _ in parts:
            writer.write(part)
        writer.metadata({"seed": 3, "provenance": {"long": "x" * 100_000}})
    energies = np.concatenate([part.flat(["theta_energy"]) for part, _ in parts])
    return energies, np.concatenate([images for _, images in parts])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_layout_is_that_of_the_challenge(tmp_path: Path) -> None:
    energies, images = write(tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert {"incident_energies", "showers"} <= set(file)
        for name, expected in (("incident_energies", energies), ("showers", images)):
            assert file[name].dtype == np.float32
            assert file[name].shape == expected.shape
            np.testing.assert_allclose(file[name][:], 1000 * expected, rtol=1e-6)
        assert file["hepgen_provenance"].dtype.kind == "S"  # text of any length is on a heap
    assert names(tmp_path) == ["a.hdf5"]


def test_what_is_written_is_read_in_chunks(tmp_path: Path) -> None:
    energies, images = write(tmp_path / "a.h5")
    reader = ImageReader(tmp_path / "a.h5", step_size=100)
    chunks = list(reader)

    assert [len(chunk) for chunk in chunks] == [100] * 7 + [6]
    assert (len(reader), reader.voxels, reader.shape) == (706, 24, SHAPE)
    assert reader.metadata["seed"] == 3
    read = np.concatenate([chunk.showers for chunk in chunks])
    np.testing.assert_allclose(read, 1000 * images, rtol=1e-6)
    some = reader.read(10, 12)
    np.testing.assert_allclose(some.incident_energies, 1000 * energies[10:12], rtol=1e-6)


def test_a_file_of_others_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["incident_energies"] = np.full((3, 1), 1e3)
        file["showers"] = np.ones((3, 368))
    reader = ImageReader(tmp_path / "a.hdf5")
    assert (reader.shape, reader.metadata) == ((368,), {})
    assert reader.read().showers.sum() == 3 * 368


def test_a_file_that_is_there_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    path.write_text("mine")
    with pytest.raises(FileError, match="exists"):
        ImageWriter(path, SHAPE)
    assert path.read_text() == "mine"
    write(path, overwrite=True)
    assert len(ImageReader(path)) == 706


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> None:
        with ImageWriter(tmp_path / "a.hdf5", SHAPE) as writer:
            writer.write(events(1, 10)[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    with (
        pytest.raises(DataError, match="no events were written"),
        ImageWriter(tmp_path / "a.hdf5", SHAPE),
    ):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "message"), [("no/a.hdf5", "there is no folder"), (".", "is a folder")]
)
def test_a_place_where_no_file_can_be(tmp_path: Path, path: str, message: str) -> None:
    with pytest.raises(FileError, match=message):
        ImageWriter(tmp_path / path, SHAPE)


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file of this process can grow beyond ``size`` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 3000, 12_000, 30_000])
def test_a_full_disk_is_an_error_and_not_a_crash(tmp_path: Path, size: int) -> None:
    """HDF5 itself ends the process when it cannot write what it holds."""
    with small_files(size), pytest.raises(FileError, match=r"cannot be written: File too large"):
        write(tmp_path / "a.hdf5", (300,) * 20)
    assert names(tmp_path) == []
    write(tmp_path / "a.hdf5", (300,) * 20)
    assert len(ImageReader(tmp_path / "a.hdf5")) == 6000


class Limited(io.FileIO):
    """A file that takes few bytes at a time, and none beyond a limit."""

    limit = 0

    def write(self, data: Any) -> int:
        room = min(self.limit - self.tell(), 7)
        if room <= 0:
            raise OSError(28, "No space left on device")
        return super().write(bytes(data)[:room])


@settings(max_examples=200, deadline=None)
@given(
    limit=st.integers(0, 80),
    calls=st.lists(
        st.tuples(st.booleans(), st.integers(0, 60), st.binary(max_size=30)), max_size=12
    ),
)
def test_a_disk_gives_back_what_it_was_given_full_or_not(
    tmp_path_factory: pytest.TempPathFactory, limit: int, calls: list[tuple[bool, int, bytes]]
) -> None:
    handle = Limited(tmp_path_factory.mktemp("disk") / "file", "w+b")
    handle.limit = limit
    disk, memory = Disk(handle), io.BytesIO()
    for writes, offset, data in calls:
        disk.seek(offset)
        memory.seek(offset)
        if writes:
            assert disk.write(data) == memory.write(data)
        else:
            assert disk.read(len(data)) == memory.read(len(data))
        assert disk.tell() == memory.tell()
    assert disk.seek(0, 2) == memory.seek(0, 2)
    assert (disk.error is not None) >= (len(memory.getvalue()) > limit)
    handle.close()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"Cell_index": [[24]], "Cell_energy": [[1.0]]}, "expected 0 to 23"),
        ({"Cell_index": [[1, 2]], "Cell_energy": [[1.0]]}, "do not list the same"),
        ({"Cell_index": [[1]], "Cell_energy": [[float("nan")]]}, "NaN or infinite"),
        ({"Cell_index": [[1]]}, "no column 'Cell_energy'"),
    ],
)
def test_events_that_are_no_images(tmp_path: Path, columns: Any, message: str) -> None:
    bad = Events.from_columns(
        {"theta_energy": [1.0]} | {n: ak.Array(c) for n, c in columns.items()}
    )
    with pytest.raises(DataError, match=message), ImageWriter(tmp_path / "a.h5", SHAPE) as writer:
        writer.write(bad)
    assert names(tmp_path) == []


def test_files_that_are_no_images(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    with pytest.raises(FileError, match="no file"):
        ImageReader(path)
    path.write_text("text")
    with pytest.raises(FileError, match="cannot be read as an HDF5 file"):
        ImageReader(path)
    path.unlink()
    write(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(FileError, match="truncated"):
        ImageReader(path)


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"energies": np.ones((3, 1))}, "no dataset 'incident_energies'; did you mean"),
        ({"incident_energies": np.ones((3, 1)), "showers": np.ones((4, 2))}, r"\(4, 2\); expected"),
        ({"incident_energies": np.ones(3), "showers": np.ones((3, 2))}, r"shape \(3,\)"),
    ],
)
def test_files_of_another_layout(tmp_path: Path, datasets: Any, message: str) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for name, values in datasets.items():
            file[name] = values
    with pytest.raises(FileError, match=message):
        ImageReader(tmp_path / "a.hdf5")


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["incident_energies"] = np.ones((2, 1))
        file["showers"] = np.array([[1.0, np.nan], [1.0, 2.0]])
    with pytest.raises(DataError, match="1 values of showers are NaN"):
        ImageReader(tmp_path / "a.hdf5").read()
