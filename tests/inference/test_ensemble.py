"""Averages of estimators: what they are, and their spread beside independent retrainings.

The estimator that is retrained here is a regression of x on θ with known noise: exactly as random
as its sample, and quick enough for hundreds of trainings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.ensemble import Ensemble, shares
from hepgen.inference.event_sets import EventSets, pad
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.scandal import fit_scandal
from hepgen.parameters import Normal, Parameter, ParameterSet
from tests.inference.gaussian_chain import FEATURES, MODEL, pairs
from tests.inference.gaussian_chain import PARAMETERS as CHAIN_PARAMETERS

PARAMETERS = ParameterSet([Parameter("mu", 0.0, role="interest", prior=Normal(0.0, 3.0))])


class Regression:
    """x ~ N(a + bθ, 1), with a and b from simulated events."""

    parameters = PARAMETERS

    def __init__(self, x: Tensor, theta: Tensor, weight: Tensor) -> None:
        design = torch.stack([torch.ones(len(theta)).double(), theta[:, 0]], -1)
        gram = torch.einsum("n,ni,nj->ij", weight, design, design)
        self.a, self.b = torch.linalg.solve(gram, (design * weight[:, None]).T @ x[:, 0])

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        return pad(list(x), weight, [torch.zeros(len(one)).double() for one in x])

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        value: Tensor = -0.5 * (x - self.a - self.b * theta.T) ** 2
        return value

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        z = sets.events[:, :, None, 0] - self.a - self.b * theta[:, None, :, 0]
        return torch.einsum("snk,sn->sk", -0.5 * z**2, sets.weight)


def simulated(events: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    theta, z = torch.randn(2, events, 1, generator=generator, dtype=torch.float64)
    return theta + z, theta


def ensemble(seed: int, scheme: Any, events: int = 400, members: int = 8) -> Ensemble[Regression]:
    x, theta = simulated(events, seed)
    return Ensemble.fit(
        lambda index, factor, _: Regression(x[index], theta[index], factor),
        events, members=members, scheme=scheme, seed=seed,
    )  # fmt: skip


OBSERVED = 0.8 + torch.randn(300, 1, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("scheme", ["parts", "bootstrap"])
def test_the_spread_is_that_of_independent_retrainings(scheme: str) -> None:
    """60 simulations: the scatter of their maxima beside what each says of its own.

    Of either number the relative error is about 10 %, from 60 retrainings and 60 × 7 degrees of
    freedom: 40 % is four of them.
    """
    results = [ensemble(seed, scheme).finite_simulation(OBSERVED) for seed in range(60)]
    scatter = np.std([one.estimate[0, 0] for one in results], ddof=1)
    claimed = np.sqrt(np.mean([one.simulation[0] ** 2 for one in results]))
    assert claimed == pytest.approx(scatter, rel=0.4)
    one = results[0]
    # x = θ + z with unit noise, and a prior of 3: 300 events.
    assert one.statistical[0] == pytest.approx((300 + 1 / 9) ** -0.5, rel=0.3)
    assert one.total[0] > one.statistical[0]
    assert one.in_sigmas[0] == pytest.approx(one.simulation[0] / one.statistical[0])


def test_an_ensemble_of_networks_beside_independent_trainings() -> None:
    """Small densities with the joint score: the claimed uncertainty within a factor of 2.5."""
    settings: dict[str, Any] = {
        "features": FEATURES, "parameters": CHAIN_PARAMETERS, "components": 2, "hidden": (8, 8),
        "epochs": 10, "batch_size": 100, "max_learning_rate": 2e-2, "patience": None,
    }  # fmt: skip
    generator = torch.Generator().manual_seed(5)
    marginal = MODEL.marginal(torch.tensor([0.3]).double())
    width = marginal.covariance_matrix[0, 0].sqrt()
    x = marginal.mean + width * torch.randn(200, 1, generator=generator).double()
    modes = [
        LikelihoodPosterior(fit_scandal(pairs(1000, seed=10 + s), seed=s, **settings)).mode(x)
        for s in range(8)
    ]
    events = pairs(1000, seed=3).own
    several = Ensemble.fit(
        lambda index, _, seed: fit_scandal(events[index], seed=seed, **settings),
        len(events), members=6, scheme="bootstrap",
    )  # fmt: skip
    scatter = float(torch.stack(modes).std())
    claimed = several.finite_simulation(x).simulation[0]
    assert scatter / 2.5 < claimed < 2.5 * scatter


def test_averages() -> None:
    """Of logarithms, and of densities: with copies both are the member."""
    one, other = ensemble(1, "parts", members=2).members
    theta = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    sets = [OBSERVED[:7], OBSERVED[7:100]]
    second = torch.linspace(-0.2, 2, 93, dtype=torch.float64)
    weights = [None, second]
    at = theta.expand(2, -1, -1)
    for average in ("log", "density"):
        same = Ensemble([one, one], average=average)
        both = Ensemble([one, other], average=average)
        found = same.log_likelihoods(same.encode(sets, weights), at)
        alone = one.log_likelihoods(one.encode(sets, weights), at)
        torch.testing.assert_close(found, alone)
        each = torch.stack([m.log_prob(sets[1], theta) for m in (one, other)])
        mean = each.mean(0) if average == "log" else each.exp().mean(0).log()
        torch.testing.assert_close(
            both.log_likelihoods(both.encode(sets, weights), at)[1], second @ mean
        )
        assert both.encode(sets, weights)[1:].members[0].events.shape[0] == 1


def test_shares() -> None:
    parts = list(shares(10, 3, "parts", seed=1))
    assert sorted(torch.cat([index for index, _ in parts]).tolist()) == list(range(10))
    total = sum(float(factor.sum()) for _, factor in shares(1000, 20, "bootstrap", seed=1))
    assert abs(total - 20_000) < 4.5 * 20_000**0.5


def test_what_cannot_be_averaged_is_refused() -> None:
    one = ensemble(1, "parts", members=2).members[0]
    with pytest.raises(DataError, match="ensemble of 1; expected two"):
        Ensemble([one])
    other = ensemble(1, "parts", members=2).members[0]
    other.parameters = ParameterSet([Parameter("nu", 0.0, prior=Normal(0.0, 3.0))])
    with pytest.raises(ParameterError, match="members of mu and of nu"):
        Ensemble([one, other])
