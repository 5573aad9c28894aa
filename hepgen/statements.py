"""Frequentist statements on parameters: intervals, scans, impacts, tests, limits, coverage.

Each is a frozen record of plain numbers and numpy arrays that plots take and
:func:`hepgen.results.to_json` writes. Each carries ``warnings``: what a reader must know before
believing the numbers, in whole sentences. An empty tuple says that there is nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

SIGMAS = (-2, -1, 0, 1, 2)
"""Where the bands of an expected limit are given, in standard deviations of the data."""


@dataclass(frozen=True)
class Interval:
    """A confidence (or credible) set of one parameter: one piece or several.

    Arguments:
        parameter: Its name.
        level: The nominal confidence level, e.g. 0.68.
        best: The best-fit value; NaN where there is none.
        pieces: Disjoint, in ascending order; each from its lower to its upper end.
        method: How it was made: ``profile``, ``minos``, ``neyman``, ``posterior``, ….
        open_low, open_high: The set goes on at that end beyond the range in which the parameter
            was allowed, so the end is the edge of the range, and no measurement.
        unit: Of the parameter.
        warnings: See the module.

    >>> Interval("mu", 0.68, 1.0, ((0.5, 0.8), (0.9, 1.4)), "profile").contains(0.85)
    False
    """

    parameter: str
    level: float
    best: float
    pieces: tuple[tuple[float, float], ...]
    method: str
    open_low: bool = False
    open_high: bool = False
    unit: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def low(self) -> float:
        """The lowest value in it; NaN for an empty set."""
        return self.pieces[0][0] if self.pieces else math.nan

    @property
    def high(self) -> float:
        """The highest value in it; NaN for an empty set."""
        return self.pieces[-1][1] if self.pieces else math.nan

    @property
    def width(self) -> float:
        """The length of all pieces together."""
        return sum(high - low for low, high in self.pieces)

    @property
    def errors(self) -> tuple[float, float]:
        """How far the ends lie below and above the best fit, both positive."""
        return self.best - self.low, self.high - self.best

    def contains(self, value: float) -> bool:
        """Whether a value is in one of the pieces."""
        return any(low <= value <= high for low, high in self.pieces)


@dataclass(frozen=True)
class ProfileScan:
    r"""The profile likelihood ratio :math:`t(\theta_i) = -2\ln\lambda` along one parameter.

    Arguments:
        parameter: The one that is scanned.
        values: The points, ascending, shape ``(K,)``.
        statistic: t at each, from 0, shape ``(K,)``; NaN where a fit did not converge.
        best: The best-fit value.
        error: Its standard error by the curvature; NaN where there is none.
        intervals: By the crossings of t with the quantiles of χ² with one degree of freedom.
        others: The names of the parameters that were profiled, P of them.
        profiled: Their conditional best fits, shape ``(K, P)``.
        unit, label: Of the parameter; see :class:`hepgen.parameters.Parameter`.
        method: What was scanned, e.g. ``profile`` or ``asimov``.
        warnings: See the module.
    """

    parameter: str
    values: NDArray[np.float64]
    statistic: NDArray[np.float64]
    best: float
    error: float
    intervals: tuple[Interval, ...] = ()
    others: tuple[str, ...] = ()
    profiled: NDArray[np.float64] | None = None
    unit: str = ""
    label: str = ""
    method: str = "profile"
    warnings: tuple[str, ...] = ()

    @property
    def axis(self) -> str:
        """The label with the unit, for a plot's axis."""
        return _axis(self.label or self.parameter, self.unit)


@dataclass(frozen=True)
class ProfileContour:
    r""":math:`t = -2\ln\lambda` over two parameters.

    A region at ``levels[i]`` is where t is below ``thresholds[i]``, the quantile of χ² with two
    degrees of freedom: 2.28 for 68 %, 5.99 for 95 %.

    Arguments:
        parameters: The names of the two.
        x, y: The grid of the first and of the second, shapes ``(A,)`` and ``(B,)``.
        statistic: t, shape ``(A, B)``; NaN where a fit did not converge.
        best: The best-fit point.
        covariance: Of the two by the curvature, shape ``(2, 2)``.
        levels, thresholds: Of the regions, equally many.
        units, labels: Of the two.
        warnings: See the module.
    """

    parameters: tuple[str, str]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    statistic: NDArray[np.float64]
    best: tuple[float, float]
    covariance: NDArray[np.float64]
    levels: tuple[float, ...]
    thresholds: tuple[float, ...]
    units: tuple[str, str] = ("", "")
    labels: tuple[str, str] = ("", "")
    warnings: tuple[str, ...] = ()

    @property
    def axes(self) -> tuple[str, str]:
        """The labels with the units, for the axes of a plot."""
        first, second = (
            _axis(label or name, unit)
            for name, label, unit in zip(self.parameters, self.labels, self.units, strict=True)
        )
        return first, second


@dataclass(frozen=True)
class Impact:
    r"""A nuisance parameter: what the data say of it, and what it does to one of interest.

    .. math:: \mathrm{pull} = (\hat\nu - a)/\sigma, \qquad
              \mathrm{impact}_\pm = \hat\mu(\nu = \hat\nu \pm \Delta) - \hat\mu

    with Δ the post-fit error for the ``post`` ones and σ for the ``pre`` ones; in the latter all
    nuisance parameters are refitted too.

    Arguments:
        parameter: The nuisance parameter.
        value, error: Its best fit and its standard error by the curvature.
        centre, sigma: a and σ of its constraint; NaN where it has none.
        post: Impacts of +Δ and of −Δ after the fit, in the unit of the parameter of interest.
        pre: The same with the σ before the fit; NaN where it has no constraint.
        label: How a plot writes it.
        warnings: See the module.
    """

    parameter: str
    value: float
    error: float
    centre: float
    sigma: float
    post: tuple[float, float]
    pre: tuple[float, float]
    label: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def pull(self) -> float:
        """(ν̂ − a)/σ; NaN without a constraint."""
        return (self.value - self.centre) / self.sigma

    @property
    def constraint(self) -> float:
        """The post-fit error over σ: below one where the data say something of it."""
        return self.error / self.sigma

    @property
    def size(self) -> float:
        """The larger of the two post-fit impacts, by which they are ranked."""
        return max(map(abs, self.post))


@dataclass(frozen=True)
class Breakdown:
    """The standard error of a parameter of interest and where it comes from.

    Each part is √(total² − (error with those parameters held at their best fit)²). The
    statistical part is the error with every *constrained* parameter held: nuisance parameters
    that only the data fix are a part of it. Parts are correlated and need not add up in squares.

    Arguments:
        total: By the curvature of the profile likelihood.
        statistical, systematic: As above.
        groups: Names of groups of nuisance parameters.
        parts: The part of each group.
    """

    total: float
    statistical: float
    systematic: float
    groups: tuple[str, ...] = ()
    parts: tuple[float, ...] = ()


@dataclass(frozen=True)
class Impacts:
    """All nuisance parameters by their impact on one parameter of interest, largest first."""

    parameter: str
    best: float
    ranking: tuple[Impact, ...]
    breakdown: Breakdown
    unit: str = ""
    label: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def axis(self) -> str:
        """The label with the unit, for a plot's axis."""
        return _axis(self.label or self.parameter, self.unit)


Statistic = Literal["t", "t_tilde", "q", "q_tilde", "q0"]
"""The test statistics of Cowan et al., arXiv:1007.1727, equations 8, 11, 14, 16 and 12."""


@dataclass(frozen=True)
class TestStatistic:
    """The test of one value of a parameter.

    Arguments:
        statistic: Which one.
        parameter, value: The hypothesis that is tested.
        observed: The statistic of the data.
        best: The best-fit value.
        p_value: The probability, under the hypothesis, of a statistic as large or larger.
        p_value_error: Binomial, for toys; 0 for asymptotic formulae.
        method: ``asymptotics`` or ``toys``.
        expected: The median statistic under ``alternative``, from its Asimov data set; NaN
            where none was asked for.
        alternative: The value of the parameter in the Asimov data set.
        toys: The statistics of the toys under the hypothesis, shape ``(T,)``.
        warnings: See the module.
    """

    __test__ = False  # not a class of tests, though its name begins so

    statistic: Statistic
    parameter: str
    value: float
    observed: float
    best: float
    p_value: float
    p_value_error: float = 0.0
    method: str = "asymptotics"
    expected: float = math.nan
    alternative: float = math.nan
    toys: NDArray[np.float64] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def significance(self) -> float:
        """Z = Φ⁻¹(1 − p): one-sided Gaussian standard deviations."""
        return significance(self.p_value)

    @property
    def expected_significance(self) -> float:
        """√(expected), the median Z for q₀ of a signal."""
        return math.sqrt(self.expected) if self.expected >= 0 else math.nan


@dataclass(frozen=True)
class Limit:
    """An upper limit, observed and expected without a signal.

    Arguments:
        parameter: Its name.
        level: The confidence level, e.g. 0.95.
        observed: NaN where only the expected one was asked for.
        expected: At −2, −1, 0, +1 and +2 standard deviations of data without a signal
            (:data:`SIGMAS`), ascending, shape ``(5,)``; NaN where it lies out of the range.
        method: ``CLs asymptotics`` or ``CLs toys``.
        observed_error, expected_error: From the number of toys; 0 for asymptotic formulae.
        at: What it is a limit *for*, e.g. a mass: the abscissa of a Brazil band.
        unit, label: Of the parameter.
        warnings: See the module.
    """

    parameter: str
    level: float
    observed: float
    expected: NDArray[np.float64]
    method: str
    observed_error: float = 0.0
    expected_error: NDArray[np.float64] | None = None
    at: float = math.nan
    unit: str = ""
    label: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def median(self) -> float:
        """The expected limit."""
        return float(self.expected[SIGMAS.index(0)])

    @property
    def axis(self) -> str:
        """The label with the unit, for a plot's axis."""
        return _axis(self.label or self.parameter, self.unit)


@dataclass(frozen=True)
class LimitScan:
    """CLs over the values of a parameter, and the limit where it falls below 1 − level.

    Arguments:
        limit: The crossing.
        values: The tested values, ascending, shape ``(K,)``.
        observed: CLs of the data at each, shape ``(K,)``.
        expected: CLs at :data:`SIGMAS`, shape ``(K, 5)``.
        observed_error: Binomial, for toys, shape ``(K,)``.
        warnings: See the module.
    """

    limit: Limit
    values: NDArray[np.float64]
    observed: NDArray[np.float64]
    expected: NDArray[np.float64]
    observed_error: NDArray[np.float64] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class CoverageMap:
    """How often sets at a nominal level hold the truth, over the parameter space.

    Arguments:
        parameters: D names.
        theta: The P true points, shape ``(P, D)``.
        level: The nominal level.
        coverage: The fraction of data sets whose set holds the truth, shape ``(P,)``.
        error: Its standard error, shape ``(P,)``; zero where the coverage is exact.
        toys: Data sets a point; 0 where all outcomes were summed over.
        method: How the sets were made, e.g. ``profile`` or ``neyman``.
        width: The mean width of the sets, shape ``(P,)``, where it was asked for.
        warnings: See the module.
    """

    parameters: tuple[str, ...]
    theta: NDArray[np.float64]
    level: float
    coverage: NDArray[np.float64]
    error: NDArray[np.float64]
    toys: int
    method: str
    width: NDArray[np.float64] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """The average coverage over the points."""
        return float(np.mean(self.coverage))

    @property
    def worst(self) -> float:
        """The largest distance of a coverage from the level."""
        return float(np.max(np.abs(self.coverage - self.level)))


@dataclass(frozen=True)
class ErrorBudget:
    """What the error of a parameter is made of; the parts add in quadrature.

    Arguments:
        parameter: Its name.
        method: Whose likelihood.
        statistical: The error with the nuisance parameters held at their best fit.
        nuisances: What these add.
        simulation: What the finite simulation adds, with which the estimator was trained; NaN
            where one training cannot say.
        simulation_error: The standard error of that.
        trainings: By the spread of how many it is known.
        unit, label: Of the parameter.

    >>> ErrorBudget("m_z", "nle", 3.0, 4.0, 12.0, 1.0, 5).total
    13.0
    """

    parameter: str
    method: str
    statistical: float
    nuisances: float
    simulation: float = math.nan
    simulation_error: float = math.nan
    trainings: int = 1
    unit: str = ""
    label: str = ""

    @property
    def parts(self) -> dict[str, float]:
        """Those that are known and not zero, by name."""
        parts = {
            "data": self.statistical,
            "nuisance parameters": self.nuisances,
            "finite simulation": self.simulation,
        }
        return {name: part for name, part in parts.items() if part > 0}

    @property
    def total(self) -> float:
        """All that are known, in quadrature."""
        return math.hypot(*self.parts.values())

    @property
    def axis(self) -> str:
        """The label with the unit, for a plot's axis."""
        return _axis(self.label or self.parameter, self.unit)


def significance(p_value: float) -> float:
    """Z = Φ⁻¹(1 − p), one-sided; infinite for p = 0.

    >>> round(significance(2.866515719e-07), 6)
    5.0
    """
    return -float(ndtri(p_value))


def _axis(label: str, unit: str) -> str:
    return f"{label} [{unit}]" if unit else label
