"""Training data as rows that can be taken by index, from memory or from disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hepgen.errors import DataError

IN_MEMORY = 2**31
"""Bytes of training rows above which they are not copied to be standardised."""
_WINDOW, _CHUNKS = 2**21, 64
_SOME = 2**20


@runtime_checkable
class Rows(Protocol):
    """What the training loop draws batches from."""

    def __len__(self) -> int:
        """The number of rows."""

    def take(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The rows ``index``, shape ``(B,)``; anything random comes from ``generator``."""


class Table:
    """Tensors of one length; a row is an entry of each.

    >>> Table(torch.arange(4), torch.ones(4)).take(torch.tensor([2]), torch.Generator())
    (tensor([2]), tensor([1.]))
    """

    def __init__(self, *columns: Tensor) -> None:
        lengths = [len(column) for column in columns]
        if not columns or len(set(lengths)) != 1:
            raise DataError(f"training columns of lengths {lengths}; expected one length")
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def take(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:  # noqa: ARG002
        """The rows ``index``, shape ``(B,)``."""
        return tuple(column.index_select(0, index) for column in self.columns)

    @property
    def sample(self) -> tuple[Tensor, ...]:
        """All of the rows."""
        return self.columns


class Standardised:
    """Rows of columns that are standardised when they are taken: as they are, they may be on disk.

    Arguments:
        columns: Of one length; with what gives the network's numbers, row by row, for shapes
            ``(B, *)``.
        window: See :func:`shuffled`.

    >>> rows = Standardised([(torch.arange(4.0), lambda x: x / 2)])
    >>> rows.take(torch.tensor([2]), torch.Generator())
    (tensor([1.]),)
    """

    def __init__(
        self,
        columns: Sequence[tuple[Tensor, Callable[[Tensor], Tensor]]],
        window: int = _WINDOW,
    ) -> None:
        self.table = Table(*(column for column, _ in columns))
        self.functions = [function for _, function in columns]
        self.window = window

    def __len__(self) -> int:
        return len(self.table)

    def take(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The rows ``index``, shape ``(B,)``, in float32."""
        rows = self.table.take(index, generator)
        return tuple(f(row).float() for f, row in zip(self.functions, rows, strict=True))

    @property
    def sample(self) -> tuple[Tensor, ...]:
        """The first of the rows, to measure on."""
        return self.take(torch.arange(min(len(self), _SOME)), torch.Generator())


def standardised(*columns: tuple[Tensor, Callable[[Tensor], Tensor]]) -> Table | Standardised:
    """Columns as numbers of a network: at once, or where that takes too much memory, in parts."""
    if sum(column.numel() * column.element_size() for column, _ in columns) > IN_MEMORY:
        return Standardised(columns)
    return Table(*(function(column).float() for column, function in columns))


def shuffled(index: Tensor, generator: torch.Generator, window: int = 0) -> Tensor:
    """The rows ``index``, shape ``(N,)``, in a random order in which a disk can read them.

    Without a window every order is as likely. With one, neighbouring rows stay together in chunks;
    chunks come in random order, and all rows of a window of them are shuffled. What is read at
    once are whole chunks, and a batch has rows of 64 of them.

    Arguments:
        index: In ascending order, where there is a window.
        generator: Of the order.
        window: Rows that are held in memory at once; 0 for all.

    >>> shuffled(torch.arange(6), torch.Generator().manual_seed(0), window=2).sort().values
    tensor([0, 1, 2, 3, 4, 5])
    """
    if not 0 < window < len(index):
        return index[torch.randperm(len(index), generator=generator)]
    chunks = torch.split(index, max(1, window // _CHUNKS))
    order = torch.randperm(len(chunks), generator=generator).tolist()
    windows = torch.split(torch.cat([chunks[i] for i in order]), window)
    return torch.cat([w[torch.randperm(len(w), generator=generator)] for w in windows])
