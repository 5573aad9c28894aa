r"""Fits and MINOS intervals by Minuit, over value and gradient by automatic differentiation.

One data set at a time, the field's reference beside :mod:`hepgen.inference.statistics.fit`
(James and Roos, Comput. Phys. Commun. 10 (1975) 343; iminuit). Minuit minimises −log L, so its
``errordef`` is ½.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import iminuit
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.fit import (
    Bounds,
    Fit,
    box,
    defaults,
    fit_points,
    index,
    prior_scale,
)
from hepgen.inference.statistics.intervals import LEVELS
from hepgen.statements import Interval

_ZERO = 1e12
"""−log L where the likelihood is zero: Minuit cannot walk among infinities."""


def minuit_fit(
    likelihood: Likelihood,
    data: DataSets,
    *,
    fixed: Mapping[str, float] = {},
    start: Tensor | None = None,
    bounds: Bounds = {},  # noqa: B006
) -> Fit:
    """The best fit of one data set by MIGRAD and HESSE.

    Arguments:
        likelihood: With the parameters.
        data: One data set.
        fixed: Values that are held, by name.
        start: Shape ``(D,)``; the defaults of the parameters where there is none.
        bounds: Narrower ranges than those of the parameters, by name.

    >>> from hepgen.inference.binned import correlated_background
    >>> model = correlated_background([12, 11], [50, 52], [45, 57], [55, 47], low=-5.0)
    >>> found = minuit_fit(model, model.observed([51, 48]))
    >>> round(found.column("mu").item(), 3), found.status
    (-0.126, ('converged',))
    """
    minimiser, begin = _minimised(likelihood, data, fixed, start, bounds)
    theta = torch.tensor(list(minimiser.values), dtype=torch.float64)
    held = torch.tensor([name in fixed for name in likelihood.parameters.free_names])
    # Gradient and curvature as of every other fit, at this point.
    at = fit_points(likelihood, data, theta[None, None], held[None, None], bounds=bounds, steps=0)
    low, high = box(likelihood.parameters, bounds)
    edge = 1e-2 * torch.tensor(list(minimiser.errors), dtype=torch.float64)
    matrix = minimiser.covariance
    return replace(
        at.at(0),
        covariance=None if matrix is None else torch.tensor(np.array(matrix))[None],
        converged=torch.tensor([bool(minimiser.valid)]),
        at_bound=(~held & ((theta - low < edge) | (high - theta < edge)))[None],
        start=begin[None],
        distance=torch.tensor([minimiser.fmin.edm if minimiser.fmin else math.nan]).double(),
    )


def minos_intervals(
    likelihood: Likelihood,
    data: DataSets,
    parameter: str,
    *,
    levels: Sequence[float] = LEVELS,
    start: Tensor | None = None,
) -> tuple[Interval, ...]:
    """MINOS intervals of one parameter at each level: where the profile crosses χ².

    Minuit finds one crossing on each side; :func:`profile_intervals` also finds further pieces.
    """
    index(likelihood.parameters, parameter)
    minimiser, _ = _minimised(likelihood, data, {}, start, {})
    unit = likelihood.parameters[parameter].unit
    best, found = float(minimiser.values[parameter]), []
    for level in levels:
        words = [] if minimiser.valid else ["MIGRAD did not converge; try another start"]
        minimiser.minos(parameter, cl=level)
        error = minimiser.merrors[parameter]
        open_ends = bool(error.at_lower_limit), bool(error.at_upper_limit)
        for valid, is_open, side in zip(
            (error.lower_valid, error.upper_valid), open_ends, ("below", "above"), strict=True
        ):
            if is_open:
                words.append(f"the interval of {parameter} is open {side}, at its bound")
            elif not valid:
                words.append(f"MINOS found no crossing {side} {best:.6g}; see the profile instead")
        ends = best + float(error.lower), best + float(error.upper)
        found.append(
            Interval(
                parameter, float(level), best, (ends,), "minos", *open_ends, unit, tuple(words)
            )
        )
    return tuple(found)


def _minimised(
    likelihood: Likelihood,
    data: DataSets,
    fixed: Mapping[str, float],
    start: Tensor | None,
    bounds: Bounds,
) -> tuple[iminuit.Minuit, Tensor]:
    parameters = likelihood.parameters
    begin = (defaults(parameters) if start is None else start.double()).clone()
    for name, value in fixed.items():
        begin[index(parameters, name)] = value

    def height(theta: NDArray[np.float64]) -> float:
        with torch.no_grad():
            found = likelihood.log_likelihoods(data, torch.tensor(theta)[None, None])
        return -found.item() if math.isfinite(found.item()) else _ZERO

    def gradient(theta: NDArray[np.float64]) -> NDArray[np.float64]:
        at = torch.tensor(theta)[None, None].requires_grad_(True)
        with torch.enable_grad():
            total = -likelihood.log_likelihoods(data, at).sum()
            (slope,) = torch.autograd.grad(total, at)
        return slope[0, 0].nan_to_num(0.0, 0.0, 0.0).numpy()

    minimiser = iminuit.Minuit(height, begin.numpy(), grad=gradient, name=parameters.free_names)
    minimiser.errordef = iminuit.Minuit.LIKELIHOOD
    minimiser.errors = (0.1 * prior_scale(parameters)).tolist()
    minimiser.limits = list(zip(*(b.tolist() for b in box(parameters, bounds)), strict=True))
    for name in fixed:
        minimiser.fixed[name] = True
    minimiser.tol = 1e-3
    minimiser.migrad()
    minimiser.hesse()
    return minimiser, begin
