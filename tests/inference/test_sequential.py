"""Rounds of simulations near one observation, of a linear Gaussian model."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.residual_ensemble import Candidate
from hepgen.inference.sequential import Round, SequentialResult, infer_sequentially
from hepgen.inference.unbounded import UnboundedPrior
from tests.inference.linear_gaussian import FEATURES, PARAMETERS, posterior, simulate

SETTINGS: dict[str, Any] = {
    "features": FEATURES, "parameters": PARAMETERS, "members": 1, "epochs": 15, "walkers": 100,
    "candidates": [Candidate(2, (16, 16), 0.01)],
}  # fmt: skip
TRUTH = torch.tensor([[0.8, -0.5], [2.2, 1.6]], dtype=torch.float64)


@cache
def inferred(k: int) -> tuple[SequentialResult, Tensor, tuple[Round, ...]]:
    """The result for data of the k-th truth, the data, and the rounds as they came."""
    observed, seen = simulate(TRUTH[k : k + 1], 100 + k), list[Round]()
    found = infer_sequentially(
        simulate, observed, budget=1200, rounds=3, seed=k, progress=seen.append, **SETTINGS
    )
    return found, observed, tuple(seen)


@pytest.mark.parametrize("k", range(len(TRUTH)))
def test_the_posterior_is_that_of_the_closed_form(k: int) -> None:
    """Mean within 0.25 of a width, width within 15 %: of 1200 simulations and 600 draws."""
    found, observed, _ = inferred(k)
    right = posterior(observed)
    std = right.covariance_matrix.diagonal().sqrt()
    draws = found.posterior(walkers=100).draw(600, seed=1).theta
    assert ((draws.mean(0) - right.mean).abs() < 0.25 * std).all()
    assert ((draws.std(0) / std - 1).abs() < 0.15).all()


@pytest.mark.parametrize("k", range(len(TRUTH)))
def test_rounds_shrink_and_keep_the_truth_and_the_posterior(k: int) -> None:
    """99.9 % of the posterior: a box around draws of p(θ) p(x | θ)^½ is wider than it."""
    found, observed, seen = inferred(k)
    assert found.rounds == seen
    assert [r.simulations for r in seen] == [400, 400, 400]
    prior = UnboundedPrior(PARAMETERS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        held = posterior(observed).sample((2000,))
    for one in seen:
        assert one.region.contains(prior.unbounded(TRUTH[k : k + 1])).all()
        assert one.region.contains(prior.unbounded(held)).double().mean() > 0.999
    for before, after in pairwise(seen):
        assert (after.region.low >= before.region.low).all()
        assert (after.region.high <= before.region.high).all()
    assert seen[0].region.log_mass() == pytest.approx(0.0, abs=1e-12)
    assert seen[-1].region.log_mass() < -0.1
    parts = torch.split(prior.unbounded(found.theta), 400)
    for one, u in zip(seen, parts, strict=True):
        assert one.region.contains(u).all()
    assert seen[-1].inside >= 400


def test_outside_of_its_region_nothing_is_likely() -> None:
    found, observed, _ = inferred(0)
    edge = UnboundedPrior(PARAMETERS).physical(found.rounds[-1].region.high[None] + 0.1)
    sets = found.likelihood.encode([observed], [None])
    theta = torch.cat([TRUTH[:1], edge])
    assert torch.isfinite(found.likelihood.log_likelihoods(sets, theta[None])[0]).tolist() == [
        True,
        False,
    ]


def test_what_makes_no_rounds_is_refused() -> None:
    observed = simulate(TRUTH[:1], 1)
    for budget, rounds, power in ((100, 0, 0.5), (2, 3, 0.5), (100, 2, 0.0), (100, 2, 1.5)):
        with pytest.raises(ParameterError, match="one simulation a round"):
            infer_sequentially(
                simulate, observed, budget=budget, rounds=rounds, power=power, **SETTINGS
            )
    with pytest.raises(DataError, match=r"observation of shape \(1, 3\)"):
        infer_sequentially(simulate, torch.zeros(1, 3), budget=100, rounds=1, **SETTINGS)
