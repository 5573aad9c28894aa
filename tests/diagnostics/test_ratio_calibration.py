"""Calibration of ratios, where the ratio is known: N(1, 1) over N(0, 1), log r = x − ½."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from hepgen.diagnostics.ratio_calibration import (
    Kind,
    RatioCalibration,
    calibration_p_value,
    normalisation,
)
from hepgen.errors import DataError

Array = NDArray[np.float64]

KINDS: tuple[Kind, ...] = ("platt", "isotonic", "histogram")


def log_ratio(x: Array) -> Array:
    return x - 0.5


def overconfident(x: Array) -> Array:
    return 1.7 * log_ratio(x) + 0.3


def bent(x: Array) -> Array:
    """Monotone in the ratio, and no line of it."""
    return np.asarray(np.sinh(log_ratio(x)))


def samples(n: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.normal(1, 1, n), rng.normal(0, 1, n)


def error(learned: Callable[[Array], Array], correct: Callable[[Array], Array]) -> float:
    """The rms of log r over both hypotheses, without a calibrated tail of one in a hundred."""
    x = np.linspace(-1.5, 2.5, 200)
    return float(np.sqrt(np.mean((correct(learned(x)) - log_ratio(x)) ** 2)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_ratio_with_a_wrong_slope_is_put_right(kind: Kind) -> None:
    above, below = samples(20_000, 1)
    correct = RatioCalibration.fit(overconfident(above), overconfident(below), kind=kind)
    assert error(overconfident, lambda s: s) > 0.6
    assert error(overconfident, correct) < {"platt": 0.03}.get(kind, 0.12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bent_ratio_needs_more_than_a_line(kind: Kind) -> None:
    above, below = samples(20_000, 2)
    correct = RatioCalibration.fit(bent(above), bent(below), kind=kind)
    assert (error(bent, correct) < 0.12) == (kind != "platt")


@pytest.mark.parametrize("kind", KINDS)
def test_a_calibrated_ratio_has_the_mean_one(kind: Kind) -> None:
    above, below = samples(20_000, 3)
    correct = RatioCalibration.fit(overconfident(above), overconfident(below), kind=kind)
    _, fresh = samples(20_000, 4)
    raw, raw_error = normalisation(overconfident(fresh))
    found, found_error = normalisation(correct(overconfident(fresh)))
    # Both samples scatter, that of the calibration and the fresh one: 4 standard errors.
    assert abs(found - 1) < 4 * np.sqrt(2) * found_error
    assert abs(raw - 1) > 10 * raw_error


def test_samples_of_different_sizes_make_no_difference() -> None:
    above, below = samples(20_000, 5)
    for kind in KINDS:
        correct = RatioCalibration.fit(overconfident(above[:4000]), overconfident(below), kind=kind)
        assert error(overconfident, correct) < 0.2


def test_signed_weights_count_in_a_histogram() -> None:
    rng = np.random.default_rng(6)
    # p₁ = 1.5 N(1, 1) − 0.5 N(0, 1): positive where it is tested.
    one, minus, below = rng.normal(1, 1, 60_000), rng.normal(0, 1, 20_000), rng.normal(0, 1, 60_000)
    s = np.concatenate([one, minus])
    weight = np.repeat([1.0, -1.0], [len(one), len(minus)])
    inside = (s > 0.3) & (s < 2.5), (below > 0.3) & (below < 2.5)
    correct = RatioCalibration.fit(
        s[inside[0]], below[inside[1]],
        weight=(weight[inside[0]], np.ones(int(inside[1].sum()))), kind="histogram", bins=10,
    )  # fmt: skip
    x = np.linspace(0.4, 2.0, 20)
    expected = np.log(1.5 * np.exp(log_ratio(x)) - 0.5)
    found = correct(x)
    # Both are densities of what is inside: the constant between them is no concern here.
    assert np.std(found - expected) < 0.1


def test_beyond_the_calibration_the_ratio_stays_what_it_was_at_its_edge() -> None:
    above, below = samples(1000, 7)
    for kind in KINDS:
        correct = RatioCalibration.fit(above, below, kind=kind, bins=10)
        ends = correct(np.array([correct.low, -99.0, correct.high, 99.0]))
        assert ends[0] == ends[1]
        assert ends[2] == ends[3]
        assert np.isfinite(ends).all()


def test_weights_and_densities_that_are_not_possible_are_refused() -> None:
    above, below = samples(100, 8)
    ones = np.ones(100)
    with pytest.raises(DataError, match="use 'histogram'"):
        RatioCalibration.fit(above, below, weight=(ones, ones), kind="isotonic")
    signed = np.where(above > np.quantile(above, 0.7), -1.0, 1.0)
    for weight, words in ((-ones, "sum to -100"), (signed, "1 of 3 bins .* must be positive")):
        with pytest.raises(DataError, match=words):
            RatioCalibration.fit(above, below, weight=(weight, ones), kind="histogram", bins=3)
    with pytest.raises(DataError, match="a ratio must be positive"):
        RatioCalibration.fit(above + 9, below, kind="histogram", bins=8)
    with pytest.raises(DataError, match="1 of them NaN"):
        RatioCalibration.fit(np.append(above, np.nan), below)
    with pytest.raises(DataError, match="expected a spread"):
        RatioCalibration.fit(np.zeros(100), np.zeros(100), kind="histogram")


def test_p_values_of_a_ratio_that_is_right_are_uniform() -> None:
    """Asymptotically: p > 10⁻⁴, and the rate at 0.05 within 4 standard errors."""
    found = []
    for seed in range(200):
        above, below = samples(500, 100 + seed)
        found.append(calibration_p_value(log_ratio(above), log_ratio(below)))
    assert stats.kstest(found, "uniform").pvalue > 1e-4
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=4 * np.sqrt(0.0475 / 200))


@pytest.mark.parametrize("learned", [overconfident, lambda x: 0.7 * log_ratio(x)])
def test_a_ratio_that_is_wrong_is_found_out(learned: Callable[[Array], Array]) -> None:
    above, below = samples(2000, 5)
    assert calibration_p_value(learned(above), learned(below)) < 1e-4
    correct = RatioCalibration.fit(learned(above), learned(below), kind="platt")
    above, below = samples(2000, 6)
    assert calibration_p_value(correct(learned(above)), correct(learned(below))) > 1e-3


def test_a_ratio_of_one_everywhere_says_that_nothing_differs() -> None:
    assert calibration_p_value(np.zeros(30), np.zeros(31)) == 1
    rounded = np.random.default_rng(0).normal(1e-8, 1e-16, (2, 50))
    assert calibration_p_value(*rounded) == 1
    assert calibration_p_value(np.full(30, 0.5), np.full(31, 0.5)) == 0


def test_a_test_of_a_ratio_needs_some_events() -> None:
    with pytest.raises(DataError, match="expected at least 20"):
        calibration_p_value(np.zeros(3), np.zeros(3))
