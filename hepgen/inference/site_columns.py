"""Sites of a chain as the columns of one matrix, as a network or a proposal wants them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SiteColumns:
    """Which columns are of which site.

    Arguments:
        shapes: By site in the order of the chain: ``()`` for a number, ``(K,)`` for K of them.

    >>> columns = SiteColumns({"mass": (), "x": (2,)})
    >>> columns.join({"mass": torch.zeros(5), "x": torch.ones(5, 2)}).shape
    torch.Size([5, 3])
    >>> columns.split(torch.zeros(5, 3))["x"].shape
    torch.Size([5, 2])
    """

    shapes: Mapping[str, tuple[int, ...]]

    @property
    def width(self) -> int:
        """The number of columns."""
        return sum(shape[0] if shape else 1 for shape in self.shapes.values())

    def join(self, values: Mapping[str, Tensor]) -> Tensor:
        """Values of shape ``(*,)`` or ``(*, K)`` as one tensor ``(*, width)``, in float64."""
        parts = [values[n] if shape else values[n][..., None] for n, shape in self.shapes.items()]
        return torch.cat([part.double() for part in parts], dim=-1)

    def split(self, matrix: Tensor) -> dict[str, Tensor]:
        """The inverse of :meth:`join`."""
        parts = torch.split(matrix, [s[0] if s else 1 for s in self.shapes.values()], dim=-1)
        named = zip(self.shapes.items(), parts, strict=True)
        return {name: part if shape else part[..., 0] for (name, shape), part in named}
