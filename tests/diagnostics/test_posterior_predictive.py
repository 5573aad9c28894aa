"""Posterior predictive checks, on a Gaussian whose width the model has wrong or right."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from hepgen.diagnostics.posterior_predictive import (
    correlation,
    mean,
    posterior_predictive,
    quantile,
)
from hepgen.diagnostics.posterior_predictive import spread as spread_of
from hepgen.errors import DataError

Array = NDArray[np.float64]


def spread(x: Array) -> float:
    return float(x[:, 0].std())


def replications(x: Array, number: int, rng: np.random.Generator) -> list[Array]:
    """Sets from the posterior of the mean of a unit Gaussian with a flat prior."""
    means = x.mean(axis=0) + rng.standard_normal((number, 1)) / np.sqrt(len(x))
    return [mean + rng.standard_normal(x.shape) for mean in means]


def test_a_width_that_the_model_has_wrong_is_found_and_the_mean_that_it_fits_is_not() -> None:
    rng = np.random.default_rng(1)
    x = 1.0 + 1.4 * rng.standard_normal((200, 1))
    found = posterior_predictive(
        x, replications(x, 199, rng), {"mean": lambda y: float(y.mean()), "spread": spread}
    )
    assert found["spread"].p_value == 2 / 200
    assert found["spread"].corrected == 4 / 200
    assert found["spread"].observed > found["spread"].replicated.max()
    assert found["mean"].p_value > 0.5


def test_p_values_of_what_the_inference_does_not_use_are_uniform() -> None:
    # The spread of a Gaussian is independent of its mean, which alone is inferred.
    rng, p_values = np.random.default_rng(2), []
    for _ in range(200):
        x = rng.standard_normal((20, 1))
        p_values.append(
            posterior_predictive(x, replications(x, 99, rng), {"s": spread})["s"].p_value
        )
    # p > 10⁻⁴.
    assert stats.kstest(p_values, "uniform").pvalue > 1e-4


def test_p_values_of_gaussian_statistics_are_uniform_with_few_replications() -> None:
    rng, p_values = np.random.default_rng(7), []
    for _ in range(300):
        x, *others = rng.standard_normal((13, 200, 1))
        test = posterior_predictive(x, others, {"q": quantile(0, 0.9)})["q"]
        p_values.append(test.normal)
        # Of 12 replications the rank says no more than this.
        assert test.p_value >= 2 / 13
    # p > 10⁻⁴, and the rate at 0.01 within 4 standard errors.
    assert stats.kstest(p_values, "uniform").pvalue > 1e-4
    assert np.mean(np.array(p_values) < 0.01) < 0.01 + 4 * np.sqrt(0.0099 / 300)


def test_a_statistic_that_is_always_the_same() -> None:
    x = np.ones((9, 1))
    same = posterior_predictive(x, [x, x, x], {"m": mean(0), "s": spread_of(0)})
    assert same["m"].normal == 1
    assert same["s"].observed == 0
    other = posterior_predictive(2 * x, [x, x, x], {"m": mean(0)})["m"]
    assert other.normal == other.p_value == 0.5


def test_statistics_are_of_the_columns_that_they_name() -> None:
    x = np.random.default_rng(3).standard_normal((50, 3))
    monotone = np.exp(x) @ np.diag([1.0, 1.0, -1.0])
    assert correlation(0, 2)(monotone) == pytest.approx(-correlation(0, 2)(x))
    assert quantile(1, 0.25)(x) == np.quantile(x[:, 1], 0.25)


def test_replications_of_another_size_and_statistics_without_a_value_are_refused() -> None:
    x = np.zeros((5, 1))
    with pytest.raises(DataError, match=r"\(4, 1\) for data of shape \(5, 1\)"):
        posterior_predictive(x, [x[:4]], {"spread": spread})
    with pytest.raises(DataError, match="no replications"):
        posterior_predictive(x, [], {"spread": spread})
    with pytest.raises(DataError, match="'nothing' is nan"):
        posterior_predictive(x, [x], {"nothing": lambda _: float("nan")})
