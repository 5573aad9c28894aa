"""Opening a file, and finding the tree that is meant in it."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, SupportsIndex

import uproot

from hepgen.errors import FileError, nearest
from hepgen.io.failures import reading
from hepgen.io.remote import check_ranges
from hepgen.io.root.rntuple import RNTuple
from hepgen.io.root.ttree import TTree
from hepgen.io.root.unpacking import unpacking
from hepgen.io.sources import Source
from hepgen.io.table import Table
from hepgen.io.xrootd import give_up_soon

_TREES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")
_NOT_EVENTS = ("runs", "luminosityblocks", "metadata", "parametersets")


class _Bounded(io.FileIO):
    """A file that is never asked for more than it has: a broken one may say any number."""

    def read(self, size: SupportsIndex | None = -1) -> bytes:
        """At most what is left."""
        left = max(os.fstat(self.fileno()).st_size - self.tell(), 0)
        asked = -1 if size is None else int(size)  # uproot counts with NumPy's numbers too
        return super().read(left if asked < 0 else min(asked, left))


def open_file(path: str) -> Any:
    """The uproot directory of a whole file, to be closed by the caller."""
    give_up_soon(path)
    check_ranges(path)
    with reading(path), unpacking(path), contextlib.ExitStack() as failed:
        place = path if Source(path).remote else failed.enter_context(_Bounded(path))
        directory = uproot.open({place: None}, array_cache=None)
        failed.pop_all()
    _check_complete(directory, path)
    return directory


def _check_complete(directory: Any, path: str) -> None:
    """Refuse a file shorter than its header says, which uproot may read in part."""
    expected, size = directory.file.fEND, _size(directory, path)
    if size is None or size >= expected:
        return
    directory.close()
    raise FileError(
        f"{path}: truncated; it has {size} bytes and should have {expected}; copy it again"
    )


def _size(directory: Any, path: str) -> int | None:
    """In bytes; a server may not tell."""
    if not Source(path).remote:
        return Path(path).stat().st_size
    with contextlib.suppress(Exception):  # of whatever file system it is
        return int(directory.file.source.num_bytes)
    return None


def tree_kinds(directory: Any) -> dict[str, str]:
    """Name → class of all trees of a file, also in folders."""
    names = directory.classnames(recursive=True, cycle=False)
    return {name: kind for name, kind in names.items() if kind in _TREES}


def tree_name(directory: Any, source: Source) -> str:
    """The tree that ``source`` means."""
    kinds = tree_kinds(directory)
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


def tree_names(source: Source) -> list[str]:
    """All trees of a file, or the one that ``source`` names."""
    with open_file(source.path) as directory, reading(source.path), unpacking(source.path):
        kinds = tree_kinds(directory)
        return list(kinds) if source.tree is None else [tree_name(directory, source)]


@contextlib.contextmanager
def open_tree(source: Source) -> Iterator[Table]:
    """The tree of a source, with its file open."""
    directory = open_file(source.path)
    with directory:
        with reading(source.path), unpacking(source.path):
            name = tree_name(directory, source)
            tree = directory[name]
            rntuple = isinstance(tree, uproot.behaviors.RNTuple.RNTuple)
            table: Table = (RNTuple if rntuple else TTree)(
                tree, source.path, name, int(tree.num_entries)
            )
        yield table
