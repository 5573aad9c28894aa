"""Ensemble slice sampling: many walkers at once, along the differences between other walkers.

A walker at u draws a height below its density, lays an interval at random around itself along a
direction, and shrinks it towards u until a point is above the height (Neal, arXiv:physics/0009028,
without stepping out). The walkers are two halves; the direction of one in a half is the difference
of two in the other (Karamanis and Beutler, arXiv:2002.06212), so that the steps have the scale and
the correlations of the density, and lead from one mode to another where the walkers are in both.
There is nothing to tune, no gradient, and no rejected step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.errors import SamplingError
from hepgen.inference.laplace import LogDensity

_LENGTH = 2.0
"""Of the first interval, in units of the difference of two walkers."""
_SHRINKS = 100


@dataclass(frozen=True)
class Walkers:
    """K walkers in ℝᴰ, with the log-density where they are.

    Arguments:
        u: Shape ``(K, D)``.
        height: Shape ``(K,)``.
    """

    u: Tensor
    height: Tensor

    @classmethod
    def at(cls, log_density: LogDensity, u: Tensor) -> Walkers:
        """Walkers at u, shape ``(K, D)``.

        Raises:
            SamplingError: The density is zero, or not a number, where one starts.
        """
        height = evaluate(log_density, u)
        bad = int((~torch.isfinite(height)).sum())
        if bad:
            raise SamplingError(
                f"{bad} of {len(u)} walkers start where the density is zero or not a number; "
                "start all of them where it is positive"
            )
        return cls(u, height)

    def __len__(self) -> int:
        return len(self.u)


@torch.no_grad()
def run_slices(
    log_density: LogDensity, start: Walkers, *, draws: int, thin: int, generator: torch.Generator
) -> Tensor:
    """``draws`` of each walker, ``thin`` sweeps apart, shape ``(K, draws, D)``.

    Arguments:
        log_density: Of one density: ``(1, K, D)`` to ``(1, K)``.
        start: 2 (D + 1) walkers at least, not all in one hyperplane.
        draws, thin: How often and how seldom.
        generator: The result is a function of it.
    """
    walkers, kept = start, []
    for _ in range(draws):
        for _ in range(thin):
            walkers = sweep(log_density, walkers, generator)
        kept.append(walkers.u)
    return torch.stack(kept, dim=1)


@torch.no_grad()
def sweep(log_density: LogDensity, walkers: Walkers, generator: torch.Generator) -> Walkers:
    """One step of every walker."""
    k, d = walkers.u.shape
    if k < 2 * (d + 1):
        raise SamplingError(
            f"{k} walkers in {d} dimensions; expected {2 * (d + 1)} at least, so that their "
            "differences span the space"
        )
    order = torch.randperm(k, generator=generator)
    u, height = walkers.u.clone(), walkers.height.clone()
    for moved, other in ((order[: k // 2], order[k // 2 :]), (order[k // 2 :], order[: k // 2])):
        direction = _LENGTH * _differences(u[other], len(moved), generator)
        u[moved], height[moved] = _slice(log_density, u[moved], height[moved], direction, generator)
    return Walkers(u, height)


def evaluate(log_density: LogDensity, u: Tensor) -> Tensor:
    """The log-density at u, shape ``(K,)`` for ``(K, D)``; −∞ where it is not a number."""
    return log_density(u[None])[0].nan_to_num(nan=-torch.inf)


def drift(draws: Tensor) -> Tensor:
    """R̂ between the times of an ensemble, shape ``(D,)`` for draws of shape ``(K, S, D)``.

    √((S_w + B)/S_w) with S_w the variance over walkers, averaged over the times, and B that of the
    means at the times beyond what K independent walkers have. Walkers that have not settled move
    together: 1.01 is a movement by 0.14 standard deviations. Each walker by itself need not cross
    the posterior, so that Gelman and Rubin's, between chains, would say nothing.
    """
    within = draws.var(dim=0).mean(0)
    between = (draws.mean(0).var(dim=0) - within / len(draws)).clamp(min=0)
    return torch.sqrt(1 + between / within)


def ensemble_sample_size(draws: Tensor) -> Tensor:
    """How many independent draws an ensemble is worth, shape ``(D,)`` for ``(K, S, D)``.

    KS/(1 + 2 Σₜ (1 − t/S) ρ(t)), with ρ(t) the correlation over walkers of draws t apart. The
    walkers count as independent at the start; those that annealing duplicated are less.
    """
    walkers, times, _ = draws.shape
    centred = draws - draws.mean(0)
    variance = centred.square().mean((0, 1))
    total = torch.ones_like(variance)
    for t in range(1, times):
        lagged = (centred[:, t:] * centred[:, : times - t]).mean((0, 1)) / variance
        total = total + 2 * (1 - t / times) * lagged.clamp(min=0)
    return walkers * times / total


def _differences(others: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Of n pairs of two different walkers, shape ``(n, D)``."""
    first = torch.randint(len(others), (n,), generator=generator)
    step = torch.randint(1, len(others), (n,), generator=generator)
    return others[first] - others[(first + step) % len(others)]


def _slice(
    log_density: LogDensity,
    u: Tensor,
    height: Tensor,
    direction: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """A step of each walker along its direction; only those still searching are evaluated."""
    uniform = torch.rand(2, len(u), generator=generator, dtype=u.dtype)
    level = height + uniform[0].clamp(min=1e-300).log()
    low, high = -uniform[1], 1 - uniform[1]
    new_u, new_height = u.clone(), height.clone()
    searching = torch.arange(len(u))
    for _ in range(_SHRINKS):
        draw = torch.rand(len(searching), generator=generator, dtype=u.dtype)
        t = low[searching] + draw * (high[searching] - low[searching])
        trial = u[searching] + t[:, None] * direction[searching]
        found = evaluate(log_density, trial)
        above = found > level[searching]
        new_u[searching[above]], new_height[searching[above]] = trial[above], found[above]
        low[searching] = torch.where(t < 0, t, low[searching])
        high[searching] = torch.where(t < 0, high[searching], t)
        searching = searching[~above]
        if not len(searching):
            break
    return new_u, new_height
