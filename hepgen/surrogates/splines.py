"""Monotonic rational-quadratic splines (Durkan et al., arXiv:1906.04032, Eqs. 4 and 6 to 8).

The function is zuko's, in a third of the tensor operations: of a few events, it is their number
that takes the time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Transform, constraints
from torch.nn.functional import pad

_STEEPEST = math.log(1e3)


class RationalQuadratic(Transform):
    """A spline of K bins on [−b, b], and the identity beyond.

    Arguments:
        widths, heights: Of the bins, before the softmax, shape ``(*, K)``.
        derivatives: Logarithms of the slopes at the inner knots, shape ``(*, K − 1)``.
        bound: b.

    >>> spline = RationalQuadratic(torch.zeros(4), torch.zeros(4), torch.zeros(3))
    >>> spline(torch.tensor([-7.0, 0.5])).round(decimals=3).tolist()
    [-7.0, 0.5]
    """

    domain = codomain = constraints.real
    bijective, sign = True, +1

    def __init__(
        self, widths: Tensor, heights: Tensor, derivatives: Tensor, bound: float = 5.0
    ) -> None:
        super().__init__()
        bins = _limited(torch.stack([widths, heights], -2), _STEEPEST / 2)
        ends = 2 * bound * bins.softmax(-1).cumsum(-1) - bound
        slopes = pad(_limited(derivatives, _STEEPEST).exp(), (1, 1), value=1.0)
        self.bound = bound
        self.table = torch.cat([pad(ends, (1, 0), value=-bound), slopes[..., None, :]], -2)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y and log dy/dx."""
        inside = x.clamp(-self.bound, self.bound)
        x0, y0, d0, dx, dy, d1 = self._bin(inside, 0)
        s, z = dy / dx, (inside - x0) / dx
        t = z * (1 - z)
        below = s + (d0 + d1 - 2 * s) * t
        y = y0 + dy * (s * z.square() + d0 * t) / below
        slope = 2 * s * t + d0 * (1 - z).square() + d1 * z.square()
        return y + (x - inside), slope.log() + 2 * (s / below).log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        """log dy/dx."""
        return self.call_and_ladj(x)[1]

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        inside = y.clamp(-self.bound, self.bound)
        x0, y0, d0, dx, dy, d1 = self._bin(inside, 1)
        s, rise = dy / dx, inside - y0
        bend = rise * (d0 + d1 - 2 * s)
        a, b, c = dy * (s - d0) + bend, dy * d0 - bend, -s * rise
        z = -2 * c / (b + (b.square() - 4 * a * c).clamp(min=0).sqrt())
        x: Tensor = x0 + z * dx + (y - inside)
        return x

    def _bin(self, value: Tensor, axis: int) -> tuple[Tensor, ...]:
        """x, y and slope at the left of the bin, its width, its height, the slope at its right."""
        k = (self.table[..., axis, 1:-1] < value[..., None]).sum(-1)[..., None, None]
        place = k.expand(*value.shape, 3, 1)
        table = self.table.expand(*value.shape, 3, self.table.shape[-1])
        left, right = (table.gather(-1, i)[..., 0] for i in (place, place + 1))
        width, height, _ = (right - left).unbind(-1)
        return *left.unbind(-1), width, height, right[..., 2]


def _limited(x: Tensor, most: float) -> Tensor:
    return x / (1 + (x / most).abs())
