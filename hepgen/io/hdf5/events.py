"""Events in HDF5 files: a group is a table, and a dataset in it a column.

Of a jagged column the dataset holds the elements of all events, one after the other, and its
attribute ``counter`` names the dataset that says how many each event has: ``Muon_pt`` and
``nMuon``. Text is such a column of the bytes of UTF-8, and has the attribute ``text``: HDF5 keeps
text of any length on a heap, in which it may go round in circles for ever where a file is broken.
What hepgen notes is JSON in the string ``hepgen_provenance`` beside the group. Groups of other
programs are read too, if their datasets have one number an event, or text of a fixed length; and
datasets of records (of NumPy, PyTables or pandas), whose fields are the columns.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import awkward as ak
import h5py
import numpy as np

from hepgen.errors import DataError, FileError, nearest
from hepgen.io.failures import reading
from hepgen.io.hdf5.datasets import PROVENANCE, check_stored, is_inside, provenance
from hepgen.io.hdf5.disk import KIND, Disk, open_file
from hepgen.io.layout import TEXT, Layout
from hepgen.io.sources import Source
from hepgen.io.table import Table, column_name, empty_chunks
from hepgen.io.writer import EventWriter
from hepgen.results import to_json

COUNTER, IS_TEXT = "counter", "text"
_CHUNK_BYTES = 2**18
_MOST_ELEMENTS = 2**23
"""Of a jagged column, that are read at a time."""


class Hdf5Writer(EventWriter):
    """Writes events to an HDF5 file, see :class:`~hepgen.io.writer.EventWriter`.

    Arguments:
        path: The file to make, in a folder that exists.
        tree: The name of the group.
        overwrite: Replace a file that is there.

    >>> import tempfile
    >>> from hepgen.events import Events
    >>> from hepgen.io.tables import read
    >>> path = Path(tempfile.mkdtemp()) / "out.h5"
    >>> with Hdf5Writer(path) as writer:
    ...     writer.write(Events.from_columns({"Muon_pt": ak.Array([[40.0, 30.0], []])}))
    >>> read(path).read()["Muon_pt"].tolist()
    [[40.0, 30.0], []]
    """

    _buffering = 0

    def __init__(self, path: str | Path, *, tree: str = "Events", overwrite: bool = False) -> None:
        super().__init__(path, overwrite=overwrite)
        self.tree = tree

    def _open(self, handle: IO[bytes]) -> None:
        self._handle, self._disk = handle, Disk(handle)
        self._sink = h5py.File(self._disk, "w")

    def _start(self, layout: Layout) -> None:
        group = self._sink.create_group(self.tree)
        for name, kind in layout.branches.items():
            if kind == TEXT:
                if _counter_of(name) in layout.branches:
                    raise DataError(
                        f"{self.path}: the column {_counter_of(name)!r} has the name of the "
                        f"lengths of the text {name!r}; give it another"
                    )
                self._dataset(group, _counter_of(name), "int32")
                data = self._dataset(group, name, "uint8")
                data.attrs[IS_TEXT] = True
                data.attrs[COUNTER] = np.bytes_(_counter_of(name).encode())
                continue
            data = self._dataset(group, name, kind.removeprefix("var * "))
            if name in layout.counters:
                data.attrs[COUNTER] = np.bytes_(layout.counters[name].encode())
        self._layout = layout

    def _extend(self, columns: Mapping[str, ak.Array], parts: int) -> None:  # noqa: ARG002
        assert self._layout is not None
        counters: dict[str, ak.Array] = {}
        for name, array in columns.items():
            if self._layout.types[name] == TEXT:
                letters = ak.without_parameters(array)
                self._append(name, ak.flatten(letters))
                self._append(_counter_of(name), ak.num(letters))
                continue
            jagged = name in self._layout.counters
            self._append(name, ak.flatten(array) if jagged else array)
            if jagged:
                counters[self._layout.counters[name]] = ak.num(array, axis=1)
        for name, array in counters.items():
            self._append(name, array)

    @staticmethod
    def _dataset(group: Any, name: str, kind: str) -> Any:
        dtype = np.dtype(kind)
        return group.create_dataset(
            name, shape=(0,), maxshape=(None,), dtype=dtype, shuffle=True, compression="gzip",
            compression_opts=1, chunks=(_CHUNK_BYTES // dtype.itemsize,),
        )  # fmt: skip

    def _append(self, name: str, array: ak.Array) -> None:
        data, values = self._sink[self.tree][name], ak.to_numpy(array)
        start = data.shape[0]
        data.resize(start + len(values), axis=0)
        data[start:] = values
        if self._disk.error is not None:
            raise self._disk.error

    def _end(self, metadata: Mapping[str, Any]) -> None:
        if metadata:
            self._sink[PROVENANCE] = np.bytes_(to_json(metadata, indent=None).encode())
        self._sink.close()
        if self._disk.error is not None:
            raise self._disk.error

    def _close(self) -> None:
        self._sink.close()
        self._handle.close()


class Hdf5(Table):
    """A group of datasets, or a dataset of records, as a table."""

    kind = "HDF5"
    file_kind = KIND
    column = "dataset"

    def _keys(self) -> dict[str, str]:
        return {name: name for name in _columns(self.tree)}

    def types(self) -> dict[str, str]:
        """Column → type, ``var *`` before that of a jagged one."""
        return {name: self._type(name) for name in self.keys.values()}

    def default(self) -> dict[str, str]:
        """All but the counters of jagged columns."""
        names = dict.fromkeys(self.keys.values())
        counters = {self._counter(name) for name in names}
        return {column_name(name): name for name in names if name not in counters}

    def row_bytes(self, keys: Sequence[str]) -> float:
        """The mean over the file."""
        if isinstance(self.tree, h5py.Dataset):
            return float(self.tree.dtype.itemsize)
        return float(sum(self.tree[key].nbytes for key in keys)) / max(self.entries, 1)

    def chunks(
        self, keys: Sequence[str], stop: int, step: int
    ) -> Iterator[tuple[int, dict[str, ak.Array]]]:
        """``step`` rows at a time, or fewer where they have many elements."""
        if not keys:
            yield from empty_chunks(stop, step)
            return
        first: Counter[str] = Counter()  # the first element of the next rows, by counter
        counters = {counter for counter in map(self._counter, keys) if counter}
        low = 0
        while low < stop:
            high = min(low + step, stop)
            numbers = {counter: self._numbers(counter, low, high) for counter in counters}
            high = low + min([high - low, *(self._fitting(c, n) for c, n in numbers.items())])
            numbers = {counter: number[: high - low] for counter, number in numbers.items()}
            arrays = {}
            for key in keys:
                counter = self._counter(key)
                if counter is None:
                    arrays[key] = self._values(key, low, high)
                    continue
                start = first[counter]
                end = start + int(numbers[counter].sum())
                values = self._values(key, start, end)
                arrays[key] = (
                    _text(values, numbers[counter]) if self._is_text(key)
                    else ak.unflatten(values, numbers[counter])
                )  # fmt: skip
            for counter, number in numbers.items():
                first[counter] += int(number.sum())
            yield high - low, arrays
            low = high

    def _fitting(self, counter: str, numbers: Any) -> int:
        """So many of the first rows have few elements enough to be read at a time."""
        rows = int((np.cumsum(numbers, dtype=np.float64) <= _MOST_ELEMENTS).sum())
        if rows == 0 and len(numbers):
            raise FileError(
                f"{self.path}: an event has {numbers[0]} elements by its counter {counter!r}; at "
                f"most {_MOST_ELEMENTS} are read"
            )
        return rows

    def _numbers(self, counter: str, low: int, high: int) -> Any:
        if counter not in self.keys:
            raise FileError(f"{self.path}: no dataset {counter!r}, which counts those of a column")
        numbers = self.tree[counter][low:high]
        if numbers.dtype.kind not in "iu" or (numbers < 0).any():
            raise FileError(f"{self.path}: the dataset {counter!r} has numbers that count nothing")
        return numbers

    def _values(self, key: str, low: int, high: int) -> ak.Array:
        if isinstance(self.tree, h5py.Dataset):
            return ak.Array(np.ascontiguousarray(self.tree.fields(key)[low:high]))
        data = self.tree[key]
        if high > data.shape[0]:
            raise FileError(
                f"{self.path}: the dataset {key!r} has {data.shape[0]} elements, and at least "
                f"{high} by its counter; the file is damaged"
            )
        values = data[low:high]
        if data.dtype.kind == "S":
            return ak.Array([word.decode() for word in values] or [""])[: len(values)]
        return ak.Array(values)

    def _counter(self, name: str) -> str | None:
        if isinstance(self.tree, h5py.Dataset):
            return None
        attributes = self.tree[name].attrs
        if COUNTER not in attributes:
            return None
        # Text of no fixed length is on a heap, in which HDF5 may go round in circles for ever
        # where the file is broken.
        if attributes.get_id(COUNTER).dtype.kind != "S":
            raise FileError(
                f"{self.path}: the attribute {COUNTER!r} of {name!r} is no text of a fixed length"
            )
        return bytes(attributes[COUNTER]).decode()

    def _type(self, name: str) -> str:
        if isinstance(self.tree, h5py.Dataset):
            return str(self.tree.dtype[name])
        dtype = self.tree[name].dtype
        if dtype.kind == "S" or self._is_text(name):
            return TEXT
        return f"var * {dtype}" if self._counter(name) else str(dtype)

    def _is_text(self, name: str) -> bool:
        data = self.tree[name]
        return IS_TEXT in data.attrs and data.dtype == np.uint8


def _counter_of(name: str) -> str:
    """The dataset of the lengths of a text column."""
    return f"{name}_length"


def _text(values: ak.Array, numbers: Any) -> ak.Array:
    """Text of so many bytes each.

    Raises:
        UnicodeDecodeError: They are no UTF-8.
    """
    letters = np.ascontiguousarray(values, dtype=np.uint8)
    offsets = np.concatenate([[0], np.cumsum(numbers, dtype=np.int64)])
    letters.tobytes().decode()
    inside = letters[offsets[offsets < len(letters)]] & 0xC0 == 0x80  # cut within a letter
    if inside.any():
        raise ValueError("a text begins within a letter")
    content = ak.contents.NumpyArray(letters, parameters={"__array__": "char"})
    return ak.Array(
        ak.contents.ListOffsetArray(
            ak.index.Index64(offsets), content, parameters={"__array__": "string"}
        )
    )


def tree_names(source: Source) -> list[str]:
    """All tables of a file, or the one that ``source`` names."""
    with open_file(source.path) as file, reading(source.path, KIND):
        if source.tree is not None:
            return [_named(file, source)[0]]
        return list(_tables(file))


@contextlib.contextmanager
def open_tree(source: Source) -> Iterator[Table]:
    """The table of a source, with its file open."""
    with open_file(source.path) as file:
        with reading(source.path, KIND):
            name, tree = _named(file, source)
            table = Hdf5(tree, source.path, name, _rows(tree, source.path))
        yield table


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What :meth:`Hdf5Writer.metadata` noted."""
    with open_file(str(path)) as file, reading(str(path), KIND):
        return provenance(file, path)


def _tables(file: Any) -> dict[str, Any]:
    """Name → group or dataset of records, of all in a file that are tables."""
    found = {"/": file} if _columns(file) else {}

    def look(name: str, item: Any) -> None:
        if _columns(item):
            found[name] = item

    file.visititems(look)
    return found


def _columns(tree: Any) -> list[str]:
    """The columns of what may be a table; none where it is no table."""
    if isinstance(tree, h5py.Dataset):
        names = tree.dtype.names if len(tree.shape or ()) == 1 and is_inside(tree) else None
        return [n for n in names or () if tree.dtype[n].kind in "iufb" and not tree.dtype[n].shape]
    # A link may lead out of the file.
    hard = (n for n in tree if isinstance(tree.get(n, getlink=True), h5py.HardLink))
    return [name for name in hard if _is_column(tree[name])]


def _is_column(data: Any) -> bool:
    if not isinstance(data, h5py.Dataset) or len(data.shape or ()) != 1:
        return False
    return data.dtype.kind in "iufbS" and is_inside(data)


def _rows(tree: Any, path: str) -> int:
    """How many events a table has.

    Raises:
        FileError: Its columns have different lengths, or cannot be in the file.
    """
    parts = [tree] if isinstance(tree, h5py.Dataset) else [tree[n] for n in _columns(tree)]
    for data in parts:
        check_stored(data, path)
    lengths = {data.name: data.shape[0] for data in parts if COUNTER not in data.attrs}
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{name}: {n}" for name, n in list(lengths.items())[:6])
        raise DataError(
            f"{path}: the datasets of a table have different lengths ({listed}); expected one "
            "number an event in each, or a counter for what is a list"
        )
    return int(next(iter(lengths.values())))


def _named(file: Any, source: Source) -> tuple[str, Any]:
    """The table that a source means, and its name."""
    tables = _tables(file)
    if not tables:
        found = ", ".join(list(file)[:8]) or "nothing"
        raise FileError(
            f"{source.path}: there is no table in it, only {found}; expected a group of datasets "
            "with one number an event, or a dataset of records"
        )
    if source.tree is not None:
        name = source.tree.strip("/") or "/"
        if name not in tables:
            raise FileError(f"{source.path}: no table {name!r}; {nearest(name, list(tables))}")
        return name, tables[name]
    events = [name for name in tables if name.rpartition("/")[2].lower() == "events"]
    for choice in (list(tables), events):
        if len(choice) == 1:
            return choice[0], tables[choice[0]]
    raise FileError(
        f"{source.path}: which table? It has {', '.join(tables)}; "
        f"name one, such as {source.path}:{next(iter(tables))}"
    )
