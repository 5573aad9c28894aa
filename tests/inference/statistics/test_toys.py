"""Toys: their distributions, their seeds, and what p-values from few of them are worth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest, poisson

from hepgen.errors import DataError
from hepgen.inference.binned import uncorrelated_background
from hepgen.inference.statistics.test_statistics import hypothesis_test
from hepgen.inference.statistics.toys import fraction_above, left_out, toy_statistics
from tests.inference.statistics.models import counting


def test_toys_of_a_gaussian_model_follow_wilks(line: Any) -> None:
    """With ν drawn *and* its auxiliary measurements; false alarm 1e-4."""
    toys = toy_statistics(line, line.truth(), "mu", torch.ones(1), "t", toys=700, seed=3)
    assert kstest(toys.statistic[:, 0].numpy(), "chi2", args=(1,)).pvalue > 1e-4
    assert toys.failed == 0


def test_toys_without_fluctuating_auxiliary_measurements_would_be_noticed(line: Any) -> None:
    """The test above can fail."""
    sets = line.generate(line.truth().expand(700, -1), 3)
    frozen = type(sets)(sets.y, line.truth()[2:].expand(700, -1))
    from hepgen.inference.statistics.profile import profile

    t = profile(line, frozen, {"mu": torch.ones(1)}).statistic[:, 0].numpy()
    assert kstest(t, "chi2", args=(1,)).pvalue < 1e-4


def test_seeds_blocks_and_progress(line: Any) -> None:
    seen: list[tuple[int, int]] = []
    values, theta = torch.tensor([0.0, 1.0]), line.truth()

    def draw(seed: int, progress: Any = None) -> Any:
        return toy_statistics(
            line, theta, "mu", values, "q", toys=25, seed=seed, block=10, progress=progress
        )

    first = draw(1, lambda done, total: seen.append((done, total)))
    assert first.statistic.shape == (25, 2)
    assert seen == [(10, 25), (20, 25), (25, 25)]
    assert torch.equal(first.statistic, draw(1).statistic)
    assert not torch.equal(first.statistic, draw(2).statistic)
    assert not torch.equal(first.statistic[:5], first.statistic[10:15])


def test_a_p_value_is_that_of_the_counts() -> None:
    """P(n ≥ 14 | 5) by toys of q₀, with its binomial error; false alarm 1e-4 (four errors)."""
    model = counting(5.0, 5.0, low=-0.9)
    test = hypothesis_test(model, model.observed([10.0]), "mu", method="toys", toys=20_000, seed=1)
    expected = poisson.sf(9, 5.0)
    assert test.p_value_error == pytest.approx(math.sqrt(expected / 20_000), rel=0.2)
    assert abs(test.p_value - expected) < 4 * test.p_value_error
    assert test.method == "toys"
    assert test.toys is not None
    assert test.toys.shape == (20_000,)
    asymptotic = hypothesis_test(model, model.observed([10.0]), "mu").p_value
    assert abs(asymptotic - expected) > 4 * test.p_value_error  # few events: it does not hold


def test_no_toy_as_extreme_is_a_warning() -> None:
    model = uncorrelated_background([12, 11], [50, 52], [3, 7])
    test = hypothesis_test(model, model.observed([110, 100]), "mu", method="toys", toys=100)
    assert test.p_value == 1 / 101  # no number of toys says 0
    assert math.isfinite(test.significance)
    assert test.p_value_error == pytest.approx(0.01, rel=0.01)
    assert "only 0 of 100 toys are as extreme" in test.warnings[-1]
    assert "an upper limit, 1/101" in test.warnings[-1]
    assert "below 0.03 at 95 % confidence" in test.warnings[-1]


def test_nuisances_of_toys_stand_at_their_conditional_best_fit() -> None:
    """The mean auxiliary count is τγ at the fit with μ held, not τ."""
    from hepgen.inference.statistics.test_statistics import conditional_point

    model = uncorrelated_background([12, 11], [50, 52], [3, 7])
    theta = conditional_point(model, model.observed([80, 70]), "mu", 0.0)
    assert theta[0] == 0
    assert theta[2] > 1.1
    toys = model.generate(theta.expand(4000, -1), 1)
    tau = (52 / 7) ** 2
    mean = toys.poisson[:, 1].mean().item()
    assert mean == pytest.approx(tau * theta[2].item(), abs=4 * math.sqrt(tau * 1.3 / 4000))


def test_fractions() -> None:
    toys = torch.arange(100).double()
    assert fraction_above(toys, 90.0) == pytest.approx((0.1, 0.03))
    assert fraction_above(toys, 200.0) == pytest.approx((1 / 101, math.sqrt(0.01 * 0.99 / 100)))
    assert fraction_above(toys, -1.0)[1] == pytest.approx(np.sqrt(0.01 * 0.99 / 100))


def test_toys_that_are_left_out_are_counted_up_to_a_share() -> None:
    assert left_out(0, 100) == ()
    (word,) = left_out(7, 100)
    assert word.startswith("7 of 100 toys (7.0%) have a fit that did not converge")
    with pytest.raises(DataError, match=r"11 of 100 toys .*; expected 10% at most"):
        left_out(11, 100)
