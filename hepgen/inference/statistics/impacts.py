r"""Pulls of nuisance parameters, their impacts on parameters of interest, and the breakdown.

.. math:: \mathrm{pull}_j = \frac{\hat\nu_j - a_j}{\sigma_j}, \qquad
          \mathrm{impact}_j^\pm = \hat{\hat\mu}(\nu_j = \hat\nu_j \pm \Delta_j) - \hat\mu

with all other parameters refitted. One at its bound has the error it would have without the bound;
it moves to one side only, and its row says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.fit import Fit, box, curvature_error, fit, fit_points, index
from hepgen.parameters import Normal, ParameterSet
from hepgen.statements import Breakdown, Impact, Impacts

_UNKNOWN = (math.nan, math.nan)


@runtime_checkable
class Constrained(Protocol):
    """A likelihood with constraints that are not Normal priors."""

    def constraints(self, sets: Any) -> Mapping[str, tuple[float, float]]:
        """The centre and the width of the constraint of each parameter, in the first data set."""


def constraints(likelihood: Likelihood, data: DataSets) -> Mapping[str, tuple[float, float]]:
    """The centre and the width of the constraint of each parameter that has one."""
    if isinstance(likelihood, Constrained):
        return likelihood.constraints(data)
    priors = {p.name: p.prior for p in likelihood.parameters.free}
    return {n: (p.mean, p.std) for n, p in priors.items() if isinstance(p, Normal)}


def impacts(
    likelihood: Likelihood,
    data: DataSets,
    parameters: Sequence[str] | None = None,
    *,
    groups: Mapping[str, Sequence[str]] = {},
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
    known = constraints(likelihood, data)
    sigma = [known.get(name, _UNKNOWN)[1] for name in nuisances]
    columns = [index(likelihood.parameters, name) for name in nuisances]
    errors = {name: _error(best, name) for name in nuisances}
    change = torch.tensor([errors[name] for name in nuisances], dtype=torch.float64)
    post = _refitted(likelihood, data, best, columns, change)
    pre = _refitted(likelihood, data, best, columns, torch.tensor(sigma, dtype=torch.float64))
    return tuple(
        Impacts(
            parameter=name,
            best=best.column(name)[0].item(),
            ranking=_ranking(likelihood.parameters, best, known, errors, name, post, pre),
            breakdown=breakdown(best, name, known, groups=groups),
            unit=likelihood.parameters[name].unit,
            label=likelihood.parameters[name].label,
            warnings=best.warnings(0),
        )
        for name in interest
    )


def breakdown(
    best: Fit,
    parameter: str,
    constrained: Iterable[str],
    *,
    groups: Mapping[str, Sequence[str]] = {},
) -> Breakdown:
    """The parts of the standard error of a parameter; see :class:`hepgen.statements.Breakdown`.

    Arguments:
        best: The fit of one data set.
        parameter: Of interest.
        constrained: The parameters with a constraint.
        groups: Names of nuisance parameters.
    """
    total = curvature_error(best, parameter)[0].item()

    def part(held: Sequence[str]) -> tuple[float, float]:
        rest = curvature_error(best, parameter, held)[0].item()
        return rest, math.sqrt(max(total**2 - rest**2, 0.0))

    statistical, systematic = part([n for n in constrained if n != parameter])
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
    errors: Mapping[str, float],
    interest: str,
    post: Fit,
    pre: Fit,
) -> tuple[Impact, ...]:
    rows, bounds = [], best.at_bounds(0)
    for j, (name, error) in enumerate(errors.items()):
        centre, sigma = known.get(name, _UNKNOWN)
        tried = {"post": post} if math.isfinite(error) else {}
        tried |= {"pre": pre} if name in known else {}
        moves = {key: _moves(moved, best, interest, j) for key, moved in tried.items()}
        words = [word for moved in tried.values() for word in _failures(moved, j)]
        if name in bounds:
            words.append(
                f"{name} is at its bound, {best.column(name)[0].item():.6g}: its error is that of "
                "the curvature, as if it had none, and its impact beyond it is 0"
            )
        if not math.isfinite(error):
            words.append(f"nothing fixes {name}, so it has no impact to speak of")
        rows.append(
            Impact(
                name, best.column(name)[0].item(), error, centre, sigma,
                moves.get("post", _UNKNOWN), moves.get("pre", _UNKNOWN),
                parameters[name].label, tuple(words),
            )
        )  # fmt: skip
    return tuple(sorted(rows, key=lambda row: math.inf if math.isnan(row.size) else -row.size))


def _error(best: Fit, name: str) -> float:
    """The post-fit error; at a bound, which hides it, the one without the bound."""
    at_bound = bool(best.at_bound[0, index(best.parameters, name)])
    return (curvature_error(best, name) if at_bound else best.error(name))[0].item()


def _moves(moved: Fit, best: Fit, interest: str, j: int) -> tuple[float, float]:
    """By how much the parameter of interest moves with the j-th nuisance, up and down."""
    change = moved.column(interest)[0] - best.column(interest)[0]
    return change[2 * j].item(), change[2 * j + 1].item()


def _failures(moved: Fit, j: int) -> list[str]:
    pair = (2 * j, 2 * j + 1)
    return [moved.warnings(0, k)[0] for k in pair if not bool(moved.converged[0, k])]
