"""Training data as rows that can be taken by index."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hepgen.errors import DataError


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
