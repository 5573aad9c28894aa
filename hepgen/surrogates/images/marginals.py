r"""How bright a cell is where it is read, as a normal variable.

Cell by cell, v > 0 becomes w > 0 by an increasing function, so that w + τ has the standard normal
distribution beyond τ, and Φ(−τ) is how often the cell is read. A cell far from the shower, which
is read seldom and then hardly above the threshold, so has no longer tail than one in its core.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_KNOTS = 64
_STEEPEST = 1e-5
"""The least that v rises from a knot to the next, so that there is a way back."""


class CellScores(nn.Module):
    """v ↔ w, piecewise linear, straight on beyond the last knot; what is not positive stays.

    Arguments:
        voxels: The number V of cells.

    >>> marginals = CellScores(1)
    >>> marginals.fit(torch.linspace(-1, 1, 101).clamp(min=0)[:, None])
    >>> w = marginals(torch.tensor([[0.3], [0.0]]))
    >>> marginals.inverse(w).round(decimals=5).tolist()
    [[0.30000001192092896], [0.0]]
    """

    def __init__(self, voxels: int) -> None:
        super().__init__()
        self.register_buffer("edge", torch.zeros(voxels))
        self.register_buffer("step", torch.ones(voxels))
        self.register_buffer("knots", torch.arange(float(_KNOTS)).repeat(voxels, 1))
        self.edge: Tensor
        self.step: Tensor
        self.knots: Tensor

    def fit(self, v: Tensor) -> None:
        """Take the functions from a sample, shape ``(N, V)``; 0 where a cell is not read."""
        ordered = v.float().sort(0).values.mT.contiguous()
        rows = ordered.shape[-1]
        number = (ordered > 0).sum(-1, keepdim=True)
        often = (number + 0.5) / (rows + 1)
        edge = -torch.special.ndtri(often)
        most = -torch.special.ndtri(torch.tensor(0.25 / rows))
        step = (most - edge) / (_KNOTS - 2)
        k = torch.arange(_KNOTS - 1)
        below = 1 - torch.special.ndtr(-edge - step * k) / often
        place = (rows - number + below * number - 0.5).clamp(0, rows - 1)
        knots = torch.lerp(*_around(ordered, place))
        knots[:, 0] = 0.0
        self.edge.copy_(edge[:, 0])
        self.step.copy_(step[:, 0])
        knots = knots.cummax(-1).values + _STEEPEST * k
        brightest = knots[:, -1:]
        # Brighter ones, of other images, go on gently, however few there were.
        self.knots.copy_(torch.cat([knots, brightest + 0.1 * (1 + brightest)], -1))

    def of(self, cells: Tensor) -> CellScores:
        """Those of some cells alone."""
        some = CellScores(len(cells))
        for name, values in self.named_buffers():
            setattr(some, name, values[cells])
        return some

    def forward(self, v: Tensor) -> Tensor:
        """w, shape ``(N, V)``."""
        return self.with_slope(v)[0]

    def with_slope(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """w and dw/dv, shape ``(N, V)`` each.

        >>> w, slope = CellScores(1).with_slope(torch.tensor([[0.25], [-1.0]]))
        >>> w.tolist(), slope.tolist()
        ([[0.25], [-1.0]], [[1.0], [1.0]])
        """
        column = v.float().mT.contiguous()
        k = (torch.searchsorted(self.knots, column) - 1).clamp(0, _KNOTS - 2)
        low, high = self.knots.gather(-1, k), self.knots.gather(-1, k + 1)
        w = (k + (column - low) / (high - low)).mT * self.step
        slope = self.step / (high - low).mT
        return torch.where(v > 0, w, v.float()), torch.where(v > 0, slope, 1.0)

    def inverse(self, w: Tensor) -> Tensor:
        """v, shape ``(N, V)``."""
        place = (w.clamp(min=0) / self.step).mT
        k = place.long().clamp(max=_KNOTS - 2)
        low, high = self.knots.gather(-1, k), self.knots.gather(-1, k + 1)
        return torch.where(w > 0, torch.lerp(low, high, place - k).mT, w)


def _around(ordered: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The values before and after places in rows, and how far between them each place is."""
    before = place.long().clamp(max=ordered.shape[-1] - 2)
    return ordered.gather(-1, before), ordered.gather(-1, before + 1), place - before
