"""The Lund fragmentation function as a density that is exactly normalised for any a and b."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class LundFunction:
    r"""f(z) ∝ z⁻¹(1 − z)^a e^{−b m_T²/z} on (0, 1), for G parameter points.

    (Andersson, Gustafson, Ingelman, Sjöstrand, Phys. Rept. 97 (1983) 31.) It is the polygon
    through its values at 64 nodes in z, for 24 values of m_T², normalised by the trapezium rule,
    which is exact for a polygon; between two values of m_T² it is their mixture, linear in
    ln m_T². So sampling and density agree exactly, and both follow a and b.

    Arguments:
        a: Shape ``(G,)``.
        b: 1/GeV², shape ``(G,)``.
    """

    _s = torch.linspace(0.0, 1.0, 64, dtype=torch.float64)
    #: Nodes in z, dense at both ends.
    nodes = _s * _s * (3 - 2 * _s)
    #: The rows: ln(m_T²/GeV²).
    lowest, highest, rows = math.log(0.015), math.log(60.0), 24

    def __init__(self, a: Tensor, b: Tensor) -> None:
        mt2 = torch.linspace(self.lowest, self.highest, self.rows, dtype=torch.float64).exp()
        z = self.nodes.clamp_min(1e-6)
        rest = (1 - self.nodes).clamp_min(1e-12).log()
        # e^{−b m_T²} is taken out, so that heavy hadrons do not underflow.
        exponent = a[:, None, None] * rest - b[:, None, None] * mt2[:, None] * (1 / z - 1)
        self.values = (exponent.exp() / z).flatten(0, 1)
        area = 0.5 * (self.values[:, 1:] + self.values[:, :-1]) * self.nodes.diff()
        self.area = torch.nn.functional.pad(area.cumsum(-1), (1, 0))

    def _row(self, point: Tensor, log_mt2: Tensor) -> tuple[Tensor, Tensor]:
        """The table below a mass, and how far the mass is towards the next."""
        place = (log_mt2 - self.lowest) * ((self.rows - 1) / (self.highest - self.lowest))
        place = place.clamp(0, self.rows - 1 - 1e-9)
        below = place.long()
        return point * self.rows + below, place - below

    def sampler(self) -> LundSampler:
        """What draws from it."""
        return LundSampler(self)

    def log_prob(self, share: Tensor, point: Tensor, log_mt2: Tensor) -> Tensor:
        """log f(z), shape ``(T,)``.

        Arguments:
            share: z.
            point: Which parameter point, int64.
            log_mt2: ln(m_T²/GeV²).
        """
        row, fraction = self._row(point, log_mt2)
        i = (torch.searchsorted(self.nodes, share, right=True) - 1).clamp(0, len(self.nodes) - 2)
        t = (share - self.nodes[i]) / (self.nodes[i + 1] - self.nodes[i])
        below, above = (self._density(row + k, i, t) for k in (0, 1))
        return (below * (1 - fraction) + above * fraction).log()

    def _density(self, row: Tensor, i: Tensor, t: Tensor) -> Tensor:
        at = row * len(self.nodes) + i
        values = self.values.ravel()
        polygon = values[at] * (1 - t) + values[at + 1] * t
        return polygon / self.area[:, -1][row]


class LundSampler:
    """Draws by inversion, from all tables at once."""

    def __init__(self, function: LundFunction) -> None:
        self.function = function
        self.area = function.area.ravel()
        self.total = function.area[:, -1]
        # Each cumulative table is squeezed into [row, row + ½] of one sorted list.
        rows = torch.arange(len(self.total), dtype=torch.float64)[:, None]
        self.sorted = (0.5 * function.area / self.total[:, None] + rows).ravel()

    def draw(self, point: Tensor, log_mt2: Tensor) -> Tensor:
        """z for each m_T², shape ``(T,)``."""
        row, fraction = self.function._row(point, log_mt2)
        u, mixed = torch.rand(2, len(row), dtype=torch.float64)
        row = row + (mixed < fraction).long()
        width = len(self.function.nodes)
        at = torch.searchsorted(self.sorted, 0.5 * u + row, right=True) - 1
        at = torch.minimum(torch.maximum(at, row * width), row * width + width - 2)
        i = at - row * width
        start, step = self.function.nodes[i], self.function.nodes.diff()[i]
        rest = (u * self.total[row] - self.area[at]) / step
        values = self.function.values.ravel()
        low, rise = values[at], values[at + 1] - values[at]
        root = (low.square() + 2 * rise * rest).clamp_min(0).sqrt()
        drawn: Tensor = start + step * (2 * rest / (low + root).clamp_min(1e-300)).clamp(0, 1)
        return drawn
