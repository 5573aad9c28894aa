"""Events in Parquet files. The only module that knows pyarrow.

A file is one table, called ``Events``: numbers, truth values and text, and lists of them. What
hepgen notes is JSON in the entry ``hepgen_provenance`` of the file's own metadata.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import awkward as ak
import pyarrow as pa
import pyarrow.parquet as pq

from hepgen.errors import FileError
from hepgen.files import parse_json
from hepgen.io.failures import reading
from hepgen.io.layout import Layout
from hepgen.io.packing import too_tight
from hepgen.io.remote import opened
from hepgen.io.sources import Source
from hepgen.io.table import Table, column_name, empty_chunks
from hepgen.io.validity import dense, is_missing
from hepgen.io.writer import EventWriter
from hepgen.results import to_json

TREE = "Events"
PROVENANCE = b"hepgen_provenance"
_KIND = "a Parquet file"
_MOST_UNPACKED = 2**27
"""Bytes of a column of a row group that may be packed as tightly as they like."""
_WIDTHS = {"INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8}


class ParquetWriter(EventWriter):
    """Writes events to a Parquet file, see :class:`~hepgen.io.writer.EventWriter`.

    >>> import tempfile
    >>> from hepgen.events import Events
    >>> from hepgen.io.tables import read
    >>> path = Path(tempfile.mkdtemp()) / "out.parquet"
    >>> with ParquetWriter(path) as writer:
    ...     writer.write(Events.from_columns({"Muon_pt": ak.Array([[40.0, 30.0], []])}))
    >>> read(path).read()["Muon_pt"].tolist()
    [[40.0, 30.0], []]
    """

    def _open(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self._sink: Any = None

    def _start(self, layout: Layout) -> None:
        schema = pa.schema([pa.field(n, _type(k), False) for n, k in layout.types.items()])
        self._sink = pq.ParquetWriter(self._handle, schema, compression="zstd")

    def _extend(self, columns: Mapping[str, ak.Array], parts: int) -> None:  # noqa: ARG002
        types = self._sink.schema
        arrays = [
            ak.to_arrow(array, extensionarray=False).cast(types.field(name).type)
            for name, array in columns.items()
        ]
        self._sink.write_table(pa.Table.from_arrays(arrays, schema=types))

    def _end(self, metadata: Mapping[str, Any]) -> None:
        if metadata:
            self._sink.add_key_value_metadata({PROVENANCE: to_json(metadata, indent=None).encode()})
        self._sink.close()
        self._handle.flush()

    def _close(self) -> None:
        self._handle.close()


class Parquet(Table):
    """A Parquet file as a table; lists of records are read by their fields."""

    kind = "Parquet"
    file_kind = _KIND
    column = "column"

    def _keys(self) -> dict[str, str]:
        return {name: name for name in self.tree.schema_arrow.names}

    def types(self) -> dict[str, str]:
        """Column → type of Arrow."""
        return {field.name: str(field.type) for field in self.tree.schema_arrow}

    def default(self) -> dict[str, str]:
        """Those of numbers or text, and lists of them."""
        fields = (f for f in self.tree.schema_arrow if _is_plain(f.type))
        return {column_name(field.name): field.name for field in fields}

    def row_bytes(self, keys: Sequence[str]) -> float:
        """The mean over the file, uncompressed."""
        facts = self.tree.metadata
        wanted = set(keys)
        total = 0
        for group in range(facts.num_row_groups):
            row_group = facts.row_group(group)
            columns = (row_group.column(i) for i in range(row_group.num_columns))
            total += sum(
                c.total_uncompressed_size for c in columns
                if c.path_in_schema.partition(".")[0] in wanted
            )  # fmt: skip
        return float(total) / max(self.entries, 1)

    def chunks(
        self, keys: Sequence[str], stop: int, step: int
    ) -> Iterator[tuple[int, dict[str, ak.Array]]]:
        """``step`` rows at a time, at most."""
        if not keys:
            yield from empty_chunks(stop, step)
            return
        self._check(set(keys), stop)
        left = stop
        for batch in self.tree.iter_batches(batch_size=step, columns=list(keys)):
            part = batch.slice(0, min(left, len(batch)))
            left -= len(part)
            if len(part):
                part.validate(full=True)
                yield len(part), {key: _array(part.column(key)) for key in keys}
            if not left:
                return

    def _check(self, keys: set[str], stop: int) -> None:
        """Refuse what unpacks to far more than it is, before it is read.

        A batch has so many rows, but one of them may be a list of any length.
        """
        facts, row = self.tree.metadata, 0
        for number in range(facts.num_row_groups):
            if row >= stop:
                return
            group = facts.row_group(number)
            row += group.num_rows
            for column in map(group.column, range(group.num_columns)):
                name = column.path_in_schema.partition(".")[0]
                size, stored = _unpacked(column, group.num_rows), column.total_compressed_size
                if name in keys and too_tight(size, stored, _MOST_UNPACKED):
                    raise FileError(
                        f"{self.path}: the column {name!r} unpacks from {stored} to {size} bytes "
                        f"in the row group {number}; at most {_MOST_UNPACKED} are read where they "
                        "are packed so tightly: write it again with smaller row groups"
                    )


def _unpacked(column: Any, rows: int) -> int:
    """The bytes that a column of a row group takes at once: its pages, or the lists of its rows."""
    width = _WIDTHS.get(column.physical_type, 1)
    lists = column.num_values * width if column.num_values > rows else 0
    return max(int(column.total_uncompressed_size), lists)


def tree_names(source: Source) -> list[str]:
    """The one table."""
    _check_name(source)
    with opened(source.path, _KIND) as handle, reading(source.path, _KIND):
        pq.ParquetFile(handle)
    return [TREE]


@contextlib.contextmanager
def open_tree(source: Source) -> Iterator[Table]:
    """The table of a source, with its file open."""
    _check_name(source)
    with opened(source.path, _KIND) as handle:
        with reading(source.path, _KIND):
            file = pq.ParquetFile(handle)
            table = Parquet(file, source.path, TREE, int(file.metadata.num_rows))
        yield table


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What :meth:`ParquetWriter.metadata` noted."""
    with opened(str(path), _KIND) as handle, reading(str(path), _KIND):
        noted = pq.ParquetFile(handle).metadata.metadata or {}
        return dict(parse_json(noted.get(PROVENANCE, b"{}")))


def _check_name(source: Source) -> None:
    if source.tree not in (None, TREE):
        raise FileError(
            f"{source.path}: no table {source.tree!r}; a Parquet file is one table, {TREE!r}"
        )


def _array(column: Any) -> ak.Array:
    if pa.types.is_list(column.type):  # of whose short offsets awkward cannot drop what is missing
        column = column.cast(pa.large_list(column.type.value_field))
    array = ak.from_arrow(column)
    return array if is_missing(array).any() else dense(array)


def _type(kind: str) -> Any:
    content = kind.removeprefix("var * ")
    arrow = {"bool": pa.bool_(), "string": pa.string()}.get(content)
    arrow = arrow or pa.from_numpy_dtype(content)
    return arrow if content == kind else pa.list_(pa.field("element", arrow, False))


def _is_plain(kind: Any) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_plain(kind.value_type)
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    )  # fmt: skip
