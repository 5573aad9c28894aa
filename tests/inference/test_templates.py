"""Templates against closed forms and against direct simulation.

Tests of samples are refused at p < 10⁻⁴, at fixed seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.closure import closure
from hepgen.inference.event_sets import SetLikelihood
from hepgen.inference.exact import ExactLikelihood
from hepgen.inference.templates import Templates
from hepgen.parameters import Normal, ParameterSet, Prior, Uniform
from hepgen.simulators.chain import Chain
from hepgen.simulators.linear_gaussian import LinearGaussian
from hepgen.simulators.processes.registry import process

FALSE_ALARM = 1e-4
OPTIONS = {"depth": 1, "dimension": 1, "parameters": 1}
CHAIN = process("gaussian", **OPTIONS)
MODEL = LinearGaussian.standard(**OPTIONS)


def free(chain: Chain, name: str, prior: Prior) -> ParameterSet:
    return ParameterSet(
        [dataclasses.replace(p, prior=prior if p.name == name else None) for p in chain.parameters]
    )


PARAMETERS = free(CHAIN, "theta_0", Uniform(-1.5, 1.5))
# Tails that no event is beyond.
EDGES = {"x_0": np.array([-np.inf, *np.linspace(-5, 5, 101), np.inf])}
TEMPLATES = Templates.simulate(CHAIN, PARAMETERS, EDGES, 200_000, seed=1)


class GaussianDensity:
    """x of the gaussian chain, in closed form."""

    columns = ("x_0",)

    def log_prob(self, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        return MODEL.log_prob(x, parameters["theta_0"][..., None])

    def rate(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return torch.ones_like(parameters["theta_0"])


def events(n: int, seed: int, theta: Tensor) -> Tensor:
    """n events at each of G points, shape ``(G, n, 1)``."""
    values = CHAIN.parameters.values(None) | {"theta_0": theta[:, None]}
    return CHAIN.simulate(values, n, seed).state["x_0"][..., None]


def test_it_is_what_a_posterior_asks_for() -> None:
    assert isinstance(TEMPLATES, SetLikelihood)


@pytest.mark.parametrize("theta", [-1.5, -0.4, 0.73, 1.5])
def test_probabilities_of_bins_are_those_of_the_closed_form(theta: float) -> None:
    """At the nodes and between. An event weighs M at most, and so does the variance."""
    at = torch.tensor([theta], dtype=torch.float64)
    found = TEMPLATES.log_probabilities(at)[0].exp().numpy()
    marginal = MODEL.marginal(at)
    cdf = stats.norm.cdf(EDGES["x_0"], marginal.mean.item(), marginal.stddev.item())
    expected = np.diff(cdf)
    count = len(TEMPLATES.counts) * expected / 200_000
    seen = expected > 1e-3

    chi2 = ((found - expected)[seen] ** 2 / count[seen]).sum()
    assert stats.chi2.sf(chi2, seen.sum()) > FALSE_ALARM
    assert found.sum() == pytest.approx(1)


def test_closure_with_the_exact_posterior() -> None:
    """Events and bins leave about 0.03 σ."""
    exact = ExactLikelihood(GaussianDensity(), PARAMETERS)
    sets = list(events(150, 3, torch.linspace(-0.8, 0.8, 10, dtype=torch.float64)))
    (one,) = closure(TEMPLATES, exact, sets, name="the closed form")

    assert one.largest < 0.12
    assert np.abs(one.widths - 1).max() < 0.03


def test_a_selection_is_divided_out() -> None:
    """At a mass between the nodes, beside a simulation of its own."""
    chain = process("zmumu", pt_min=35.0)
    parameters = free(chain, "m_z", Uniform(90.0, 92.0))
    mass = {"Dimuon_mass": np.linspace(60, 120, 31)}
    templates = Templates.simulate(chain, parameters, mass, 60_000, nodes=4, seed=4)
    at = torch.tensor([[90.8]], dtype=torch.float64)
    state = chain.simulate(parameters.values(at) | {"m_z": at}, 60_000, seed=5).state
    direct, _ = np.histogram(state["Dimuon_mass"][state["selected"]].numpy(), mass["Dimuon_mass"])
    total = direct.sum()
    expected = total * templates.log_probabilities(at[0])[0].exp().numpy()
    variance = expected * (1 + len(templates.counts) * total / templates.counts.sum(1).min().item())
    some = expected > 20

    assert total < 0.5 * 60_000
    assert some.sum() > 10
    assert stats.chi2.sf(((direct - expected)[some] ** 2 / variance[some]).sum(), some.sum()) > (
        FALSE_ALARM
    )


def test_two_columns_are_the_product_of_their_bins() -> None:
    chain = process("gaussian", depth=1, dimension=2, parameters=1)
    parameters = free(chain, "theta_0", Uniform(-1, 1))
    edges = {"x_0": np.array([-np.inf, 0, np.inf]), "x_1": np.array([-np.inf, -1, 1, np.inf])}
    templates = Templates.simulate(chain, parameters, edges, 5000, nodes=3, seed=6)
    x = torch.tensor([[-0.5, 0.0], [0.5, 2.0]], dtype=torch.float64)
    theta = torch.tensor([0.3], dtype=torch.float64)
    each = templates.log_probabilities(theta)[0].reshape(2, 3)
    weight = torch.tensor([1.0, 2.0], dtype=torch.float64)
    found = templates.log_likelihoods(templates.encode([x], [weight]), theta[None, :, None])

    torch.testing.assert_close(found[0, 0], each[0, 1] + 2 * each[1, 2])


def test_simulations_add() -> None:
    """What a sum says is between what its terms say."""
    other = Templates.simulate(CHAIN, PARAMETERS, EDGES, 200_000, seed=2)
    both = dataclasses.replace(TEMPLATES, counts=TEMPLATES.counts + other.counts)
    theta = torch.from_numpy(TEMPLATES.nodes)
    mean = 0.5 * (TEMPLATES.log_probabilities(theta).exp() + other.log_probabilities(theta).exp())
    torch.testing.assert_close(both.log_probabilities(theta).exp(), mean, atol=3e-5, rtol=3e-3)


def test_its_gradient_is_that_of_the_sum() -> None:
    sets = TEMPLATES.encode([events(20, 7, torch.zeros(1).double())[0]], [None])
    theta = torch.tensor([[[0.2]]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(TEMPLATES.log_likelihoods(sets, theta).sum(), theta)
    up, down = (TEMPLATES.log_likelihoods(sets, theta.detach() + s) for s in (1e-4, -1e-4))
    assert gradient.item() == pytest.approx(((up - down) / 2e-4).item(), rel=1e-5)


def test_beyond_the_prior_it_is_nothing() -> None:
    sets = TEMPLATES.encode([events(5, 7, torch.zeros(1).double())[0]], [None])
    theta = torch.tensor([[[1.5], [1.6]]], dtype=torch.float64)
    assert TEMPLATES.log_likelihoods(sets, theta).isinf().tolist() == [[False, True]]


def test_a_bin_without_events_says_nothing() -> None:
    theta = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    empty = dataclasses.replace(TEMPLATES, counts=TEMPLATES.counts.clone())
    rare = int(TEMPLATES.counts.sum(0).argmin())
    empty.counts[:, rare] = 0
    low, high = empty.log_probabilities(theta)[:, rare]
    assert low.isfinite()
    assert low.item() == pytest.approx(high.item(), abs=0.01)


def test_data_outside_of_the_bins_are_refused() -> None:
    narrow = dataclasses.replace(TEMPLATES, edges={"x_0": np.linspace(-1, 1, 103)})
    with pytest.raises(DataError, match=r"x_0 = 3 \(1 of 2\) is in no bin"):
        narrow.encode([torch.tensor([[0.0], [3.0]])], [None])


def test_data_of_other_columns_are_refused() -> None:
    with pytest.raises(DataError, match=r"expected \(N, 1\): x_0"):
        TEMPLATES.encode([torch.zeros(3, 2)], [None])


def test_other_than_one_free_parameter_is_refused() -> None:
    nothing = ParameterSet([dataclasses.replace(p, prior=None) for p in PARAMETERS])
    with pytest.raises(ParameterError, match="no parameter"):
        Templates.simulate(CHAIN, nothing, EDGES, 100)


def test_a_prior_without_bounds_has_them_in_practice() -> None:
    """A normal one reaches five standard deviations."""
    parameters = free(CHAIN, "theta_0", Normal(0.0, 0.2))
    templates = Templates.simulate(CHAIN, parameters, EDGES, 100, nodes=2)
    assert templates.nodes.tolist() == [-1.0, 1.0]


def test_one_node_is_refused() -> None:
    with pytest.raises(ParameterError, match="two at least"):
        Templates.simulate(CHAIN, PARAMETERS, EDGES, 100, nodes=1)
