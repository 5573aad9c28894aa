r"""The unified approach of Feldman and Cousins (physics/9711021), exactly, for two simple problems.

A value x is accepted at μ in the order of its likelihood ratio

.. math:: R(x) = \frac{p(x | \mu)}{p(x | \hat\mu(x))}, \qquad \hat\mu = \max(0, x - b)

until the probability of what is accepted is α; the set of the data is all μ that accept them.
With :math:`-2 \ln R` for the statistic it is the Neyman construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaln, ndtr

from hepgen.errors import ParameterError

Ends = tuple[float, float]

_SCAN = 1201
"""Values of μ that are looked at, before bisection."""


def gaussian_interval(x: float, level: float = 0.9) -> Ends:
    r"""The set of a mean μ ≥ 0 from x of a Gaussian of unit width, see Table X of the paper.

    An end is a μ whose acceptance interval ends at x. With :math:`\hat\mu = \max(0, x)`,
    :math:`-2 \ln R` is :math:`(x - \mu)^2` for x ≥ 0 and :math:`\mu^2 - 2 \mu x` below.

    >>> tuple(round(end, 2) for end in gaussian_interval(-1.0)), round(gaussian_interval(3.0)[1], 2)
    ((0.0, 0.81), 4.64)
    """
    _check_level(level)

    def excess(mu: float) -> float:
        """The probability of what is accepted before x, above the level."""
        low, high = _same_ratio(mu, x)
        return float(ndtr(high - mu) - ndtr(low - mu)) - level

    best = max(x, 0.0)
    step = np.linspace(0, 10, 401)[1:]
    upper = _crossing(excess, best, best + step)
    if best == 0.0 or excess(0.0) <= 0:
        return 0.0, upper
    return _crossing(excess, best, best * (1 - np.linspace(0, 1, 401)[1:])), upper


def gaussian_critical_value(mu: float, level: float) -> float:
    r"""c with P(−2 ln R ≤ c | μ) = ``level``, for the bounded mean of a Gaussian.

    >>> round(gaussian_critical_value(10.0, 0.9), 3), round(gaussian_critical_value(0.0, 0.9), 3)
    (2.706, 1.642)
    """
    _check_level(level)

    def excess(root: float) -> float:
        low = mu - root if root <= mu else (mu**2 - root**2) / (2 * mu) if mu > 0 else -math.inf
        return float(ndtr(root) - ndtr(low - mu)) - level

    return float(brentq(excess, 0.0, 40.0)) ** 2 if level > 0.5 or mu > 0 else 0.0


def poisson_interval(
    n: int, background: float, level: float = 0.9, *, lengthened: bool = False
) -> Ends:
    r"""The set of a signal μ ≥ 0 from n events over a known background.

    From the lowest to the highest μ that accept n. Between them a few may not, because n is
    discrete; the paper takes them in too.

    Arguments:
        n: Observed.
        background: b.
        level: α.
        lengthened: As in Table IV of the paper: no upper end is below that at a larger
            background. It covers as well, and only changes a few n below the background.

    >>> for n, lengthened in ((10, False), (0, False), (0, True)):
    ...     print("%.2f, %.2f" % poisson_interval(n, 3.0, lengthened=lengthened))
    2.63, 13.50
    0.00, 0.95
    0.00, 1.08
    """
    _check_level(level)
    if n < 0 or background < 0:
        raise ParameterError(f"n = {n} and background = {background:g}; expected none below zero")
    best = max(0.0, n - background)
    reach = 5 * math.sqrt(n + 1) + 5
    grid = np.linspace(max(0.0, best - reach), best + reach, _SCAN)
    accepted = np.array([_accepts(n, mu, background, level) for mu in grid.tolist()])
    first, last = int(accepted.argmax()), len(grid) - 1 - int(accepted[::-1].argmax())
    low = 0.0
    if first:
        low = _edge(n, background, level, float(grid[first]), float(grid[first - 1]))
    high = _edge(n, background, level, float(grid[last]), float(grid[last + 1]))
    if lengthened:
        for more in np.linspace(background, background + 4, 401).tolist():
            # n may be accepted again beyond a gap.
            for mu in np.arange(high + 0.3, high, -0.01).tolist():
                if _accepts(n, mu, more, level):
                    high = _edge(n, more, level, mu, mu + 0.01)
                    break
    return low, high


def _edge(n: int, background: float, level: float, good: float, bad: float) -> float:
    """Between a μ that accepts n and one that does not."""
    while abs(good - bad) > 1e-9:
        middle = 0.5 * (good + bad)
        good, bad = (middle, bad) if _accepts(n, middle, background, level) else (good, middle)
    return good


def poisson_acceptance(mu: float, background: float, level: float) -> NDArray[np.int64]:
    """The n that are accepted at μ: the highest ratios whose probabilities reach the level.

    >>> poisson_acceptance(0.5, 3.0, 0.9)  # Table I of the paper
    array([0, 1, 2, 3, 4, 5, 6])
    """
    rate = mu + background
    n = np.arange(int(rate + 12 * math.sqrt(rate + 1) + 20))
    probability = _poisson(n, rate)
    ratio = probability / _poisson(n, np.maximum(n, background))
    # Of two equal ratios the one nearer to the rate comes first.
    order = np.lexsort((np.abs(n - rate), -ratio))
    enough = int(np.searchsorted(probability[order].cumsum(), level)) + 1
    return np.sort(order[:enough])


def _accepts(n: int, mu: float, background: float, level: float) -> bool:
    return n in poisson_acceptance(mu, background, level)


def _poisson(n: NDArray[np.int64], rate: NDArray[np.float64] | float) -> NDArray[np.float64]:
    rate = np.maximum(rate, 1e-300)
    return np.asarray(np.exp(n * np.log(rate) - rate - gammaln(n + 1)))


def _same_ratio(mu: float, x: float) -> Ends:
    """The two x with the ratio that x has at μ."""
    if x >= mu:
        root, high = x - mu, x
        low = mu - root if root <= mu else (mu**2 - root**2) / (2 * mu) if mu else -math.inf
        return low, high
    root2 = (x - mu) ** 2 if x >= 0 else mu**2 - 2 * mu * x
    return x, mu + math.sqrt(root2)


def _crossing(excess: Callable[[float], float], start: float, values: NDArray[np.float64]) -> float:
    """The first root on the way from the best value, where nothing is accepted before x."""
    before = start
    for value in map(float, values):
        if excess(value) > 0:
            return float(brentq(excess, before, value, xtol=1e-10))
        before = value
    return before


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ParameterError(f"level {level:g}; expected a probability between 0 and 1")
