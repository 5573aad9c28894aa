"""From the prior to the posterior through powers of the likelihood, with a population of points.

p_β(u) ∝ p(u) L(u)^β for 0 = β₀ < … < β_T: the points at one power are weighted and resampled for
the next, and then moved (sequential Monte Carlo, Del Moral, Doucet and Jasra 2006, J. R. Stat. Soc.
B 68, 411). A power is as large as leaves half the effective sample size. Modes that are far apart
keep their weights, since no point has to travel between them, and the product of the mean weights
estimates the evidence ∫ p(u) L(u) du.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.errors import SamplingError
from hepgen.inference.importance import WeightedDraws
from hepgen.inference.laplace import LogDensity
from hepgen.inference.slice_sampler import Walkers, evaluate, sweep

_KEPT = 0.5
_STEPS = 200


@dataclass(frozen=True)
class Annealed:
    """A population at the last power.

    Arguments:
        u: Shape ``(K, D)``.
        log_evidence: log ∫ p(u) L(u)^β du at the last power, an estimate.
        powers: The β_t in order, the last included.
    """

    u: Tensor
    log_evidence: float
    powers: tuple[float, ...]


@torch.no_grad()
def anneal(
    log_likelihood: LogDensity,
    log_prior: LogDensity,
    start: Tensor,
    generator: torch.Generator,
    *,
    power: float = 1.0,
    sweeps: int = 3,
) -> Annealed:
    """Carry draws of the prior to p(u) L(u)^β.

    Arguments:
        log_likelihood, log_prior: Of one density: ``(1, K, D)`` to ``(1, K)``.
        start: Independent draws of the prior, shape ``(K, D)``.
        generator: The result is a function of it.
        power: The last β.
        sweeps: Of :func:`hepgen.inference.slice_sampler.sweep` after each power.

    Raises:
        SamplingError: No point has a likelihood, or the powers do not reach the last.
    """
    u, beta, powers, evidence = start, 0.0, [0.0], 0.0
    for _ in range(_STEPS):
        value = evaluate(log_likelihood, u)
        if not bool(torch.isfinite(value).any()):
            raise SamplingError("the likelihood is zero at all draws of the prior; see the data")
        following = _next_power(value, beta, power)
        weighted = WeightedDraws(u[None], (following - beta) * value[None])
        evidence += float(weighted.log_evidence)
        u, beta = weighted.resample(len(u), generator)[0], following
        powers.append(beta)
        walkers = Walkers.at(_tempered(log_likelihood, log_prior, beta), u)
        for _ in range(sweeps):
            walkers = sweep(_tempered(log_likelihood, log_prior, beta), walkers, generator)
        u = walkers.u
        if beta >= power:
            return Annealed(u, evidence, tuple(powers))
    raise SamplingError(f"the power is {beta:g} after {_STEPS} steps; expected {power:g}")


def _tempered(log_likelihood: LogDensity, log_prior: LogDensity, beta: float) -> LogDensity:
    def evaluate(u: Tensor) -> Tensor:
        return log_prior(u) + beta * log_likelihood(u)

    return evaluate


def _next_power(value: Tensor, beta: float, most: float) -> float:
    """The largest power up to ``most`` that leaves a part of the effective sample size."""
    enough = math.log(_KEPT * len(value))

    def log_size(following: float) -> float:
        log_weight = (following - beta) * value
        return float(2 * log_weight.logsumexp(0) - (2 * log_weight).logsumexp(0))

    if log_size(most) >= enough:
        return most
    low, high = beta, most
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if log_size(middle) >= enough else (low, middle)
    return max(low, beta + 1e-9)
