"""Distances of columns against closed forms and other implementations. Seeds are fixed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest, norm, wasserstein_distance

from hepgen.diagnostics.comparison.distances import (
    bin_edges,
    correlations,
    histogram_chi2,
    judge_feature,
    separation_power,
    tail_fractions,
    wasserstein,
)
from hepgen.diagnostics.comparison.samples import NormalScores, check_samples
from hepgen.errors import DataError
from hepgen.features import Feature


def normal(n: int, seed: int, mean: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, n)


def test_a_shift_is_moved_by_itself() -> None:
    x = normal(1000, 1)
    assert wasserstein(x, x + 0.3) == pytest.approx(0.3 / x.std())


def test_a_wider_normal_costs_its_excess() -> None:
    """W₁ of N(0, 1) and N(0, s²) is (s − 1)√(2/π)."""
    assert wasserstein(normal(200_000, 1), 1.5 * normal(200_000, 2)) == pytest.approx(
        0.5 * math.sqrt(2 / math.pi), abs=0.01
    )


def test_weights_count_events() -> None:
    """Whole weights are copies; and in scipy's own units it is scipy's number."""
    x, y, w = normal(50, 1), normal(60, 2), np.random.default_rng(3).integers(0, 4, 50)
    found = wasserstein(x, y, w.astype(float))
    assert found == pytest.approx(wasserstein(np.repeat(x, w), y))
    spread = math.sqrt(np.cov(x, aweights=w, ddof=0))
    assert found * spread == pytest.approx(wasserstein_distance(x, y, w))


@given(st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_units_do_not_matter(scale: float, offset: float) -> None:
    x, y = normal(40, 1), normal(50, 2, 0.4)
    assert wasserstein(scale * (x + offset), scale * (y + offset)) == pytest.approx(
        wasserstein(x, y), rel=1e-6
    )


def test_one_event_is_enough_for_the_second_sample() -> None:
    assert wasserstein(np.array([-1.0, 1.0]), np.array([0.0])) == 1


@pytest.mark.parametrize(
    ("x", "weight", "match"),
    [
        (np.array([1.0, np.nan]), None, "NaN"),
        (np.array([1.0]), None, "one value"),
        (np.array([1.0, 1.0]), None, "one value"),
        (np.array([1.0, 3.0]), np.array([1.0, np.inf]), "expected finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_has_no_distance_is_refused(
    x: np.ndarray, weight: np.ndarray | None, match: str
) -> None:
    with pytest.raises(DataError, match=match):
        wasserstein(np.array([0.0, 1.0]) if weight is not None else x, x, None, weight)


@pytest.mark.parametrize(
    ("weight", "match"),
    [([1.0, -1.0], "negative"), ([0.0, 0.0], "all zero"), ([1.0], "shape"), ([np.nan, 1], "zero")],
)
def test_weights_of_the_first_sample_are_checked_too(weight: list[float], match: str) -> None:
    x = np.array([0.0, 1.0])
    with pytest.raises(DataError, match=match):
        wasserstein(x, x, np.array(weight))


@pytest.mark.parametrize(
    ("p", "q", "value"),
    [
        ([1, 1], [3, 3], 0.0),
        ([1, 0], [0, 1], 1.0),
        ([3, 1], [1, 3], 0.25),
        ([1, 0, 1], [1, 0, 0], 0.5 * (0.25 / 1.5 + 0.5)),
    ],
)
def test_separation_power(p: list[float], q: list[float], value: float) -> None:
    found = separation_power(np.array(p, dtype=float), np.array(q, dtype=float))
    assert found == pytest.approx(value)
    assert found == pytest.approx(separation_power(np.array(q, float), np.array(p, float)))


def test_an_empty_histogram_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        separation_power(np.zeros(3), np.ones(3))
    with pytest.raises(DataError, match="empty"):
        histogram_chi2(np.ones(3), np.zeros(3), np.ones(3), np.zeros(3))


def test_chi2_of_counts_is_pearsons() -> None:
    """Equal totals: Σ (a − b)²/(a + b), Pearson's statistic of a 2 × B table."""
    a, b = np.array([30.0, 50.0, 20.0]), np.array([40.0, 35.0, 25.0])
    chi2, ndf, p = histogram_chi2(a, b, a, b)
    expected = 0.5 * (a + b)
    pearson = chisquare(a, expected).statistic + chisquare(b, expected).statistic
    assert chi2 == pytest.approx(pearson)
    assert ndf == 2
    assert 0.05 < p < 0.2


def test_chi2_of_the_null_is_uniform() -> None:
    """p-values of 300 pairs; refused below 10⁻⁴."""
    rng, p = np.random.default_rng(8), []
    for _ in range(300):
        a, b = (np.histogram(rng.normal(size=n), 30, (-4, 4))[0].astype(float) for n in (900, 3000))
        p.append(histogram_chi2(a, b, a, b)[2])
    assert kstest(p, "uniform").pvalue > 1e-4


def test_tails_are_counted_with_their_errors() -> None:
    reference = np.arange(10_000.0)
    found = tail_fractions(reference, np.full(100, 9_999.0), reference, (0.001, 0.99))
    assert found[0].truth.value == pytest.approx(0.001)
    assert found[0].surrogate.value == 0
    assert found[0].surrogate.error == pytest.approx(0.01)
    assert found[1].surrogate.value == 1
    assert found[1].pull > 50
    assert found[1].truth.error == pytest.approx(math.sqrt(0.01 * 0.99 / 1e4), rel=1e-3)


def test_correlations_are_found_with_their_errors() -> None:
    rng = np.random.default_rng(2)
    first, second = (
        rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 20_000) for rho in (0.5, 0.7)
    )
    found = correlations(np.exp(first), np.exp(second), ("a", "b"))
    # The scores of the first sample do not make the second one's margins more than nearly normal.
    assert found.truth[0, 1] == pytest.approx(0.5, abs=4 * (1 - 0.25) / math.sqrt(20_000))
    assert found.largest.value == pytest.approx(0.2, abs=4 * found.largest.error)
    assert found.error[0, 1] == pytest.approx(math.hypot(0.75, 0.51) / math.sqrt(20_000), rel=0.03)
    assert found.pulls[0, 0] == 0


def test_pulls_of_correlations_have_unit_width() -> None:
    rng = np.random.default_rng(3)
    pulls = []
    for _ in range(300):
        first, second = rng.normal(size=(2, 200, 2))
        pulls.append(correlations(first, second, ("a", "b")).pulls[0, 1])
    assert np.std(pulls) == pytest.approx(1, abs=4 / math.sqrt(600))


def test_a_column_is_judged_beside_its_null() -> None:
    truth, surrogate, null = normal(5000, 1), normal(5000, 2, 0.2), normal(5000, 3)
    found = judge_feature(Feature("x", "GeV"), truth, surrogate, null)
    assert found.wasserstein == pytest.approx(0.2, abs=0.06)
    assert found.wasserstein_null.value < 0.05
    assert found.separation > 3 * found.separation_null
    assert found.p_value < 1e-6
    assert found.truth.shape == found.surrogate.shape == (40,)
    assert found.axis == "x [GeV]"


def test_samples_of_two_sizes_are_scaled() -> None:
    found = judge_feature(Feature("x"), normal(4000, 1), normal(1000, 2), normal(4000, 3))
    assert found.surrogate.sum() == pytest.approx(4000, rel=0.01)
    assert found.p_value > 1e-4


def test_a_constant_column_is_no_error() -> None:
    one = np.zeros(100)
    found = judge_feature(Feature("x"), one, one, one)
    assert (found.wasserstein, found.separation, found.p_value) == (0, 0, 1)
    assert judge_feature(Feature("x"), one, one + 1, one).wasserstein == math.inf


def test_whole_numbers_have_a_bin_each() -> None:
    edges = bin_edges(np.random.default_rng(1).poisson(9, 5000).astype(float))
    assert np.all(edges % 1 == 0.5)
    assert np.all(np.diff(edges) == 1)


def test_scores_are_normal_whatever_the_column() -> None:
    x = np.random.default_rng(1).standard_cauchy((50_000, 1))
    scores = NormalScores.of(x)
    assert kstest(scores(x)[:, 0], norm.cdf).statistic < 1e-3
    assert np.all(np.diff(scores(np.sort(x, 0))[:, 0]) >= 0)


def test_scores_keep_ties_together() -> None:
    x = np.array([[0.0], [0.0], [0.0], [5.0]])
    found = NormalScores.of(x)(x)[:, 0]
    assert found.tolist() == pytest.approx([norm.ppf(0.375)] * 3 + [norm.ppf(0.875)])


def test_many_values_of_which_the_largest_is_frequent_have_scores() -> None:
    """5,000 values in 10,000 events, half of which have the largest one."""
    x = np.minimum(np.arange(10_000.0), 5000.0)[:, None]
    found = NormalScores.of(x)(x)[:, 0]
    assert found[-1] == pytest.approx(norm.ppf(0.75), abs=1e-3)
    assert found[2500] == pytest.approx(norm.ppf(0.25), abs=1e-3)


def test_samples_are_checked() -> None:
    with pytest.raises(DataError, match="expected at least 2"):
        check_samples(np.zeros((1, 1)))
    with pytest.raises(DataError, match="column 1: 1 of 2"):
        check_samples(np.array([[0.0, np.nan], [0.0, 0.0]]))
