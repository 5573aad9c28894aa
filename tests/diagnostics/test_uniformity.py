"""Uniformity: an exact p-value and a band that agrees with it.

Uniformity of p-values is held to p > 10⁻⁴, and rates to 4 standard errors, at fixed seeds: six
such statements, so for other seeds the file would fail with a probability below 10⁻³.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from hepgen.diagnostics.uniformity import uniformity
from hepgen.errors import DataError
from hepgen.results import UniformityTest

Array = NDArray[np.float64]

FALSE_ALARM = 1e-4


def uniform_ranks(rng: np.random.Generator, size: int, draws: int) -> Array:
    return rng.integers(0, draws + 1, size) / draws if draws else rng.uniform(size=size)


def studies(size: int, draws: int, repetitions: int, seed: int = 1) -> list[UniformityTest]:
    rng = np.random.default_rng(seed)
    return [uniformity(uniform_ranks(rng, size, draws), draws) for _ in range(repetitions)]


@pytest.mark.parametrize(("size", "draws"), [(3, 2), (4, 3), (2, 5)])
def test_p_values_are_exact_for_any_few_ranks(size: int, draws: int) -> None:
    # All (S + 1)ᴹ outcomes have the same probability: the p-value of one is the share of those
    # that are at least as extreme, which is then the share of p-values that are not larger.
    every = [
        uniformity(np.array(r) / draws, draws).p_value
        for r in itertools.product(range(draws + 1), repeat=size)
    ]
    rounded = np.round(every, 9)
    shares = [(rounded <= p).mean() for p in rounded]
    assert every == pytest.approx(shares, abs=1e-9)


@pytest.mark.parametrize(("size", "draws"), [(25, 0), (60, 20), (200, 1000)])
def test_p_values_of_uniform_ranks_are_uniform(size: int, draws: int) -> None:
    p_values = [test.p_value for test in studies(size, draws, 200)]
    assert stats.kstest(p_values, "uniform").pvalue > FALSE_ALARM


@pytest.mark.parametrize(("size", "draws"), [(25, 0), (60, 20), (200, 1000)])
def test_the_band_holds_uniform_ranks_at_its_confidence(size: int, draws: int) -> None:
    found = studies(size, draws, 200, seed=2)
    inside = np.mean([test.inside for test in found])
    # Counts are discrete: the band holds them a little more often than it says.
    error = np.sqrt(0.05 * 0.95 / len(found))
    assert 0.95 - 4 * error < inside < 0.97 + 4 * error
    # It is the same test: outside of the band is a p-value below what its confidence leaves.
    assert all(test.inside == (test.p_value > 0.05) for test in found)


def test_the_band_is_wider_than_that_of_one_level() -> None:
    test = uniformity((np.arange(100) + 0.5) / 100)
    single = stats.binom.ppf([0.025, 0.975], 100, 0.5) / 100
    middle = np.searchsorted(test.levels, 0.5)
    assert test.low[middle] < single[0]
    assert test.high[middle] > single[1]
    # That of Kolmogorov and Smirnov, 1.36/√M everywhere, is narrower there and wider in the tails.
    assert test.high[middle] - 0.5 < 1.25 * 1.36 / 10
    assert test.high[1] - test.levels[1] < 0.7 * 1.36 / 10


@pytest.mark.parametrize(
    ("power", "side"), [(0.7, 1), (1.4, -1)], ids=["piled up low", "piled up high"]
)
def test_ranks_that_are_not_uniform_are_found_out(power: float, side: int) -> None:
    rng = np.random.default_rng(3)
    found = [uniformity(rng.uniform(size=300) ** (1 / power)) for _ in range(50)]
    assert np.mean([test.p_value < 0.05 for test in found]) > 0.9
    assert all(side * test.excess > 0 for test in found)


def test_tails_are_seen_where_the_middle_is_right() -> None:
    # Of 400 ranks, twelve more than there should be are below one in a hundred.
    rank = (np.arange(400) + 0.5) / 400
    rank[rng_rows()] = 0.001
    assert uniformity(rank).p_value < 1e-3
    assert stats.kstest(rank, "uniform").pvalue > 0.5


def rng_rows() -> NDArray[np.int64]:
    return np.random.default_rng(4).choice(np.arange(10, 400), 12, replace=False)


def test_the_excess_is_half_less_the_mean() -> None:
    rank = np.random.default_rng(5).beta(2, 3, 5000)
    assert uniformity(rank).excess == pytest.approx(0.5 - rank.mean(), abs=0.01)


@pytest.mark.parametrize(
    ("rank", "draws", "words"),
    [
        ([0.1, 1.2], 0, r"0.1 to 1.2; expected at least two numbers in \[0, 1\]"),
        ([0.1, np.nan], 0, "expected at least two"),
        ([0.5], 0, r"shape \(1,\)"),
        ([0.5, 0.51], 10, "multiples of 1/10"),
    ],
)
def test_what_are_no_ranks_is_refused(rank: list[float], draws: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        uniformity(np.array(rank), draws)


def test_a_confidence_of_one_is_refused() -> None:
    with pytest.raises(DataError, match="confidence = 1"):
        uniformity(np.array([0.2, 0.4]), confidence=1.0)
