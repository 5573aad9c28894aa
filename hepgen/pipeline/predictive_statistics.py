"""Statistics of the data among those of the posterior predictive, as the workflow declares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hepgen.config import StatisticEntry
from hepgen.diagnostics.multiple_testing import PValue
from hepgen.diagnostics.posterior_predictive import (
    PredictiveTest,
    Statistic,
    correlation,
    mean,
    posterior_predictive,
    quantile,
    spread,
)
from hepgen.errors import WorkflowError, nearest
from hepgen.pipeline.data import Observed
from hepgen.pipeline.predictive import Predictive
from hepgen.pipeline.session import Session

Array = NDArray[np.float64]
QUANTILES = (0.05, 0.95)
"""By default, of each feature."""
_FEWEST = 10


def predictive_tests(
    session: Session, observed: Observed, predictive: Predictive
) -> dict[str, PredictiveTest]:
    """Each statistic of the data and of one replication for each posterior draw.

    A replication has as many events as the data, or all of the smallest one; the data are then a
    random choice of as many.

    Raises:
        WorkflowError: A statistic of a column that the data do not have.
    """
    entries = _entries(session)
    if not entries:
        return {}
    if bool(np.any(observed.events.weight != 1)):
        session.monitor.say("without predictive statistics: replications have no weights")
        return {}
    names = list(dict.fromkeys(name for one in entries for name in one.columns))
    for name in names:
        _check(session, observed, name)
    values, simulated = observed.events.flat(names), predictive.events.flat(names)
    sizes = np.bincount(predictive.points)
    number = int(min(len(values), sizes.min()))
    if number < _FEWEST:
        session.monitor.say(f"without predictive statistics: {number} events in a replication")
        return {}
    order = np.argsort(predictive.points, kind="stable")
    parts = np.split(simulated[order], np.cumsum(sizes)[:-1])
    rng = np.random.default_rng(session.workflow.validation.seed)
    chosen = values[rng.permutation(len(values))[:number]]
    statistics = {_name(one): _statistic(one, names) for one in entries}
    return posterior_predictive(chosen, [part[:number] for part in parts], statistics)


def predictive_p_values(tests: Mapping[str, PredictiveTest]) -> list[PValue]:
    """Those of statistics that are Gaussian over the replications, not corrected."""
    return [
        PValue(f"posterior predictive: {name}", test.normal,
               f"p-value that the statistic of the data, {test.observed:.5g}, is one of "
               f"{len(test.replicated)} replications, {test.replicated.mean():.5g} ± "
               f"{test.replicated.std(ddof=1):.2g}")
        for name, test in tests.items()
    ]  # fmt: skip


def _entries(session: Session) -> Sequence[StatisticEntry]:
    entries = session.workflow.validation.statistics
    if entries is not None:
        return entries
    return [
        StatisticEntry(kind="quantile", columns=[feature.name], level=level)
        for feature in session.features
        if feature.kind == "continuous"
        for level in QUANTILES
    ]


def _name(entry: StatisticEntry) -> str:
    kind = f"{100 * entry.level:g} % quantile" if entry.kind == "quantile" else entry.kind
    return f"{kind} of {' and '.join(entry.columns)}"


def _statistic(entry: StatisticEntry, names: Sequence[str]) -> Statistic:
    columns = [names.index(name) for name in entry.columns]
    if entry.kind == "quantile":
        return quantile(columns[0], entry.level)
    if entry.kind == "correlation":
        return correlation(columns[0], columns[1])
    return mean(columns[0]) if entry.kind == "mean" else spread(columns[0])


def _check(session: Session, observed: Observed, name: str) -> None:
    known = [*session.feature_names, *(feature.name for feature in session.control)]
    if name not in known:
        raise WorkflowError(
            f"validation.statistics: {name!r} is no feature and no control column; "
            f"{nearest(name, known)}"
        )
    if name not in observed.events:
        raise WorkflowError(
            f"validation.statistics: the data have no column {name!r}; remove the statistic, or "
            "give the column in [[data.layouts]]"
        )
