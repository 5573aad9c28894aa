r"""The profile likelihood ratio.

.. math:: t(\mu) = -2 \ln \frac{L(\mu, \hat{\hat\nu}(\mu))}{L(\hat\mu, \hat\nu)}

By Wilks' theorem t of the true μ follows χ² with as many degrees of freedom as there are
parameters in μ, once the data are many and the truth is far from a bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.fit import (
    Bounds,
    Fit,
    box,
    fit,
    fit_points,
    index,
    joined,
    profile_fit,
)

MOST = 1e6
"""t where the likelihood is zero, so that a root can be bracketed."""

_HIGHER = 1e-4
_ON_THE_WAY = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)


@dataclass(frozen=True)
class Profile:
    """S data sets at K values of some parameters.

    Arguments:
        best: The S best fits.
        conditional: The best fits with the values held, shape ``(S, K, …)``.
        statistic: t, shape ``(S, K)``, from 0.
    """

    best: Fit
    conditional: Fit
    statistic: Tensor

    @property
    def converged(self) -> Tensor:
        """Whether both fits did, shape ``(S, K)``."""
        return self.conditional.converged & self.best.converged[:, None]

    @property
    def failed(self) -> Tensor:
        """Where a search began in the support and did not converge, shape ``(S, K)``.

        There t may be anything: also where log L is NaN, which :func:`ratio` takes for −∞.
        """
        return ~self.conditional.converged & (self.conditional.log_likelihood != -torch.inf)

    @property
    def unknown(self) -> Tensor:
        """Where t is not to be believed, shape ``(S, K)``: one of its two fits failed.

        A conditional likelihood of zero is no failure: t is :data:`MOST`.
        """
        return self.failed | ~self.best.converged[:, None]


def profile(
    likelihood: Likelihood,
    sets: DataSets,
    values: Mapping[str, Tensor],
    *,
    best: Fit | None = None,
    bounds: Bounds = {},  # noqa: B006
) -> Profile:
    """t of S data sets at K values, and the fits behind it.

    Each conditional fit starts where the curvature at the best fit sends it. Where one finds a
    point above the best fit, the best fit is made anew from there.

    Arguments:
        likelihood: With the parameters.
        sets: S data sets.
        values: By name, each of shape ``(K,)`` or ``(S, K)``.
        best: The best fits, if they are known.
        bounds: Narrower ranges than those of the parameters, by name.
    """
    best = best or fit(likelihood, sets, bounds=bounds)
    grid = {name: v.double().expand(len(sets), -1) for name, v in values.items()}
    found = conditional_fit(likelihood, sets, grid, best, bounds)
    best = _renewed(likelihood, sets, best, found, bounds)
    return Profile(best, found, ratio(best, found))


def conditional_fit(
    likelihood: Likelihood,
    sets: DataSets,
    values: Mapping[str, Tensor],
    best: Fit,
    bounds: Bounds = {},  # noqa: B006
) -> Fit:
    """The best fits with some values held, each of shape ``(S, K)``, of shapes ``(S, K, …)``.

    They start where the curvature at the best fit sends the other parameters, or on the way there
    where log L is higher: far away the curvature may point at a wall.
    """
    ahead, stay = best.shifted(values), best.theta[:, None].expand(-1, _points(values), -1).clone()
    for name, value in values.items():
        stay[..., index(likelihood.parameters, name)] = value
    low, high = box(likelihood.parameters, bounds)
    trial = stay[:, :, None] + _ON_THE_WAY[:, None] * (ahead - stay)[:, :, None]
    s, k, m, d = trial.shape
    inside = torch.minimum(torch.maximum(trial, low), high)
    trial = torch.where(stay[:, :, None] == ahead[:, :, None], trial, inside)
    with torch.no_grad():
        height = likelihood.log_likelihoods(sets, trial.reshape(s, k * m, d)).reshape(s, k, m)
    first = height.nan_to_num(nan=-torch.inf).argmax(-1)[..., None, None].expand(s, k, 1, d)
    return profile_fit(likelihood, sets, values, trial.gather(2, first)[:, :, 0], bounds)


def _points(values: Mapping[str, Tensor]) -> int:
    return next(iter(values.values())).shape[1]


def ratio(best: Fit, conditional: Fit) -> Tensor:
    """t of S best fits and of conditional ones of shape ``(S, K, …)``, from 0 to ``MOST``."""
    t = 2 * (best.log_likelihood[:, None] - conditional.log_likelihood)
    return t.nan_to_num(nan=MOST).clamp(0.0, MOST)


def _renewed(likelihood: Likelihood, sets: DataSets, best: Fit, found: Fit, bounds: Bounds) -> Fit:
    """The best fits, from the highest conditional ones where those are higher."""
    low, high = box(likelihood.parameters, bounds)
    inside = ((found.theta >= low) & (found.theta <= high)).all(-1)
    height = torch.where(inside, found.log_likelihood, -torch.inf).nan_to_num(nan=-torch.inf)
    top, at = height.max(1)
    if not bool((top > best.log_likelihood + _HIGHER).any()):
        return best
    start = found.theta[torch.arange(len(at)), at]
    start = torch.where(torch.isfinite(top)[:, None], start, best.theta)
    held = best.fixed[:, None]
    again = fit_points(likelihood, sets, start[:, None], held, bounds=bounds)
    return joined(best, again.at(0))


def from_neighbours(likelihood: Likelihood, sets: DataSets, found: Profile) -> Profile:
    """Points whose neighbour's nuisance parameters are better are fitted anew from there.

    A conditional fit may end in a lower maximum; along a scan its neighbour may not have.
    """
    at, held = found.conditional, found.conditional.fixed
    for _ in range(at.theta.shape[1]):
        before = at
        for shift in (1, -1):
            start = torch.where(held, at.theta, at.theta.roll(shift, dims=1))
            with torch.no_grad():
                height = likelihood.log_likelihoods(sets, start)
            if bool((height > at.log_likelihood + _HIGHER).any()):
                at = joined(at, fit_points(likelihood, sets, start, held))
        if at is before:
            break
    if at is found.conditional:
        return found
    best = _renewed(likelihood, sets, found.best, at, {})
    return replace(found, best=best, conditional=at, statistic=ratio(best, at))
