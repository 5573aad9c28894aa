"""The ratio of two Gaussians is known: so are its weights, their mean and their spread."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hepgen.errors import DataError, SurrogateError
from hepgen.events import Events
from hepgen.surrogates.arrays import EventSurrogate
from hepgen.surrogates.reweight import reweight
from tests.surrogates.toys import toy

N = 20_000


def sample(shift: float, seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(shift, 1.0, (N, 1))


def test_the_weights_are_the_ratio() -> None:
    x = sample(0.0)
    found = reweight(toy(), x, {"shift": 0.0}, {"shift": 0.6})
    # p(x | t)/p(x | 0) = exp(t x − t²/2)
    np.testing.assert_allclose(found.weights, np.exp(0.6 * x[:, 0] - 0.18), rtol=1e-5)
    assert np.count_nonzero(found.error) == 0
    assert abs(found.mean - 1) < 5 * found.mean_error
    # E[w²] = exp(t²): what the sample is worth, and the error of the mean.
    assert found.effective_events / N == pytest.approx(np.exp(-0.36), rel=0.05)
    assert found.mean_error == pytest.approx(np.sqrt(np.expm1(0.36) / N), rel=0.05)


def test_weighted_moments_are_those_of_the_target() -> None:
    x = sample(-0.4)
    weights = reweight(toy(), {"mass": x[:, 0]}, {"shift": -0.4}, {"shift": 0.3}).weights
    mean = np.average(x[:, 0], weights=weights)
    # A weighted mean of n_eff events; five standard errors.
    assert abs(mean - 0.3) < 5 / np.sqrt(N * np.exp(-0.49))
    assert np.average((x[:, 0] - 0.3) ** 2, weights=weights) == pytest.approx(1, abs=0.1)


def test_a_theta_for_each_event_and_back_again() -> None:
    shift = np.linspace(-0.5, 0.5, N)
    x = np.random.default_rng(2).normal(shift, 1.0)[:, None]
    there = reweight(toy(), x, {"shift": shift}, {"shift": 0.0})
    back = reweight(toy(), x, {"shift": 0.0}, {"shift": shift}, weight=there.weights)
    np.testing.assert_allclose(back.weights, 1, rtol=1e-5)
    assert back.effective_events == pytest.approx(N)


def test_signed_weights_are_kept() -> None:
    x, own = sample(0.0), np.where(np.arange(N) % 5 == 0, -1.0, 1.0)
    events = Events.from_columns({"mass": x[:, 0], "genWeight": own})
    by_column = reweight(toy(), events, {"shift": 0.0}, {"shift": 0.2})
    by_hand = reweight(EventSurrogate(toy()), x, {"shift": 0.0}, {"shift": 0.2}, weight=own)
    assert np.array_equal(by_column.weights, by_hand.weights)
    assert np.array_equal(np.sign(by_column.weights), own)


def test_a_target_too_far_is_refused() -> None:
    # 20,000 events of N(−2, 1) at N(2, 1): exp(−16) of them.
    with pytest.raises(SurrogateError, match=r"worth \d+\.\d events, of 20000"):
        reweight(toy(), sample(-2.0), {"shift": -2.0}, {"shift": 2.0})


def test_events_from_elsewhere_are_noticed() -> None:
    with pytest.raises(SurrogateError, match=r"ratios have mean .* expected 1"):
        reweight(toy(), sample(1.0), {"shift": 0.0}, {"shift": 1.0})


def test_theta_outside_the_range_is_refused() -> None:
    for pair in ((0.0, 3.0), (3.0, 0.0)):
        with pytest.raises(SurrogateError, match=r"shift = 3 .* outside the range"):
            reweight(toy(), sample(0.0), *({"shift": value} for value in pair))


@pytest.mark.parametrize("kind", ["bound", "none"])
def test_bounds_have_no_ratio(kind: str) -> None:
    with pytest.raises(SurrogateError, match="reweight with a flow"):
        reweight(toy(kind=kind), sample(0.0), {"shift": 0.0}, {"shift": 0.1})


@pytest.mark.parametrize("own", [np.ones(3), np.full(N, np.nan), -np.ones(N)])
def test_weights_that_cannot_be_used(own: NDArray[np.float64]) -> None:
    with pytest.raises(DataError, match="expected 20000 finite ones with a positive sum"):
        reweight(toy(), sample(0.0), {"shift": 0.0}, {"shift": 0.1}, weight=own)
