"""Statements: the intervals, impacts and limits that a workflow asks for, beside one another.

The posterior is averaged over the nuisance parameters and a prior. The profile likelihood is
maximised over them, with the thresholds of many events. Neyman's construction takes its thresholds
from pseudo-data of the simulator itself, so that its sets cover what the learned likelihood has
wrong, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.posterior import PosteriorSample
from hepgen.inference.statistics.coverage import coverage_maps
from hepgen.inference.statistics.fit import Fit, at_end, box, fit, index
from hepgen.inference.statistics.impacts import impacts
from hepgen.inference.statistics.limits import FOR_A_BAND, upper_limit
from hepgen.inference.statistics.neyman import Neyman, ProfileRatio
from hepgen.inference.statistics.profile import profile
from hepgen.inference.statistics.scans import profile_contour, profile_scan
from hepgen.inference.statistics.test_statistics import hypothesis_test
from hepgen.inference.statistics.toys import Map, toy_test
from hepgen.parameters import Parameter
from hepgen.pipeline.analysis import Analysis
from hepgen.pipeline.bounds import tolerated
from hepgen.pipeline.interest import interest, limited
from hepgen.pipeline.likelihoods import condensed, likelihood_method, likelihood_of, number_of
from hepgen.pipeline.session import Session
from hepgen.pipeline.spread import spread
from hepgen.pipeline.validity import profiles
from hepgen.results import Check
from hepgen.statements import (
    CoverageMap,
    Impacts,
    Interval,
    LimitScan,
    ProfileContour,
    ProfileScan,
    TestStatistic,
)

LEVELS = (0.68, 0.95)
_POINTS = 3
"""From a point of a scan to the next, where a set of Neyman's is looked for."""
_COVERAGE_POINTS = 5
_ERRORS = 2.6
_IN_CONTOURS = 3
"""Of so many parameters of interest, the first, a contour of each pair."""
_TOYS_ABOVE, _BY_ASYMPTOTICS = 10, "is that of asymptotic formulae"
_AT_BOUNDS = 20
"""One of so many toys is at a bound, if the range ends at one: thresholds fall fast there."""


@dataclass(frozen=True)
class Statements:
    """What was asked for; empty where it was not.

    Arguments:
        intervals: Of each parameter of interest, by every method, at each level.
        scans: Profile likelihoods of the data.
        held: The same with the nuisance parameters at their best fit: the statistics alone.
        expected: Those of data in which nothing fluctuates, at the best fit.
        contours: Of each pair of the first three parameters of interest.
        impacts: Of the nuisance parameters.
        limits: By CLs.
        tests: Of no signal, by q₀, for each parameter with a limit.
        coverage: Of Neyman's sets, by pseudo-data they were not made of.
        checks: What follows from their warnings, and from the coverage.
        likelihood: The estimator whose likelihood it is.
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
    likelihood: str = ""
    tests: tuple[TestStatistic, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The part of ``result.json``; only what there is."""
        names = (
            "intervals", "scans", "expected", "contours", "impacts", "limits", "tests", "coverage",
        )  # fmt: skip
        made = {name: list(getattr(self, name)) for name in names if getattr(self, name)}
        return made | ({"likelihood": self.likelihood} if self.likelihood else {})


def statements(
    session: Session,
    x: Tensor,
    weight: Tensor | None,
    samples: Mapping[str, PosteriorSample],
    headline: str,
) -> Statements:
    """What the workflow asks for, on one data set of shape ``(N, d)``."""
    if not profiles(session):
        return Statements()  # the estimates say it all
    check_toys(session, weight)
    method = likelihood_method(session, samples, headline)
    likelihood = condensed(session, likelihood_of(session, number_of(x, weight), method), x)
    data = likelihood.encode([x], [weight])
    return replace(stated(session, likelihood, data, samples[headline]), likelihood=method)


def check_toys(asked: Analysis, weight: Tensor | None) -> None:
    """Refuse toys of weighted data.

    Raises:
        DataError: There are weights, and toys are asked for.
    """
    entry = asked.workflow.statements
    if weight is not None and ("neyman" in entry.intervals or entry.limit == "toys"):
        raise DataError(
            "toys are pseudo-data that are distributed as the data, and weighted data are not made "
            "by the simulator: use --interval profile and --limit without --toys for these"
        )


def stated(
    session: Analysis, likelihood: Likelihood, data: DataSets, sample: PosteriorSample
) -> Statements:
    """What is asked for, of any likelihood of one data set, beside its posterior."""
    entry = session.workflow.statements
    steps = 2 + len(interest(session)) * ("neyman" in entry.intervals)
    with (
        session.monitor.task("profile the likelihood", steps) as update,
        spread(session, lambda words: update(step, f"toys: {words}")) as over,
    ):
        step = 0
        best = fit(likelihood, data, start=_start(sample))
        found = _profiled(session, likelihood, data, best)
        update(step := 1)
        limits = tuple(
            upper_limit(
                likelihood, data, name, level=0.95, seed=entry.seed, toys=entry.toys,
                method="toys" if entry.limit == "toys" else "asymptotics", over=over,
                start=best.theta[0],
            )
            for name in limited(session)
        )  # fmt: skip
        tests = tuple(
            _no_signal(session, likelihood, data, name, best, over) for name in limited(session)
        )
        update(step := 2)
        neyman: list[Interval] = []
        maps: list[CoverageMap] = []
        if "neyman" in entry.intervals:
            for number, scan in enumerate(found.scans):
                made, covered = neyman_intervals(session, likelihood, data, scan, best, over)
                neyman += made
                maps += covered
                update(step := 3 + number)
    chosen = {
        "posterior": posterior_intervals(session, sample),
        "profile": tuple(i for scan in found.scans for i in scan.intervals),
        "neyman": tuple(neyman),
    }
    intervals = tuple(i for method in entry.intervals for i in chosen[method])
    checks = statement_checks(intervals, found, limits, tests, tolerated(session, best))
    return Statements(
        intervals, found.scans, found.held, found.expected, found.contours, found.impacts, limits,
        tuple(maps), (*checks, *coverage_checks(session, maps)), tests=tests,
    )  # fmt: skip


def _no_signal(
    session: Analysis, likelihood: Likelihood, data: DataSets, name: str, best: Fit, over: Map
) -> TestStatistic:
    """q₀, and what it would be in the median with the signal of the parameter's default.

    By toys where these are asked for, unless they are too few for so small a p-value.
    """
    default, entry = session.parameters[name].default, session.workflow.statements
    start = best.theta[0]
    alternative = default if default > 0 else None
    found = hypothesis_test(likelihood, data, name, alternative=alternative, start=start)
    if entry.limit != "toys":
        return found
    if found.p_value * entry.toys < _TOYS_ABOVE:
        words = f"the p-value is too small for {entry.toys} toys, and {_BY_ASYMPTOTICS}"
        return replace(found, warnings=(*found.warnings, words))
    return toy_test(
        likelihood, data, found, toys=entry.toys, seed=entry.seed, over=over, start=start
    )


def posterior_intervals(session: Analysis, sample: PosteriorSample) -> tuple[Interval, ...]:
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
    session: Analysis,
    likelihood: Likelihood,
    data: DataSets,
    scan: ProfileScan,
    best: Fit,
    over: Map = map,
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
    psi = toy_values(low, high, box(likelihood.parameters), i, entry.toys, entry.seed)
    statistic = ProfileRatio(likelihood, (name,))
    neyman = Neyman.fit(
        statistic, likelihood.generate, conditional(likelihood, scan, best, psi), seed=entry.seed,
        over=over,
    )  # fmt: skip
    points = _POINTS * (len(scan.values) - 1) + 1
    grid = torch.linspace(low, high, points, dtype=torch.float64)
    (made,) = neyman.intervals(data, grid, levels=LEVELS)
    tested = coverage_points(low, high, likelihood.parameters[name])
    at = conditional(likelihood, scan, best, tested)
    maps = coverage_maps(
        neyman, likelihood.generate, at, toys=max(100, entry.toys // (2 * _COVERAGE_POINTS)),
        levels=LEVELS, seed=entry.seed + 1, over=over,
    )  # fmt: skip
    return made, tuple(replace(one, parameters=(name,), theta=one.theta[:, [i]]) for one in maps)


def coverage_points(low: float, high: float, parameter: Parameter) -> Tensor:
    """Five values inside of a range, and its end where that is one of the physical range.

    There the best fit piles up, and thresholds fall fast.

    >>> coverage_points(0.0, 6.0, Parameter("m", 1.0)).tolist()
    [1.0, 2.0, 3.0, 4.0, 5.0]
    >>> coverage_points(0.0, 5.0, Parameter("mu", 1.0, low=0.0)).tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    ends = at_end(low, parameter.low), at_end(high, parameter.high)
    steps = _COVERAGE_POINTS + 1 - sum(ends)
    begin = 0 if ends[0] else 1
    fraction = torch.arange(begin, begin + _COVERAGE_POINTS, dtype=torch.float64) / steps
    return low + (high - low) * fraction


def toy_values(
    low: float, high: float, bounds: tuple[Tensor, Tensor], column: int, number: int, seed: int
) -> Tensor:
    """Where toys are drawn: evenly from end to end, both ends among them, and more at a bound."""
    generator = torch.Generator().manual_seed(seed)
    psi = low + (high - low) * torch.rand(number, generator=generator, dtype=torch.float64)
    more = number // _AT_BOUNDS
    for end, bound, first in ((low, bounds[0], 0), (high, bounds[1], more)):
        there = more if at_end(end, bound[column].item()) else 1
        psi[first : first + there] = end
    return psi


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


def _profiled(session: Analysis, likelihood: Likelihood, data: DataSets, best: Fit) -> Statements:
    names = interest(session)
    scans = tuple(profile_scan(likelihood, data, name, best=best) for name in names)
    others = [name for name in likelihood.parameters.free_names if name not in names]
    expected: tuple[ProfileScan, ...] = ()
    if session.workflow.statements.asimov:
        asimov = likelihood.asimov(best.theta[0])
        expected = tuple(
            profile_scan(likelihood, asimov, scan.parameter, values=scan.values) for scan in scans
        )
    contours = tuple(
        profile_contour(likelihood, data, pair, best=best)
        for pair in combinations(names[:_IN_CONTOURS], 2)
    )
    return Statements(
        scans=scans,
        held=tuple(_held(likelihood, data, best, scan, others) for scan in scans if others),
        expected=expected,
        contours=contours,
        impacts=impacts(likelihood, data, names, best=best) if others else (),
    )


def statement_checks(
    intervals: Sequence[Interval],
    found: Statements,
    limits: Sequence[LimitScan],
    tests: Sequence[TestStatistic],
    tolerable: Sequence[str],
) -> list[Check]:
    """One for each statement, with its warnings: those that spoil it are a failure.

    Arguments:
        intervals: All of them.
        found: The scans, contours and impacts.
        limits: The limits.
        tests: Of no signal.
        tolerable: Warnings that are none of these.
    """
    warned: dict[str, list[str]] = {}
    for scan in found.scans:
        warned.setdefault(f"profile: {scan.parameter}", []).extend(scan.warnings)
    for one in intervals:
        if one.method != "posterior":
            warned.setdefault(f"{one.method}: {one.parameter}", []).extend(one.warnings)
    for contour in found.contours:
        warned.setdefault(f"contour: {', '.join(contour.parameters)}", []).extend(contour.warnings)
    for impact in found.impacts:
        # What a row says is of one nuisance parameter, such as that it is at its bound.
        warned.setdefault(f"impacts: {impact.parameter}", []).extend(impact.warnings)
    for limit in limits:
        words = [*limit.limit.warnings, *limit.warnings]
        warned.setdefault(f"limit: {limit.limit.parameter}", []).extend(words)
    for test in tests:
        # Those of its best fit are said of the other fits, too.
        words = [one.removeprefix("best fit: ") for one in test.warnings]
        warned.setdefault(f"no signal: {test.parameter}", []).extend(words)
    return [_check(name, tuple(dict.fromkeys(words)), tolerable) for name, words in warned.items()]


def _mild(words: str) -> bool:
    """What is to be known, and no fault.

    A set may have a gap; toys whose fit failed are left out, and more than a tenth are refused.
    """
    return words.endswith(
        ("pieces", "left out", "toys have a fit that did not converge", FOR_A_BAND, _BY_ASYMPTOTICS)
    )


def _check(name: str, warnings: Sequence[str], tolerable: Sequence[str]) -> Check:
    severe = [words for words in warnings if words not in tolerable and not _mild(words)]
    words = "; ".join(warnings) or (
        "warnings: fits that do not converge, bounds, directions that nothing fixes, sets that are "
        "empty or cut off"
    )
    warning = bool(warnings and not severe)
    return Check(name, not severe, float(len(severe)), 0, words, warning=warning)


def _held(
    likelihood: Likelihood, data: DataSets, best: Fit, scan: ProfileScan, others: Sequence[str]
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


def coverage_checks(session: Analysis, maps: Sequence[CoverageMap]) -> list[Check]:
    """Do Neyman's sets cover at every point, by pseudo-data that they were not made of?

    The distance from the level at the worst point, less 2.6 standard errors of it: five points at
    two levels exceed zero in one of ten results where all is well, and 3 % hardly ever.
    """
    limit = session.workflow.checks.neyman_coverage
    checks = []
    for one in maps:
        apart = np.abs(one.coverage - one.level)
        worst = int(np.argmax(apart - _ERRORS * one.error))
        beyond = max(0.0, float(apart[worst] - _ERRORS * one.error[worst]))
        checks.append(
            Check(
                f"Neyman: coverage of {one.parameters[0]} at {100 * one.level:.0f} %",
                beyond <= limit, beyond, limit,
                f"distance of the coverage from its level at the worst of {len(one.coverage)} "
                f"points, {one.coverage[worst]:.3f} ± {one.error[worst]:.3f} by {one.toys} data "
                f"sets of the simulator, beyond {_ERRORS} errors",
            )
        )  # fmt: skip
    return checks
