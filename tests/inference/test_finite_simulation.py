"""Finite simulation: a Gaussian mean learned from n events, whose variance is known.

x ~ N(θ + δ, σ²) with an offset δ that n simulated events measure to σ²/n: a posterior of N events
with a flat prior is N(x̄ − δ̂, σ²/N), so that retrainings scatter by σ²/n and the total is
σ²/N + σ²/n. Held to 4 standard errors at fixed seeds.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hepgen.errors import DataError
from hepgen.inference.finite_simulation import finite_simulation

Array = NDArray[np.float64]

SIGMA, OFFSET, EVENTS, SIMULATED = 2.0, 0.7, 100, 400


def trainings(number: int, rng: np.random.Generator) -> Array:
    """δ̂ of each, shape ``(K,)``."""
    return np.array([rng.normal(OFFSET, SIGMA, SIMULATED).mean() for _ in range(number)])


def posteriors(offsets: Array, truth: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Means, shape ``(K, M, 1)``, and widths, of the same data sets."""
    mean = rng.normal(truth + OFFSET, SIGMA / np.sqrt(EVENTS))
    means = mean[None, :, None] - offsets[:, None, None]
    return means, np.full_like(means, SIGMA / np.sqrt(EVENTS))


def test_the_spread_is_that_of_the_simulation() -> None:
    rng = np.random.default_rng(1)
    found = finite_simulation(*posteriors(trainings(60, rng), np.zeros(20), rng), ["theta"])
    known = SIGMA / np.sqrt(SIMULATED)
    assert found.simulation[0] == pytest.approx(known, abs=4 * found.simulation_error[0])
    assert found.simulation_error[0] == pytest.approx(known / np.sqrt(2 * 59), rel=0.5)
    assert found.statistical[0] == pytest.approx(SIGMA / np.sqrt(EVENTS))
    assert found.in_sigmas[0] == pytest.approx(np.sqrt(EVENTS / SIMULATED), rel=4 / np.sqrt(2 * 59))


def test_the_quoted_error_of_the_spread_is_its_scatter() -> None:
    rng = np.random.default_rng(2)
    found = [
        finite_simulation(*posteriors(trainings(6, rng), np.zeros(3), rng), ["theta"])
        for _ in range(300)
    ]
    scatter = np.std([one.simulation[0] for one in found])
    assert scatter == pytest.approx(np.mean([one.simulation_error[0] for one in found]), rel=0.25)


@pytest.mark.parametrize("members", [1, 4])
def test_inflated_widths_have_the_coverage_that_raw_ones_lack(members: int) -> None:
    rng, raw, inflated = np.random.default_rng(3), [], []
    for _ in range(400):
        truth = rng.uniform(-5, 5, 2)
        means, widths = posteriors(trainings(8, rng), truth, rng)
        found = finite_simulation(means, widths, ["theta"], averaged=members)
        # The statement is from some of the trainings, the variance from all.
        pull = means[:members].mean(axis=0)[0, 0] - truth[0]
        width = widths[0, 0]
        raw.append(abs(pull) < width[0])
        inflated.append(abs(pull) < found.inflated(width)[0])
    error = np.sqrt(0.68 * 0.32 / 400)
    assert np.mean(inflated) == pytest.approx(0.6827, abs=4 * error)
    if members == 1:
        assert np.mean(raw) == pytest.approx(2 * 0.8145 - 1, abs=4 * error)


def test_what_all_trainings_share_is_not_seen() -> None:
    means = np.zeros((5, 3, 1)) + 7.0
    found = finite_simulation(means, np.ones((3, 1)), ["theta"])
    assert found.simulation[0] == 0
    assert found.check("theta", 0.2).passed


def test_a_check_says_how_much_larger_the_error_is() -> None:
    means = np.array([-1.0, 1.0]).reshape(2, 1, 1)
    check = finite_simulation(means, np.ones((1, 1)), ["m_z"]).check("m_z", 0.3)
    assert not check.passed
    assert check.value == pytest.approx(np.sqrt(2))
    assert "1.732 times as large" in check.meaning


def test_one_training_and_widths_of_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="at least two trainings"):
        finite_simulation(np.zeros((1, 3, 1)), np.ones((3, 1)), ["a"])
    with pytest.raises(DataError, match="expected positive"):
        finite_simulation(np.zeros((2, 3, 1)), np.zeros((3, 1)), ["a"])
