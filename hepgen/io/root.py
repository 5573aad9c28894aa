"""ROOT files: TTrees and RNTuples in, TTrees out. The only module that knows uproot.

Reading streams: a chunk of the needed branches at a time, TTree and RNTuple alike. Cuts
are evaluated here and never by uproot, which ignores them silently for an RNTuple.
Writing is atomic: a file appears under its name when it is complete.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import math
import os
import re
import secrets
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray

from hepgen.errors import DataError, FileError, HepgenError, nearest
from hepgen.events import Events
from hepgen.io.layout import Layout, check_types, types_of, writable
from hepgen.io.selection import ColumnMap, CutFlow, Distinct, Rows, Selection
from hepgen.io.sources import Source, resolve
from hepgen.results import to_json

__all__ = [
    "CutFlow",
    "EventReader",
    "FileDescription",
    "RootWriter",
    "Source",
    "TreeDescription",
    "describe",
    "read",
    "read_metadata",
    "resolve",
]

Sources = Source | str | Path | Sequence[Source | str | Path]

PROVENANCE = "hepgen_provenance"
RUNS = "Runs"
_TREES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")
_NOT_EVENTS = ("runs", "luminosityblocks", "metadata", "parametersets")
_CHUNK_BYTES = 32 * 2**20
_CHUNK_ROWS = (1_000, 250_000)
_BASKET_BYTES = {"ttree": 2**20, "rntuple": 16 * 2**20}


# --- opening --------------------------------------------------------------------------


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    """Turn whatever uproot says about a broken file into a FileError."""
    try:
        yield
    except (HepgenError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise FileError(f"no file {path!r}") from error
    except PermissionError as error:
        raise FileError(f"{path}: no permission to read it") from error
    except ImportError as error:
        raise FileError(f"{path}: reading it needs a package: {_brief(error)}") from error
    except Exception as error:
        raise FileError(
            f"{path}: cannot be read as a ROOT file; it may be truncated or of another kind "
            f"({type(error).__name__}: {_brief(error)})"
        ) from error


def _brief(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:160] or "no reason given"


def _open(path: str) -> Any:
    with _reading(path):
        directory = uproot.open({path: None}, array_cache=None)
    _check_complete(directory, path)
    return directory


def _check_complete(directory: Any, path: str) -> None:
    """Refuse a file shorter than its header says, which uproot may read in part."""
    expected = directory.file.fEND
    if Source(path).remote or (size := Path(path).stat().st_size) >= expected:
        return
    directory.close()
    raise FileError(
        f"{path}: truncated; it has {size} bytes and should have {expected}; copy it again"
    )


def _tree_kinds(directory: Any) -> dict[str, str]:
    """Name → class of all trees of a file, also in folders."""
    names = directory.classnames(recursive=True, cycle=False)
    return {name: kind for name, kind in names.items() if kind in _TREES}


def _tree_name(directory: Any, source: Source) -> str:
    """The tree that ``source`` means."""
    kinds = _tree_kinds(directory)
    if source.tree is not None:
        return _named_tree(directory, source, kinds)
    if not kinds:
        found = ", ".join(directory.keys(cycle=False)[:8]) or "nothing"
        raise FileError(f"{source.path}: there is no TTree or RNTuple in it, only {found}")
    events = [name for name in kinds if name.rpartition("/")[2].lower() == "events"]
    others = [name for name in kinds if name.rpartition("/")[2].lower() not in _NOT_EVENTS]
    for choice in (list(kinds), events, others):
        if len(choice) == 1:
            return choice[0]
    raise FileError(
        f"{source.path}: which tree? It has {', '.join(kinds)}; "
        f"name one, such as {source.path}:{next(iter(kinds))}"
    )


def _named_tree(directory: Any, source: Source, kinds: Mapping[str, str]) -> str:
    name = re.sub(r";\d+$", "", (source.tree or "").strip("/"))
    if name in kinds:
        return (source.tree or "").strip("/")  # a cycle that is asked for stays
    classes = directory.classnames(recursive=True, cycle=False)
    if name in classes:
        kind = classes[name]
        raise FileError(f"{source.path}: {name!r} is a {kind}; {_tree_hint(name, kinds)}")
    raise FileError(f"{source.path}: no tree {name!r}; {_tree_hint(name, kinds)}")


def _tree_hint(name: str, kinds: Mapping[str, str]) -> str:
    return nearest(name, kinds) if kinds else "there is no TTree or RNTuple in the file"


# --- trees ----------------------------------------------------------------------------


class _Tree(ABC):
    """A TTree or an RNTuple: columns by name, in chunks of rows."""

    kind: str

    def __init__(self, tree: Any, path: str, name: str) -> None:
        self.tree = tree
        self.path = path
        self.name = name
        self.entries = int(tree.num_entries)
        keys = self._keys()
        self.keys = {_hepgen_name(name): key for name, key in keys.items()} | keys

    @abstractmethod
    def _keys(self) -> dict[str, str]:
        """The names a column goes by → the name uproot knows it by, best name last."""

    @abstractmethod
    def types(self) -> dict[str, str]:
        """Column → type, of all columns that can be read."""

    @abstractmethod
    def default(self) -> dict[str, str]:
        """hepgen's name → column, of what is read when no columns are named.

        Counters of jagged columns are left out: they are the columns' lengths.
        """

    @abstractmethod
    def chunks(
        self, keys: Sequence[str], stop: int, step: int
    ) -> Iterator[tuple[int, dict[str, ak.Array]]]:
        """(rows, key → array), in order, up to row ``stop``."""

    @abstractmethod
    def row_bytes(self, keys: Sequence[str]) -> float:
        """About how many bytes of memory a row takes."""

    def locate(self, name: str) -> tuple[str, tuple[str, ...]] | None:
        """The key of the column ``name``, and the fields inside it that the name goes on to."""
        fields: tuple[str, ...] = ()
        while name:
            if name in self.keys:
                return self.keys[name], fields
            name, _, field = name.rpartition(".")
            fields = (field, *fields)
        return None

    def find(self, names: Sequence[str]) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Where each of ``names`` is."""
        places = {name: self.locate(name) for name in names}
        for name, place in places.items():
            if place is None:
                raise DataError(
                    f"{self.path}: no branch {name!r} in {self.kind} {self.name!r}; "
                    f"{self._hint(name)}"
                )
        return {name: place for name, place in places.items() if place is not None}

    def _hint(self, name: str) -> str:
        known = self.types()
        inside = [column for column in known if column.startswith(f"{name}.")]
        return f"it groups {', '.join(inside[:8])}" if inside else nearest(name, known)

    def read(
        self, names: Sequence[str], stop: int, step: int | None
    ) -> Iterator[tuple[int, dict[str, ak.Array]]]:
        """(rows, name → array), in order, up to row ``stop``."""
        places = self.find(names)
        keys = sorted({key for key, _ in places.values()})
        chunks = self.chunks(keys, stop, step or self._step(keys))
        while True:
            with _reading(self.path):
                rows, arrays = next(chunks, (0, {}))
            if rows == 0:
                return
            yield rows, {n: self._inside(arrays[key], f, n) for n, (key, f) in places.items()}

    def _step(self, keys: Sequence[str]) -> int:
        rows = _CHUNK_BYTES / max(self.row_bytes(keys), 1.0)
        return int(min(max(rows, _CHUNK_ROWS[0]), _CHUNK_ROWS[1]))

    def _inside(self, array: ak.Array, fields: Sequence[str], name: str) -> ak.Array:
        for field in fields:
            if field not in array.fields:
                raise DataError(
                    f"{self.path}: no field {field!r} in branch {name!r}; "
                    f"{nearest(field, array.fields)}"
                )
            array = array[field]
        return array


class _TTree(_Tree):
    kind = "TTree"

    def _keys(self) -> dict[str, str]:
        columns = dict(_columns(self.tree))
        short = Counter(path.rpartition("/")[2] for path in columns)
        keys = {full: path for path, full in columns.items()}
        return keys | {p.rpartition("/")[2]: p for p in columns if short[p.rpartition("/")[2]] == 1}

    def _readable(self) -> dict[str, Any]:
        """Column → branch, of those that uproot can read."""
        unknown = uproot.interpretation.identify.UnknownInterpretation
        names = {path: name for name, path in self.keys.items()}
        branches = {name: self.tree[path] for path, name in names.items()}
        return {n: b for n, b in branches.items() if not isinstance(b.interpretation, unknown)}

    def types(self) -> dict[str, str]:
        return {name: branch.typename for name, branch in self._readable().items()}

    def default(self) -> dict[str, str]:
        readable = self._readable()
        counters = {b.count_branch.name for b in readable.values() if b.count_branch is not None}
        plain = {name for name, b in readable.items() if _is_plain(b.interpretation)}
        return {_hepgen_name(n): n for n in readable if n in plain and n not in counters}

    def row_bytes(self, keys: Sequence[str]) -> float:
        total = sum(self.tree[key].uncompressed_bytes for key in keys)
        return float(total) / max(self.entries, 1)

    def chunks(
        self, keys: Sequence[str], stop: int, step: int
    ) -> Iterator[tuple[int, dict[str, ak.Array]]]:
        if not keys:
            yield from _empty_chunks(stop, step)
            return
        wanted = {key: self._interpretation(key) for key in keys}
        for arrays in self.tree.iterate(wanted, entry_stop=stop, step_size=step, how=dict):
            yield len(arrays[keys[0]]), arrays

    def _interpretation(self, key: str) -> Any:
        branch = self.tree[key]
        if isinstance(branch.interpretation, uproot.interpretation.identify.UnknownInterpretation):
            raise DataError(
                f"{self.path}: branch {key!r} has the type {branch.typename}, which cannot be read"
            )
        return branch.interpretation


def _columns(tree: Any, path: str = "", name: str = "") -> Iterator[tuple[str, str]]:
    """(path, dotted name) of the branches that have values of their own.

    Split objects repeat the name of the parent, or not: ``Jet/Jet.PT`` is ``Jet.PT``, and
    so would be ``Jet/PT``.
    """
    for branch in tree.branches:
        below = path + branch.name
        own = branch.name.rstrip(".")
        last = name.rpartition(".")[2]
        full = f"{name}.{own.removeprefix(f'{last}.')}" if name else own
        if branch.branches and isinstance(branch.interpretation, uproot.AsGrouped):
            yield from _columns(branch, f"{below}/", full)
        else:
            yield below, full


def _is_plain(interpretation: Any) -> bool:
    """Whether a branch holds numbers or text, or lists of them, and no records."""
    if isinstance(interpretation, uproot.AsJagged):
        interpretation = interpretation.content
    if isinstance(interpretation, uproot.AsDtype):
        return interpretation.from_dtype.names is None
    if isinstance(interpretation, uproot.AsStrings):
        return True
    simple = r"(std::)?(vector|string)\b[\w<>:,* ]*"
    return isinstance(interpretation, uproot.AsObjects) and bool(
        re.fullmatch(simple, interpretation.typename)
    )


class _RNTuple(_Tree):
    kind = "RNTuple"

    def _keys(self) -> dict[str, str]:
        return {key: key for key in self.tree.keys()}  # noqa: SIM118 (not a dict)

    def types(self) -> dict[str, str]:
        types = dict(self.tree.typenames())
        return {k: kind for k, kind in types.items() if not k.startswith("_collection")}

    def default(self) -> dict[str, str]:
        types = self.types()
        parents = {".".join(k.split(".")[:i]) for k in types for i in range(1, k.count(".") + 1)}
        return {
            _hepgen_name(key): key
            for key, kind in types.items()
            if key not in parents and "RNTupleCardinality" not in kind
        }

    def row_bytes(self, keys: Sequence[str]) -> float:  # noqa: ARG002 (clusters set the size)
        return 1.0

    def chunks(
        self, keys: Sequence[str], stop: int, step: int
    ) -> Iterator[tuple[int, dict[str, ak.Array]]]:
        """Whole clusters at a time, because uproot decompresses no less than a cluster."""
        if not keys:
            yield from _empty_chunks(stop, step)
            return
        fields = {field.field_id for key, field in self.tree.iteritems() if key in keys}
        for low, high in self._cluster_ranges(stop, step):
            record = self.tree.arrays(
                filter_field=lambda field: field.field_id in fields,
                entry_start=low,
                entry_stop=high,
                array_cache=None,
            )
            for start in range(0, high - low, step):
                part = record[start : start + step]
                yield len(part), {key: _descend(part, key.split(".")) for key in keys}

    def _cluster_ranges(self, stop: int, step: int) -> Iterator[tuple[int, int]]:
        low = high = 0
        for cluster in self.tree.cluster_summaries:
            high = min(cluster.num_first_entry + cluster.num_entries, stop)
            if high - low >= step:
                yield low, high
                low = high
        if high > low:
            yield low, high


def _empty_chunks(stop: int, step: int) -> Iterator[tuple[int, dict[str, ak.Array]]]:
    for start in range(0, stop, step):
        yield min(step, stop - start), {}


def _descend(record: ak.Array, path: Sequence[str]) -> ak.Array:
    for field in path:
        record = record[field]
    return record


def _hepgen_name(column: str) -> str:
    """A dotted name with underscores, as NanoAOD has it: ``Jet.PT`` becomes ``Jet_PT``."""
    return column.rstrip(".").replace(".", "_")


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[_Tree]:
    """The tree of a source, with its file open."""
    directory = _open(source.path)
    with directory:
        with _reading(source.path):
            name = _tree_name(directory, source)
            tree = directory[name]
            rntuple = isinstance(tree, uproot.behaviors.RNTuple.RNTuple)
            table: _Tree = (_RNTuple if rntuple else _TTree)(tree, source.path, name)
        yield table


# --- what is in a file ----------------------------------------------------------------


@dataclass(frozen=True)
class TreeDescription:
    """A tree: its name, kind (TTree or RNTuple), rows, and branch → type."""

    name: str
    kind: str
    entries: int
    branches: Mapping[str, str]


@dataclass(frozen=True)
class FileDescription:
    """The trees in a file, and what hepgen noted in it."""

    path: str
    trees: tuple[TreeDescription, ...]
    metadata: Mapping[str, Any]


def describe(source: Source | str | Path) -> FileDescription:
    """What is in a file: all its trees, or the one that ``source`` names.

    Raises:
        FileError: The file is missing or broken, or has no such tree.
    """
    given = source if isinstance(source, Source) else resolve(source)[0]
    with _open(given.path) as directory, _reading(given.path):
        kinds = _tree_kinds(directory)
        names = list(kinds) if given.tree is None else [_tree_name(directory, given)]
    trees = tuple(_described(Source(given.path, name)) for name in names)
    return FileDescription(given.path, trees, read_metadata(given.path))


def _described(source: Source) -> TreeDescription:
    with _opened(source) as tree, _reading(source.path):
        return TreeDescription(source.tree or "", tree.kind, tree.entries, tree.types())


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What :meth:`RootWriter.metadata` wrote, or the tree ``Runs`` of another NanoAOD file.

    Numbers of a ``Runs`` with several rows (files joined by hadd) are lists.

    Raises:
        FileError: The file is missing or broken.
    """
    with _open(str(path)) as directory, _reading(str(path)):
        names = directory.keys(recursive=False, cycle=False)
        noted = json.loads(str(directory[PROVENANCE])) if PROVENANCE in names else {}
        runs = RUNS in _tree_kinds(directory)
    return dict(noted) | _runs(str(path), several_only=bool(noted)) if runs else dict(noted)


def _runs(path: str, several_only: bool) -> dict[str, Any]:
    with _opened(Source(path, RUNS)) as tree:
        if tree.entries == 0 or (several_only and tree.entries == 1):
            return {}
        columns = tree.default()
        chunks = [arrays for _, arrays in tree.read(list(columns.values()), tree.entries, None)]
        lists = {n: ak.to_list(ak.concatenate([c[k] for c in chunks])) for n, k in columns.items()}
        return {name: rows[0] if len(rows) == 1 else rows for name, rows in lists.items()}


# --- reading events -------------------------------------------------------------------


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
            branches that hold numbers or text.
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
        FileError: A file or tree is missing or broken.
        DataError: A branch is missing; while iterating, values that cannot be used, or no
            row that passes.
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
        left = entry_stop
        stops: list[int] = []
        for i, source in enumerate(self.sources):
            with _opened(source) as tree:
                tree.find(self._names)
                self.sources[i] = replace(source, tree=tree.name)
                stops.append(tree.entries if left is None else min(tree.entries, left))
            left = None if left is None else left - stops[-1]
        return stops

    def _rows(self) -> Iterator[Rows]:
        for source, stop in zip(self.sources, self._stops, strict=True):
            with _opened(source) as tree:
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
    with _opened(first) as tree, _reading(first.path):
        return {name: f"`{column}`" for name, column in tree.default().items()}


def _refusal(flow: CutFlow) -> str:
    return (
        f"values that are NaN, infinite or missing in {flow.refused} of {flow.entries} rows "
        f"({_worst(flow)}); drop these rows with --drop-invalid (drop_invalid=True), "
        f"or cut on what makes them so"
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


# --- writing --------------------------------------------------------------------------


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
        self.overwrite = overwrite
        self.format = format
        self.entries = 0
        self._metadata: dict[str, Any] = {}
        self._types: dict[str, str] = {}
        self._layout: Layout | None = None
        self._sink: Any = None
        self._buffer: list[dict[str, ak.Array]] = []
        self._sizes: Counter[str] = Counter()
        self._check_path()

    def _check_path(self) -> None:
        if not self.path.parent.is_dir():
            raise FileError(f"{self.path}: there is no folder {str(self.path.parent)!r}; make it")
        if self.path.is_dir():
            raise FileError(f"{self.path} is a folder; expected the name of a file")
        if self.path.exists() and not self.overwrite:
            raise FileError(
                f"{self.path} exists; remove it, or allow it to be replaced (overwrite=True)"
            )

    def __enter__(self) -> RootWriter:
        self._part = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.part")
        with _writing(self.path):
            self._sink = uproot.recreate(self._part.open("x+b"))
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
            self._part.unlink(missing_ok=True)

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
        with _writing(self.path):
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
        with _writing(self.path):
            self._write_metadata()
            self._sink.close()
            with self._part.open("rb") as handle:
                os.fsync(handle.fileno())
            self._check_path()
            self._part.replace(self.path)

    def _write_metadata(self) -> None:
        if not self._metadata:
            return
        self._sink[PROVENANCE] = to_json(self._metadata, indent=None)
        scalars = {_branch_name(k): v for k, v in self._metadata.items() if _is_scalar(v)}
        if scalars:
            row = {name: ak.Array([value]) for name, value in scalars.items()}
            self._sink.mktree(RUNS, {n: Layout.of({n: a}).types[n] for n, a in row.items()})
            self._sink[RUNS].extend(row)

    def _close_quietly(self) -> None:
        """Let go of the file; what goes wrong now was reported before."""
        with contextlib.suppress(Exception):
            self._sink.close()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "make room, or choose another folder" if full else "check the folder"
        raise FileError(
            f"{path}: cannot be written: {error.strerror or error}; {remedy}. "
            f"Nothing was left behind"
        ) from error


def _branch_name(key: str) -> str:
    return re.sub(r"\W", "_", key)


def _is_scalar(value: Any) -> bool:
    if isinstance(value, (int, np.integer)):
        return -(2**63) <= int(value) < 2**63
    return isinstance(value, (bool, np.bool_, float, np.floating, str))
