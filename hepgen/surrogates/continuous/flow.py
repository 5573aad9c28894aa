"""What all continuous-time flows share: du/dt = v(t, u; c) from noise at t = 0 to an event at 1.

Along a path d log p(u(t))/dt = −tr ∂v/∂u, the instantaneous change of variables (Chen et al.,
arXiv:1806.07366, theorem 1), so that

    log p(u | c) = log N(u(0); 0, 1) − ∫₀¹ tr ∂v/∂u dt.

Where it is trained it moves the normal scores of each variable, see
:mod:`hepgen.surrogates.marginals`: no sharp peak or long tail is left for the field.
Sampling takes fixed steps and has no branch on data. A density is an estimate: its error is what
the solver finds, in quadrature with that of Hutchinson's probes.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import SurrogateError, nearest
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality, log_normal
from hepgen.surrogates.continuous import divergence
from hepgen.surrogates.continuous.ode import Field, adaptive, fixed, method
from hepgen.surrogates.fixed_steps import FixedSteps
from hepgen.surrogates.marginals import Marginals

TRACES = ("exact", "hutchinson")


class ContinuousFlow(ConditionalDensity):
    """A density carried by a velocity field.

    Arguments:
        features: d.
        context: C.
        solver: Of a sample: ``euler``, ``midpoint``, ``heun`` or ``rk4``.
        steps: How many it takes, an even number.
        tolerance: Of the adaptive solver of :meth:`log_prob`.
        trace: ``exact``, which costs d derivatives, or ``hutchinson``.
        probes: Of Hutchinson's estimator, two at least.
    """

    def __init__(
        self,
        features: int,
        context: int,
        *,
        solver: str,
        steps: int,
        tolerance: float,
        trace: str,
        probes: int,
    ) -> None:
        super().__init__(features, context)
        method(solver)  # refuses what is none
        if trace not in TRACES:
            raise SurrogateError(f"no trace {trace!r}; {nearest(trace, TRACES)}")
        if steps < 2 or steps % 2:
            raise SurrogateError(f"steps = {steps}: expected an even number of at least 2")
        if probes < 2:
            raise SurrogateError(f"probes = {probes}: a standard error takes at least 2")
        if not tolerance > 0:
            raise SurrogateError(f"tolerance = {tolerance:g}: expected a positive number")
        self.solver, self.steps, self.tolerance = solver, steps, tolerance
        self.trace, self.probes = trace, probes
        self.marginals = Marginals(features)

    @abstractmethod
    def velocity(self, t: Tensor, u: Tensor, context: Tensor) -> Tensor:
        """v(t, u; c), shape ``(B, d)``, at times ``(B, 1)``, points ``(B, d)``, contexts."""

    @property
    def options(self) -> dict[str, Any]:
        """What every one of them has."""
        return {
            "solver": self.solver, "steps": self.steps, "tolerance": self.tolerance,
            "trace": self.trace, "probes": self.probes,
        }  # fmt: skip

    @property
    def quality(self) -> Quality:
        """An estimate of :meth:`log_prob`."""
        return self._quality(f"Dormand–Prince 5(4), tolerance {self.tolerance:g}")

    def prepare(self, u: Tensor, context: Tensor) -> None:  # noqa: ARG002
        """Measure the margins."""
        self.marginals.measure(u)

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        """The path from its noise at 0 to 1, in fixed steps."""
        return self.marginals.inverse(fixed(
            lambda t, v: self.velocity(t, v, context), noise, 0.0, 1.0, self.steps, self.solver
        ))  # fmt: skip

    def generate_few(self, noise: Tensor, context: Tensor) -> Tensor:
        """The same for few events at a time, where there is a faster way."""
        return self.generate(noise, context)

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        """log p(u | c): the path from u back to its noise, within the tolerance."""
        v, log_slope = self.marginals.with_log_slope(u)
        state = torch.cat([v, v.new_zeros(len(v), self._traces)], dim=-1)
        solution = adaptive(self._field(v, context), state, 1.0, 0.0, self.tolerance)
        noise, integrals = self._parts(solution.y)
        # The noise z is wrong by δz, and log N(z) by z·δz.
        wrong, wrong_integrals = self._parts(solution.error)
        error = (noise.abs() * wrong).sum(-1) + wrong_integrals.mean(-1)
        return self._density(log_normal(noise) + log_slope, integrals, error, self.quality)

    def generate_with_log_prob(self, noise: Tensor, context: Tensor) -> tuple[Tensor, LogDensity]:
        """Both in one solve with fixed steps.

        Its error is the difference from a solve with half as many, which errs by more.
        """
        state = torch.cat([noise, noise.new_zeros(len(noise), self._traces)], dim=-1)
        field = self._field(noise, context)
        (v, integrals), (coarse_v, coarse) = (
            self._parts(fixed(field, state, 0.0, 1.0, steps, self.solver))
            for steps in (self.steps, self.steps // 2)
        )
        # An event off by δu has noise off by about as much, and log N(z) by z·δz.
        error = (noise * (v - coarse_v)).sum(-1).abs() + (integrals - coarse).mean(-1).abs()
        quality = self._quality(f"{self.steps} steps of {self.solver}")
        u = self.marginals.inverse(v)
        start = log_normal(noise) + self.marginals.with_log_slope(u)[1]
        return u, self._density(start, -integrals, error, quality)

    def exportable(self) -> tuple[ConditionalDensity, str]:
        """A twin whose density takes fixed steps; the sampler does already.

        It samples by :meth:`generate_few`: most who take a graph along want an event at a time.
        """
        twin = FixedSteps(self, self.velocity, self.generate_few, marginals=self.marginals)
        return twin, twin.words

    def velocity_and_trace(
        self, t: Tensor, u: Tensor, context: Tensor, probes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """v(t, u; c), and tr ∂v/∂u, shape ``(B, 1)``; or one estimate a probe, ``(B, K)``."""

        def along(u: Tensor) -> Tensor:
            return self.velocity(t, u, context)

        return (
            divergence.exact(along, u)
            if probes is None
            else divergence.hutchinson(along, u, probes)
        )

    @property
    def _traces(self) -> int:
        return 1 if self.trace == "exact" else self.probes

    def _field(self, like: Tensor, context: Tensor) -> Field:
        """d(u, ∫tr)/dt: a column of the state for each estimate of the trace."""
        probes = divergence.rademacher(self.probes, like) if self.trace == "hutchinson" else None

        def field(t: Tensor, state: Tensor) -> Tensor:
            return torch.cat(
                self.velocity_and_trace(t, state[:, : self.features], context, probes), dim=-1
            )

        return field

    def _parts(self, state: Tensor) -> tuple[Tensor, Tensor]:
        return state[:, : self.features], state[:, self.features :]

    def _density(
        self, start: Tensor, integrals: Tensor, solver_error: Tensor, quality: Quality
    ) -> LogDensity:
        """From log N(u(0)) and the integrals ∫₁⁰ tr dt of each probe, shape ``(B, K)``."""
        integrals, error = integrals.double(), solver_error.detach().double()
        if self._traces > 1:
            error = torch.hypot(error, integrals.detach().std(-1) / math.sqrt(self._traces))
        return LogDensity(start.double() + integrals.mean(-1), error, quality)

    def _quality(self, solver: str) -> Quality:
        probes = f"Hutchinson's trace, {self.probes} probes"
        trace = "exact trace" if self.trace == "exact" else probes
        return Quality("estimate", f"ODE by {solver}, {trace}")
