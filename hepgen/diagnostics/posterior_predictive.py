r"""Posterior predictive checks: does the data have the statistics that the posterior predicts?

For a statistic T, data sets of the size of the data are simulated at posterior draws, and

.. math:: p = 2 \min\{P(T(x^{rep}) \ge T(x_o)),\; P(T(x^{rep}) \le T(x_o))\}

(Rubin, Ann. Stat. 12 (1984) 1151; Gelman, Meng and Stern, Statistica Sinica 6 (1996) 733). The
posterior has seen the data: p is near ½ more often than a uniform number is, the more so the more T
has to do with the parameters. A small p is therefore stronger evidence than it says, and a large
one none. Choose statistics that the inference does not use.

A rank among R replications is at least 2/(R + 1). Means, quantiles and correlations of many events
are Gaussian, and from few replications with mean m and standard deviation s

.. math:: \frac{T(x_o) - m}{s \sqrt{1 + 1/R}}

is then distributed as Student's t with R − 1 degrees of freedom: ``normal``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hepgen.diagnostics.multiple_testing import holm
from hepgen.errors import DataError

Array = NDArray[np.float64]
Statistic = Callable[[Array], float]
"""A data set, shape ``(N, d)``, to a number."""


@dataclass(frozen=True)
class PredictiveTest:
    """One statistic of the data among those of replications.

    Arguments:
        observed: Of the data.
        replicated: Of each replication, shape ``(R,)``.
        p_value: Two-sided, at least 2/(R + 1).
        corrected: For the number of statistics (Holm).
    """

    observed: float
    replicated: Array
    p_value: float
    corrected: float

    @property
    def normal(self) -> float:
        """The two-sided p-value of a statistic that is Gaussian over the replications."""
        number, spread = len(self.replicated), float(self.replicated.std(ddof=1))
        away = abs(self.observed - float(self.replicated.mean()))
        if spread == 0:
            return self.p_value if away else 1.0
        t = away / (spread * np.sqrt(1 + 1 / number))
        return float(2 * stats.t.sf(t, number - 1))


def mean(column: int) -> Statistic:
    """The mean of one column."""
    return lambda x: float(np.mean(x[:, column]))


def spread(column: int) -> Statistic:
    """The standard deviation of one column."""
    return lambda x: float(np.std(x[:, column]))


def quantile(column: int, level: float) -> Statistic:
    """The quantile of one column.

    >>> quantile(0, 0.5)(np.array([[1.0], [2.0], [9.0]]))
    2.0
    """
    return lambda x: float(np.quantile(x[:, column], level))


def correlation(first: int, second: int) -> Statistic:
    """The rank correlation of two columns (Spearman)."""

    def of(x: Array) -> float:
        return float(stats.spearmanr(x[:, first], x[:, second]).statistic)

    return of


def posterior_predictive(
    observed: Array, replicated: Sequence[Array], statistics: Mapping[str, Statistic]
) -> dict[str, PredictiveTest]:
    """Test each statistic.

    Arguments:
        observed: The data, shape ``(N, d)``.
        replicated: R data sets of shape ``(N, d)``, each simulated at one posterior draw.
        statistics: By name.

    Raises:
        DataError: Replications of another shape, or a statistic that is not finite.
    """
    for one in replicated:
        if one.shape != observed.shape:
            raise DataError(
                f"a replication of shape {one.shape} for data of shape {observed.shape}; expected "
                "the same: a statistic depends on the number of events"
            )
    if not len(replicated):
        raise DataError("no replications: expected data sets simulated at posterior draws")
    values = {
        name: (_finite(name, of(observed)), np.array([_finite(name, of(x)) for x in replicated]))
        for name, of in statistics.items()
    }
    raw = [_p_value(value, others) for value, others in values.values()]
    return {
        name: PredictiveTest(value, others, p, corrected)
        for (name, (value, others)), p, corrected in zip(
            values.items(), raw, holm(raw), strict=True
        )
    }


def _p_value(observed: float, replicated: Array) -> float:
    above = (1 + np.sum(replicated >= observed)) / (1 + len(replicated))
    below = (1 + np.sum(replicated <= observed)) / (1 + len(replicated))
    return min(1.0, 2 * float(min(above, below)))


def _finite(name: str, value: float) -> float:
    if not np.isfinite(value):
        raise DataError(f"statistic {name!r} is {value}; expected a finite number")
    return float(value)
