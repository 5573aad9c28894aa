"""The on/off problem s = 15, b = 70, τ = 1: closed forms, fits, exact coverage and toys."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from hepgen.errors import ParameterError
from hepgen.inference.statistics.counting import OnOff, coverage_map, profile_statistic
from hepgen.inference.statistics.profile import profile

TRUTH = OnOff(15.0, 70.0, 1.0)


def test_li_and_ma() -> None:
    """Their equation 17, for a few counts and τ."""
    for n, m, tau in ((140.0, 100.0, 1.0), (20.0, 3.0, 0.5), (7.0, 40.0, 10.0)):
        alpha = 1 / tau
        li_ma = 2 * (
            n * math.log((1 + alpha) / alpha * n / (n + m))
            + m * math.log((1 + alpha) * m / (n + m))
        )
        assert profile_statistic(n, m, 0.0, tau) == pytest.approx(li_ma)


@pytest.mark.parametrize("bounded", [False, True])
def test_the_closed_form_is_the_fit(bounded: bool) -> None:
    on, off, p = TRUTH.outcomes()
    some = np.random.default_rng(0).choice(len(on), 200, p=p / p.sum())
    model = TRUTH.likelihood(low=0.0 if bounded else -60.0)
    data = model.observed(torch.tensor(np.stack([on[some], off[some]], axis=1)))
    found = profile(model, data, {"s": torch.tensor([15.0])})
    exact = profile_statistic(on[some], off[some], 15.0, 1.0, bounded=bounded)
    np.testing.assert_allclose(found.statistic[:, 0].numpy(), exact, atol=1e-6)


def test_outcomes_are_all() -> None:
    on, off, p = TRUTH.outcomes()
    assert p.sum() == pytest.approx(1.0, abs=1e-10)
    assert (p * on).sum() == pytest.approx(85.0)
    assert (p * off).sum() == pytest.approx(70.0)


@pytest.mark.parametrize("level", [0.68, 0.95])
def test_exact_coverage(level: float) -> None:
    """The sum is what toys of the closed form give (false alarm 1e-4), and near the level."""
    exact = TRUTH.coverage(level)
    random = np.random.default_rng(3)
    on, off = random.poisson(85, 200_000), random.poisson(70, 200_000)
    inside = TRUTH.profile(on.astype(float), off.astype(float), 15.0) <= chi2.ppf(level, 1)
    assert inside.mean() == pytest.approx(exact, abs=4 * math.sqrt(0.22 / 200_000))
    assert exact == pytest.approx(level, abs=0.005)


def test_coverage_where_asymptotic_formulae_fail() -> None:
    """Three background events: a bounded 68 % interval covers 80 % at s = 0, and 65 % at s = 5."""
    found = coverage_map([0.0, 5.0, 40.0], 3.0, 1.0, 0.68, bounded=True)
    assert found.coverage[0] > 0.78
    assert found.coverage[1] < 0.66
    assert found.coverage[2] == pytest.approx(0.68, abs=0.015)
    assert found.toys == 0
    assert found.worst > 0.1
    assert not found.error.any()


def test_bounded_and_unbounded_differ_below_zero_only() -> None:
    on, off, _ = TRUTH.outcomes()
    free, kept = TRUTH.profile(on, off, 15.0), TRUTH.profile_at_bound(on, off, 15.0)
    assert np.array_equal(free[on >= off], kept[on >= off])
    assert np.all(kept[on < off] < free[on < off])


def test_values_are_checked() -> None:
    with pytest.raises(ParameterError, match="expected s ≥ 0, b > 0"):
        OnOff(1.0, 0.0)
