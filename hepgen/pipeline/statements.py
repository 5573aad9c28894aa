"""Statements: the intervals, impacts and limits that a workflow asks for, beside one another.

The posterior is averaged over the nuisance parameters and a prior. The profile likelihood is
maximised over them, with the thresholds of many events. Neyman's construction takes its thresholds
from pseudo-data of the simulator itself, so that its sets cover what the learned likelihood has
wrong, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hepgen.errors import DataError, WorkflowError, nearest
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.posterior import PosteriorSample
from hepgen.inference.statistics.coverage import coverage_maps
from hepgen.inference.statistics.fit import Fit, box, fit, index
from hepgen.inference.statistics.impacts import impacts
from hepgen.inference.statistics.limits import upper_limit
from hepgen.inference.statistics.neyman import Neyman, ProfileRatio
from hepgen.inference.statistics.profile import profile
from hepgen.inference.statistics.scans import profile_contour, profile_scan
from hepgen.pipeline.bounds import tolerated
from hepgen.pipeline.likelihoods import likelihood_method, likelihood_of
from hepgen.pipeline.session import Session
from hepgen.pipeline.validity import profiles
from hepgen.results import Check
from hepgen.statements import (
    CoverageMap,
    Impacts,
    Interval,
    LimitScan,
    ProfileContour,
    ProfileScan,
)

LEVELS = (0.68, 0.95)
_POINTS = 121
_COVERAGE_POINTS = 5


@dataclass(frozen=True)
class Statements:
    """What was asked for; empty where it was not.

    Arguments:
        intervals: Of each parameter of interest, by every method, at each level.
        scans: Profile likelihoods of the data.
        held: The same with the nuisance parameters at their best fit: the statistics alone.
        expected: Those of data in which nothing fluctuates, at the best fit.
        contours: Of two parameters of interest.
        impacts: Of the nuisance parameters.
        limits: By CLs.
        coverage: Of Neyman's sets, by pseudo-data they were not made of.
    """

    intervals: tuple[Interval, ...] = ()
    scans: tuple[ProfileScan, ...] = ()
    held: tuple[ProfileScan, ...] = ()
    expected: tuple[ProfileScan, ...] = ()
    contours: tuple[ProfileContour, ...] = ()
    impacts: tuple[Impacts, ...] = ()
    limits: tuple[LimitScan, ...] = ()
    coverage: tuple[CoverageMap, ...] = ()
    checks: tuple[Check, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The part of ``result.json``; only what there is."""
        names = ("intervals", "scans", "expected", "contours", "impacts", "limits", "coverage")
        return {name: list(getattr(self, name)) for name in names if getattr(self, name)}


def interest(session: Session) -> tuple[str, ...]:
    """The parameters that statements are made on.

    Raises:
        WorkflowError: One is not free.
    """
    free = session.parameters.free_names
    chosen = tuple(session.workflow.statements.parameters or session.parameters.interest)
    for name in chosen:
        if name not in free:
            raise WorkflowError(
                f"statements.parameters: {name!r} is no free parameter; {nearest(name, free)}"
            )
    return chosen


def statements(
    session: Session,
    x: Tensor,
    weight: Tensor | None,
    samples: Mapping[str, PosteriorSample],
    headline: str,
) -> Statements:
    """What the workflow asks for, on one data set of shape ``(N, d)``."""
    entry = session.workflow.statements
    if not profiles(session):
        return Statements()  # the estimates say it all
    steps = 2 + len(interest(session)) * ("neyman" in entry.intervals)
    with session.monitor.task("profile the likelihood", steps) as update:
        likelihood = likelihood_of(session, len(x), likelihood_method(session, samples, headline))
        data = likelihood.encode([x], [weight])
        best = fit(likelihood, data, start=_start(samples[headline]))
        found = _profiled(session, likelihood, data, best)
        update(1)
        limits = tuple(
            upper_limit(
                likelihood, data, name, level=0.95, seed=entry.seed, toys=entry.toys,
                method="toys" if entry.limit == "toys" else "asymptotics",
            )
            for name in (interest(session) if entry.limit else ())
        )  # fmt: skip
        update(2)
        neyman: list[Interval] = []
        maps: list[CoverageMap] = []
        if "neyman" in entry.intervals:
            if weight is not None:
                raise DataError(
                    "Neyman's construction needs pseudo-data that are distributed as the data, and "
                    "weighted data are not made by the simulator; use --interval profile for these"
                )
            for number, scan in enumerate(found.scans):
                made, covered = neyman_intervals(session, likelihood, data, scan, best)
                neyman += made
                maps += covered
                update(3 + number)
    chosen = {
        "posterior": posterior_intervals(session, samples[headline]),
        "profile": tuple(i for scan in found.scans for i in scan.intervals),
        "neyman": tuple(neyman),
    }
    return Statements(
        tuple(i for method in entry.intervals for i in chosen[method]),
        found.scans, found.held, found.expected, found.contours, found.impacts, limits,
        tuple(maps), (*found.checks, *_coverage_checks(session, maps)),
    )  # fmt: skip


def posterior_intervals(session: Session, sample: PosteriorSample) -> tuple[Interval, ...]:
    """Central intervals of the posterior, about its mean."""
    made = []
    for name in interest(session):
        draws = sample.column(name).numpy()
        for level in LEVELS:
            low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
            made.append(
                Interval(name, level, float(draws.mean()), ((float(low), float(high)),),
                         "posterior", unit=session.parameters[name].unit)
            )  # fmt: skip
    return tuple(made)


def neyman_intervals(
    session: Session, likelihood: EventLikelihood, data: DataSets, scan: ProfileScan, best: Fit
) -> tuple[tuple[Interval, ...], tuple[CoverageMap, ...]]:
    """Sets whose thresholds are from pseudo-data, with the coverage that others give them.

    The nuisance parameters of a toy are at their conditional best fit to the data, given the value
    of the parameter of interest.
    """
    entry, name = session.workflow.statements, scan.parameter
    i = index(likelihood.parameters, name)
    low, high = (edge[i].item() for edge in box(likelihood.parameters))
    # Critical values are wanted for sets that end up to three standard errors off.
    ends = scan.values[0], scan.values[-1]
    low, high = max(low, ends[0]), min(high, ends[1])
    generator = torch.Generator().manual_seed(entry.seed)
    psi = low + (high - low) * torch.rand(entry.toys, generator=generator, dtype=torch.float64)
    statistic = ProfileRatio(likelihood, (name,))
    neyman = Neyman.fit(
        statistic, likelihood.generate, conditional(likelihood, scan, best, psi), seed=entry.seed
    )
    reach = torch.stack([psi.min(), psi.max()])
    grid = torch.linspace(reach[0].item(), reach[1].item(), _POINTS, dtype=torch.float64)
    (made,) = neyman.intervals(data, grid, levels=LEVELS)
    share = torch.linspace(0.25, 0.75, _COVERAGE_POINTS, dtype=torch.float64)
    at = conditional(likelihood, scan, best, torch.lerp(reach[0], reach[1], share))
    maps = coverage_maps(
        neyman, likelihood.generate, at, toys=max(100, entry.toys // (2 * _COVERAGE_POINTS)),
        levels=LEVELS, seed=entry.seed + 1,
    )  # fmt: skip
    return made, tuple(replace(one, parameters=(name,), theta=one.theta[:, [i]]) for one in maps)


def conditional(likelihood: Likelihood, scan: ProfileScan, best: Fit, psi: Tensor) -> Tensor:
    """θ with the nuisance parameters at their conditional best fits, shape ``(N, D)``."""
    theta = best.theta[:1].repeat(len(psi), 1)
    theta[:, index(likelihood.parameters, scan.parameter)] = psi
    if scan.profiled is not None:
        known = np.isfinite(scan.profiled).all(1)
        for column, other in zip(scan.profiled[known].T, scan.others, strict=True):
            theta[:, index(likelihood.parameters, other)] = torch.from_numpy(
                np.interp(psi.numpy(), scan.values[known], column)
            )
    return theta


def _start(sample: PosteriorSample) -> Tensor:
    """The mean of a posterior, which is inside of every bound."""
    return sample.theta.double().mean(0)


def _profiled(
    session: Session, likelihood: EventLikelihood, data: DataSets, best: Fit
) -> Statements:
    names = interest(session)
    scans = tuple(profile_scan(likelihood, data, name, best=best) for name in names)
    others = [name for name in session.parameters.free_names if name not in names]
    expected: tuple[ProfileScan, ...] = ()
    if session.workflow.statements.asimov:
        asimov = likelihood.asimov(best.theta[0])
        expected = tuple(
            profile_scan(likelihood, asimov, scan.parameter, values=scan.values) for scan in scans
        )
    contours: tuple[ProfileContour, ...] = ()
    if len(names) == 2:
        contours = (profile_contour(likelihood, data, (names[0], names[1]), best=best),)
    return Statements(
        scans=scans,
        held=tuple(_held(likelihood, data, best, scan, others) for scan in scans if others),
        expected=expected,
        contours=contours,
        impacts=impacts(likelihood, data, names, best=best) if others else (),
        checks=tuple(_scan_check(scan, tolerated(session, best)) for scan in scans),
    )


def _scan_check(scan: ProfileScan, tolerable: Sequence[str]) -> Check:
    severe = [words for words in scan.warnings if words not in tolerable]
    words = "; ".join(scan.warnings) or (
        "warnings of the fits: convergence, bounds, directions that nothing fixes"
    )
    warning = bool(scan.warnings and not severe)
    return Check(
        f"profile: {scan.parameter}", not severe, float(len(severe)), 0, words, warning=warning
    )


def _held(
    likelihood: EventLikelihood, data: DataSets, best: Fit, scan: ProfileScan, others: Sequence[str]
) -> ProfileScan:
    """The scan with the nuisance parameters held at their best fit: the statistics alone."""
    fixed = {name: best.column(name)[0].item() for name in others}
    at = torch.from_numpy(scan.values)
    values = {scan.parameter: at, **{n: torch.full_like(at, v) for n, v in fixed.items()}}
    alone = fit(likelihood, data, fixed=fixed, start=best.theta[0])
    found = profile(likelihood, data, values, best=alone)
    return ProfileScan(
        scan.parameter, scan.values, found.statistic[0].numpy(),
        alone.column(scan.parameter)[0].item(), alone.error(scan.parameter)[0].item(),
        unit=scan.unit, label=scan.label, method="statistics",
    )  # fmt: skip


def _coverage_checks(session: Session, maps: Sequence[CoverageMap]) -> list[Check]:
    """Do Neyman's sets cover, by pseudo-data that they were not made of?"""
    limit = session.workflow.checks.coverage
    return [
        Check(f"Neyman: coverage at {100 * one.level:.0f} %", abs(one.mean - one.level) <= limit,
              abs(one.mean - one.level), limit,
              "difference of the coverage from its level, by pseudo-data of the simulator, "
              f"{one.toys} at each of {len(one.coverage)} points")
        for one in maps
    ]  # fmt: skip
