"""Events in Parquet files. The only module that knows pyarrow.

A file is one table, called ``Events``: numbers, truth values and text, and lists of them. What
hepgen notes is JSON in the entry ``hepgen_provenance`` of the file's own metadata.
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO, Any

import awkward as ak
import pyarrow as pa
import pyarrow.compute as pc
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
"""Bytes of a row group, or of text in a batch, that may be packed as tightly as they like."""
_TEXT = "BYTE_ARRAY"
_WIDTHS = {"INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12, _TEXT: 4}


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
    handle: IO[bytes]

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
        total = sum(column.total_uncompressed_size for *_, column in self._columns(keys))
        return float(total) / max(self.entries, 1)

    def chunks(
        self, keys: Sequence[str], stop: int, step: int
    ) -> Iterator[tuple[int, dict[str, ak.Array]]]:
        """``step`` rows at a time, at most."""
        if not keys:
            yield from empty_chunks(stop, step)
            return
        self._check(keys, stop)
        left, types = stop, self.tree.schema_arrow
        for batch in self._batches(list(keys), step):
            part = batch.slice(0, min(left, len(batch)))
            left -= len(part)
            if len(part):
                part.validate(full=True)
                yield (
                    len(part),
                    {
                        key: _array(self._spelled(key, part.column(key), types.field(key).type))
                        for key in keys
                    },
                )
            if not left:
                return

    def _batches(self, keys: list[str], step: int) -> Iterator[Any]:
        """``step`` rows at a time, at most, with each text that is repeated in memory once."""
        columns = list(map(self.tree.schema.column, range(len(self.tree.schema))))
        texts = [c.path for c in columns if c.physical_type == _TEXT]
        wanted = (columns[number] for number in self._leaves(keys))
        groups = [[number] for number in range(self.tree.num_row_groups)]
        if not any(c.physical_type == _TEXT and c.max_repetition_level for c in wanted):
            # Only a batch with lists of text must not be of two row groups.
            groups = [list(range(self.tree.num_row_groups))]
        file = pq.ParquetFile(
            self.handle, metadata=self.tree.metadata, read_dictionary=texts or None
        )
        for some in groups:
            yield from file.iter_batches(batch_size=step, row_groups=some, columns=keys)

    def _spelled(self, key: str, column: Any, kind: Any) -> Any:
        """The column with every text written out: a few bytes may repeat one any number of times.

        Raises:
            FileError: That is far more than is in the file.
        """
        words = _leaf(column)
        if not pa.types.is_dictionary(words.type):
            return column
        lengths = pc.binary_length(words.dictionary).cast(pa.int64())
        size = pc.sum(lengths.take(words.indices)).as_py() or 0
        stored = sum(c.total_compressed_size for *_, c in self._columns({key}))
        if too_tight(size, stored, _MOST_UNPACKED):
            raise FileError(
                f"{self.path}: the text of the column {key!r} unpacks from {stored} to {size} "
                f"bytes in {len(column)} rows; at most {_MOST_UNPACKED} are read where they are "
                "packed so tightly: write it again without what is repeated, or leave it out"
            )
        return column.cast(kind)

    def _leaves(self, keys: Collection[str]) -> dict[int, str]:
        """The columns in which Parquet keeps some keys, by their numbers, and whose they are."""
        paths = [self.tree.schema.column(n).path for n in range(len(self.tree.schema))]
        return {
            number: key
            for number, path in enumerate(paths)
            for key in accumulate(path.split("."), "{}.{}".format)  # also a name may have dots
            if key in keys
        }

    def _columns(self, keys: Collection[str]) -> Iterator[tuple[int, str, Any]]:
        """Row groups, by their numbers, with the columns in them that are of some keys."""
        facts, leaves = self.tree.metadata, self._leaves(keys)
        # Arrow ends the process where it is asked for a column whose statistics cannot be. One
        # that reads no rows, and with a buffer nothing of the file, says so by an exception.
        looked = pq.ParquetFile(self.handle, metadata=facts, buffer_size=1)
        for number in range(facts.num_row_groups):
            deque(looked.reader.iter_batches(0, [number], list(leaves)), maxlen=0)
            group = facts.row_group(number)
            for leaf, key in leaves.items():
                yield number, key, group.column(leaf)

    def _check(self, keys: Collection[str], stop: int) -> None:
        """Refuse what unpacks to far more than it is, before it is read.

        A batch has so many rows, but one of them may be a list of any length.
        """
        facts = self.tree.metadata
        rows = [facts.row_group(number).num_rows for number in range(facts.num_row_groups)]
        starts, tight = [0, *accumulate(rows)], Counter[int]()
        for number, name, column in self._columns(keys):
            size, stored = _unpacked(column, rows[number]), column.total_compressed_size
            if starts[number] >= stop or not too_tight(size, stored, 0):
                continue
            tight[number] += size
            if tight[number] > _MOST_UNPACKED:
                raise FileError(
                    f"{self.path}: the column {name!r} unpacks from {stored} to {size} bytes in "
                    f"the row group {number}, and all of its columns to {tight[number]} at least; "
                    f"at most {_MOST_UNPACKED} are read where they are packed so tightly: write it "
                    "again with smaller row groups, or name fewer columns"
                )


def _unpacked(column: Any, rows: int) -> int:
    """The bytes of a column of a row group at once: its pages, or the lists of its rows."""
    lists = column.num_values * _WIDTHS.get(column.physical_type, 1)
    return max(int(column.total_uncompressed_size), lists if column.num_values > rows else 0)


def _leaf(column: Any) -> Any:
    """What is in lists, and in lists of these."""
    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = column.flatten()
    return column


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
            table.handle = handle
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
