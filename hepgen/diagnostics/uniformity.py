r"""Uniformity of ranks: an exact p-value, and a band for the whole distribution function at once.

Of M ranks that are uniform on {0, …, S}/S, as those of a calibrated posterior among S draws are,
the number c_k below a level z_k = k/(S + 1) is binomial, and the numbers at increasing levels are a
Markov chain,

.. math:: c_k \sim \mathrm{Bin}(M, z_k), \qquad
          c_{k+1} - c_k \,|\, c_k \sim \mathrm{Bin}\!\left(M - c_k,
          \frac{z_{k+1} - z_k}{1 - z_k}\right).

So the probability that all stay within binomial intervals of one tail probability γ/2 each is a
finite sum, and not a simulation (Säilynoja, Bürkner and Vehtari, arXiv:2103.10522, section 2.2). A
band has the γ whose probability is the confidence; the p-value is the probability that some level
has a tail as small as the smallest that was seen. Tails and centre count alike, where the test of
Kolmogorov and Smirnov sees the centre.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import binom

from hepgen.errors import DataError
from hepgen.results import UniformityTest

Array = NDArray[np.float64]

LEVELS = 100
"""At how many levels the distribution function is looked at, at most."""
# Two tails that differ by rounding are one.
_ROUNDING = 1 + 1e-9
_SMALLEST = 1e-9
_HALVINGS = 12


def uniformity(
    rank: Array, draws: int = 0, *, name: str = "", confidence: float = 0.95
) -> UniformityTest:
    """Test M ranks against the uniform distribution.

    Arguments:
        rank: Shape ``(M,)``, in [0, 1]: the fraction of S draws below a truth.
        draws: S, which have to be independent; 0 for numbers that are uniform on an interval.
        name: What the ranks are of, for plots and reports.
        confidence: Of the band: a calibrated posterior leaves it once in 1/(1 − confidence).

    Raises:
        DataError: Ranks that are not in [0, 1], or no multiples of 1/S.

    >>> test = uniformity((np.arange(200) + 0.5) / 200)
    >>> test.inside, test.p_value > 0.99
    (True, True)
    """
    _check(rank, draws, confidence)
    size, levels = len(rank), _levels(draws)
    # A quarter of the distance of two ranks, so that rounding carries none across a level.
    scaled = (rank * draws + 0.25) / (draws + 1) if draws else rank
    count = np.searchsorted(np.sort(scaled), levels)
    tail = 2 * np.minimum(binom.cdf(count, size, levels), binom.sf(count - 1, size, levels))
    smallest = float(tail.min())
    low, high = _interval(size, levels, _pointwise(size, draws, confidence))
    return UniformityTest(
        name=name,
        levels=levels,
        observed=count / size,
        low=low / size,
        high=high / size,
        sets=size,
        confidence=confidence,
        p_value=_p_value(size, levels, smallest * _ROUNDING),
    )


def _p_value(size: int, levels: Array, gamma: float) -> float:
    """The probability of a level with a tail of at most γ/2."""
    # What is small beside rounding is the sum over the levels, which is never too small.
    bound = gamma * len(levels)
    return bound if bound < _SMALLEST else min(1.0, max(0.0, 1 - _inside(size, levels, gamma)))


def _levels(draws: int) -> Array:
    """z_k: those between the possible ranks, or some of them."""
    if not draws or draws > LEVELS:
        even = np.arange(1, LEVELS) / LEVELS
        return even if not draws else np.unique(np.round(even * (draws + 1))) / (draws + 1)
    return np.arange(1, draws + 1) / (draws + 1)


def _interval(size: int, levels: Array, gamma: float) -> tuple[NDArray[np.int64], ...]:
    """The counts whose tails are both above γ/2, from the first to the last."""
    low = binom.ppf(gamma / 2, size, levels).astype(np.int64)
    high = binom.isf(gamma / 2, size, levels).astype(np.int64)
    # The quantiles are as good as rounding; what is asked for is the tail itself.
    low += binom.cdf(low, size, levels) <= gamma / 2
    high -= binom.sf(high - 1, size, levels) <= gamma / 2
    return low, high


def _inside(size: int, levels: Array, gamma: float) -> float:
    """The probability that the counts at all levels have both tails above γ/2."""
    low, high = _interval(size, levels, gamma)
    if (low > high).any():
        return 0.0
    log_factorial = gammaln(np.arange(size + 1) + 1.0)
    before, at = np.zeros(1, dtype=np.int64), 0.0
    probability = np.ones(1)
    for k, level in enumerate(levels):
        after = np.arange(low[k], high[k] + 1)
        step = (level - at) / (1 - at)
        probability = probability @ _binomial(
            size - before[:, None], after - before[:, None], step, log_factorial
        )
        before, at = after, float(level)
    return float(probability.sum())


def _binomial(n: NDArray[np.int64], k: NDArray[np.int64], p: float, log_factorial: Array) -> Array:
    """The probabilities of k of n; as scipy's, without the cost of its checks."""
    possible = (k >= 0) & (k <= n)
    k = np.where(possible, k, 0)
    choose = log_factorial[n] - log_factorial[k] - log_factorial[n - k]
    return np.where(possible, np.exp(choose + k * math.log(p) + (n - k) * math.log1p(-p)), 0.0)


@lru_cache(maxsize=64)
def _pointwise(size: int, draws: int, confidence: float) -> float:
    """The largest γ at which all levels are inside with at least this probability."""
    levels = _levels(draws)
    low, high = math.log((1 - confidence) / len(levels) / 10), math.log(1 - confidence)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if _inside(size, levels, math.exp(middle)) >= confidence:
            low = middle
        else:
            high = middle
    return math.exp(low)


def _check(rank: Array, draws: int, confidence: float) -> None:
    if rank.ndim != 1 or len(rank) < 2 or not bool(((rank >= 0) & (rank <= 1)).all()):
        raise DataError(
            f"ranks of shape {rank.shape} from {np.min(rank, initial=math.inf):g} to "
            f"{np.max(rank, initial=-math.inf):g}; expected at least two numbers in [0, 1]"
        )
    if draws and bool((np.abs(rank * draws - np.round(rank * draws)) > 0.01).any()):
        raise DataError(
            f"ranks such as {rank[0]:g} among {draws} draws; expected multiples of 1/{draws}: "
            "give the number of draws that they were counted among"
        )
    if not 0 < confidence < 1:
        raise DataError(f"confidence = {confidence:g}; expected a number in (0, 1)")
