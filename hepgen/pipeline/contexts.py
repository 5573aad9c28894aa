"""Contexts: at which θ a surrogate is sampled, from the words of a command line or a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgen.errors import DataError, InputError, ParameterError, nearest
from hepgen.events import THETA, WEIGHT, Events
from hepgen.io.reader import EventReader
from hepgen.io.sources import resolve


@runtime_checkable
class Contexts(Protocol):
    """Contexts of events, in blocks."""

    @property
    def events(self) -> int:
        """How many."""

    def blocks(self, size: int) -> Iterator[Events]:
        """The columns that go with the events, ``size`` of them at a time but for the last."""

    def columns(self) -> Sequence[str]:
        """Which of those columns are the context, in its order."""

    def identity(self) -> dict[str, Any]:
        """What they are, as plain values."""


@dataclass(frozen=True)
class Point:
    """The same context for all events.

    Arguments:
        values: By name, in the order of the surrogate.
        events: How many.
    """

    values: Mapping[str, float]
    events: int

    def columns(self) -> Sequence[str]:
        """The parameters."""
        return [THETA + name for name in self.values]

    def blocks(self, size: int) -> Iterator[Events]:
        """The values, again and again."""
        for first in range(0, self.events, size):
            rows = min(size, self.events - first)
            # A surrogate without a context still has a number of events.
            columns = {WEIGHT: np.ones(rows)}
            columns |= {THETA + name: np.full(rows, v) for name, v in self.values.items()}
            yield Events.from_columns(columns)

    def identity(self) -> dict[str, Any]:
        """The values."""
        return {"theta": dict(self.values)}


@dataclass
class FileContexts:
    """A context for each event of a file, found as ``theta_<name>`` or ``<name>``.

    Arguments:
        names: Of the context.
        spec: The files, as ``sim.root:Events``.
        stop: How many rows to use; all by default.
    """

    names: Sequence[str]
    spec: str
    stop: int | None = None
    _reader: EventReader = field(init=False)
    _columns: list[str] = field(init=False)

    def __post_init__(self) -> None:
        if not self.names:
            raise InputError("--theta-from: the model has no θ; give the number of events with -n")
        sources = resolve(self.spec)
        known = {str(column).strip("`") for column in EventReader(sources).selection.names}
        self._columns = [self._find(name, known) for name in self.names]
        weight = [WEIGHT] if WEIGHT in known else []
        self._reader = EventReader(sources, [*self._columns, *weight], entry_stop=self.stop)
        if self.stop is not None and self.stop > self._reader.entries:
            raise InputError(
                f"-n {self.stop}: {self.spec} has {self._reader.entries} rows and each is used "
                "once; ask for fewer"
            )

    def _find(self, name: str, known: set[str]) -> str:
        for column in (THETA + name, name):
            if column in known:
                return column
        raise InputError(
            f"--theta-from {self.spec}: neither {THETA + name!r} nor {name!r} is a column; "
            f"{nearest(name, known)}"
        )

    @property
    def inputs(self) -> list[Path]:
        """The files."""
        return [Path(source.path) for source in self._reader.sources if not source.remote]

    @property
    def events(self) -> int:
        """The rows that are used."""
        return self._reader.entries

    def columns(self) -> Sequence[str]:
        """As they are called in the file."""
        return self._columns

    def blocks(self, size: int) -> Iterator[Events]:
        """The file's rows in blocks of ``size``, however the file is cut."""
        left: list[ak.Array] = []
        for chunk in self._chunks():
            left.append(chunk.columns)
            while sum(map(len, left)) >= size:
                table = ak.concatenate(left)
                yield Events(table[:size])
                left = [table[size:]]
        if sum(map(len, left)):
            yield Events(ak.concatenate(left))

    def _chunks(self) -> Iterator[Events]:
        try:
            yield from self._reader
        except DataError as error:
            raise DataError(
                f"--theta-from {self.spec}: {str(error).partition(';')[0]}; expected a number in "
                "every row: write a file without these rows"
            ) from error

    def identity(self) -> dict[str, Any]:
        """The files and columns."""
        return {"theta_from": self.spec, "columns": list(self._columns)}


def point(names: Sequence[str], theta: Sequence[str], events: int) -> Point:
    """θ from ``name=value`` entries, also with commas between.

    Raises:
        InputError: One is missing, there twice, unknown, or not a number.

    >>> point(["m_z"], ["m_z=91.19"], 10).values
    {'m_z': 91.19}
    """
    given: dict[str, float] = {}
    for word in (part.strip() for text in theta for part in text.split(",") if part.strip()):
        name, value = _assignment(names, word)
        if name in given:
            raise InputError(f"--theta: {name!r} is there more than once; expected it once")
        given[name] = value
    missing = [name for name in names if name not in given]
    if missing:
        raise InputError(
            f"no value for {', '.join(missing)}: give --theta "
            f"{','.join(f'{name}=VALUE' for name in missing)}, or --theta-from FILE.root"
        )
    return Point({name: given[name] for name in names}, events)


def _assignment(names: Sequence[str], word: str) -> tuple[str, float]:
    name, separator, value = (part.strip() for part in word.partition("="))
    if not separator:
        raise InputError(f"--theta {word!r}: expected NAME=VALUE")
    if name not in names:
        raise ParameterError(f"--theta {word!r}: the model has no {name!r}; {nearest(name, names)}")
    try:
        number = float(value)
    except ValueError:
        raise ParameterError(f"--theta {word!r}: {value!r} is not a number") from None
    if not math.isfinite(number):
        raise ParameterError(f"--theta {word!r}: expected a finite number")
    return name, number


def as_matrix(events: Events, columns: Sequence[str]) -> NDArray[np.float64]:
    """The context of a block, shape ``(B, C)``."""
    return events.flat(list(columns))
