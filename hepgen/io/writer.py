"""Events to a file, chunk by chunk, whatever its format."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

import awkward as ak

from hepgen.errors import DataError
from hepgen.events import Events
from hepgen.io.failures import writing
from hepgen.io.layout import Layout, check_types, types_of, writable
from hepgen.io.newfile import NewFile

_Writer = TypeVar("_Writer", bound="EventWriter")


class EventWriter(ABC):
    """Writes events to a file as a context manager.

    Columns are in the style of NanoAOD: jagged ones with a common prefix are a group
    (``Muon_pt``, ``Muon_eta``) and have as many elements; bool, integers, float32 and float64
    keep their type. Chunks are collected to larger ones, so a few rows or many may be written
    at a time.

    The file appears under its name when the context is left without an error, and not at
    all otherwise.

    Arguments:
        path: The file to make, in a folder that exists.
        overwrite: Replace a file that is there.

    Raises:
        FileError: The file exists, its folder does not, or the disk is full.
        DataError: A column cannot be written, or nothing was written.
    """

    _chunk_bytes = 16 * 2**20
    """Of the largest column, before what was collected is written."""

    _buffering = -1

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.entries = 0
        self._metadata: dict[str, Any] = {}
        self._types: dict[str, str] = {}
        self._layout: Layout | None = None
        self._collected: list[dict[str, ak.Array]] = []
        self._sizes: Counter[str] = Counter()
        self._new = NewFile(self.path, overwrite=overwrite)

    @abstractmethod
    def _open(self, handle: IO[bytes]) -> None:
        """Begin with an empty file."""

    @abstractmethod
    def _start(self, layout: Layout) -> None:
        """Make the table, before its first rows."""

    @abstractmethod
    def _extend(self, columns: Mapping[str, ak.Array], parts: int) -> None:
        """Add rows, in so many parts of about ``_chunk_bytes``."""

    @abstractmethod
    def _end(self, metadata: Mapping[str, Any]) -> None:
        """Complete and close the file."""

    @abstractmethod
    def _close(self) -> None:
        """Let go of the file, complete or not."""

    def __enter__(self: _Writer) -> _Writer:
        handle = self._new.open(self._buffering)
        with writing(self.path):
            self._open(handle)
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
            with contextlib.suppress(Exception):  # what goes wrong now was reported before
                self._close()
            self._new.discard()

    def write(self, events: Events) -> None:
        """Write events: any number, with the same columns every time."""
        columns = {name: writable(name, events[name]) for name in events.fields}
        if not columns:
            raise DataError(f"{self.path}: the events have no columns")
        self._types = self._types or types_of(columns)
        check_types(self._types, columns)
        self._collected.append(columns)
        self._sizes.update({name: array.nbytes for name, array in columns.items()})
        self.entries += len(events)
        if max(self._sizes.values()) >= self._chunk_bytes:
            self._flush()

    def metadata(self, entries: Mapping[str, Any]) -> None:
        """Note what the events need to be used: counts, sums of weights, provenance.

        Everything is kept as JSON in the string ``hepgen_provenance``; see
        :func:`~hepgen.io.formats.read_metadata`.
        """
        self._metadata.update(entries)

    def _flush(self) -> None:
        columns = {n: ak.concatenate([c[n] for c in self._collected]) for n in self._collected[0]}
        parts = math.ceil(max(self._sizes.values()) / self._chunk_bytes) or 1
        self._collected.clear()
        self._sizes.clear()
        with writing(self.path):
            if self._layout is None:
                self._layout = Layout.of(columns)
                self._start(self._layout)
            self._layout.check(columns)
            self._extend({n: columns[n] for n in self._layout.types}, parts)

    def _finish(self) -> None:
        if self._collected:
            self._flush()
        if self._layout is None:
            raise DataError(f"{self.path}: no events were written to it")
        with writing(self.path):
            self._end(self._metadata)
        self._new.publish()
