"""A neural ODE trained by maximum likelihood (Chen et al., arXiv:1806.07366; FFJORD, 1810.01367).

A training step solves the ODE with a few fixed steps and differentiates through them. A field
that is straight and slow is solved well by few: the loss holds a small multiple of its kinetic
energy (Finlay et al., arXiv:2002.02798), and the number of steps varies from one training step
to the next, so that no solver's error is worth learning.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hepgen.nn.velocity import Velocity
from hepgen.surrogates.conditional import log_normal
from hepgen.surrogates.continuous import divergence
from hepgen.surrogates.continuous.flow import ContinuousFlow


class CNF(ContinuousFlow):
    """A continuous normalizing flow; its arguments beyond these are :class:`ContinuousFlow`'s.

    Arguments:
        features: d.
        context: C.
        width, blocks: Of the :class:`hepgen.nn.velocity.Velocity`.
        kinetic: The weight of ∫|v|² dt / 2 in the loss.
        training_steps: The fewest midpoint steps in a step of the training; at most twice as many.

    >>> flow = CNF(2, 1, width=8)
    >>> flow.log_prob(torch.zeros(1, 2), torch.zeros(1, 1)).value.exp().item()  # doctest: +ELLIPSIS
    0.1591549...
    """

    def __init__(
        self,
        features: int,
        context: int,
        width: int = 64,
        blocks: int = 2,
        kinetic: float = 0.01,
        training_steps: int = 4,
        solver: str = "rk4",
        steps: int = 8,
        tolerance: float = 1e-5,
        trace: str = "exact",
        probes: int = 16,
    ) -> None:
        super().__init__(
            features, context,
            solver=solver, steps=steps, tolerance=tolerance, trace=trace, probes=probes,
        )  # fmt: skip
        self._options = {"width": width, "blocks": blocks, "kinetic": kinetic,
                         "training_steps": training_steps}  # fmt: skip
        self.kinetic, self.training_steps = kinetic, training_steps
        self.network = Velocity(features, context, width, blocks)

    @property
    def options(self) -> dict[str, Any]:
        """What rebuilds it."""
        return {**super().options, **self._options}

    def velocity(self, t: Tensor, u: Tensor, context: Tensor) -> Tensor:
        """The network."""
        velocity: Tensor = self.network(t, u, context)
        return velocity

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        """−log p(u | c) in nats, and the kinetic energy of the path; one probe for a trace.

        By the midpoint rule, of which only the second of two evaluations needs its trace.
        """
        u, log_slope = self.marginals.with_log_slope(u)
        probe = divergence.rademacher(1, u) if self.trace == "hutchinson" else None
        steps = int(torch.randint(self.training_steps, 2 * self.training_steps + 1, ()))
        h, total = 1 / steps, torch.zeros_like(u[:, 0])
        for step in range(steps):
            late, middle = (torch.full_like(u[:, :1], 1 - (step + part) * h) for part in (0, 0.5))
            centre = u - 0.5 * h * self.velocity(late, u, context)
            velocity, trace = self.velocity_and_trace(middle, centre, context, probe)
            u = u - h * velocity
            energy = 0.5 * velocity.square().sum(-1)
            total = total + h * (trace[:, 0] + self.kinetic * energy)
        return total - log_normal(u) - log_slope
