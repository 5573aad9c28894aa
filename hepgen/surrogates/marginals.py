"""Normal scores as a bijection: v = Φ⁻¹(F(u)) of each variable, a smooth approximation.

A family whose densities are made of normal distributions then begins with margins that are right,
and has the dependence between the variables left to learn. Between quantiles of the training
sample the map is a monotonic rational-quadratic spline (Gregory and Delbourgo, IMA J. Numer. Anal.
2 (1982) 123). At a distance δ beyond the outermost, at v₁, it is v₁ + asinh(sδ), with s its slope
there: an event a little outside of a sharp edge, or far out in a tail, is no more than unlikely.
The slope is continuous, and so is a density.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor, nn

_KNOTS, _ENDS, _LEAST, _STEEPEST, _FARTHEST = 32, 3.7, 5, 3e3, 30.0

_NUMBERS = 2**24
"""How many numbers of a sample are looked at."""


class Marginals(nn.Module):
    """u ↔ v, both of shape ``(*, d)``; the identity until :meth:`measure`.

    >>> marginals = Marginals(1)
    >>> marginals.measure(torch.linspace(-1, 1, 2001)[:, None])
    >>> marginals.forward(torch.tensor([[0.5]])).item()  # the third quartile
    0.67...
    """

    u: Tensor
    v: Tensor
    slope: Tensor
    measured: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        line = torch.linspace(-1, 1, _KNOTS).repeat(features, 1)
        self.register_buffer("u", line)
        self.register_buffer("v", line.clone())
        self.register_buffer("slope", torch.ones_like(line))
        self.register_buffer("measured", torch.tensor(False))

    def measure(self, u: Tensor) -> None:
        """Take the quantiles of the sample u, shape ``(N, d)``."""
        u = u[:: max(1, u.numel() // _NUMBERS)]
        # The outermost has some events beyond it.
        end = max(min(_ENDS, -float(ndtri(min(0.3, _LEAST / len(u))))), 0.5)
        v = np.linspace(-end, end, _KNOTS)
        at = np.quantile(u.double().numpy(), ndtr(v), axis=0).T
        # An edge is steep, φ(v) being small there, but equal values are not infinitely so.
        widths = np.maximum(np.diff(at, axis=1), np.diff(v) / _STEEPEST)
        at = at[:, :1] + np.concatenate([np.zeros((len(at), 1)), widths.cumsum(1)], axis=1)
        secant = np.diff(v) / widths
        inner = 2 / (1 / secant[:, 1:] + 1 / secant[:, :-1])
        slope = np.concatenate([secant[:, :1], inner, secant[:, -1:]], axis=1)
        for buffer, values in ((self.u, at), (self.v, v), (self.slope, slope)):
            buffer.copy_(torch.as_tensor(values))
        self.measured.fill_(True)

    def forward(self, u: Tensor) -> Tensor:
        """v."""
        return self.with_log_slope(u)[0]

    def with_log_slope(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """v, and Σ ln dv/du over the variables, shape ``(*,)``."""
        left, right, bottom, top, first, last = self._bin(u, self.u)
        height, secant = top - bottom, (top - bottom) / (right - left)
        inside = torch.clamp(u, left, right)
        t = (inside - left) / (right - left)
        product = t * (1 - t)
        below = secant + (first + last - 2 * secant) * product
        v = bottom + height * (secant * t.square() + first * product) / below
        slope = last * t.square() + 2 * secant * product + first * (1 - t).square()
        log_slope = 2 * secant.log() + slope.log() - 2 * below.log()
        beyond = torch.where(u < left, first, last) * (u - inside)
        log_slope = log_slope - torch.where(self.measured, 0.5 * torch.log1p(beyond.square()), 0.0)
        return v + torch.where(self.measured, beyond.asinh(), beyond), log_slope.sum(-1)

    def inverse(self, v: Tensor) -> Tensor:
        """u."""
        left, right, bottom, top, first, last = self._bin(v, self.v)
        height, secant = top - bottom, (top - bottom) / (right - left)
        inside = torch.clamp(v, bottom, top)
        y = inside - bottom
        bend = y * (first + last - 2 * secant)
        a, b, c = height * (secant - first) + bend, height * first - bend, -secant * y
        t = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
        beyond = v - inside
        beyond = torch.where(self.measured, beyond.clamp(-_FARTHEST, _FARTHEST).sinh(), beyond)
        return left + t * (right - left) + beyond / torch.where(v < bottom, first, last)

    def _bin(self, x: Tensor, knots: Tensor) -> tuple[Tensor, ...]:
        """Of the bin of each number: both ends in u and in v, and the slopes there."""
        k = (x[..., None] >= knots[:, 1:-1].to(x)).sum(-1)
        row = torch.arange(x.shape[-1], device=x.device)
        u, v, slope = self.u.to(x), self.v.to(x), self.slope.to(x)
        return (u[row, k], u[row, k + 1], v[row, k], v[row, k + 1],
                slope[row, k], slope[row, k + 1])  # fmt: skip
