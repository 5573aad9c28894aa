"""The density of a continuous flow in fixed steps, for what cannot take an adaptive solver along.

    log p(u | c) = log N(u(0); 0, 1) − ∫₀¹ tr ∂v/∂u dt,   du/dt = v(t, u; c),   u(1) = u

(Chen et al., arXiv:1806.07366), by the classical Runge–Kutta rule of fourth order, with the exact
trace from dual numbers: plain tensor operations throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hepgen.nn.dual import divergence
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality
from hepgen.surrogates.marginals import Marginals

Field = Callable[[Tensor, Any, Tensor], Any]
"""v(t, u; c), shape ``(B, d)``, at t of shape ``(B, 1)``; u is a tensor or a dual number."""

Draw = Callable[[Tensor, Tensor], Tensor]
"""u, shape ``(B, d)``, of noise and contexts."""


class FixedSteps(ConditionalDensity):
    """What a continuous flow gives for its ``exportable``: its own sampler, and this density.

    Arguments:
        flow: The family, whose sampler has fixed steps already.
        velocity: Its field.
        sampler: Its events of noise and contexts, where its ``generate`` is not the fastest.
        steps: How many, each of four evaluations.
        marginals: What is before the field; nothing by default.
    """

    def __init__(
        self,
        flow: ConditionalDensity,
        velocity: Field,
        sampler: Draw | None = None,
        steps: int = 16,
        marginals: Marginals | None = None,
    ) -> None:
        super().__init__(flow.features, flow.context)
        self.marginals = marginals
        self.flow, self.velocity, self.steps = flow, velocity, steps
        self.sampler = sampler or flow.generate
        self.noise = flow.noise

    @property
    def options(self) -> dict[str, Any]:
        """The flow's."""
        return self.flow.options

    @property
    def quality(self) -> Quality:
        """An estimate."""
        return Quality("estimate", f"ODE by {self.steps} steps of rk4, exact trace")

    @property
    def words(self) -> str:
        """How it differs from the flow."""
        return (
            f"log_prob by {self.steps} steps of rk4 with the exact trace, not {self.flow.quality}"
        )

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        """The flow's."""
        return self.flow.loss(u, context)

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        """The flow's."""
        return self.sampler(noise, context)

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        """log p(u | c), shape ``(B,)``."""
        h, total = 1 / self.steps, torch.zeros_like(u[:, :1])
        log_slope = torch.zeros_like(u[:, 0])
        if self.marginals is not None:
            u, log_slope = self.marginals.with_log_slope(u)
        for step in range(self.steps):
            u, change = self._step(1 - step * h, -h, u, context)
            total = total + change
        log_normal = -0.5 * (u.square().sum(-1) + self.features * math.log(2 * math.pi))
        value = (log_normal + log_slope).double() + total[:, 0].double()
        return LogDensity(value, torch.zeros_like(value), self.quality)

    def _step(self, t: float, h: float, u: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """u(t + h), and ∫ tr dt over the step."""
        v1, d1 = self._slope(t, u, context)
        v2, d2 = self._slope(t + h / 2, u + h / 2 * v1, context)
        v3, d3 = self._slope(t + h / 2, u + h / 2 * v2, context)
        v4, d4 = self._slope(t + h, u + h * v3, context)
        return u + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4), h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)

    def _slope(self, t: float, u: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        time = torch.full_like(u[:, :1], t)
        return divergence(lambda x: self.velocity(time, x, context), u)
