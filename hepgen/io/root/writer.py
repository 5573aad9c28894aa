"""Events to a file, which appears under its name when it is complete."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import awkward as ak
import numpy as np
import uproot

from hepgen.errors import DataError
from hepgen.events import Events
from hepgen.io.layout import Layout, check_types, types_of, writable
from hepgen.io.root.failures import writing
from hepgen.io.root.metadata import write_metadata
from hepgen.io.root.newfile import NewFile

_BASKET_BYTES = {"ttree": 2**20, "rntuple": 16 * 2**20}


class RootWriter:
    """Writes events to a ROOT file, chunk by chunk, as a context manager.

    The tree is in the style of NanoAOD: jagged columns with a common prefix are a group
    with one counter (``Muon_pt``, ``Muon_eta``, ``nMuon``); bool, integers, float32 and
    float64 keep their type. The chunks are collected to baskets of about 1 MB, so a few
    rows or many may be written at a time.

    The file appears under its name when the context is left without an error, and not at
    all otherwise.

    Arguments:
        path: The file to make, in a folder that exists.
        tree: The name of the tree.
        overwrite: Replace a file that is there.
        format: ``ttree`` (every ROOT reads it) or ``rntuple`` (ROOT 6.36 and later).

    Raises:
        FileError: The file exists, its folder does not, or the disk is full.
        DataError: A column cannot be written, or nothing was written.

    >>> import tempfile
    >>> from hepgen.io.root import read, read_metadata
    >>> path = Path(tempfile.mkdtemp()) / "out.root"
    >>> with RootWriter(path) as writer:
    ...     writer.write(Events.from_columns({"Muon_pt": ak.Array([[40.0, 30.0], []])}))
    ...     writer.metadata({"generated": 2})
    >>> read(path).read()["Muon_pt"].tolist(), read_metadata(path)
    ([[40.0, 30.0], []], {'generated': 2})
    """

    def __init__(
        self,
        path: str | Path,
        *,
        tree: str = "Events",
        overwrite: bool = False,
        format: Literal["ttree", "rntuple"] = "ttree",
    ) -> None:
        self.path = Path(path)
        self.tree = tree
        self.format = format
        self.entries = 0
        self._metadata: dict[str, Any] = {}
        self._types: dict[str, str] = {}
        self._layout: Layout | None = None
        self._sink: Any = None
        self._buffer: list[dict[str, ak.Array]] = []
        self._sizes: Counter[str] = Counter()
        self._new = NewFile(self.path, overwrite=overwrite)

    def __enter__(self) -> RootWriter:
        handle = self._new.open()
        with writing(self.path):
            self._sink = uproot.recreate(handle)
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
            self._close_quietly()
            self._new.discard()

    def write(self, events: Events) -> None:
        """Write events: any number, with the same columns every time."""
        columns = {name: writable(name, events[name]) for name in events.fields}
        if not columns:
            raise DataError(f"{self.path}: the events have no columns")
        self._types = self._types or types_of(columns)
        check_types(self._types, columns)
        self._buffer.append(columns)
        self._sizes.update({name: array.nbytes for name, array in columns.items()})
        self.entries += len(events)
        if max(self._sizes.values()) >= _BASKET_BYTES[self.format]:
            self._flush()

    def metadata(self, entries: Mapping[str, Any]) -> None:
        """Note what the events need to be used: counts, sums of weights, provenance.

        Numbers, truth values and strings become branches of the one-row tree ``Runs``;
        everything is also kept as JSON in the string ``hepgen_provenance``.
        """
        self._metadata.update(entries)

    def _flush(self) -> None:
        columns = {n: ak.concatenate([c[n] for c in self._buffer]) for n in self._buffer[0]}
        parts = math.ceil(max(self._sizes.values()) / _BASKET_BYTES[self.format]) or 1
        self._buffer.clear()
        self._sizes.clear()
        with writing(self.path):
            if self._layout is None:
                self._layout = Layout.of(columns)
                self._make_tree(self._layout)
            self._layout.check(columns)
            self._extend({n: columns[n] for n in self._layout.types}, parts)

    def _make_tree(self, layout: Layout) -> None:
        if self.format == "rntuple":
            self._sink.mkrntuple(self.tree, dict(layout.types))
            return
        counters = layout.counters
        self._sink.mktree(self.tree, dict(layout.types), counter_name=lambda name: counters[name])

    def _extend(self, columns: Mapping[str, ak.Array], parts: int) -> None:
        rows = len(next(iter(columns.values())))
        edges = np.linspace(0, rows, min(parts, rows) + 1, dtype=np.int64)
        for low, high in itertools.pairwise(edges):
            # packed, because uproot writes strings of a slice wrongly (uproot#1646)
            part = {name: ak.to_packed(array[low:high]) for name, array in columns.items()}
            table = part if self.format == "ttree" else ak.zip(part, depth_limit=1)
            self._sink[self.tree].extend(table)

    def _finish(self) -> None:
        if self._buffer:
            self._flush()
        if self._layout is None:
            raise DataError(f"{self.path}: no events were written to it")
        with writing(self.path):
            write_metadata(self._sink, self._metadata)
            self._sink.close()
        self._new.publish()

    def _close_quietly(self) -> None:
        """Let go of the file; what goes wrong now was reported before."""
        with contextlib.suppress(Exception):
            self._sink.close()
