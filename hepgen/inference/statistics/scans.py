"""Scans of the profile likelihood ratio, over one parameter and over two."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi2

from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.fit import Fit, box, curvature_error, fit, index
from hepgen.inference.statistics.intervals import LEVELS, profile_intervals
from hepgen.inference.statistics.profile import Profile, from_neighbours, profile
from hepgen.statements import Interval, ProfileContour, ProfileScan

_MOST = 401


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
        values: Where; by default 3.5 standard errors about the best fit, and as far as an interval
            has pieces.
        points: How many of those about the best fit.
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
    found = _along(likelihood, sets, parameter, grid, best)
    (intervals,) = profile_intervals(likelihood, sets, parameter, levels=levels, best=found.best)
    if values is None and len(wider := _over_pieces(likelihood, parameter, grid, intervals)):
        grid = wider
        found = _along(likelihood, sets, parameter, grid, found.best)
    others = [n for n in likelihood.parameters.free_names if n != parameter]
    columns = [index(likelihood.parameters, n) for n in others]
    bad = ~found.converged[0]
    return ProfileScan(
        parameter=parameter,
        values=np.asarray(grid, dtype=np.float64),
        statistic=found.statistic[0].masked_fill(bad, torch.nan).numpy(),
        best=found.best.theta[0, i].item(),
        error=found.best.errors[0, i].item(),
        intervals=intervals,
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


def _grid(likelihood: Likelihood, best: Fit, parameter: str, points: int) -> NDArray[np.float64]:
    low, high = (
        b[index(likelihood.parameters, parameter)].item() for b in box(likelihood.parameters)
    )
    centre, error = best.column(parameter)[0].item(), curvature_error(best, parameter)[0].item()
    return np.linspace(max(low, centre - 3.5 * error), min(high, centre + 3.5 * error), points)


def _along(
    likelihood: Likelihood, sets: DataSets, parameter: str, grid: NDArray[np.float64], best: Fit
) -> Profile:
    at = torch.as_tensor(np.asarray(grid, dtype=np.float64))
    return from_neighbours(likelihood, sets, profile(likelihood, sets, {parameter: at}, best=best))


def _over_pieces(
    likelihood: Likelihood,
    parameter: str,
    grid: NDArray[np.float64],
    intervals: Sequence[Interval],
) -> NDArray[np.float64]:
    """A wider grid where an interval has a piece beyond the ends of this one; else nothing.

    It goes on for a fifth of the first beyond them, 1.5 standard errors.
    """
    ends = [end for one in intervals for piece in one.pieces for end in piece]
    i = index(likelihood.parameters, parameter)
    low, high = (bound[i].item() for bound in box(likelihood.parameters))
    first, last, width = grid[0], grid[-1], grid[-1] - grid[0]
    if not ends or not width > 0 or (min(ends) >= first and max(ends) <= last):
        return np.empty(0)
    if min(ends) < first:
        first = max(low, min(ends) - 0.2 * width)
    if max(ends) > last:
        last = min(high, max(ends) + 0.2 * width)
    points = math.ceil((last - first) / width * (len(grid) - 1)) + 1
    return np.linspace(first, last, min(points, _MOST))


def _failures(found: Profile, along: str) -> tuple[str, ...]:
    bad = found.failed.nonzero()
    if not len(bad):
        return ()
    place = (int(bad[0, 0]), int(bad[0, 1]))
    first = found.conditional.warnings(*place)[0]
    return (
        f"{len(bad)} of {found.statistic.numel()} fits along {along} failed; the first: {first}",
    )
