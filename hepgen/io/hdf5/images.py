"""Calorimeter images in and out, in the layout of the CaloChallenge.

A file has the datasets ``incident_energies``, shape ``(N, 1)``, and ``showers``, shape
``(N, n_voxels)``, both float32 in MeV (Krause et al., arXiv:2410.21611). Writing is atomic: a
file appears under its name when it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hepgen.errors import DataError, FileError
from hepgen.events import EXTRAPOLATED, THETA, Events
from hepgen.images import dense_images
from hepgen.io.failures import reading, writing
from hepgen.io.hdf5.datasets import PROVENANCE, dataset, provenance
from hepgen.io.hdf5.disk import KIND, Disk, open_file
from hepgen.io.newfile import NewFile
from hepgen.results import to_json

ENERGIES, SHOWERS = "incident_energies", "showers"
INCIDENT = THETA + "energy"
MEV = 1000.0
_CHUNK_BYTES = 2**18
_MOST_DIMENSIONS = 8
_READ_BYTES = 2**26
"""Of the images that are read at a time."""


class ImageWriter:
    """Writes the images of events to an HDF5 file, chunk by chunk, as a context manager.

    Images are rebuilt from the cells that were read; an event without any is an image of zeros.
    The file appears under its name when the context is left without an error, and not at
    all otherwise.

    Arguments:
        path: The file to make, in a folder that exists.
        shape: Of an image: layers, cells in η, cells in φ, the last fastest.
        overwrite: Replace a file that is there.

    Raises:
        FileError: The file exists, its folder does not, or the disk is full.
        DataError: A cell is not in the image, an energy is not finite, or nothing was written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "out.hdf5"
    >>> with ImageWriter(path, (1, 1, 2)) as writer:
    ...     writer.write(Events.from_columns({
    ...         "theta_energy": [10.0], "Cell_index": [[1]], "Cell_energy": [[9.5]]}))
    >>> ImageReader(path).read().showers
    array([[   0., 9500.]], dtype=float32)
    """

    def __init__(self, path: str | Path, shape: Sequence[int], *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.shape = tuple(shape)
        self.entries = 0
        self._metadata: dict[str, Any] = {}
        self._new = NewFile(self.path, overwrite=overwrite)

    @property
    def voxels(self) -> int:
        """Of an image."""
        return int(np.prod(self.shape))

    def __enter__(self) -> ImageWriter:
        self._handle = self._new.open(buffering=0)
        self._disk = Disk(self._handle)
        self._file = h5py.File(self._disk, "w")
        for name, width in ((ENERGIES, 1), (SHOWERS, self.voxels)):
            self._file.create_dataset(
                name, shape=(0, width), maxshape=(None, width), dtype=np.float32,
                chunks=(max(1, _CHUNK_BYTES // (4 * width)), width), compression="gzip",
                compression_opts=1, shuffle=True,
            )  # fmt: skip
        self._file[SHOWERS].attrs["shape"] = self.shape
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._file.close()
            self._handle.close()
            self._new.discard()

    def write(self, events: Events) -> None:
        """Write the images of events: any number.

        Arguments:
            events: With ``theta_energy``, ``Cell_index`` and ``Cell_energy``, in GeV; where they
                have the truth value ``extrapolated``, it is one more dataset, shape ``(N,)``.
        """
        energies = events.flat([INCIDENT]) * MEV
        showers = dense_images(events, self.voxels) * MEV
        columns = [(ENERGIES, energies), (SHOWERS, showers)]
        if EXTRAPOLATED in events:
            columns.append((EXTRAPOLATED, np.asarray(events[EXTRAPOLATED])))
            shape = {"shape": (self.entries,), "maxshape": (None,), "chunks": (4096,)}
            self._file.require_dataset(EXTRAPOLATED, dtype=bool, **shape)
        for name, values in columns:
            if not np.isfinite(values).all():
                raise DataError(f"{self.path}: {name} that are NaN or infinite; check the events")
            data = self._file[name]
            data.resize(self.entries + len(events), axis=0)
            data[self.entries :] = values
        self.entries += len(events)
        self._check_disk()

    def metadata(self, entries: Mapping[str, Any]) -> None:
        """Note what the images need to be used, as JSON in the string ``hepgen_provenance``."""
        self._metadata.update(entries)

    def _finish(self) -> None:
        if not self.entries:
            raise DataError(f"{self.path}: no events were written to it")
        self._file[PROVENANCE] = np.bytes_(to_json(self._metadata, indent=None).encode())
        self._file.close()
        self._check_disk()
        self._new.publish()

    def _check_disk(self) -> None:
        if self._disk.error is not None:
            with writing(self.path):
                raise self._disk.error


@dataclass(frozen=True)
class Images:
    """Calorimeter images, in MeV.

    Arguments:
        incident_energies: Shape ``(N, 1)``.
        showers: Shape ``(N, n_voxels)``.
    """

    incident_energies: NDArray[np.float32]
    showers: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.showers)


class ImageReader:
    """The images of a file in the CaloChallenge layout, a chunk at a time; iterate as often as
    needed.

    Arguments:
        path: The file.
        step_size: Images in a chunk, at most: large ones are read a few at a time.

    Raises:
        FileError: It is missing, broken, or of another layout.
        DataError: While reading, a value is NaN or infinite.
    """

    def __init__(self, path: str | Path, step_size: int = 4096) -> None:
        self.path = Path(path)
        with open_file(str(self.path)) as file, reading(str(self.path), KIND):
            self.entries, self.voxels = _checked(file, self.path)
            self.shape = _shape(file[SHOWERS], self.voxels)
            self.metadata: dict[str, Any] = provenance(file, self.path)
        self.step_size = max(1, min(step_size, _READ_BYTES // (4 * max(self.voxels, 1))))

    def __len__(self) -> int:
        return self.entries

    def __iter__(self) -> Iterator[Images]:
        for start in range(0, self.entries, self.step_size):
            yield self.read(start, min(start + self.step_size, self.entries))

    def read(self, start: int = 0, stop: int | None = None) -> Images:
        """The images of some rows; all by default."""
        with open_file(str(self.path)) as file, reading(str(self.path), KIND):
            _checked(file, self.path)
            parts = [np.asarray(file[n][start:stop], np.float32) for n in (ENERGIES, SHOWERS)]
        for name, values in zip((ENERGIES, SHOWERS), parts, strict=True):
            if wrong := int((~np.isfinite(values)).sum()):
                raise DataError(f"{self.path}: {wrong} values of {name} are NaN or infinite")
        return Images(*parts)


def holds_images(path: str | Path) -> bool:
    """Whether a file has images, and not a table of events.

    Raises:
        FileError: It is missing or broken.
    """
    with open_file(str(path)) as file, reading(str(path), KIND):
        return SHOWERS in file


def _checked(file: Any, path: Path) -> tuple[int, int]:
    """Images and voxels of a file, whose layout is that of the CaloChallenge."""
    parts = [dataset(file, name, path, rank=2) for name in (ENERGIES, SHOWERS)]
    energies, showers = (data.shape for data in parts)
    if energies != (showers[0], 1):
        raise FileError(
            f"{path}: {ENERGIES} of shape {energies} and {SHOWERS} of shape {showers}; expected "
            "(N, 1) and (N, n_voxels)"
        )
    return int(showers[0]), int(showers[1])


def _shape(showers: Any, voxels: int) -> tuple[int, ...]:
    """Of an image: layers, cells in η, cells in φ; flat where the file does not say.

    Raises:
        ValueError: It says what is no shape of so many voxels.
    """
    if "shape" not in showers.attrs:
        return (voxels,)
    noted = showers.attrs.get_id("shape")
    if noted.dtype.kind not in "iu" or len(noted.shape) != 1 or noted.shape[0] > _MOST_DIMENSIONS:
        raise ValueError("the attribute 'shape' of the showers is no list of a few whole numbers")
    return tuple(int(n) for n in showers.attrs["shape"])
