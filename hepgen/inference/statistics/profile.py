r"""The profile likelihood ratio, scans of it, and intervals.

.. math:: t(\mu) = -2 \ln \frac{L(\mu, \hat{\hat\nu}(\mu))}{L(\hat\mu, \hat\nu)}

By Wilks' theorem t of the true μ follows χ² with as many degrees of freedom as there are
parameters in μ, once the data are many and the truth is far from a bound. An interval is where t
is below the quantile of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import elementwise
from scipy.stats import chi2
from torch import Tensor

from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.fit import (
    Bounds,
    Fit,
    box,
    curvature_error,
    fit,
    fit_points,
    index,
    joined,
    profile_fit,
)
from hepgen.statements import Interval, ProfileContour, ProfileScan

LEVELS = (0.68, 0.95)

_REACH = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, 25.0)
"""Where an interval is looked for, in standard errors from the best fit."""

_OVER_THE_RANGE = 17
_HIGHER = 1e-4
_MOST = 1e6
"""t where the likelihood is zero, so that a root can be bracketed."""


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
        """Where a search began in the support and did not converge, shape ``(S, K)``."""
        return ~self.conditional.converged & torch.isfinite(self.conditional.log_likelihood)


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
    found = profile_fit(likelihood, sets, grid, best.shifted(grid), bounds)
    best = _renewed(likelihood, sets, best, found, bounds)
    t = 2 * (best.log_likelihood[:, None] - found.log_likelihood)
    return Profile(best, found, t.nan_to_num(nan=_MOST).clamp(0.0, _MOST))


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


def profile_scan(
    likelihood: Likelihood,
    sets: DataSets,
    parameter: str,
    *,
    values: Sequence[float] | NDArray[np.float64] | None = None,
    points: int = 41,
    levels: Sequence[float] = LEVELS,
    best: Fit | None = None,
) -> ProfileScan:
    """t along one parameter for one data set, with the intervals.

    Arguments:
        likelihood: With the parameters.
        sets: One data set.
        parameter: To scan.
        values: Where; by default 3.5 standard errors about the best fit.
        points: How many of those.
        levels: Of the intervals.
        best: The best fit, if it is known.

    >>> from hepgen.inference.binned import correlated_background
    >>> model = correlated_background([12, 11], [50, 52], [45, 57], [55, 47], low=-5.0)
    >>> scan = profile_scan(model, model.observed([51, 48]), "mu")
    >>> round(scan.best, 3), scan.intervals[0].level, scan.intervals[0].method
    (-0.126, 0.68, 'profile')
    """
    best = best or fit(likelihood, sets)
    one = likelihood.parameters[parameter]
    i = index(likelihood.parameters, parameter)
    grid = _grid(likelihood, best, parameter, points) if values is None else np.sort(values)
    at = torch.as_tensor(np.asarray(grid, dtype=np.float64))
    found = profile(likelihood, sets, {parameter: at}, best=best)
    found = _from_neighbours(likelihood, sets, found)
    others = [n for n in likelihood.parameters.free_names if n != parameter]
    columns = [index(likelihood.parameters, n) for n in others]
    bad = ~found.converged[0]
    return ProfileScan(
        parameter=parameter,
        values=at.numpy(),
        statistic=found.statistic[0].masked_fill(bad, torch.nan).numpy(),
        best=found.best.theta[0, i].item(),
        error=found.best.errors[0, i].item(),
        intervals=profile_intervals(likelihood, sets, parameter, levels=levels, best=found.best)[0],
        others=tuple(others),
        profiled=found.conditional.theta[0][:, columns].numpy(),
        unit=one.unit,
        label=one.label,
        warnings=found.best.warnings(0) + _failures(found, parameter),
    )


def profile_contour(
    likelihood: Likelihood,
    sets: DataSets,
    parameters: tuple[str, str],
    *,
    points: int = 25,
    values: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    levels: Sequence[float] = LEVELS,
    best: Fit | None = None,
) -> ProfileContour:
    """t over a grid of two parameters for one data set.

    Arguments:
        likelihood: With the parameters.
        sets: One data set.
        parameters: The two.
        points: In each direction.
        values: The grid of each; by default 3.5 standard errors about the best fit.
        levels: Of the regions.
        best: The best fit, if it is known.
    """
    best = best or fit(likelihood, sets)
    grids = values or tuple(_grid(likelihood, best, name, points) for name in parameters)
    x, y = (torch.as_tensor(np.asarray(g, dtype=np.float64)) for g in grids)
    mesh = torch.cartesian_prod(x, y)
    at = dict(zip(parameters, mesh.unbind(-1), strict=True))
    found = profile(likelihood, sets, at, best=best)
    columns = [index(likelihood.parameters, name) for name in parameters]
    covariance = found.best.covariance
    two = [likelihood.parameters[name] for name in parameters]
    statistic = found.statistic[0].masked_fill(~found.converged[0], torch.nan)
    centre = found.best.theta[0, columns].tolist()
    return ProfileContour(
        parameters=parameters,
        x=x.numpy(),
        y=y.numpy(),
        statistic=statistic.reshape(len(x), len(y)).numpy(),
        best=(centre[0], centre[1]),
        covariance=np.full((2, 2), np.nan)
        if covariance is None
        else (covariance[0][columns][:, columns].numpy()),
        levels=tuple(levels),
        thresholds=tuple(chi2.ppf(levels, 2).tolist()),
        units=(two[0].unit, two[1].unit),
        labels=(two[0].label, two[1].label),
        warnings=found.best.warnings(0) + _failures(found, " and ".join(parameters)),
    )


def profile_intervals(
    likelihood: Likelihood,
    sets: DataSets,
    parameter: str,
    *,
    levels: Sequence[float] = LEVELS,
    best: Fit | None = None,
    bounds: Bounds = {},  # noqa: B006
) -> list[tuple[Interval, ...]]:
    """For each of S data sets, the interval at each level: where t < the quantile of χ².

    t is evaluated at points out to 25 standard errors and over the whole range of a bounded
    parameter; between points where it crosses a threshold the crossing is solved for. So a set
    of several pieces is found as such, unless a piece is narrower than the points.
    """
    best = best or fit(likelihood, sets, bounds=bounds)
    low, high = (
        b[index(likelihood.parameters, parameter)] for b in box(likelihood.parameters, bounds)
    )
    grid = _reach(likelihood, best, parameter, low, high)
    found = profile(likelihood, sets, {parameter: grid}, best=best, bounds=bounds)
    best = found.best
    crossing = _Crossing(likelihood, sets, parameter, best, bounds)
    thresholds = chi2.ppf(levels, 1)
    solved = crossing.solve(grid.numpy(), found.statistic.numpy(), thresholds)
    return [
        tuple(
            _interval(
                solved[s][j], level, s, parameter, likelihood, found, (low.item(), high.item())
            )
            for j, level in enumerate(levels)
        )
        for s in range(len(sets))
    ]


@dataclass(frozen=True)
class _Pieces:
    pieces: tuple[tuple[float, float], ...]
    open_low: bool
    open_high: bool


@dataclass(frozen=True)
class _Crossing:
    """Where t of S data sets crosses thresholds along one parameter."""

    likelihood: Likelihood
    sets: DataSets
    parameter: str
    best: Fit
    bounds: Bounds

    def statistic(
        self, rows: NDArray[np.int64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """t of the set of each row at one value each, shapes ``(M,)``."""
        at = torch.from_numpy(np.asarray(values, dtype=np.float64))
        if len(self.sets) == 1:
            best, sets, grid = self.best, self.sets, at[None]
        else:
            index_ = torch.from_numpy(np.asarray(rows, dtype=np.int64))
            best, sets, grid = self.best.at_rows(index_), self.sets[index_], at[:, None]
        named = {self.parameter: grid}
        found = profile_fit(self.likelihood, sets, named, best.shifted(named), self.bounds)
        t = 2 * (best.log_likelihood[:, None] - found.log_likelihood)
        return t.nan_to_num(nan=_MOST).clamp(0.0, _MOST).reshape(-1).numpy()

    def solve(
        self, grid: NDArray[np.float64], t: NDArray[np.float64], thresholds: NDArray[np.float64]
    ) -> list[list[_Pieces]]:
        """The pieces below each threshold, for each set; grid and t of shape ``(S, K)``."""
        above = t[:, None, :] - thresholds[:, None] >= 0
        sets, levels, at = np.nonzero(above[..., 1:] != above[..., :-1])
        roots = (
            self._roots(sets, grid[sets, at], grid[sets, at + 1], thresholds[levels])
            if len(sets)
            else np.empty(0)
        )
        out = []
        for s in range(len(t)):
            row = []
            for j in range(len(thresholds)):
                mine = (sets == s) & (levels == j)
                row.append(_pieces(grid[s], above[s, j], roots[mine]))
            out.append(row)
        return out

    def _roots(
        self,
        rows: NDArray[np.int64],
        left: NDArray[np.float64],
        right: NDArray[np.float64],
        threshold: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        def difference(
            x: NDArray[np.float64], row: NDArray[np.int64], level: NDArray[np.float64]
        ) -> NDArray[np.float64]:
            return self.statistic(row, x) - level

        found = elementwise.find_root(
            difference, (left, right), args=(rows, threshold),
            tolerances={"xrtol": 1e-10, "xatol": 0.0, "fatol": 1e-6, "frtol": 0.0}, maxiter=30,
        )  # fmt: skip
        return np.asarray(found.x, dtype=np.float64)


def _pieces(
    grid: NDArray[np.float64], above: NDArray[np.bool_], roots: NDArray[np.float64]
) -> _Pieces:
    """Runs of points below the threshold, from crossing to crossing."""
    inside = not above[0]
    edges = ([float(grid[0])] if inside else []) + roots.tolist()
    if not above[-1]:
        edges.append(float(grid[-1]))
    pairs = tuple(zip(edges[::2], edges[1::2], strict=True))
    return _Pieces(pairs, bool(inside), bool(not above[-1]))


def _interval(
    found: _Pieces,
    level: float,
    s: int,
    parameter: str,
    likelihood: Likelihood,
    profiled: Profile,
    limits: tuple[float, float],
) -> Interval:
    one = likelihood.parameters[parameter]
    words = list(profiled.best.warnings(s))
    bad = int(profiled.failed[s].sum())
    if bad:
        words.append(f"{bad} of {profiled.statistic.shape[1]} fits along {parameter} failed")
    for is_open, end, side in zip(
        (found.open_low, found.open_high), limits, ("below", "above"), strict=True
    ):
        if is_open:
            words.append(
                f"the {100 * level:g} % interval of {parameter} is open {side}: t does not cross "
                f"the threshold {'before the bound ' + format(end, '.6g') if np.isfinite(end) else 'in 25 standard errors'}"
            )
    if len(found.pieces) > 1:
        words.append(f"the {100 * level:g} % set of {parameter} has {len(found.pieces)} pieces")
    return Interval(
        parameter, float(level), profiled.best.column(parameter)[s].item(), found.pieces,
        "profile", found.open_low, found.open_high, one.unit, tuple(words),
    )  # fmt: skip


def _reach(likelihood: Likelihood, best: Fit, parameter: str, low: Tensor, high: Tensor) -> Tensor:
    """Points to look at, shape ``(S, K)``, ascending, inside of the range."""
    centre, error = best.column(parameter), curvature_error(best, parameter)
    steps = torch.tensor([-r for r in reversed(_REACH)] + [0.0, *_REACH], dtype=torch.float64)
    grid = centre[:, None] + error[:, None] * steps
    if torch.isfinite(low) and torch.isfinite(high):
        even = torch.linspace(0, 1, _OVER_THE_RANGE, dtype=torch.float64)
        over = low + (high - low) * even
        grid = torch.cat([grid, over.expand(len(centre), -1)], dim=1)
    return grid.clamp(low, high).sort(dim=1).values


def _grid(likelihood: Likelihood, best: Fit, parameter: str, points: int) -> NDArray[np.float64]:
    low, high = (
        b[index(likelihood.parameters, parameter)].item() for b in box(likelihood.parameters)
    )
    centre, error = best.column(parameter)[0].item(), curvature_error(best, parameter)[0].item()
    return np.linspace(max(low, centre - 3.5 * error), min(high, centre + 3.5 * error), points)


def _from_neighbours(likelihood: Likelihood, sets: DataSets, found: Profile) -> Profile:
    """Points whose neighbour's nuisance parameters are better are fitted anew from there."""
    at, held = found.conditional, found.conditional.fixed
    if at.theta.shape[1] < 2:
        return found
    for shift in (1, -1):
        start = torch.where(held, at.theta, at.theta.roll(shift, dims=1))
        with torch.no_grad():
            height = likelihood.log_likelihoods(sets, start)
        if bool((height > at.log_likelihood + _HIGHER).any()):
            at = joined(at, fit_points(likelihood, sets, start, held))
    if at is found.conditional:
        return found
    best = _renewed(likelihood, sets, found.best, at, {})
    t = 2 * (best.log_likelihood[:, None] - at.log_likelihood)
    return replace(found, best=best, conditional=at, statistic=t.clamp(0.0, _MOST))


def _failures(found: Profile, along: str) -> tuple[str, ...]:
    bad = found.failed.nonzero()
    if not len(bad):
        return ()
    place = (int(bad[0, 0]), int(bad[0, 1]))
    first = found.conditional.warnings(*place)[0]
    return (
        f"{len(bad)} of {found.statistic.numel()} fits along {along} failed; the first: {first}",
    )
