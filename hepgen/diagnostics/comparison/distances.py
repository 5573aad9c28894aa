"""Distances column by column: Wasserstein, separation power, χ², tails, correlations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import chi2 as chi2_distribution
from scipy.stats import wasserstein_distance

from hepgen.diagnostics.comparison.samples import Array, NormalScores, check_samples
from hepgen.errors import DataError
from hepgen.features import Feature
from hepgen.judgement import Correlations, FeatureJudgement, Measured, Tail

TAILS = (0.001, 0.01, 0.99, 0.999)
_BINS = 40
_SPARSE = 10
_SPLITS = 20


def wasserstein(
    first: Array,
    second: Array,
    first_weight: Array | None = None,
    second_weight: Array | None = None,
) -> float:
    r""":math:`W_1 = \int |F - G|\,dx` of two columns, in standard deviations of the first.

    Arguments:
        first, second: Shapes ``(N,)`` and ``(M,)``.
        first_weight, second_weight: Not negative, of positive sum.

    Raises:
        DataError: NaN, weights that cannot be used, or a first column of one value.

    >>> wasserstein(np.array([0.0, 2.0]), np.array([1.0, 3.0]))
    1.0
    """
    check_samples(first[:, None], second[:, None], least=1)
    for x, weight in ((first, first_weight), (second, second_weight)):
        if weight is None:
            continue
        if weight.shape != x.shape:
            raise DataError(f"weights of shape {weight.shape} for events of shape {x.shape}")
        if not (weight.min() >= 0 and 0 < weight.sum() < math.inf):
            raise DataError(
                "weights that are negative, infinite or all zero; expected finite ones, zero or "
                "more, of a positive sum"
            )
    spread = math.sqrt(float(np.cov(first, aweights=first_weight, ddof=0)))
    if not spread > 0:
        raise DataError(f"a column of the one value {first[0]:g}; it has no unit to measure in")
    return float(wasserstein_distance(first, second, first_weight, second_weight)) / spread


def separation_power(first: Array, second: Array) -> float:
    """½ Σ (p − q)²/(p + q) of two histograms, each scaled to a sum of one: 0 alike, 1 disjoint.

    It is half the triangular discrimination (Diefenbacher et al., arXiv:2009.03796).

    >>> separation_power(np.array([1.0, 0.0]), np.array([0.0, 5.0]))
    1.0
    """
    if not (first.sum() > 0 and second.sum() > 0):
        raise DataError("an empty histogram; expected events in both")
    p, q = first / first.sum(), second / second.sum()
    both = p + q
    return float(0.5 * np.sum((p - q)[both > 0] ** 2 / both[both > 0]))


def histogram_chi2(
    first: Array, second: Array, first_variance: Array, second_variance: Array
) -> tuple[float, int, float]:
    """χ² of two histograms scaled to one total, degrees of freedom, and p-value.

    Both have statistical errors: χ² = Σ (p − q)²/(σ_p² + σ_q²) (Gagunashvili, physics/0605123,
    for counts: Porter, arXiv:0804.0380). Bins of fewer than ten effective events in both
    together are pooled, and the totals take one degree of freedom.

    Arguments:
        first, second: Sums of weights, shape ``(B,)``.
        first_variance, second_variance: Sums of squared weights, shape ``(B,)``.
    """
    totals = first.sum(), second.sum()
    if not min(totals) > 0:
        raise DataError("an empty histogram; expected events in both")
    p, q = first / totals[0], second / totals[1]
    variance = first_variance / totals[0] ** 2 + second_variance / totals[1] ** 2
    squared = first_variance + second_variance
    effective = (first + second) ** 2 / np.where(squared > 0, squared, 1.0)
    sparse = effective < _SPARSE
    parts = [np.append(one[~sparse], one[sparse].sum()) for one in (p, q, variance)]
    used = parts[2] > 0
    chi2 = float(np.sum((parts[0] - parts[1])[used] ** 2 / parts[2][used]))
    ndf = max(int(used.sum()) - 1, 0)
    return chi2, ndf, float(chi2_distribution.sf(chi2, ndf)) if ndf else 1.0


def tail_fractions(
    truth: Array, surrogate: Array, reference: Array, levels: Sequence[float] = TAILS
) -> tuple[Tail, ...]:
    """The fractions beyond quantiles of an independent reference, with binomial errors.

    Arguments:
        truth, surrogate, reference: One column each.
        levels: Those below 1/2 are lower tails.
    """
    return tuple(
        Tail(level, at, _beyond(truth, at, level), _beyond(surrogate, at, level))
        for level, at in zip(levels, np.quantile(reference, levels).tolist(), strict=True)
    )


def correlations(truth: Array, surrogate: Array, names: Sequence[str]) -> Correlations:
    """Correlations of normal scores and the standard error (1 − ρ²)/√(n − 1) of each.

    The error is that of a Gaussian copula. Both samples, shape ``(N, d)``, are mapped by the
    quantiles of the first.
    """
    check_samples(truth, surrogate, least=4)
    scores = NormalScores.of(truth)
    samples = [scores(truth), scores(surrogate)]
    rho = [_correlation(one) for one in samples]
    errors = [(1 - r**2) / math.sqrt(len(x) - 1) for r, x in zip(rho, samples, strict=True)]
    error = np.hypot(*errors)
    np.fill_diagonal(error, 0.0)
    return Correlations(tuple(names), rho[0], rho[1], error)


def judge_feature(
    feature: Feature, truth: Array, surrogate: Array, null: Array, seed: int = 0
) -> FeatureJudgement:
    """One column of simulation and surrogate, with the null of simulation and simulation.

    Arguments:
        feature: What the column is.
        truth, surrogate, null: Shape ``(N,)`` each; the null is simulation too.
        seed: Of the splits of the simulation.
    """
    edges = bin_edges(np.concatenate([truth, null]))
    open_edges = np.concatenate([[-np.inf], edges, [np.inf]])
    counts = [np.histogram(x, open_edges)[0].astype(np.float64) for x in (truth, surrogate, null)]
    scale = len(truth) / len(surrogate)
    chi2, ndf, p_value = histogram_chi2(counts[0], counts[1], counts[0], counts[1])
    inner = [count[1:-1] for count in counts]
    return FeatureJudgement(
        feature.name, feature.label, feature.unit, edges,
        truth=inner[0], surrogate=scale * inner[1],
        truth_std=np.sqrt(inner[0]), surrogate_std=scale * np.sqrt(inner[1]),
        wasserstein=_distance(truth, surrogate),
        wasserstein_null=_null_distance(truth, null, seed),
        separation=separation_power(counts[0], counts[1]),
        separation_null=separation_power(counts[0], counts[2]),
        chi2=chi2, ndf=ndf, p_value=p_value,
        tails=tail_fractions(truth, surrogate, null),
    )  # fmt: skip


def bin_edges(x: Array, bins: int = _BINS) -> Array:
    """Even bins from the 0.1 % to the 99.9 % quantile; around the integers for whole numbers.

    >>> bin_edges(np.array([2.0, 3.0, 4.0, 4.0])).tolist()
    [1.5, 2.5, 3.5, 4.5]
    """
    low, high = np.quantile(x, [0.001, 0.999])
    if np.array_equal(x, np.round(x)) and np.ptp(x) < 1e6:
        low, high = math.floor(low), math.ceil(high)
        step = math.ceil((high - low + 1) / bins)
        return np.arange(low, high + step + 1, step) - 0.5
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def _distance(truth: Array, other: Array) -> float:
    """W₁, and 0 or infinity where the simulation has one value only."""
    if np.ptp(truth) > 0:
        return wasserstein(truth, other)
    return 0.0 if np.array_equal(np.unique(truth), np.unique(other)) else math.inf


def _null_distance(truth: Array, null: Array, seed: int) -> Measured:
    """Mean and scatter of W₁ over splits of the simulation into two."""
    rng, pooled, n = np.random.default_rng(seed), np.concatenate([truth, null]), len(truth)
    found = []
    for _ in range(_SPLITS):
        mixed = rng.permutation(pooled)
        found.append(_distance(mixed[:n], mixed[n:]))
    return Measured(float(np.mean(found)), float(np.std(found, ddof=1)))


def _beyond(x: Array, at: float, level: float) -> Measured:
    count = int(np.count_nonzero(x < at if level < 0.5 else x > at))
    fraction = count / len(x)
    # No event at all is still an error of one event.
    variance = max(fraction * (1 - fraction), 1 / len(x)) / len(x)
    return Measured(fraction, math.sqrt(variance))


def _correlation(x: Array) -> Array:
    """Pearson's coefficients, 0 for a column of one value, shape ``(d, d)``."""
    centred = x - x.mean(0)
    spread = np.sqrt((centred**2).sum(0))
    unit = centred / np.where(spread > 0, spread, 1.0)
    rho: Array = np.clip(unit.T @ unit, -1, 1)
    np.fill_diagonal(rho, 1.0)
    return rho
