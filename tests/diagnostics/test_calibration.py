"""Calibration, on a Gaussian whose posterior is known.

With θ ~ N(0, 1) and x | θ ~ N(θ, σ²) the posterior is N(x/(1 + σ²), σ²/(1 + σ²)). It is
answered exactly, with widths that are too small or too large, and with a bias, in many
repetitions of the study of 200 data sets that a workflow asks for by default.

Rates of passing are held to 4 standard errors (or p > 10⁻⁴) at fixed seeds: five such
statements, so for other seeds the file would fail with a probability below 10⁻³.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from hepgen.diagnostics.calibration import (
    LEVEL,
    calibration,
    calibration_checks,
    resolved,
    uniformity_p_values,
    uniformity_tests,
)
from hepgen.diagnostics.multiple_testing import corrected
from hepgen.diagnostics.sbc import sbc
from hepgen.diagnostics.uniformity import LEVELS, uniformity
from hepgen.errors import DataError, SamplingError
from hepgen.results import Calibration, Check

Array = NDArray[np.float64]

SETS, DRAWS, SIGMA = 200, 200, 0.5
FALSE_ALARM = 1e-4
#: As in the defaults of a workflow.
THRESHOLDS = {"coverage": 0.07, "pull_mean": 0.15, "pull_width": 0.15}
P_VALUE = 0.01
COVERAGE, BIAS, WIDTH, RANKS = range(4)


def study(seed: int, widths: float = 1.0, bias: float = 0.0) -> Calibration:
    """One study, by an analyst whose widths are off by a factor, and means by ``bias`` widths."""
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal(SETS)
    x = theta + SIGMA * rng.standard_normal(SETS)
    width = SIGMA / math.sqrt(1 + SIGMA**2)
    center = x / (1 + SIGMA**2) + bias * width
    draws = center[:, None] + widths * width * rng.standard_normal((SETS, DRAWS))
    return calibration(
        list(draws[..., None]), theta[:, None],
        parameters=["a"], method="exact", source="a toy", events=[1] * SETS,
    )  # fmt: skip


@cache
def exact() -> list[Calibration]:
    return [study(seed) for seed in range(200)]


def wrong(widths: float = 1.0, bias: float = 0.0) -> list[Calibration]:
    return [study(seed, widths, bias) for seed in range(50)]


def checks(result: Calibration) -> list[Check]:
    """Of coverage, pulls, and ranks alone."""
    alone = dataclasses.replace(result, tarp=None)
    return [
        *calibration_checks(result, "a", **THRESHOLDS),
        *corrected(uniformity_p_values(alone, ["a"]), P_VALUE),
    ]


def rates(studies: Sequence[Calibration]) -> Array:
    """How often each of the four checks passes."""
    table = [[check.passed for check in checks(result)] for result in studies]
    passing: Array = np.array(table, dtype=np.float64).mean(axis=0)
    return passing


def perfect_rates() -> list[float]:
    """How often a perfect posterior passes, from the scatter that the docstring states."""
    covered = stats.binom(SETS, LEVEL)
    middle, reach = LEVEL * SETS, THRESHOLDS["coverage"] * SETS
    inside = covered.cdf(math.floor(middle + reach)) - covered.cdf(math.ceil(middle - reach) - 1)
    mean = 1 - 2 * stats.norm.sf(THRESHOLDS["pull_mean"] * math.sqrt(SETS))
    width = 1 - 2 * stats.norm.sf(THRESHOLDS["pull_width"] * math.sqrt(2 * SETS))
    return [float(inside), float(mean), float(width), 1 - P_VALUE]


def test_an_exact_posterior_fails_no_more_often_than_chance() -> None:
    expected = np.array(perfect_rates())
    error = np.sqrt(expected * (1 - expected) / len(exact()))
    # Half a percent for draws that are few, which the statement of the docstring leaves out.
    assert bool(np.all(np.abs(rates(exact()) - expected) < 4 * error + 0.005))


def test_an_exact_posterior_has_uniform_ranks() -> None:
    p_values = [sbc(result, "a").p_value for result in exact()]
    assert stats.kstest(p_values, "uniform").pvalue > FALSE_ALARM


@pytest.mark.parametrize(("widths", "side"), [(0.67, -1), (1.5, 1)], ids=["over", "under"])
def test_a_posterior_of_wrong_width_is_found_out(widths: float, side: int) -> None:
    passed = rates(wrong(widths))
    assert passed[COVERAGE] == 0
    assert passed[WIDTH] == 0
    assert passed[RANKS] < 0.1
    # It is the widths that are wrong, and the words say to which side.
    result = study(0, widths)
    assert side * (result.coverage("a") - LEVEL) > THRESHOLDS["coverage"]
    assert side * (1 - result.pull_width("a")[0]) > THRESHOLDS["pull_width"]
    assert abs(result.pull_mean("a")[0]) < 0.3


@pytest.mark.parametrize("bias", [-0.5, 0.5])
def test_a_biased_posterior_is_found_out(bias: float) -> None:
    passed = rates(wrong(1.0, bias))
    assert passed[BIAS] == 0
    assert passed[RANKS] == 0
    assert passed[WIDTH] > 0.9
    assert bias * study(0, 1.0, bias).pull_mean("a")[0] > 0


def test_a_defect_that_the_pulls_do_not_see_shows_in_the_ranks() -> None:
    rng = np.random.default_rng(1)
    # A flat posterior with the mean and the width of the prior, for θ from a Gaussian.
    draws = rng.uniform(-math.sqrt(3), math.sqrt(3), (4 * SETS, DRAWS))
    truth = rng.standard_normal(4 * SETS)
    result = calibration(
        list(draws[..., None]), truth[:, None],
        parameters=["a"], method="exact", source="a toy", events=[1] * 4 * SETS,
    )  # fmt: skip
    _, bias, width, ranks = checks(result)
    assert (bias.passed, width.passed, ranks.passed) == (True, True, False)


# --- what is in a calibration, and in a check -----------------------------------------


def test_each_parameter_has_its_own_column() -> None:
    rng = np.random.default_rng(2)
    draws = [rng.normal([0.0, 5.0], [1.0, 2.0], (500, 2)) for _ in range(3)]
    truth = np.array([[-9.0, 5.0], [0.0, 5.0], [9.0, 99.0]])
    result = calibration(
        draws, truth, parameters=["a", "b"], method="nle", source="chain", events=[10, 20, 30]
    )
    assert len(result) == 3
    assert result.events.tolist() == [10, 20, 30]
    assert result.rank[:, 0] == pytest.approx([0.0, 0.5, 1.0], abs=0.1)
    assert result.rank[2, 1] == 1.0
    np.testing.assert_allclose(result.mean[1], draws[1].mean(axis=0))
    np.testing.assert_allclose(result.std[1], np.std(draws[1], axis=0, ddof=1))
    assert result.pulls("b")[2] == pytest.approx((5.0 - 99.0) / 2.0, rel=0.2)


def test_a_check_says_what_where_and_the_number() -> None:
    result = study(3)
    found = checks(result)
    assert [check.name for check in found] == [
        "EXACT on 200 sets of a toy: |coverage − 0.68| of a",
        "EXACT on 200 sets of a toy: |mean pull| of a",
        "EXACT on 200 sets of a toy: |pull width − 1| of a",
        "EXACT on 200 sets of a toy: uniform ranks of a",
    ]
    assert [check.threshold for check in found] == [0.07, 0.15, 0.15, 0.01]
    assert found[COVERAGE].value == abs(result.coverage("a") - 0.68)
    assert f"{result.coverage('a'):.3f}" in found[COVERAGE].meaning
    assert found[RANKS].value == pytest.approx(sbc(result, "a").p_value)


def test_tests_of_all_parameters_are_corrected_for_their_number() -> None:
    levels = np.random.default_rng(5).integers(0, DRAWS + 1, SETS) / DRAWS
    # Regions of highest density that hold the truth too often.
    result = dataclasses.replace(study(4), hpd=np.floor(levels**1.5 * DRAWS) / DRAWS)
    raw = uniformity_tests(result, ["a"])
    checks = corrected(uniformity_p_values(result, ["a"]), P_VALUE)
    found = {c.name.split(": ")[1]: c for c in checks}
    assert list(found) == list(raw) == ["uniform ranks of a", "expected coverage", "TARP"]
    coverage = found["expected coverage"]
    assert coverage.value == pytest.approx(3 * raw["expected coverage"].p_value)
    assert not coverage.passed
    assert "if not, too often, corrected for 3 tests" in coverage.meaning
    # One that was made before these were has its ranks.
    old = dataclasses.replace(result, hpd=None, tarp=None, draws=0)
    assert list(uniformity_tests(old, ["a"])) == ["uniform ranks of a"]


def test_a_number_that_is_none_fails() -> None:
    broken = calibration(
        [np.full((10, 1), np.nan)] * 30, np.zeros((30, 1)),
        parameters=["a"], method="nle", source="chain", events=[1] * 30,
    )  # fmt: skip
    coverage, bias, width = calibration_checks(broken, "a", **THRESHOLDS)
    assert [check.passed for check in (coverage, bias, width)] == [False, False, False]


@pytest.mark.parametrize(("posteriors", "truths"), [(2, 3), (3, 2), (0, 0)])
def test_there_is_one_truth_for_each_posterior(posteriors: int, truths: int) -> None:
    with pytest.raises(DataError, match=f"{posteriors} posteriors for {truths} truths"):
        calibration(
            [np.zeros((5, 1))] * posteriors, np.zeros((truths, 1)),
            parameters=["a"], method="nle", source="chain", events=[1] * truths,
        )  # fmt: skip


@pytest.mark.parametrize(("independent", "uniform"), [(1000, True), (20, False)])
def test_draws_that_repeat_have_ranks_that_are_not_uniform(independent: int, uniform: bool) -> None:
    """1000 draws of the posterior itself, of which 20 differ: their ranks are multiples of 1/20."""
    rng = np.random.default_rng(3)
    u = rng.uniform(size=400)
    draws = np.repeat(rng.uniform(size=(400, independent)), 1000 // independent, axis=1)
    test = uniformity((draws < u[:, None]).mean(1), 1000)
    assert (test.p_value > FALSE_ALARM) == uniform
    effective = np.full(400, float(independent))
    if uniform:
        assert resolved(effective).all()
    else:
        with pytest.raises(SamplingError, match="of 400 of 400 data sets are worth fewer than 100"):
            resolved(effective)


def test_a_few_sets_with_too_few_draws_are_left_out() -> None:
    effective = np.full(50, 900.0)
    effective[[3, 40]] = 5.0, LEVELS - 1
    assert np.flatnonzero(~resolved(effective)).tolist() == [3, 40]
