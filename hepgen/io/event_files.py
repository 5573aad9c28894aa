"""Files of events that a generator wrote: LHE and HepMC, read in parts, each event once."""

from __future__ import annotations

import gzip
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import file_digest
from io import BufferedIOBase
from pathlib import Path
from typing import Any, ClassVar

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgen.errors import FileError, HepgenError, InputError, nearest

#: An event with more particles is taken for a broken one.
MOST_PARTICLES = 1_000_000
QUARKS = range(1, 6)
_MOST_LINE, _MOST_EVENT = 2**24, 2**27
"""Bytes of a line, and of all lines of an event or before the first; more are not read."""


@dataclass(frozen=True)
class Event:
    """What is read of one event.

    Arguments:
        particles: px, py, pz, E of those that go out, GeV, shape ``(n, 4)``.
        identity: Their PDG numbers, shape ``(n,)``.
        hard_flavour: The PDG number of the first outgoing quark, without its sign; else 0.
        weight: The nominal one.
        weights: Columns of other weights: a number, or several in the order of their names.
        cross_section: pb, where the event has one.
    """

    particles: NDArray[np.float64]
    identity: NDArray[np.int64]
    hard_flavour: int
    weight: float
    weights: Mapping[str, float | Sequence[float]] = field(default_factory=dict)
    cross_section: float | None = None


class EventFile(ABC):
    """A file of events, open where it was read last: going on is cheap, going back starts again.

    Arguments:
        path: The file, possibly compressed by gzip.

    Raises:
        FileError: It is missing, not readable, or has no events.
    """

    #: What the columns of its particles begin with.
    prefix: ClassVar[str]
    #: With what the line of a new event begins.
    mark: ClassVar[bytes]
    #: What it is, in words.
    kind: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Columns of weights beside the nominal one, each with the names of its entries.
        self.weights: Mapping[str, list[str]] = {}
        self._events: Iterator[Event] | None = None
        self._next = 0
        self._sigma: float | None = None
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            raise FileError(f"{path} is {kind}; expected {self.kind}, possibly packed by gzip")
        with self.reading(0), path.open("rb") as file:
            self.digest = file_digest(file, "sha256").hexdigest()
        with self.reading(0), uncompressed(path) as file:
            self._length = self.count(self._lines(file))
        if self._length == 0:
            raise FileError(f"{path}: no events in it; expected {self.kind}")

    def count(self, file: Iterable[bytes]) -> int:
        """The number of events, from the lines alone."""
        return sum(line.lstrip().startswith(self.mark) for line in file)

    def _lines(self, file: BufferedIOBase) -> Iterator[bytes]:
        """The lines of a file, none of which fills the memory, nor do all of an event.

        Raises:
            ValueError: They would.
        """
        size = 0
        while line := file.readline(_MOST_LINE + 1):
            size = len(line) if line.lstrip().startswith(self.mark) else size + len(line)
            if len(line) > _MOST_LINE:
                raise ValueError(f"a line has more than {_MOST_LINE} bytes")
            if size > _MOST_EVENT:
                raise ValueError(f"more than {_MOST_EVENT} bytes without a new event")
            yield line

    @abstractmethod
    def events(self) -> Iterator[Event]:
        """All events from the first on."""

    def __len__(self) -> int:
        return self._length

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which opens the file itself."""
        return self.__dict__ | {"_events": None, "_next": 0}

    def identity(self) -> dict[str, Any]:
        """What simulated events that begin with these depend on."""
        return {"file": self.path.name, "sha256": self.digest, "events": len(self)}

    def cross_section(self) -> float | None:
        """σ in pb, as the file gives it at the event that was read last; ``None`` without one."""
        # Generators that do not know it yet write 0.
        return self._sigma or None

    def read(self, start: int, stop: int) -> dict[str, Any]:
        """The events of these numbers, by column.

        Raises:
            FileError: The file has fewer, or one of them is broken.
        """
        if not 0 <= start < stop <= len(self):
            raise FileError(
                f"{self.path}: events {start} to {stop - 1} are asked for; it has {len(self)}"
            )
        if self._events is None or start < self._next:
            self._events, self._next = self.events(), 0
        found = []
        for _ in range(self._next, stop):
            event = self._one(self._events)
            if self._next > start:
                found.append(event)
        self._sigma = found[-1].cross_section
        return self._columns(found)

    def _one(self, events: Iterator[Event]) -> Event:
        number = self._next + 1
        with self.reading(number):
            event = next(events, None)
            if event is None:
                raise FileError(f"{self.path}: ends within event {number} of {len(self)}")
            self._check(event)
        self._next = number
        return event

    def _check(self, event: Event) -> None:
        if len(event.particles) > MOST_PARTICLES:
            raise ValueError(f"{len(event.particles)} particles; at most {MOST_PARTICLES} are read")
        numbers = np.hstack([event.weight, *event.weights.values()])
        if not (np.isfinite(event.particles).all() and np.isfinite(numbers).all()):
            raise ValueError("a momentum or a weight is NaN or infinite")
        for name, names in self.weights.items():
            count = np.size(event.weights[name])
            if count != len(names):
                raise ValueError(f"{count} weights {name}; the first event has {len(names)}")

    def _columns(self, events: Sequence[Event]) -> dict[str, Any]:
        counts = [len(event.particles) for event in events]
        momenta = np.concatenate([event.particles for event in events])
        identity = np.concatenate([event.identity for event in events])
        weight = np.array([event.weight for event in events])
        columns: dict[str, Any] = {
            f"{self.prefix}_{c}": ak.unflatten(momenta[:, i], counts)
            for i, c in enumerate(("px", "py", "pz", "e"))
        }
        columns[f"{self.prefix}_id"] = ak.unflatten(identity, counts)
        columns["hard_flavour"] = np.array([event.hard_flavour for event in events])
        columns["weight"] = weight
        for name in self.weights:
            columns[name] = np.array([event.weights[name] for event in events])
        return columns

    @contextmanager
    def reading(self, event: int) -> Iterator[None]:
        """Turn what a library says about a broken file into a FileError; event 0 is the start."""
        place = f"event {event}" if event else "the beginning"
        try:
            yield
        except (HepgenError, MemoryError):
            raise
        except FileNotFoundError as error:
            near = [p.name for p in self.path.parent.glob("*")] if self.path.parent.is_dir() else []
            raise FileError(f"no file {self.path}; {nearest(self.path.name, near)}") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise FileError(
                f"{self.path}: the compressed file is truncated or damaged at {place}: {error}"
            ) from error
        except Exception as error:
            raise FileError(
                f"{self.path}: {place} cannot be read as {self.kind}: {_brief(error)}"
            ) from error


def _brief(error: Exception) -> str:
    words = " ".join(str(error).split())[:160]
    if isinstance(error, IndexError):
        return "a line has too few numbers"
    known = isinstance(error, (ValueError, RuntimeWarning)) and words
    return words if known else f"{type(error).__name__}: {words}"


def uncompressed(path: Path) -> BufferedIOBase:
    """The content of a file, possibly compressed by gzip."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if compressed else path.open("rb")


def first_quark(identity: NDArray[np.int64]) -> int:
    """The PDG number of the first quark from d to b, without its sign; 0 where there is none."""
    quarks = [abs(int(i)) for i in identity if abs(int(i)) in QUARKS]
    return quarks[0] if quarks else 0


def open_events(kind: str, path: Path) -> EventFile:
    """Open a file of events.

    Arguments:
        kind: ``lhe`` or ``hepmc``.
        path: The file.

    Raises:
        InputError: Another kind; FileError: see :class:`EventFile`.
    """
    if kind == "lhe":
        from hepgen.io.lhe import LHEFile

        return LHEFile(path)
    if kind == "hepmc":
        from hepgen.io.hepmc import HepMCFile

        return HepMCFile(path)
    raise InputError(
        f"generator = '{kind}:{path.name}'; expected builtin, pythia, lhe:FILE or hepmc:FILE"
    )
