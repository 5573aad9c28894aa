r"""Pulls of nuisance parameters, their impacts on parameters of interest, and the breakdown.

.. math:: \mathrm{pull}_j = \frac{\hat\nu_j - a_j}{\sigma_j}, \qquad
          \mathrm{impact}_j^\pm = \hat{\hat\mu}(\nu_j = \hat\nu_j \pm \Delta_j) - \hat\mu

with all other parameters refitted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.fit import Fit, box, curvature_error, fit, fit_points, index
from hepgen.parameters import Normal, ParameterSet
from hepgen.statements import Breakdown, Impact, Impacts


@runtime_checkable
class Constrained(Protocol):
    """A likelihood that knows of constraints that are not Normal priors."""

    @property
    def constraints(self) -> Mapping[str, tuple[float, float]]:
        """The centre and the width of the constraint of each parameter that has one."""


def constraints(likelihood: Likelihood) -> Mapping[str, tuple[float, float]]:
    """The centre and the width of the constraint of each parameter that has one."""
    if isinstance(likelihood, Constrained):
        return likelihood.constraints
    return {
        p.name: (p.prior.mean, p.prior.std)
        for p in likelihood.parameters.free
        if isinstance(p.prior, Normal)
    }


def impacts(
    likelihood: Likelihood,
    data: DataSets,
    parameters: Sequence[str] | None = None,
    *,
    groups: Mapping[str, Sequence[str]] = {},  # noqa: B006 (never changed)
    best: Fit | None = None,
) -> tuple[Impacts, ...]:
    """For each parameter of interest, the nuisance parameters ranked by their post-fit impact.

    Arguments:
        likelihood: With the parameters.
        data: One data set.
        parameters: Of interest; those with that role by default. All others are nuisance.
        groups: Names of nuisance parameters, whose part of the error is to be told.
        best: The best fit, if it is known.

    >>> from hepgen.inference.binned import correlated_background
    >>> model = correlated_background([12, 11], [50, 52], [45, 57], [55, 47], low=-5.0)
    >>> (of_mu,) = impacts(model, model.observed([51, 48]))
    >>> of_mu.ranking[0].parameter, round(of_mu.ranking[0].pull, 2)
    ('alpha', -0.26)
    """
    names = likelihood.parameters.free_names
    interest = tuple(parameters or likelihood.parameters.interest)
    nuisances = [name for name in names if name not in interest]
    best = best or fit(likelihood, data)
    known = constraints(likelihood)
    sigma = [known.get(name, (math.nan, math.nan))[1] for name in nuisances]
    columns = [index(likelihood.parameters, name) for name in nuisances]
    post = _refitted(likelihood, data, best, columns, best.errors[0, columns])
    pre = _refitted(likelihood, data, best, columns, torch.tensor(sigma, dtype=torch.float64))
    return tuple(
        Impacts(
            parameter=name,
            best=best.column(name)[0].item(),
            ranking=_ranking(likelihood.parameters, best, known, nuisances, name, post, pre),
            breakdown=breakdown(likelihood, best, name, groups=groups),
            unit=likelihood.parameters[name].unit,
            label=likelihood.parameters[name].label,
            warnings=best.warnings(0),
        )
        for name in interest
    )


def breakdown(
    likelihood: Likelihood,
    best: Fit,
    parameter: str,
    *,
    groups: Mapping[str, Sequence[str]] = {},  # noqa: B006
) -> Breakdown:
    """The parts of the standard error of a parameter; see :class:`hepgen.statements.Breakdown`.

    Arguments:
        likelihood: With the constraints.
        best: The fit of one data set.
        parameter: Of interest.
        groups: Names of nuisance parameters.
    """
    total = curvature_error(best, parameter)[0].item()

    def part(held: Sequence[str]) -> tuple[float, float]:
        rest = curvature_error(best, parameter, held)[0].item()
        return rest, math.sqrt(max(total**2 - rest**2, 0.0))

    statistical, systematic = part([n for n in constraints(likelihood) if n != parameter])
    parts = tuple(part(members)[1] for members in groups.values())
    return Breakdown(total, statistical, systematic, tuple(groups), parts)


def _refitted(
    likelihood: Likelihood, data: DataSets, best: Fit, columns: Sequence[int], change: Tensor
) -> Fit:
    """Fits with one parameter after another moved up and down by its change, ``(1, 2J)``."""
    low, high = box(likelihood.parameters)
    start, held = [], []
    for column, by in zip(columns, change.tolist(), strict=True):
        name = likelihood.parameters.free_names[column]
        for sign in (1.0, -1.0):
            moved = best.theta[0, column] + sign * (by if math.isfinite(by) else 0.0)
            value = torch.minimum(torch.maximum(moved, low[column]), high[column])
            start.append(best.shifted({name: value.reshape(1, 1)})[0, 0])
            held.append(torch.arange(len(low)) == column)
    if not start:
        start, held = [best.theta[0]], [torch.ones(len(low), dtype=torch.bool)]
    return fit_points(likelihood, data, torch.stack(start)[None], torch.stack(held)[None])


def _ranking(
    parameters: ParameterSet,
    best: Fit,
    known: Mapping[str, tuple[float, float]],
    nuisances: Sequence[str],
    interest: str,
    post: Fit,
    pre: Fit,
) -> tuple[Impact, ...]:
    rows = []
    for j, name in enumerate(nuisances):
        centre, sigma = known.get(name, (math.nan, math.nan))
        i = index(parameters, name)
        after, before = (
            (f.column(interest)[0, 2 * j : 2 * j + 2] - best.column(interest)[0]).tolist()
            for f in (post, pre)
        )
        fits = (post, pre) if name in known else (post,)
        words = [w for f in fits for k in (2 * j, 2 * j + 1)
                 if not bool(f.converged[0, k]) for w in f.warnings(0, k)[:1]]  # fmt: skip
        error = best.errors[0, i].item()
        if not math.isfinite(error):
            words.append(f"nothing fixes {name}, so it has no impact to speak of")
        unknown = (math.nan, math.nan)
        rows.append(
            Impact(
                name,
                best.theta[0, i].item(),
                error,
                centre,
                sigma,
                (after[0], after[1]) if math.isfinite(error) else unknown,
                (before[0], before[1]) if name in known else unknown,
                parameters[name].label,
                tuple(words),
            )  # fmt: skip
        )
    return tuple(sorted(rows, key=lambda row: -row.size if row.size == row.size else math.inf))
