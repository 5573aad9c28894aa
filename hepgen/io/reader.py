"""The events of files, selected and in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgen.errors import DataError, FileError
from hepgen.events import Events
from hepgen.io.cutflow import CutFlow
from hepgen.io.distinct import Distinct
from hepgen.io.failures import reading
from hepgen.io.formats import open_table
from hepgen.io.selection import ColumnMap, Rows, Selection
from hepgen.io.sources import Source, resolve

Sources = Source | str | Path | Sequence[Source | str | Path]


class EventReader:
    """Events of one or more files, a chunk at a time; iterate as often as needed.

    Opening checks every file, tree and branch before anything is read. The attribute
    :attr:`cutflow` counts while the reader is iterated, and is complete after.

    A NaN or an infinity in a needed column, or a derived column without a value, is
    counted in all files and then refused, unless ``drop_invalid``; chunks before the first
    such row have been handed out by then. With ``one_per`` the files are read twice: once
    to find the rows to keep (exactly, wherever in the files the rows of an event are),
    and so nothing is handed out before all is checked.

    Arguments:
        sources: As :func:`resolve` gives them, or what it takes.
        columns: hepgen's name → expression over branches, or a list of expressions to join
            to one jagged column; or names that are the same in the file; None for all
            columns that hold numbers or text.
        cut: Keep the rows where it is true (see :class:`hepgen.io.expressions.Expression`).
        weight: An expression that becomes the column ``genWeight``, with its sign.
        drop_invalid: Drop rows that have no usable value, instead of refusing them.
        one_per: Expressions that name an event, such as ``["Run", "Event"]``; of its rows one
            is kept.
        keep: The kept row is the one where this expression is largest; the first if None.
        entry_stop: Read at most so many rows, of all files together.
        step_size: Rows in a chunk; by default about 32 MB of the needed branches.
        progress: Called with (rows read, rows to read).

    Raises:
        FileError: A file or a table in it is missing or broken.
        DataError: A branch is missing, or an ``entry_stop`` below 1; while iterating, values that
            cannot be used, or no row that passes.
    """

    def __init__(
        self,
        sources: Sources,
        columns: ColumnMap | Sequence[str] | None = None,
        *,
        cut: str | None = None,
        weight: str | None = None,
        drop_invalid: bool = False,
        one_per: Sequence[str] = (),
        keep: str | None = None,
        entry_stop: int | None = None,
        step_size: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.sources = _as_sources(sources)
        self.selection = Selection(_as_map(columns, self.sources[0]), cut, weight, one_per, keep)
        self.drop_invalid = drop_invalid
        self.step_size = step_size
        self.progress = progress
        self.cutflow = CutFlow()
        self._names = sorted(self.selection.names)
        self._stops = self._check_files(entry_stop)
        self._passes = 2 if self.selection.keys else 1
        self._done = 0

    @property
    def entries(self) -> int:
        """Rows to read, of all files together."""
        return sum(self._stops)

    def __iter__(self) -> Iterator[Events]:
        self.cutflow, self._done = CutFlow(), 0
        if self.selection.keys:
            yield from self._unique(self._rows_to_keep())
        else:
            yield from self._passing()

    def read(self) -> Events:
        """All the events at once, for a selection that fits in memory."""
        return Events.concatenate(list(self))

    def _check_files(self, entry_stop: int | None) -> list[int]:
        """Look at every file; the last row to read of each."""
        if entry_stop is not None and entry_stop < 1:
            raise DataError(f"at most {entry_stop} rows are to be read; expected one or more")
        left = entry_stop
        stops: list[int] = []
        for i, source in enumerate(self.sources):
            with open_table(source) as tree:
                tree.find(self._names)
                self.sources[i] = replace(source, tree=tree.name)
                stops.append(tree.entries if left is None else min(tree.entries, left))
            left = None if left is None else left - stops[-1]
        return stops

    def _rows(self) -> Iterator[Rows]:
        for source, stop in zip(self.sources, self._stops, strict=True):
            with open_table(source) as tree:
                for entries, chunk in tree.read(self._names, stop, self.step_size):
                    yield self.selection.apply(chunk, entries)
                    self._advance(entries)

    def _advance(self, entries: int) -> None:
        self._done += entries
        if self.progress is not None:
            self.progress(self._done, self._passes * self.entries)

    def _counted(self) -> Iterator[Rows]:
        """The rows of every chunk, counted; the errors of a selection at its end."""
        for rows in self._rows():
            self.cutflow += rows.flow
            yield rows
        if self.cutflow.refused and not self.drop_invalid:
            raise DataError(_refusal(self.cutflow))
        if self.cutflow.complete == 0:
            raise DataError(_nothing_left(self.cutflow, self.selection, self.sources))

    def _passing(self) -> Iterator[Events]:
        for rows in self._counted():
            refusing = self.cutflow.refused and not self.drop_invalid
            if rows.flow.complete and not refusing:
                yield self._events(rows.columns)

    def _rows_to_keep(self) -> NDArray[np.int64]:
        distinct = Distinct()
        for rows in self._counted():
            distinct.add(rows.keys, rows.merit)
        kept = distinct.rows()
        self.cutflow = replace(self.cutflow, unique=len(kept))
        return kept

    def _unique(self, kept: NDArray[np.int64]) -> Iterator[Events]:
        seen = 0
        for rows in self._rows():
            low, high = np.searchsorted(kept, [seen, seen + rows.flow.complete])
            chosen = kept[low:high] - seen
            seen += rows.flow.complete
            if len(chosen):
                yield self._events({name: a[chosen] for name, a in rows.columns.items()})

    def _events(self, columns: Mapping[str, ak.Array]) -> Events:
        cut = self.selection.cut.text if self.selection.cut is not None else None
        provenance = {"sources": [str(source) for source in self.sources], "cut": cut}
        return Events.from_columns(columns, provenance)


def read(
    sources: Sources,
    columns: ColumnMap | Sequence[str] | None = None,
    **options: Any,
) -> EventReader:
    """The events of files, in chunks: see :class:`EventReader`, whose arguments these are."""
    return EventReader(sources, columns, **options)


def _as_sources(
    sources: Sources,
) -> list[Source]:
    given = [sources] if isinstance(sources, (Source, str, Path)) else list(sources)
    found = [s for g in given for s in ([g] if isinstance(g, Source) else resolve(g))]
    if not found:
        raise FileError("no files to read; expected at least one")
    return found


def _as_map(columns: ColumnMap | Sequence[str] | None, first: Source) -> ColumnMap:
    if isinstance(columns, Mapping):
        return columns
    if columns is not None:
        return {name: f"`{name}`" for name in columns}
    with open_table(first) as tree, reading(first.path, tree.file_kind):
        return {name: f"`{column}`" for name, column in tree.default().items()}


def _refusal(flow: CutFlow) -> str:
    return (
        f"values that are NaN, infinite or missing in {flow.refused} of {flow.entries} rows "
        f"({_worst(flow)}); hepgen infer drops such rows with --drop-invalid, Python with "
        f"drop_invalid=True; else cut on what makes them so, or write the file without them"
    )


def _worst(flow: CutFlow) -> str:
    worst = sorted(flow.invalid.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{name}: {count}" for name, count in worst[:6])
    return listed + (f" and {len(worst) - 6} more" if len(worst) > 6 else "")


def _nothing_left(flow: CutFlow, selection: Selection, sources: Sequence[Source]) -> str:
    files = str(sources[0]) if len(sources) == 1 else f"{len(sources)} files"
    if flow.entries == 0:
        return f"no rows in {files}; expected at least one"
    if selection.cut is not None and flow.cut == 0 < flow.valid:
        return (
            f"no event of {files} passes the cut {selection.cut.text!r}: {flow}; "
            f"loosen the cut, or check units and names"
        )
    return (
        f"no event of {files} is left: {flow}; every one has a value that is NaN, infinite or "
        f"missing ({_worst(flow)}); name only the columns you need"
    )
