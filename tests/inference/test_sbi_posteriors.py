"""sbi's estimators as posteriors, of a linear Gaussian model."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from hepgen.errors import DataError, ParameterError
from hepgen.inference.sbi_posteriors import SbiPosterior
from tests.inference.linear_gaussian import FEATURES, OBSERVED, PARAMETERS, posterior, simulations

SETTINGS: dict[str, dict[str, Any]] = {
    "fmpe": {"max_num_epochs": 40, "training_batch_size": 200, "learning_rate": 2e-3},
    "npse": {"max_num_epochs": 80, "training_batch_size": 200, "learning_rate": 2e-3},
    "npe": {"max_num_epochs": 20, "training_batch_size": 200, "learning_rate": 2e-3},
}
pytestmark = pytest.mark.filterwarnings("ignore")  # of sbi's own


@cache
def learned(method: str) -> SbiPosterior:
    x, theta = simulations(2000, 1)
    return SbiPosterior.fit(
        x, theta, features=FEATURES, parameters=PARAMETERS, method=method, **SETTINGS[method]
    )


@pytest.mark.parametrize("method", SETTINGS)
def test_draws_are_those_of_the_closed_form(method: str) -> None:
    """Of 2000 simulations: the mean within 0.3 of a width, the width within 20 %."""
    sample = learned(method).draw(800, OBSERVED, seed=1)
    right = posterior(OBSERVED)
    std = right.covariance_matrix.diagonal().sqrt()
    assert sample.method == method
    assert sample.names == ("a", "b")
    assert ((sample.theta.mean(0) - right.mean).abs() / std).max() < 0.3
    assert (sample.theta.std(0) / std - 1).abs().max() < 0.2


@pytest.mark.parametrize("method", SETTINGS)
def test_the_density_is_that_of_the_closed_form(method: str) -> None:
    """Within 0.5 in log p on average, by an ODE but for NPE; that of the prior is 1.8 off."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theta = posterior(OBSERVED).sample((50,))
    found = learned(method).log_prob(theta, OBSERVED)
    assert found.dtype == torch.float64
    exact = posterior(OBSERVED).log_prob(theta)  # type: ignore[no-untyped-call]
    assert (found - exact).abs().mean() < 0.5


def test_a_seed_gives_the_same_draws_and_leaves_the_global_generator() -> None:
    state = torch.random.get_rng_state()
    one = learned("fmpe").draw(20, OBSERVED, seed=3).theta
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(one, learned("fmpe").draw(20, OBSERVED, seed=3).theta)
    assert not torch.equal(one, learned("fmpe").draw(20, OBSERVED, seed=4).theta)


def test_what_cannot_be_used_is_refused() -> None:
    x, theta = simulations(100, 1)
    both: dict[str, Any] = {"features": FEATURES, "parameters": PARAMETERS}
    with pytest.raises(ParameterError, match=r"no method 'fmp'; did you mean 'fmpe'"):
        SbiPosterior.fit(x, theta, method="fmp", **both)
    with pytest.raises(DataError, match="a data set of 2 vectors"):
        learned("fmpe").draw(10, OBSERVED.expand(2, 2))
    with pytest.raises(DataError, match="without a weight"):
        learned("fmpe").draw(10, OBSERVED, weight=torch.ones(1))
