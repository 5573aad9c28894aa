"""A monotonic map of one variable, z = b + ∫₀ᵘ g(x; s) dx with a positive network g.

Wehenkel and Louppe, arXiv:1908.05164; the integral is zuko's quadrature of 32 points. The inverse
is found by Newton's method, with bisection where a step would leave the bracket [−10, 10].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import zuko
from torch import Tensor, nn
from torch.distributions import Transform

_BOUND, _ITERATIONS = 10.0, 14


class Monotonic(nn.Module):
    """A signal s, shape ``(*, S)``, and a constant b, shape ``(*)``, to a transform.

    Arguments:
        signal: S.
        hidden: The widths of g.
    """

    def __init__(self, signal: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.network = zuko.nn.MLP(1 + signal, 1, tuple(hidden), activation=nn.SiLU)

    def forward(self, signal: Tensor, constant: Tensor) -> Transform:
        """The map of each variable."""

        def slope(x: Tensor) -> Tensor:
            inputs = torch.cat(zuko.utils.broadcast(x[..., None], signal, ignore=1), dim=-1)
            log_slope: Tensor = self.network(inputs).squeeze(-1)
            return torch.exp(log_slope / (1 + (log_slope / 7).abs()))  # between e⁻⁷ and e⁷

        weights = tuple(self.parameters()) if self.training else ()
        return zuko.transforms.ComposedTransform(
            _Integral(slope, phi=(signal, *weights)), zuko.transforms.AdditiveTransform(constant)
        )


class _Integral(zuko.transforms.UnconstrainedMonotonicTransform):  # type: ignore[misc]
    def _inverse(self, y: Tensor) -> Tensor:
        with torch.no_grad():
            low, high = torch.full_like(y, -_BOUND), torch.full_like(y, _BOUND)
            x = torch.zeros_like(y)
            for _ in range(_ITERATIONS):
                excess = self.f(x) - y
                low, high = torch.where(excess < 0, x, low), torch.where(excess > 0, x, high)
                newton = x - excess / self.g(x)
                inside = (newton > low) & (newton < high)
                x = torch.where(inside, newton, 0.5 * (low + high))
        # A last step of Newton's, with the gradient of the inverse function.
        found: Any = x - (self.f(x) - y) / self.g(x)
        return torch.where(x.abs() < 0.999 * _BOUND, found, x)
