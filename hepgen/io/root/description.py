"""What is in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hepgen.io.root.failures import reading
from hepgen.io.root.metadata import read_metadata
from hepgen.io.root.opening import open_file, open_tree, tree_kinds, tree_name
from hepgen.io.sources import Source, resolve


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
    with open_file(given.path) as directory, reading(given.path):
        kinds = tree_kinds(directory)
        names = list(kinds) if given.tree is None else [tree_name(directory, given)]
    trees = tuple(_described(Source(given.path, name)) for name in names)
    return FileDescription(given.path, trees, read_metadata(given.path))


def _described(source: Source) -> TreeDescription:
    with open_tree(source) as tree, reading(source.path):
        return TreeDescription(source.tree or "", tree.kind, tree.entries, tree.types())
