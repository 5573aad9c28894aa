"""Search: the tests and limits along a hypothesis, by one training over all its values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.config import StatementsEntry
from hepgen.errors import DataError
from hepgen.feature_space import FeatureSpace
from hepgen.inference.condensed import Condensed
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.fisher import FisherInformation, event_scores, joint_information
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.posterior import PosteriorSample
from hepgen.inference.statistics.asymptotics import expected_root
from hepgen.inference.statistics.fit import index
from hepgen.inference.statistics.gaussian_search import search_p_value, search_toys
from hepgen.inference.statistics.limits import upper_limit
from hepgen.inference.statistics.score_test import score_test
from hepgen.inference.statistics.test_statistics import conditional_point, hypothesis_test
from hepgen.parameters import ParameterSet
from hepgen.pipeline.interest import signal
from hepgen.pipeline.likelihoods import (
    condensing_space,
    likelihood_method,
    likelihood_of,
    number_of,
)
from hepgen.pipeline.scores import drawn_events, rate_slope
from hepgen.pipeline.seeds import training_seed
from hepgen.pipeline.session import Session
from hepgen.pipeline.spread import spread
from hepgen.results import Check
from hepgen.search import SearchScan
from hepgen.statements import Limit, TestStatistic

Array = NDArray[np.float64]

_MOST = 500_000
"""Simulated events without a signal at most, where there are more than twice as many data."""

_ERRORS = 2.6
_BENT = 2.0
"""A band whose σ changes by more is no band: 1 for many events, 1.3 for ten."""


def search(
    session: Session,
    x: Tensor,
    weight: Tensor | None,
    samples: Mapping[str, PosteriorSample],
    headline: str,
) -> tuple[SearchScan | None, list[Check]]:
    """The scan that the workflow asks for, on one data set of shape ``(N, d)``.

    Values are spread over the workers of the session, and all start from the fit without a signal
    at the first of them: what comes out does not depend on how many workers there are.

    Raises:
        DataError: Limits by toys of data with weights.
    """
    entry, statements = session.workflow.statements.scan, session.workflow.statements
    if entry is None:
        return None, []
    if weight is not None and statements.limit == "toys":
        raise DataError("toys are not distributed as weighted data; use --limit without --toys")
    method = likelihood_method(session, samples, headline)
    name, values = signal(session), sorted(entry.values)
    number = number_of(x, weight)
    likelihoods = [likelihood_of(session, number, method, value) for value in values]
    with (
        session.monitor.task(f"scan {entry.parameter}", len(values) + 1) as update,
        spread(session) as over,
    ):
        nominal = likelihood_of(session, number, method)
        call = _without_signal(session, likelihoods[0], nominal, name, x, weight)
        update(1)
        places = []
        for place in over(call, list(zip(values, likelihoods, strict=True))):
            places.append(place)
            update(1 + len(places))
    covariance = _covariance(likelihoods[0].parameters, places, name, call.number)
    found = _scan(session, name, np.array(values), places, covariance)
    error = math.sqrt(call.number / len(call.events))
    found = replace(
        found, nothing=np.array([place.nothing for place in places]), nothing_error=error
    )
    return found, [_check(found), _nothing_check(found, session.workflow.checks.scan)]


@dataclass(frozen=True)
class _Place:
    """What is found at one value.

    Arguments:
        test: Of no signal.
        limit: On its strength, where it was asked for.
        scores: ∇ log p of simulated events without a signal, shape ``(N, D)``.
        slope: ∇ log λ there, shape ``(D,)``, where the number of events counts.
        nothing: z of the score test, of simulated events without a signal that count as the data.
    """

    test: TestStatistic
    limit: Limit | None
    scores: Tensor
    slope: Tensor | None
    nothing: float


@dataclass(frozen=True)
class _Call:
    """The call for one value and the likelihood there.

    Arguments:
        name: The strength.
        data: The events of the data set, and their weights.
        space: In which a density of one feature is smooth; ``None`` where there are several.
        theta: The best fit without a signal, at the first value, shape ``(D,)``.
        events: Simulated there, ``N`` for the correlations of the tests, and maybe more.
        statements: What is asked for.
    """

    name: str
    data: tuple[Tensor, Tensor | None]
    space: FeatureSpace | None
    theta: Tensor
    events: Tensor
    statements: StatementsEntry

    def __call__(self, place: tuple[float, EventLikelihood]) -> _Place:
        value, events = place
        likelihood = events if self.space is None else Condensed(events, self.space)
        x, weight = self.data
        sets = likelihood.encode([x], [weight])
        test = hypothesis_test(likelihood, sets, self.name, start=self.theta)
        limit = self._limit(likelihood, sets, value) if self.statements.limit else None
        assert self.statements.scan is not None
        some = self.events[: self.statements.scan.events]
        scores = event_scores(events, some, self.theta.expand(len(some), -1))
        slope, nothing = rate_slope(events, self.theta), self._nothing(likelihood)
        return _Place(test, limit, scores, slope, nothing)

    def _nothing(self, likelihood: EventLikelihood | Condensed) -> float:
        """What the likelihood sees in events without a signal, weighted as those of the data."""
        weight = torch.full((len(self.events),), self.number / len(self.events)).double()
        sets = likelihood.encode([self.events], [weight])
        return score_test(likelihood, sets, self.name, start=self.theta).item()

    @property
    def number(self) -> float:
        """Of events in the data, or the sum of their weights."""
        return number_of(*self.data)

    def _limit(self, likelihood: Likelihood, sets: DataSets, value: float) -> Limit:
        how: Any = "toys" if self.statements.limit == "toys" else "asymptotics"
        return upper_limit(
            likelihood, sets, self.name, method=how, points=9 if how == "toys" else 2,
            toys=self.statements.toys, seed=self.statements.seed, at=value, start=self.theta,
        ).limit  # fmt: skip


def _without_signal(
    session: Session, first: EventLikelihood, nominal: EventLikelihood, name: str, x: Tensor,
    weight: Tensor | None,
) -> _Call:  # fmt: skip
    """With the fit that all values start from, and the events that their correlations are of.

    These are simulated with what is scanned at its default.
    """
    statements = session.workflow.statements
    assert statements.scan is not None
    space = condensing_space(session, x)
    likelihood = first if space is None else Condensed(first, space)
    theta = conditional_point(likelihood, likelihood.encode([x], [weight]), name, 0.0)
    seed = training_seed(statements.seed)
    number = statements.scan.events
    if space is not None:  # a sum over nodes is as fast for more
        number = max(number, min(2 * len(x), _MOST))
    parts = range(0, number, statements.scan.events)
    several = [drawn_events(nominal, theta, statements.scan.events, seed + p) for p in parts]
    events = torch.cat(several)[:number]
    return _Call(name, (x, weight), space, theta, events, statements)


def _covariance(
    parameters: ParameterSet, places: Sequence[_Place], name: str, events: float
) -> Array:
    """The information on the strengths at all values, nuisance parameters fitted along."""
    nothing, column = places[0], index(parameters, name)
    others = [i for i in range(len(parameters.free)) if i != column]
    strengths = [place.scores[:, column] for place in places]
    at = tuple(f"{name} {k}" for k in range(len(places)))
    names = (*at, *(parameters.free_names[i] for i in others))
    score = torch.stack([*strengths, *(nothing.scores[:, i] for i in others)], dim=-1)
    one: FisherInformation = joint_information(score, names)
    if nothing.slope is not None:
        gradient = [float(cast(Tensor, place.slope)[column]) for place in places]
        one = one.with_rate([*gradient, *(float(nothing.slope[i]) for i in others)])
    return one.data_set(events).constrained(parameters).profiled(at).matrix


def _scan(
    session: Session, name: str, values: Array, places: Sequence[_Place], covariance: Array
) -> SearchScan:
    entry = session.workflow.statements.scan
    assert entry is not None
    tests = [place.test for place in places]
    limits = [place.limit for place in places if place.limit is not None]
    statistic = np.array([max(one.observed, 0.0) for one in tests])
    toys = search_toys(covariance, entry.toys, session.workflow.statements.seed)
    anywhere = search_p_value(float(statistic.max()), toys)
    along, strength = session.parameters[entry.parameter], session.parameters[name]
    words = _by_place([(test.warnings, at) for test, at in zip(tests, values, strict=True)])
    words += _by_place([(one.warnings, one.at) for one in limits], "limit ")
    words += [_parabola(one) for one in limits if one.method == "CLs asymptotics"]
    return SearchScan(
        name, entry.parameter, values, statistic, np.array([one.p_value for one in tests]),
        np.array([one.best for one in tests]), tuple(limits), anywhere.value, anywhere.error,
        anywhere.method, entry.toys, along.unit, along.label or "", strength.unit,
        strength.label or "", (*dict.fromkeys(filter(None, words)), *anywhere.warnings),
    )  # fmt: skip


def _by_place(found: Sequence[tuple[Sequence[str], float]], what: str = "") -> list[str]:
    """Each warning once, with the places where it is given."""
    places = dict[str, list[str]]()
    for warnings, at in found:
        for line in dict.fromkeys(warnings):
            places.setdefault(line.removeprefix("best fit: "), []).append(f"{at:g}")
    return [f"{what}at {', '.join(at)}: {line}" for line, at in places.items()]


def _parabola(limit: Limit) -> str:
    """A warning where σ(μ) = μ/√q of data without a signal is another at both ends of the band."""
    sigma = limit.expected / expected_root(1 - limit.level)
    ratio = float(sigma.max() / sigma.min())
    if not ratio > _BENT:
        return ""
    return (
        f"limit at {limit.at:g}: of data without a signal log L is no parabola in "
        f"{limit.parameter}: its width changes by a factor of {ratio:.2g} over the expected band"
    )


def _nothing_check(found: SearchScan, limit: float) -> Check:
    """Does the likelihood see a signal in simulated events that have none, beyond their number?"""
    z = cast(Array, found.nothing)
    beyond = (np.abs(z) - _ERRORS * found.nothing_error).clip(min=0)
    worst = int(np.argmax(beyond if beyond.any() else np.abs(z)))
    return Check(
        f"scan: nothing along {found.along}", bool(beyond[worst] <= limit), float(beyond[worst]),
        limit,
        f"standard deviations of a signal seen in simulated events without one, at "
        f"{found.along} = {found.values[worst]:g}: {z[worst]:.2f} ± {found.nothing_error:.2f}, "
        f"beyond {_ERRORS} errors; more, and the density was learned too poorly for so many "
        "events: train on more simulation, or test in bins",
    )  # fmt: skip


def _check(found: SearchScan) -> Check:
    """A scan carries its warnings as a check; a nuisance parameter at its bound is a mild one."""
    severe = [
        w
        for w in found.warnings
        if "converge" in w or "maximum" in w or "coarser" in w or "parabola" in w
    ]
    words = "; ".join(found.warnings) or "warnings: fits that do not converge, a grid too coarse"
    return Check(
        f"scan: {found.along}", not severe, float(len(severe)), 0, words,
        warning=bool(found.warnings and not severe),
    )  # fmt: skip
