"""What is in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hepgen.io.failures import reading
from hepgen.io.formats import open_table, read_metadata, table_names
from hepgen.io.sources import Source, resolve


@dataclass(frozen=True)
class TreeDescription:
    """A table: its name, kind (TTree, RNTuple, Parquet, HDF5), rows, and column → type."""

    name: str
    kind: str
    entries: int
    branches: Mapping[str, str]


@dataclass(frozen=True)
class FileDescription:
    """The tables in a file, and what hepgen noted in it."""

    path: str
    trees: tuple[TreeDescription, ...]
    metadata: Mapping[str, Any]


def describe(source: Source | str | Path) -> FileDescription:
    """What is in a file: all its tables, or the one that ``source`` names.

    Raises:
        FileError: The file is missing or broken, or has no such table.
    """
    given = source if isinstance(source, Source) else resolve(source)[0]
    trees = tuple(_described(Source(given.path, name)) for name in table_names(given))
    return FileDescription(given.path, trees, read_metadata(given.path))


def _described(source: Source) -> TreeDescription:
    with open_table(source) as tree, reading(source.path, tree.file_kind):
        return TreeDescription(source.tree or "", tree.kind, tree.entries, tree.types())
