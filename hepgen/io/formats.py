"""Which kind of file it is, and what reads and writes it: ROOT, Parquet or HDF5."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hepgen.errors import InputError, nearest
from hepgen.io.sources import Source, suffix_of
from hepgen.io.table import Table
from hepgen.io.writer import EventWriter

# The libraries of Parquet and HDF5 are imported where a file needs them: each takes a while.

FORMATS = ("ttree", "rntuple", "parquet", "hdf5")
"""The formats that events are written in."""


@contextlib.contextmanager
def open_table(source: Source) -> Iterator[Table]:
    """The table that a source means, with its file open.

    Raises:
        FileError: The file is missing or broken, or has no such table.
    """
    with _module(source.path).open_tree(source) as table:
        yield table


def table_names(source: Source) -> list[str]:
    """All tables of a file, or the one that ``source`` names."""
    names: list[str] = _module(source.path).tree_names(source)
    return names


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What :meth:`~hepgen.io.writer.EventWriter.metadata` noted; of a NanoAOD file, its ``Runs``.

    Numbers of a ``Runs`` with several rows (files joined by hadd) are lists.

    Raises:
        FileError: The file is missing or broken.
    """
    found: dict[str, Any] = _module(str(path)).read_metadata(path)
    return found


def format_of(path: Path, asked: str | None = None) -> str:
    """The format that events are written in: as asked for, or as the name ends.

    >>> format_of(Path("a.parquet")), format_of(Path("a.root"), "rntuple")
    ('parquet', 'rntuple')

    Raises:
        InputError: There is no such format, or the name ends as those of another.
    """
    by_name = {"parquet": "parquet", "hdf5": "hdf5", "root": "ttree"}[_kind(str(path))]
    if asked is None:
        return by_name
    if asked not in FORMATS:
        raise InputError(f"--format {asked!r}: {nearest(asked, FORMATS)}")
    if asked != by_name and not (by_name == "ttree" and asked == "rntuple"):
        ending = {"parquet": ".parquet", "hdf5": ".h5 or .hdf5"}.get(asked, ".root")
        raise InputError(f"{path}: expected a name that ends in {ending} for --format {asked}")
    return asked


def event_writer(
    path: Path, *, format: str | None = None, tree: str = "Events", overwrite: bool = False
) -> EventWriter:
    """What writes events to a file, in the format that is asked for or that its name ends in.

    Raises:
        InputError: There is no such format.
        FileError: The file exists, or its folder does not.
    """
    chosen = format_of(path, format)
    if chosen == "parquet":
        from hepgen.io.parquet import ParquetWriter

        return ParquetWriter(path, overwrite=overwrite)
    if chosen == "hdf5":
        from hepgen.io.hdf5.events import Hdf5Writer

        return Hdf5Writer(path, tree=tree, overwrite=overwrite)
    from hepgen.io.root.writer import RootWriter

    return RootWriter(
        path, tree=tree, overwrite=overwrite, format="rntuple" if chosen == "rntuple" else "ttree"
    )


def _kind(path: str) -> str:
    suffix = suffix_of(path)
    return {".parquet": "parquet", ".h5": "hdf5", ".hdf5": "hdf5"}.get(suffix, "root")


def _module(path: str) -> Any:
    match _kind(path):
        case "parquet":
            from hepgen.io import parquet

            return parquet
        case "hdf5":
            from hepgen.io.hdf5 import events

            return events
        case _:
            from hepgen.io import root

            return root
