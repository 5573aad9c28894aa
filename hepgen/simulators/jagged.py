"""Jagged columns: objects in rows of a block, padded with zeros."""

from __future__ import annotations

import torch
from torch import Tensor


def padded(row: Tensor, shape: tuple[int, int], *values: Tensor) -> tuple[Tensor, ...]:
    """Objects that each belong to an event, as padded columns, and how many an event has.

    Arguments:
        row: The event g·E + e of each object, increasing, shape ``(N,)``.
        shape: (G, E).
        values: Of each object, shape ``(N,)``.

    Returns:
        A column of shape ``(G, E, K)`` for each of ``values``, and the count, ``(G, E)``.

    >>> row = torch.tensor([0, 0, 2])
    >>> padded(row, (1, 3), torch.tensor([1.0, 2.0, 3.0]))
    (tensor([[[1., 2.],
             [0., 0.],
             [3., 0.]]]), tensor([[2, 0, 1]]))
    """
    count = torch.bincount(row, minlength=shape[0] * shape[1])
    slot = torch.arange(len(row)) - (count.cumsum(0) - count)[row]
    width = max(int(count.max()), 1) if len(count) else 1
    columns = []
    for value in values:
        column = torch.zeros(len(count), width, dtype=value.dtype)
        column[row, slot] = value
        columns.append(column.reshape(*shape, width))
    return (*columns, count.reshape(shape))


def packed(mask: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
    """The true entries of columns, moved to the front, and how many there are.

    Arguments:
        mask: Shape ``(G, E, K)``.
        columns: Shape ``(G, E, K)`` each.

    >>> packed(torch.tensor([[[False, True, True]]]), torch.tensor([[[1, 2, 3]]]))
    (tensor([[[2, 3]]]), tensor([[2]]))
    """
    row, values = rows(mask), [column.expand(mask.shape)[mask] for column in columns]
    return padded(row, (mask.shape[0], mask.shape[1]), *values)


def rows(mask: Tensor) -> Tensor:
    """The event g·E + e of each true entry of a mask of shape ``(G, E, K)``."""
    events = torch.arange(mask.shape[0] * mask.shape[1]).reshape(*mask.shape[:2], 1)
    return events.expand(mask.shape)[mask]


def hardest_first(pt: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
    """Columns by decreasing pT [GeV], the padding (pT = 0) last; shape ``(G, E, K)`` each."""
    order = pt.argsort(dim=-1, descending=True, stable=True)
    return tuple(column.gather(-1, order) for column in (pt, *columns))
