"""Columns of training data that are computed when they are taken, of what may be on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hepgen.errors import DataError

_PART = 2**17


@runtime_checkable
class Column(Protocol):
    """A tensor, or what gives its rows when they are asked for."""

    def __len__(self) -> int:
        """The number of rows."""

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """Those of a slice, or of indices of shape ``(B,)``: shape ``(B, *)``."""

    @property
    def nbytes(self) -> int:
        """The bytes of all that it is computed of."""


class Derived:
    """A function of the rows of other columns.

    Arguments:
        function: Of rows of each of them, shape ``(B, *)``, row by row.
        columns: Of one length.

    Raises:
        DataError: They are of several lengths.

    >>> product = Derived(torch.mul, torch.arange(4), torch.arange(4))
    >>> product[torch.tensor([3, 1])], product[2:]
    (tensor([9, 1]), tensor([4, 9]))
    """

    def __init__(self, function: Callable[..., Tensor], *columns: Column) -> None:
        check_lengths(columns)
        self.function, self.columns = function, columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        return self.function(*(taken(column, rows) for column in self.columns))

    @property
    def nbytes(self) -> int:
        """See :class:`Column`."""
        return sum(column.nbytes for column in self.columns)


class Joined:
    """The rows of one column, and then those of another.

    >>> Joined(torch.arange(3), torch.arange(10, 12))[torch.tensor([4, 0])]
    tensor([11,  0])
    """

    def __init__(self, first: Column, second: Column) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        index = rows if isinstance(rows, Tensor) else torch.arange(*rows.indices(len(self)))
        before = index < len(self.first)
        one = taken(self.first, index[before])
        other = taken(self.second, index[~before] - len(self.first))
        found = one.new_empty(
            len(index), *one.shape[1:], dtype=torch.promote_types(one.dtype, other.dtype)
        )
        found[before], found[~before] = one.to(found.dtype), other.to(found.dtype)
        return found

    @property
    def nbytes(self) -> int:
        """See :class:`Column`."""
        return self.first.nbytes + self.second.nbytes


def taken(column: Column, rows: slice | Tensor) -> Tensor:
    """Some rows of a column."""
    if isinstance(column, Tensor) and isinstance(rows, Tensor):
        return column.index_select(0, rows)
    return column[rows]


def parts(*columns: Column) -> Iterator[tuple[Tensor, ...]]:
    """All rows of columns of one length in order, 131,072 at a time."""
    for start in range(0, len(columns[0]), _PART):
        yield tuple(column[start : start + _PART] for column in columns)


def whole(column: Column) -> Tensor:
    """All rows in memory, computed a part at a time."""
    return torch.cat([part for (part,) in parts(column)])


def check_lengths(columns: tuple[Column, ...]) -> None:
    """Refuse columns of several lengths, and none.

    Raises:
        DataError: With the lengths.
    """
    lengths = [len(column) for column in columns]
    if len(set(lengths)) != 1:
        raise DataError(f"training columns of lengths {lengths}; expected one length")
