"""Training data as rows that can be taken by index, from memory or from disk."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hepgen.nn.columns import Column, Derived, check_lengths, taken

IN_MEMORY = 2**31
"""Bytes of training rows above which they are not copied to be standardised."""
_WINDOW, _CHUNKS = 2**21, 64
_SOME = 2**20


@runtime_checkable
class Rows(Protocol):
    """What the training loop draws batches from.

    Rows that may be on disk have a ``window``, in which :func:`shuffled` leaves them.
    """

    def __len__(self) -> int:
        """The number of rows."""

    def take(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The rows ``index``, shape ``(B,)``; anything random comes from ``generator``."""


class Table:
    """Columns of one length; a row is an entry of each.

    Arguments:
        columns: In memory, or computed when they are taken; see :func:`standardised`.
        window: See :func:`shuffled`; by default none for tensors, and two million rows for what
            may be on disk.

    >>> Table(torch.arange(4), torch.ones(4)).take(torch.tensor([2]), torch.Generator())
    (tensor([2]), tensor([1.]))
    """

    def __init__(self, *columns: Column, window: int | None = None) -> None:
        check_lengths(columns)
        self.columns = columns
        self.window = window_of(*columns) if window is None else window

    def __len__(self) -> int:
        return len(self.columns[0])

    def take(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:  # noqa: ARG002
        """The rows ``index``, shape ``(B,)``."""
        return tuple(taken(column, index) for column in self.columns)

    @property
    def sample(self) -> tuple[Tensor, ...]:
        """The rows, to measure on; the first million of those that are not in memory."""
        return tuple(column[: _SOME if self.window else None] for column in self.columns)


def standardised(*columns: Column) -> tuple[Column, ...]:
    """Columns as numbers of a network, in float32; truth values stay what they are.

    They are computed at once, or where that takes too much memory, when they are taken.

    >>> standardised(Derived(torch.sqrt, torch.tensor([4.0, 9.0], dtype=torch.float64)))
    (tensor([2., 3.]),)
    """
    single = [Derived(_single, column) for column in columns]
    if sum(column.nbytes for column in columns) > IN_MEMORY:
        return tuple(single)
    return tuple(column[:] for column in single)


def window_of(*columns: Column) -> int:
    """The rows that an order of these columns is shuffled in, see :func:`shuffled`."""
    return 0 if all(isinstance(column, Tensor) for column in columns) else _WINDOW


def _single(rows: Tensor) -> Tensor:
    return rows if rows.dtype == torch.bool else rows.float()


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
