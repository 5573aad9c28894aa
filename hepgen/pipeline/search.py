"""Search: the tests and limits along a hypothesis, by one training over all its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.fisher import FisherInformation, event_scores, joint_information
from hepgen.inference.likelihood import DataSets
from hepgen.inference.posterior import PosteriorSample
from hepgen.inference.statistics.fit import index
from hepgen.inference.statistics.gaussian_search import search_p_value, search_toys
from hepgen.inference.statistics.limits import upper_limit
from hepgen.inference.statistics.test_statistics import conditional_point, hypothesis_test
from hepgen.pipeline.interest import signal
from hepgen.pipeline.likelihoods import likelihood_method, likelihood_of
from hepgen.pipeline.scores import drawn_events, rate_slope
from hepgen.pipeline.seeds import training_seed
from hepgen.pipeline.session import Session
from hepgen.results import Check
from hepgen.search import SearchScan
from hepgen.statements import Limit, TestStatistic

Array = NDArray[np.float64]


def search(
    session: Session,
    x: Tensor,
    weight: Tensor | None,
    samples: Mapping[str, PosteriorSample],
    headline: str,
) -> tuple[SearchScan | None, list[Check]]:
    """The scan that the workflow asks for, on one data set of shape ``(N, d)``.

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
    likelihoods = [likelihood_of(session, len(x), method, value) for value in values]
    data = likelihoods[0].encode([x], [weight])
    tests, limits = list[TestStatistic](), list[Limit]()
    with session.monitor.task(f"scan {entry.parameter}", len(values) + 1) as update:
        for done, (value, likelihood) in enumerate(zip(values, likelihoods, strict=True), start=1):
            tests.append(hypothesis_test(likelihood, data, name))
            if statements.limit is not None:
                limits.append(_limit(session, likelihood, data, name, value))
            update(done)
        number = float(len(x)) if weight is None else float(weight.sum())
        covariance = _covariance(session, likelihoods, data, name, number)
        found = _scan(session, name, np.array(values), tests, limits, covariance)
        update(len(values) + 1)
    return found, [_check(found)]


def _limit(
    session: Session, likelihood: EventLikelihood, data: DataSets, name: str, value: float
) -> Limit:
    entry = session.workflow.statements
    how: Any = "toys" if entry.limit == "toys" else "asymptotics"
    points = 9 if how == "toys" else 2
    return upper_limit(
        likelihood, data, name, method=how, points=points, toys=entry.toys, seed=entry.seed,
        at=value,
    ).limit  # fmt: skip


def _covariance(
    session: Session, likelihoods: list[EventLikelihood], data: DataSets, name: str, events: float
) -> Array:
    """The information on the strengths at all values, nuisance parameters fitted along."""
    entry = session.workflow.statements.scan
    assert entry is not None
    first = likelihoods[0]
    parameters, column = first.parameters, index(first.parameters, name)
    theta = conditional_point(first, data, name, 0.0)
    seed = training_seed(session.workflow.statements.seed)
    x = drawn_events(first, theta, entry.events, seed)
    nothing = event_scores(first, x, theta.expand(len(x), -1))
    others = [i for i in range(len(theta)) if i != column]
    strengths, slopes = [nothing[:, column]], [rate_slope(first, theta)]
    for likelihood in likelihoods[1:]:
        strengths.append(event_scores(likelihood, x, theta.expand(len(x), -1))[:, column])
        slopes.append(rate_slope(likelihood, theta))
    places = tuple(f"{name} {k}" for k in range(len(strengths)))
    names = (*places, *(parameters.free_names[i] for i in others))
    score = torch.stack([*strengths, *(nothing[:, i] for i in others)], dim=-1)
    one: FisherInformation = joint_information(score, names)
    if slopes[0] is not None:
        gradient = [float(cast(Tensor, s)[column]) for s in slopes]
        one = one.with_rate([*gradient, *(float(slopes[0][i]) for i in others)])
    return one.data_set(events).constrained(parameters).profiled(places).matrix


def _scan(
    session: Session, name: str, values: Array, tests: list[TestStatistic], limits: list[Limit],
    covariance: Array,
) -> SearchScan:  # fmt: skip
    entry = session.workflow.statements.scan
    assert entry is not None
    statistic = np.array([max(one.observed, 0.0) for one in tests])
    toys = search_toys(covariance, entry.toys, session.workflow.statements.seed)
    anywhere = search_p_value(float(statistic.max()), toys)
    along, strength = session.parameters[entry.parameter], session.parameters[name]
    words = _by_place([(test.warnings, at) for test, at in zip(tests, values, strict=True)])
    words += _by_place([(one.warnings, one.at) for one in limits], "limit ")
    return SearchScan(
        name, entry.parameter, values, statistic, np.array([one.p_value for one in tests]),
        np.array([one.best for one in tests]), tuple(limits), anywhere.value, anywhere.error,
        anywhere.method, entry.toys, along.unit, along.label or "", strength.unit,
        strength.label or "", (*dict.fromkeys(words), *anywhere.warnings),
    )  # fmt: skip


def _by_place(found: Sequence[tuple[Sequence[str], float]], what: str = "") -> list[str]:
    """Each warning once, with the places where it is given."""
    places = dict[str, list[str]]()
    for warnings, at in found:
        for line in dict.fromkeys(warnings):
            places.setdefault(line.removeprefix("best fit: "), []).append(f"{at:g}")
    return [f"{what}at {', '.join(at)}: {line}" for line, at in places.items()]


def _check(found: SearchScan) -> Check:
    """A scan carries its warnings as a check; a nuisance parameter at its bound is a mild one."""
    severe = [w for w in found.warnings if "converge" in w or "maximum" in w or "coarser" in w]
    words = "; ".join(found.warnings) or "warnings: fits that do not converge, a grid too coarse"
    return Check(
        f"scan: {found.along}", not severe, float(len(severe)), 0, words,
        warning=bool(found.warnings and not severe),
    )  # fmt: skip
