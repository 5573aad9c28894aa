"""A monotonic map of one variable, z = b + ∫₀ᵘ g(x; s) dx with a positive network g.

Wehenkel and Louppe, arXiv:1908.05164; the integral is zuko's quadrature of 32 points. Beyond ±10
the map goes on as a straight line. In between, its inverse is found by Newton's method, with
bisection where a step would leave the bracket. A search ends when it is close enough; with
``every_step``, as in a graph, it always takes all steps, in a loop of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import zuko
from torch import Tensor, nn
from torch.distributions import Transform

from hepgen.nn.repeated import repeated

_BOUND, _POINTS, _ITERATIONS, _CLOSE = 10.0, 32, 14, 1e-6

_Bracket = tuple[Tensor, Tensor, Tensor]
"""x, and between what it is."""


class Monotonic(nn.Module):
    """A signal s, shape ``(*, S)``, and a constant b, shape ``(*)``, to a transform.

    Arguments:
        signal: S.
        hidden: The widths of g.
    """

    nodes: Tensor
    weights: Tensor

    def __init__(self, signal: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.network = zuko.nn.MLP(1 + signal, 1, tuple(hidden), activation=nn.SiLU)
        self.every_step = False
        nodes, weights = np.polynomial.legendre.leggauss(_POINTS)
        self.register_buffer("nodes", torch.from_numpy((nodes + 1) / 2), persistent=False)
        self.register_buffer("weights", torch.from_numpy(weights / 2), persistent=False)

    def forward(self, signal: Tensor, constant: Tensor) -> Transform:
        """The map of each variable."""

        def slope(x: Tensor) -> Tensor:
            inputs = torch.cat(zuko.utils.broadcast(x[..., None], signal, ignore=1), dim=-1)
            log_slope: Tensor = self.network(inputs).squeeze(-1)
            return torch.exp(log_slope / (1 + (log_slope / 7).abs()))  # between e⁻⁷ and e⁷

        weights = tuple(self.parameters()) if self.training else ()
        transform: Transform = zuko.transforms.ComposedTransform(
            _Integral(slope, (signal, *weights), (self.nodes, self.weights), self.every_step),
            zuko.transforms.AdditiveTransform(constant),
        )
        return transform


class _Integral(zuko.transforms.UnconstrainedMonotonicTransform):  # type: ignore[misc]
    """∫₀ᵘ g, with g(±10) beyond ±10: a straight line, whose inverse needs no search."""

    def __init__(
        self,
        slope: Callable[[Tensor], Tensor],
        phi: tuple[Tensor, ...],
        rule: tuple[Tensor, Tensor],
        every_step: bool,
    ) -> None:
        super().__init__(lambda x: slope(x.clamp(-_BOUND, _BOUND)), phi=phi, n=_POINTS)
        (self.nodes, self.weights), self.every_step = rule, every_step

    def f(self, x: Tensor) -> Tensor:
        inside = x.clamp(-_BOUND, _BOUND)
        result: Tensor = self._area(inside) + (x - inside) * self.g(x)
        return result

    def _area(self, x: Tensor) -> Tensor:
        if not self.every_step:
            area: Tensor = super().f(x)
            return area
        # The same in operations that a graph has, without zuko's cache of nodes: it would keep
        # tensors of torch's compiler.
        column = (-1, *(1,) * x.dim())
        nodes, weights = self.nodes.to(x).reshape(column), self.weights.to(x).reshape(column)
        integral: Tensor = x * (self.g(nodes * x) * weights).sum(0)
        return integral

    def _inverse(self, y: Tensor) -> Tensor:
        with torch.no_grad():
            x = self._search(y)
        # A last step of Newton's, exact beyond the bracket, with the gradient of the inverse.
        found: Tensor = x - (self.f(x) - y) / self.g(x)
        return found

    def _search(self, y: Tensor) -> Tensor:
        low, high = torch.full_like(y, -_BOUND), torch.full_like(y, _BOUND)
        below, above = y <= self.f(low), y >= self.f(high)
        x = torch.where(below, low, torch.where(above, high, torch.zeros_like(y)))

        def step(state: _Bracket, _: Tensor) -> _Bracket:
            x, low, high = state
            excess = self.f(x) - y
            low, high = torch.where(excess < 0, x, low), torch.where(excess > 0, x, high)
            newton = x - excess / self.g(x)
            inside = (newton > low) & (newton < high)
            moved = torch.where(inside, newton, 0.5 * (low + high))
            return torch.where(below | above, x, moved), low, high

        state = (x, low, high)
        if self.every_step:
            return repeated(step, state, torch.zeros(_ITERATIONS, 1))[0]
        for _ in range(_ITERATIONS):
            last, state = state[0], step(state, x)
            if bool(((state[0] - last).abs() <= _CLOSE * (1 + last.abs())).all()):
                break
        return state[0]
