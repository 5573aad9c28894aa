"""Conformal recalibration: coverage that is guaranteed, for posteriors that are wrong.

The mean coverage over repetitions is held to 4 standard errors about what the theorem allows.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from hepgen.diagnostics.calibration import calibration
from hepgen.diagnostics.conformal import ConformalLevels
from hepgen.diagnostics.expected_coverage import hpd_levels
from hepgen.errors import DataError
from hepgen.results import Calibration
from tests.diagnostics.gaussian_analyst import ANALYSTS, WIDTH, Analyst, study

Array = NDArray[np.float64]


def calibrated(name: str, sets: int, seed: int, dimensions: int = 1) -> Calibration:
    rng, analyst = np.random.default_rng(seed), ANALYSTS[name]
    theta, x = study(sets, dimensions, rng)
    draws = analyst.draws(x, 200, rng)
    at_truth = analyst.log_prob(theta[:, None], x)[:, 0]
    return calibration(
        list(draws), theta, parameters=[f"p{i}" for i in range(dimensions)], method="nle",
        source="a toy", events=[1] * sets, hpd=hpd_levels(at_truth, analyst.log_prob(draws, x)),
    )  # fmt: skip


@pytest.mark.parametrize("name", list(ANALYSTS))
@pytest.mark.parametrize("nominal", [0.68, 0.95])
def test_recalibrated_intervals_cover_as_often_as_they_say(name: str, nominal: float) -> None:
    sets, repetitions, tested = 39, 150, 50
    covered = []
    for seed in range(repetitions):
        result = calibrated(name, sets + tested, seed)
        known = dataclasses.replace(result, rank=result.rank[:sets])
        score = np.abs(2 * result.rank[sets:, 0] - 1)
        covered.append((score <= ConformalLevels.central(known, "p0").level(nominal)).mean())
    error = np.std(covered) / np.sqrt(repetitions)
    # Ranks among 200 draws tie now and then, which adds a little.
    assert nominal - 4 * error < np.mean(covered) < nominal + 1 / (sets + 1) + 4 * error + 0.01


@pytest.mark.parametrize(("name", "side"), [("overconfident", 1), ("conservative", -1)])
def test_the_level_moves_to_the_side_that_the_posterior_is_wrong_on(name: str, side: int) -> None:
    result = calibrated(name, 400, 1, dimensions=3)
    for levels in (ConformalLevels.central(result, "p1"), ConformalLevels.highest_density(result)):
        assert side * (levels.level(0.68) - 0.68) > 0.05
    exact = ConformalLevels.highest_density(calibrated("exact", 1000, 2, dimensions=3))
    # 4 standard errors.
    assert exact.level(0.68) == pytest.approx(0.68, abs=4 * np.sqrt(0.68 * 0.32 / 1000))


def test_the_interval_of_an_overconfident_posterior_becomes_that_of_the_exact_one() -> None:
    rng, analyst = np.random.default_rng(3), Analyst(0.7)
    result = calibrated("overconfident", 2000, 4)
    draws = analyst.draws(np.zeros((1, 1)), 100_000, rng)[0, :, 0]
    low, high = ConformalLevels.central(result, "p0").interval(draws, 0.6827)
    assert high - low == pytest.approx(2 * WIDTH, rel=0.08)


def test_what_few_sets_cannot_promise_is_the_whole_range() -> None:
    levels = ConformalLevels(np.linspace(0, 0.9, 9))
    assert levels.level(0.9) == 0.9
    assert levels.level(0.91) == 1.0
    assert levels.interval(np.array([1.0, 2.0, 3.0]), 0.95) == (1.0, 3.0)


def test_bad_scores_and_levels_are_refused() -> None:
    with pytest.raises(DataError, match="1 of them outside"):
        ConformalLevels(np.array([0.5, np.nan]))
    with pytest.raises(DataError, match="nominal level of 1"):
        ConformalLevels(np.array([0.5])).level(1.0)
    old = dataclasses.replace(calibrated("exact", 20, 5), hpd=None)
    with pytest.raises(DataError, match="calibrate again"):
        ConformalLevels.highest_density(old)


def credibilities(width: float, number: int = 4000) -> NDArray[np.float64]:
    """Of posteriors N(x, width) for x ~ N(θ, 1), at the truth."""
    pull = np.random.default_rng(2).standard_normal(number) / width
    return np.asarray(np.abs(2 * ndtr(pull) - 1))


@pytest.mark.parametrize(("width", "raw"), [(1.0, 0.6827), (0.5, 0.3829), (2.0, 0.9545)])
def test_conformal_levels_tell_and_repair(width: float, raw: float) -> None:
    levels = ConformalLevels(credibilities(width))
    (found,) = levels.report([0.6827])
    # Four standard errors: 1 in 16,000.
    assert found.coverage == pytest.approx(raw, abs=4 * found.error)
    # In closed form the interval of ±1 that covers has the credibility 2Φ(1/width) − 1.
    exact = 2 * ndtr(1 / width) - 1
    slope = 2 * np.exp(-0.5 / width**2) / np.sqrt(2 * np.pi) / width
    assert found.credibility == pytest.approx(exact, abs=4 * slope * found.uncertainty / 0.484)
