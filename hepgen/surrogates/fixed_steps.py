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
from hepgen.nn.rk4 import rk4
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
        log_slope = torch.zeros_like(u[:, 0])
        if self.marginals is not None:
            u, log_slope = self.marginals.with_log_slope(u)

        def slope(x: Tensor, node: Tensor) -> tuple[Tensor, Tensor]:
            time = node.to(x).expand(x.shape[0], 1)
            v, trace = divergence(lambda y: self.velocity(time, y, context), x)
            return v, trace.mT

        nodes = torch.linspace(1, 0, 2 * self.steps + 1, dtype=torch.float64)[:, None]
        u, integral = rk4(slope, u, 1, nodes, -1 / self.steps)
        log_normal = -0.5 * (u.square().sum(-1) + self.features * math.log(2 * math.pi))
        value = (log_normal + log_slope).double() + integral[0]
        return LogDensity(value, torch.zeros_like(value), self.quality)
