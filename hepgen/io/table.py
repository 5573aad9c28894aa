"""What all kinds of files are read as: a table of named columns, in chunks of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import awkward as ak

from hepgen.errors import DataError, nearest
from hepgen.io.failures import reading

_CHUNK_BYTES = 32 * 2**20
_CHUNK_ROWS = (1_000, 250_000)


class Table(ABC):
    """A TTree, an RNTuple, a table of Parquet or HDF5: columns by name, in chunks of rows.

    Arguments:
        tree: What the library of its format has opened.
        path: Of the file.
        name: Of the table in it.
        entries: How many rows it has.
    """

    kind: str
    file_kind = "a ROOT file"
    column = "branch"

    def __init__(self, tree: Any, path: str, name: str, entries: int) -> None:
        self.tree = tree
        self.path = path
        self.name = name
        self.entries = entries
        keys = self._keys()
        self.keys = {column_name(name): key for name, key in keys.items()} | keys

    @abstractmethod
    def _keys(self) -> dict[str, str]:
        """The names a column goes by → the name its library knows it by, best name last."""

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
                    f"{self.path}: no {self.column} {name!r} in {self.kind} {self.name!r}; "
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
        with reading(self.path, self.file_kind):
            size = step or self._step(keys)
        chunks = self.chunks(keys, stop, size)
        while True:
            with reading(self.path, self.file_kind):
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
                    f"{self.path}: no field {field!r} in {self.column} {name!r}; "
                    f"{nearest(field, array.fields)}"
                )
            array = array[field]
        return array


def empty_chunks(stop: int, step: int) -> Iterator[tuple[int, dict[str, ak.Array]]]:
    """Chunks of no columns, for what needs only the number of rows."""
    for start in range(0, stop, step):
        yield min(step, stop - start), {}


def column_name(column: str) -> str:
    """A dotted name with underscores, as NanoAOD has it: ``Jet.PT`` becomes ``Jet_PT``."""
    return column.rstrip(".").replace(".", "_")
