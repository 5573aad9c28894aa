"""The exact likelihood: closed forms, calibration, and the interface of an estimator.

Tests of samples are refused at p < 10⁻⁴, at fixed seeds.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.event_sets import SetLikelihood
from hepgen.inference.exact import EventDensity, ExactLikelihood
from hepgen.inference.grid import grid_marginals
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.parameters import ParameterSet, Uniform
from hepgen.simulators.chain import Chain
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity
from hepgen.simulators.processes.registry import process

LOW, HIGH = 0.15, 0.30
FALSE_ALARM = 1e-4


def free(chain: Chain) -> ParameterSet:
    prior = Uniform(LOW, HIGH)
    return ParameterSet(
        [
            dataclasses.replace(p, prior=prior if p.name == "sin2_theta_w" else None)
            for p in chain.parameters
        ]
    )


CHAIN = process("ee_mumu", energies=(89.0,))
DENSITY = ElectronPositronDensity.of(CHAIN)
EXACT = ExactLikelihood(DENSITY, free(CHAIN))


def events(n: int, seed: int, sin2: float = 0.2312) -> Tensor:
    values = CHAIN.parameters.values(None, sin2_theta_w=sin2)
    state = CHAIN.simulate(values, n, seed).state
    return state["Dimuon_cos_theta"][state["selected"]][:, None]


def test_it_is_what_a_posterior_asks_for() -> None:
    assert isinstance(EXACT, SetLikelihood)
    assert isinstance(DENSITY, EventDensity)


def information(sin2: float) -> float:
    """Of the shape, for one selected event."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(40))
    c = (DENSITY.cos_max * nodes)[:, None]
    at = torch.tensor([[sin2]], dtype=torch.float64)
    both: Any = torch.func.jvp(lambda t: EXACT.log_prob(c, t), (at,), (torch.ones_like(at),))
    log_p, score = both
    return float((DENSITY.cos_max * weights * (log_p.exp() * score.square())[:, 0]).sum())


def test_the_posterior_has_the_width_of_the_information() -> None:
    x = events(100_000, seed=1)
    found = grid_marginals(LikelihoodPosterior(EXACT), x, names=["sin2_theta_w"])[0]

    assert abs(found.mean - 0.2312) < 4 * found.std
    expected = 1 / math.sqrt(information(found.mean) * len(x))
    assert found.std == pytest.approx(expected, rel=0.02)


def test_the_number_of_events_adds_its_poisson_term() -> None:
    """Beside the shape: N ln(Lσε) − Lσε, which is flat where N is what is expected."""
    x, luminosity = events(10_000, seed=1), 20.0
    theta = torch.tensor([[0.22], [0.2312], [0.24]], dtype=torch.float64)
    extended = ExactLikelihood(DENSITY, free(CHAIN), luminosity)
    difference = extended.log_likelihood(x, theta) - EXACT.log_likelihood(x, theta)
    mean = luminosity * np.array(
        [
            DENSITY.rate(CHAIN.parameters.values(None, sin2_theta_w=t)).item()
            for t in theta[:, 0].tolist()
        ]
    )

    expected = stats.poisson.logpmf(len(x), mean)
    np.testing.assert_allclose(np.diff(difference.numpy()), np.diff(expected), rtol=1e-9)


def test_the_posterior_is_calibrated() -> None:
    """The truth is uniform in the posterior's cumulative, over 100 draws of the prior."""
    truth = torch.from_numpy(np.random.default_rng(7).uniform(LOW, HIGH, (100, 1)))
    values = CHAIN.parameters.values() | {"sin2_theta_w": truth}
    state = CHAIN.simulate(values, 500, seed=8).state
    line = torch.linspace(LOW, HIGH, 101, dtype=torch.float64)[:, None]
    ranks = []
    for cosine, selected, true in zip(
        state["Dimuon_cos_theta"], state["selected"], truth[:, 0].tolist(), strict=True
    ):
        mass = EXACT.posterior(cosine[selected][:, None], line).numpy()
        cumulative = np.concatenate([[0], np.cumsum(0.5 * (mass[1:] + mass[:-1]))])
        ranks.append(np.interp(true, line[:, 0].numpy(), cumulative / cumulative[-1]))

    assert stats.kstest(ranks, "uniform").pvalue > FALSE_ALARM


def test_a_weight_counts_an_event() -> None:
    x = events(100, seed=2)
    theta = torch.tensor([[0.21], [0.25]], dtype=torch.float64)
    twice = EXACT.log_likelihood(torch.cat([x, x]), theta)

    torch.testing.assert_close(
        EXACT.log_likelihood(x, theta, 2 * torch.ones(len(x)).double()), twice
    )
    torch.testing.assert_close(EXACT.log_prob(x, theta).sum(0) * 2, twice)


def test_sets_of_different_sizes_are_each_alone() -> None:
    x = [events(n, seed=n) for n in (10, 200)]
    theta = torch.tensor([[0.21], [0.25]], dtype=torch.float64)
    together = EXACT.log_likelihoods(EXACT.encode(x, [None, None]), theta.expand(2, -1, -1))

    for row, one in zip(together, x, strict=True):
        torch.testing.assert_close(row, EXACT.log_likelihood(one, theta))


def test_other_columns_are_an_error() -> None:
    with pytest.raises(DataError, match="Dimuon_cos_theta"):
        EXACT.encode([torch.zeros(5, 3)], [None])
