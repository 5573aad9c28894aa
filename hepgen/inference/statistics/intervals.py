"""Confidence intervals by the crossings of the profile likelihood ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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
    at_end,
    box,
    curvature_error,
    fit,
    index,
)
from hepgen.inference.statistics.profile import Profile, conditional_fit, profile, ratio
from hepgen.parameters import Parameter
from hepgen.statements import Interval

Array = NDArray[np.float64]

LEVELS = (0.68, 0.95)

_REACH = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, 25.0)
"""Where an interval is looked for, in standard errors from the best fit."""

_OVER_THE_RANGE = 17


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
    parameter, and about the maxima of L that a search from its minima on these points leads to;
    between points where it crosses a threshold the crossing is solved for. So a set of several
    pieces is found as such, unless nothing of a piece is seen in t at the points.
    """
    best = best or fit(likelihood, sets, bounds=bounds)
    low, high = (
        b[index(likelihood.parameters, parameter)] for b in box(likelihood.parameters, bounds)
    )
    grid = _reach(best, parameter, low, high)
    found = profile(likelihood, sets, {parameter: grid}, best=best, bounds=bounds)
    others = _about_other_maxima(likelihood, sets, parameter, grid, found, bounds)
    if others.numel():
        grid = torch.cat([grid, others], dim=1).clamp(low, high).sort(dim=1).values
        found = profile(likelihood, sets, {parameter: grid}, best=found.best, bounds=bounds)
    best = found.best
    crossing = _Crossing(likelihood, sets, parameter, best, bounds)
    thresholds = chi2.ppf(levels, 1)
    solved = crossing.solve(grid.numpy(), found.statistic.numpy(), thresholds)
    one, limits = likelihood.parameters[parameter], (low.item(), high.item())
    return [
        tuple(
            _interval(pieces, float(level), s, one, found, limits, s in crossing.failed)
            for pieces, level in zip(row, levels, strict=True)
        )
        for s, row in enumerate(solved)
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
    failed: set[int] = field(default_factory=set)
    """Data sets with a fit on the way to a crossing that did not converge."""

    def statistic(self, rows: NDArray[np.int64], values: Array) -> Array:
        """t of the set of each row at one value each, shapes ``(M,)``."""
        at = torch.from_numpy(np.asarray(values, dtype=np.float64))
        if len(self.sets) == 1:
            best, sets, grid = self.best, self.sets, at[None]
        else:
            chosen = torch.from_numpy(np.asarray(rows, dtype=np.int64))
            best, sets, grid = self.best.at_rows(chosen), self.sets[chosen], at[:, None]
        named = {self.parameter: grid}
        found = conditional_fit(self.likelihood, sets, named, best, self.bounds)
        bad = ~found.converged & torch.isfinite(found.log_likelihood)
        self.failed.update(np.asarray(rows)[bad.reshape(-1).numpy()].tolist())
        return ratio(best, found).reshape(-1).numpy()

    def solve(self, grid: Array, t: Array, thresholds: Array) -> list[list[_Pieces]]:
        """The pieces below each threshold, for each set; grid and t of shape ``(S, K)``."""
        above = t[:, None, :] - thresholds[:, None] >= 0
        sets, levels, at = np.nonzero(above[..., 1:] != above[..., :-1])
        roots = self._roots(sets, grid[sets, at], grid[sets, at + 1], thresholds[levels])
        return [
            [
                _pieces(grid[s], above[s, j], roots[(sets == s) & (levels == j)])
                for j in range(len(thresholds))
            ]
            for s in range(len(t))
        ]

    def _roots(
        self,
        rows: NDArray[np.int64],
        left: Array,
        right: Array,
        threshold: Array,
    ) -> Array:
        def difference(x: Array, row: NDArray[np.int64], level: Array) -> Array:
            return self.statistic(row, x) - level

        if not len(rows):
            return np.empty(0)
        found = elementwise.find_root(
            difference, (left, right), args=(rows, threshold),
            tolerances={"xrtol": 1e-10, "xatol": 0.0, "fatol": 1e-6, "frtol": 0.0}, maxiter=30,
        )  # fmt: skip
        return np.asarray(found.x, dtype=np.float64)


def _pieces(grid: Array, above: NDArray[np.bool_], roots: Array) -> _Pieces:
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
    parameter: Parameter,
    profiled: Profile,
    limits: tuple[float, float],
    failed: bool,
) -> Interval:
    what = f"{100 * level:g} % interval of {parameter.name}"
    words = list(profiled.best.warnings(s))
    bad = int(profiled.failed[s].sum())
    if bad:
        words.append(f"{bad} of {profiled.statistic.shape[1]} fits along {parameter.name} failed")
    if failed:
        words.append(f"a fit at an end of the {what} did not converge: the end is uncertain")
    # At the end of its physical range a parameter ends, and the set with it.
    below = found.open_low and not at_end(limits[0], parameter.low)
    above = found.open_high and not at_end(limits[1], parameter.high)
    for is_open, end, side in zip((below, above), limits, ("below", "above"), strict=True):
        where = f"up to the bound {end:.6g}" if np.isfinite(end) else "within 25 standard errors"
        if is_open:
            words.append(f"the {what} is open {side}: t does not cross the threshold {where}")
    if len(found.pieces) > 1:
        words.append(f"the {what} has {len(found.pieces)} pieces")
    best = profiled.best.column(parameter.name)[s].item()
    return Interval(
        parameter.name, level, best, found.pieces, "profile", below, above,
        parameter.unit, tuple(words),
    )  # fmt: skip


def _reach(best: Fit, parameter: str, low: Tensor, high: Tensor) -> Tensor:
    """Points to look at, shape ``(S, K)``, ascending, inside of the range."""
    centre, error = best.column(parameter), curvature_error(best, parameter)
    steps = torch.tensor([-r for r in reversed(_REACH)] + [0.0, *_REACH], dtype=torch.float64)
    grid = centre[:, None] + error[:, None] * steps
    if torch.isfinite(low) and torch.isfinite(high):
        even = torch.linspace(0, 1, _OVER_THE_RANGE, dtype=torch.float64)
        over = low + (high - low) * even
        grid = torch.cat([grid, over.expand(len(centre), -1)], dim=1)
    return grid.clamp(low, high).sort(dim=1).values


def _about_other_maxima(
    likelihood: Likelihood,
    sets: DataSets,
    parameter: str,
    grid: Tensor,
    found: Profile,
    bounds: Bounds,
) -> Tensor:
    """Points about maxima of L other than the best fit, shape ``(S, K')``; mostly there are none.

    A search for each begins where t has a minimum on the grid, shape ``(S, K)``.
    """
    t, best = found.statistic, found.best
    near = curvature_error(best, parameter)[:, None] * _REACH[0]
    lowest = (t[:, 1:-1] < t[:, :-2]) & (t[:, 1:-1] <= t[:, 2:])
    lowest &= (grid[:, 1:-1] - best.column(parameter)[:, None]).abs() > near
    rows, at = lowest.nonzero(as_tuple=True)
    if not len(rows):
        return grid[:, :0]
    start = found.conditional.theta[rows, at + 1]
    maxima = fit(likelihood, sets[rows], start=start, bounds=bounds)
    steps = torch.tensor([s * r for s in (-1, 1) for r in (0.0, *_REACH[1::3])]).double()
    points = maxima.column(parameter)[:, None] + curvature_error(maxima, parameter)[:, None] * steps
    # Where a data set has fewer than another, points are said twice.
    number = torch.bincount(rows, minlength=len(grid))
    filled = (
        grid[:, :1].repeat(1, int(number.max()) * len(steps)).reshape(len(grid), -1, len(steps))
    )
    place = torch.arange(len(rows)) - (number.cumsum(0) - number)[rows]
    filled[rows, place] = points
    return filled.reshape(len(grid), -1)
