"""The classifier test: known optima, the null, and bad input. Seeds are fixed."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from scipy.stats import kstest, norm, rankdata

from hepgen.diagnostics.comparison.classifier import (
    CLASSIFIERS,
    _edges,
    auc,
    calibrate,
    judge_by_classifier,
    permutation_p_value,
    two_sample_test,
)
from hepgen.errors import DataError
from hepgen.judgement import TwoSampleTest

FALSE_ALARM = 1e-4


def shifted(n: int, shift: float, seed: int, d: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, n, d))
    second[:, 0] += shift
    return first, second


@cache
def found_of(name: str, shift: float) -> TwoSampleTest:
    return two_sample_test(*shifted(2500, shift, seed=3), classifier=CLASSIFIERS[name], seed=1)


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
@pytest.mark.parametrize("shift", [0.5, 1.5])
def test_the_auc_reaches_the_optimum_and_does_not_exceed_it(name: str, shift: float) -> None:
    """Φ(δ/√2), the AUC of the likelihood ratio of two normal distributions."""
    found, best = found_of(name, shift), norm.cdf(shift / math.sqrt(2))
    assert best - 0.04 < found.auc.value < best + 4 * found.auc.error


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_the_accuracy_reaches_the_optimum(name: str) -> None:
    """Φ(δ/2): cut half-way between the means."""
    found, best = found_of(name, 1.5).accuracy, norm.cdf(0.75)
    assert best - 0.04 < found.value < best + 4 * found.error


def test_the_accuracy_sees_a_small_shift() -> None:
    """Also where the calibration of the output is uncertain by more than the shift."""
    found, best = two_sample_test(
        *shifted(40_000, 0.1, seed=5), classifier=along_the_means, seed=5
    ).accuracy, norm.cdf(0.05)  # fmt: skip
    assert abs(found.value - best) < 4 * found.error
    assert found.value > 0.5 + 4 * found.error


def test_the_divergence_is_that_of_two_normals() -> None:
    """JSD by quadrature; the calibrated output gives a lower bound of it."""
    x, shift = np.linspace(-9, 11, 20001), 1.5
    p, q = norm.pdf(x), norm.pdf(x - shift)
    middle = 0.5 * (p + q)
    jsd = np.trapezoid(0.5 * (p * np.log2(p / middle) + q * np.log2(q / middle)), x)
    found = found_of("perceptron", shift).jsd
    assert jsd - 0.03 < found.value < jsd + 4 * found.error


def test_the_curve_and_the_histograms_hold_all_events() -> None:
    found = found_of("perceptron", 0.5)
    assert found.first.sum() == found.second.sum() == found.events == 1000
    assert (found.false_positive[-1], found.true_positive[-1]) == (1, 1)
    area = np.trapezoid(found.true_positive, found.false_positive)
    assert area == pytest.approx(found.auc.value, abs=2e-3)


def test_no_output_is_outside_of_the_histograms() -> None:
    """Ends at 1/2 ± the distance of the farthest output, which rounding moves."""
    for p in norm.cdf(np.random.default_rng(1).normal(-1.0, 1.0, size=10_000)):
        edges = _edges(np.array([p]))
        assert edges[0] <= p <= edges[-1]


def along_the_means(x: np.ndarray, y: np.ndarray, seed: int) -> Callable[..., np.ndarray]:  # noqa: ARG001
    """A classifier that overfits: the direction between the means of the training events."""
    direction = x[y].mean(0) - x[~y].mean(0)
    return lambda events: np.asarray(events @ direction)


def test_p_values_of_the_null_are_uniform() -> None:
    """Over 150 tests of equal samples in 20 columns; refused below 10⁻⁴."""
    p = [
        two_sample_test(
            *shifted(150, 0, seed, d=20), classifier=along_the_means, permutations=199, seed=seed
        ).p_value
        for seed in range(150)
    ]
    assert kstest(np.array(p) - 0.5 / 200, "uniform").pvalue > FALSE_ALARM


def test_the_null_of_the_perceptron_is_inside_its_error() -> None:
    found = two_sample_test(*shifted(1500, 0, seed=9))
    assert abs(found.auc.value - 0.5) < 4 * found.auc.error
    assert abs(found.accuracy.value - 0.5) < 4 * found.accuracy.error
    assert found.p_value > FALSE_ALARM


def test_permutations_agree_with_the_normal_limit() -> None:
    """Ranks of n + m events: mean and variance of Mann and Whitney's statistic."""
    rng = np.random.default_rng(2)
    score, y = rng.normal(size=400), np.repeat([False, True], 200)
    score[y] += 0.15
    z = (rankdata(score)[y].sum() - 200 * 401 / 2) / math.sqrt(200 * 200 * 401 / 12)
    found = permutation_p_value(score, y, 4000, rng)
    assert found == pytest.approx(norm.sf(z), abs=4 * math.sqrt(0.25 / 4000))


def test_the_error_of_the_auc_is_its_scatter() -> None:
    rng, found = np.random.default_rng(5), []
    for _ in range(400):
        score, y = rng.normal(size=200), np.repeat([False, True], 100)
        score[y] += 1
        found.append(auc(score, y))
    errors = np.mean([one.error for one in found])
    assert np.std([one.value for one in found]) == pytest.approx(errors, rel=0.15)
    assert np.mean([one.value for one in found]) == pytest.approx(norm.cdf(1 / 2**0.5), abs=0.01)


def test_calibration_finds_the_slope_and_the_offset() -> None:
    rng = np.random.default_rng(1)
    logit = rng.normal(0, 2, 40_000)
    y = rng.uniform(size=40_000) < 1 / (1 + np.exp(-(0.5 * logit - 0.3)))
    assert calibrate(logit, y) == pytest.approx((0.5, -0.3), abs=0.05)


def test_calibration_of_noise_says_nothing() -> None:
    rng = np.random.default_rng(1)
    slope, offset = calibrate(rng.normal(0, 5, 10_000), np.tile([True, False], 5000))
    assert slope < 0.02
    assert abs(offset) < 0.05


def test_identical_samples_are_alike() -> None:
    """The same events in both: what is memorised in training is wrong in the test."""
    x = np.random.default_rng(1).normal(size=(500, 2))
    found = two_sample_test(x, x.copy())
    assert found.p_value > FALSE_ALARM
    assert found.jsd.value < 0.02


def test_disjoint_samples_are_told_apart_entirely() -> None:
    first, second = shifted(500, 50, seed=1)
    found = two_sample_test(first, second)
    assert found.auc.value > 0.999
    assert found.accuracy.value > 0.98
    assert found.jsd.value > 0.75
    assert found.auc.error > 0


def test_a_scale_does_not_matter() -> None:
    first, second = shifted(500, 1.0, seed=1)
    scale = np.array([1e9, 1e-9])
    assert two_sample_test(first * scale, second * scale) .auc.value == pytest.approx(
        two_sample_test(first, second).auc.value, abs=1e-6
    )  # fmt: skip


def test_the_judgement_has_a_null_and_a_planted_shift() -> None:
    rng = np.random.default_rng(4)
    truth, surrogate, null = rng.normal(size=(3, 1500, 2))
    judged = judge_by_classifier(truth, 1.3 * surrogate, null, shift=1.0, seed=2)
    assert judged.optimum == pytest.approx(norm.cdf(1 / math.sqrt(2)))
    assert judged.surrogate.p_value < 1e-3 < judged.null.p_value
    planted = judged.planted
    assert planted is not None
    assert judged.optimum - 0.06 < planted.auc.value < judged.optimum + 4 * planted.auc.error


@pytest.mark.parametrize(
    ("first", "second", "match"),
    [
        (np.zeros((1, 2)), np.zeros((1, 2)), "1 events"),
        (np.zeros((100, 2)), np.zeros((100, 3)), "expected"),
        (np.zeros((100, 2)), np.full((100, 2), np.nan), "column 0: 100 of 100"),
        (np.zeros((100, 2)), np.full((100, 2), np.inf), "NaN or infinite"),
        (np.zeros(100), np.zeros(100), "expected"),
    ],
)
def test_bad_samples_are_refused(first: np.ndarray, second: np.ndarray, match: str) -> None:
    with pytest.raises(DataError, match=match):
        two_sample_test(first, second)
