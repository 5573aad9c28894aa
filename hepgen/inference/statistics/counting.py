r"""The on/off problem: a counting experiment with a measured background, exactly.

.. math:: n_\mathrm{on} \sim \mathrm{Pois}(s + b), \qquad n_\mathrm{off} \sim \mathrm{Pois}(\tau b)

The background b is a nuisance parameter that only the data fix (Li and Ma, Astrophys. J. 272
(1983) 317; Cousins, Linnemann and Tucker, arXiv:physics/0702156). The profile likelihood has a
closed form and there are few outcomes, so the coverage of any set is a finite sum: no toys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy
from scipy.stats import chi2, poisson

from hepgen.errors import ParameterError
from hepgen.inference.binned import BinnedChannel, BinnedLikelihood, BinnedSample, Factor
from hepgen.parameters import Parameter, ParameterSet, Uniform
from hepgen.statements import CoverageMap

Array = NDArray[np.float64]
Statistic = Callable[[Array, Array, float], Array]
"""A statistic of n_on and n_off, shape ``(M,)``, for a tested s: shape ``(M,)``."""

_TAIL = 1e-12
"""Outcomes beyond this probability on each side are left out."""


@dataclass(frozen=True)
class OnOff:
    """The truth of an on/off experiment.

    Arguments:
        signal, background: s and b, expected counts of the on-region.
        tau: τ, how many times the background the off-region expects.

    >>> round(OnOff(15.0, 70.0, 1.0).coverage(0.68), 4)
    0.6801
    """

    signal: float
    background: float
    tau: float = 1.0

    def __post_init__(self) -> None:
        if not (self.signal >= 0 and self.background > 0 and self.tau > 0):
            raise ParameterError(
                f"on/off experiment with s = {self.signal:g}, b = {self.background:g}, "
                f"τ = {self.tau:g}; expected s ≥ 0, b > 0, τ > 0"
            )

    def outcomes(self) -> tuple[Array, Array, Array]:
        """All n_on and n_off that may happen, and their probabilities, shapes ``(M,)``."""
        means = self.signal + self.background, self.tau * self.background
        counts = [np.arange(poisson.ppf(_TAIL, m), poisson.isf(_TAIL, m) + 1) for m in means]
        on, off = (grid.reshape(-1) for grid in np.meshgrid(*counts, indexing="ij"))
        return on, off, poisson.pmf(on, means[0]) * poisson.pmf(off, means[1])

    def coverage(self, level: float, statistic: Statistic | None = None) -> float:
        """The exact probability that a set at a level holds the true s.

        Arguments:
            level: The set is where the statistic is below the quantile of χ² with one degree.
            statistic: t of :meth:`profile` by default, without a bound on ŝ.
        """
        on, off, probability = self.outcomes()
        t = (statistic or self.profile)(on, off, self.signal)
        return float(probability[t <= chi2.ppf(level, 1)].sum())

    def profile(self, on: float | Array, off: float | Array, signal: float) -> Array:
        """t_s with ŝ anywhere, also below 0, shape as the counts."""
        return profile_statistic(on, off, signal, self.tau)

    def profile_at_bound(self, on: float | Array, off: float | Array, signal: float) -> Array:
        """t̃_s with ŝ ≥ 0, shape as the counts."""
        return profile_statistic(on, off, signal, self.tau, bounded=True)

    def likelihood(self, *, low: float = 0.0, high: float = 200.0) -> BinnedLikelihood:
        """The same as a likelihood of two bins: s in a range, b from 0 to twenty times its value.

        Arguments:
            low, high: The range of s.
        """
        parameters = [
            Parameter("s", self.signal, role="interest", prior=Uniform(low, high)),
            Parameter("b", self.background, prior=Uniform(1e-6, 20 * self.background)),
        ]
        signal = BinnedSample("signal", (1.0,), (Factor("s"),))
        on, off = (BinnedSample("background", (part,), (Factor("b"),)) for part in (1.0, self.tau))
        channels = [BinnedChannel("on", (signal, on)), BinnedChannel("off", (off,))]
        return BinnedLikelihood(channels, ParameterSet(parameters))


def profile_statistic(
    on: float | Array, off: float | Array, signal: float, tau: float, *, bounded: bool = False
) -> Array:
    r"""t_s in closed form, shape as the counts.

    :math:`\hat{\hat b}` is the positive root of
    :math:`(1+\tau) b^2 + ((1+\tau)s - n_\mathrm{on} - n_\mathrm{off})\,b - n_\mathrm{off} s = 0`.

    Arguments:
        on, off: Counts.
        signal: s ≥ 0.
        tau: τ.
        bounded: Whether ŝ is kept at ŝ ≥ 0.

    Li and Ma's significance of 140 on 100 counts with τ = 1:

    >>> round(float(profile_statistic(140, 100, 0.0, 1.0)) ** 0.5, 3)
    2.588
    """
    n, m = np.asarray(on, dtype=np.float64), np.asarray(off, dtype=np.float64)
    linear = (1 + tau) * signal - n - m
    root = np.sqrt(linear**2 + 4 * (1 + tau) * m * signal)
    conditional = _log_likelihood(n, m, signal, (root - linear) / (2 * (1 + tau)), tau)
    best = _log_likelihood(n, m, n - m / tau, m / tau, tau)
    if bounded:
        at_zero = _log_likelihood(n, m, 0.0, (n + m) / (1 + tau), tau)
        best = np.asarray(np.where(n < m / tau, at_zero, best))
    return np.asarray(np.maximum(2 * (best - conditional), 0.0))


def coverage_map(
    signals: Sequence[float], background: float, tau: float, level: float, *, bounded: bool = False
) -> CoverageMap:
    """The exact coverage of profile-likelihood intervals over the true s.

    Arguments:
        signals: The true s, shape ``(P,)``.
        background, tau: The true b, and τ.
        level: Of the intervals.
        bounded: Whether ŝ is kept at ŝ ≥ 0.
    """
    truths = [OnOff(s, background, tau) for s in signals]
    found = [
        truth.coverage(level, truth.profile_at_bound if bounded else truth.profile)
        for truth in truths
    ]
    return CoverageMap(
        ("s",), np.array(signals, dtype=np.float64)[:, None], level, np.array(found),
        np.zeros(len(found)), 0, "profile at a bound" if bounded else "profile",
    )  # fmt: skip


def _log_likelihood(n: Array, m: Array, s: float | Array, b: float | Array, tau: float) -> Array:
    mean = np.asarray(s + b)
    return np.asarray(xlogy(n, mean) - mean + xlogy(m, tau * b) - tau * b)
