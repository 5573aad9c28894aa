"""A neural ODE trained by maximum likelihood (Chen et al., arXiv:1806.07366; FFJORD, 1810.01367).

A training step takes a few midpoint steps F from the event to its noise, and the density that it
maximises is that of F itself, Σ log|det ∂F/∂u|. The trace −h tr ∂v/∂u is its limit for h → 0, but
no bound: where the field contracts by more than h resolves, log|det| grows as the logarithm of
the field and the trace as the field, and a loss that is made of it falls without end. A field
that is straight and slow is solved well by few steps: the loss holds a small multiple of its
kinetic energy (Finlay et al., arXiv:2002.02798), and the number of steps varies from one training
step to the next, so that no solver's error is worth learning. A step is a bijection, and its
density one, where h|∂v/∂u| < 1; at a sharp edge a field may still gain by folding space, and the
loss grows as h²|∂v/∂u|² beyond 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hepgen.nn.dual import Dual
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
        stiffness: That of h²|∂v/∂u|² − 1 in each step, where it is positive.
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
        stiffness: float = 3.0,
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
                         "stiffness": stiffness, "training_steps": training_steps}  # fmt: skip
        self.kinetic, self.stiffness, self.training_steps = kinetic, stiffness, training_steps
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
        """−log p(u | c) in nats by midpoint steps, and what the path costs."""
        u, log_slope = self.marginals.with_log_slope(u)
        step = self._traced if self.trace == "hutchinson" else self._determined
        steps = int(torch.randint(self.training_steps, 2 * self.training_steps + 1, ()))
        h, total = 1 / steps, torch.zeros_like(u[:, 0])
        for number in range(steps):
            late = torch.full_like(u[:, :1], 1 - number * h)
            earlier, log_det, square = step(late, u, context, h)
            energy = 0.5 * ((u - earlier) / h).square().sum(-1)
            folded = (square - 1).clamp(min=0)
            total = total - log_det + h * self.kinetic * energy + self.stiffness * folded
            u = earlier
        return total - log_normal(u) - log_slope

    def _determined(
        self, t: Tensor, u: Tensor, context: Tensor, h: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """F(u), one step back from t, log|det ∂F/∂u| and |1 − ∂F/∂u|², ``(B,)`` each."""

        def back(u: Any) -> Any:
            middle = u - 0.5 * h * self.network(t, u, context)
            return u - h * self.network(t - 0.5 * h, middle, context)

        d = u.shape[-1]
        identity = torch.eye(d, dtype=u.dtype, device=u.device)
        found = back(Dual(u, identity[:, None].expand(d, *u.shape)))
        slope = found.tangent.permute(1, 2, 0)
        square = (identity - slope).square().sum((-1, -2))
        return found.value, torch.linalg.slogdet(slope).logabsdet, square

    def _traced(
        self, t: Tensor, u: Tensor, context: Tensor, h: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """F(u), and of J at its midpoint −h tr J and h²|J|², by one probe; ``(B,)`` each."""
        middle = u - 0.5 * h * self.velocity(t, u, context)
        probe = divergence.rademacher(1, u)
        velocity, change = divergence.along(
            lambda u: self.velocity(t - 0.5 * h, u, context), middle, probe
        )
        trace, square = (probe * change).sum((0, -1)), (h * change).square().sum((0, -1))
        return u - h * velocity, -h * trace, square
