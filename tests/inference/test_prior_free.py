"""Posteriors of a likelihood with constraints: closed forms, and each constraint once."""

from __future__ import annotations

import math

import pytest
import torch

from hepgen.errors import DataError
from hepgen.inference.channel import Channel, Sample
from hepgen.inference.combination import combine
from hepgen.inference.density import ClosedForm
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.exact import ExactLikelihood
from hepgen.inference.grid import grid_marginals
from hepgen.inference.likelihood_posterior import LikelihoodPosterior, Method
from hepgen.inference.prior_free import PriorFree
from hepgen.inference.rate import Product
from hepgen.inference.refine import RefinedPosterior
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity
from hepgen.simulators.processes.registry import process

MEAN = Parameter("mean", 0.0, role="interest", prior=Uniform(-20.0, 20.0))
SHIFT = Parameter("shift", 0.0, prior=Normal(0.0, 0.5))


def shifted() -> EventLikelihood:
    """x ~ N(mean + shift, 1), shift measured to ± 0.5."""
    both = ParameterSet([MEAN, SHIFT])
    density = ClosedForm(
        both,
        ("x",),
        lambda x, v: (
            -0.5 * (x[..., 0] - v["mean"] - v["shift"]).square() - 0.5 * math.log(2 * math.pi)
        ),
    )
    return EventLikelihood(both, [Channel("c", (Sample("all", density),))])


def test_a_constraint_is_counted_once() -> None:
    """mean | x, a ~ N(x̄ − a, 1/n + 0.25), shift ~ N(a, 0.25) with the prior's own a."""
    model = shifted()
    x = torch.linspace(0.0, 4.0, 25, dtype=torch.float64)[:, None]
    posterior = LikelihoodPosterior(PriorFree(model))
    methods: tuple[tuple[Method, int], ...] = (("importance", 2000), ("nuts", 300))
    for method, draws_wanted in methods:
        (found,) = posterior.draw_batched(draws_wanted, [x], seed=3, method=method)
        for name, mean, std in (("mean", 2.0, 0.29**0.5), ("shift", 0.0, 0.5)):
            draws = found.column(name)
            assert draws.mean().item() == pytest.approx(
                mean, abs=5 * std / (draws_wanted / 2) ** 0.5
            )
            # 5/√(2n) for n effective draws.
            assert draws.std().item() == pytest.approx(std, rel=5 / draws_wanted**0.5)
    (marginal,) = grid_marginals(posterior, x)
    assert marginal.mean == pytest.approx(2.0, abs=1e-4)
    assert marginal.std == pytest.approx(0.29**0.5, rel=1e-3)


def test_another_auxiliary_measurement_moves_the_posterior() -> None:
    """A flat prior and the measurement a alone: shift ~ N(a, 0.5²)."""
    model = shifted()
    x = torch.linspace(0.0, 4.0, 25, dtype=torch.float64)[:, None]
    data = model.data({"c": x}, auxiliary={"shift": 0.8})
    posterior = LikelihoodPosterior(PriorFree(model))
    (mean,) = grid_marginals(posterior, sets=data, names=["mean"])
    (shift,) = grid_marginals(posterior, sets=data, names=["shift"])

    assert (mean.mean, shift.mean) == pytest.approx((1.2, 0.8), abs=1e-4)
    assert (mean.std, shift.std) == pytest.approx((0.29**0.5, 0.5), rel=1e-3)


def test_the_exact_posterior_of_ee_mumu_with_its_rate() -> None:
    chain = process("ee_mumu", energies=(89.0,))
    free = Parameter("sin2_theta_w", 0.2312, role="interest", prior=Uniform(0.2, 0.26))
    parameters = ParameterSet([free, *(p for p in chain.parameters if p.name != free.name)])
    density = ElectronPositronDensity.of(chain)
    exact, extended = (
        ExactLikelihood(density, parameters, luminosity) for luminosity in (None, 20.0)
    )
    sample = Sample("signal", exact, Product(20.0, exact.rate))
    model = EventLikelihood(parameters, [Channel("mumu", (sample,))])
    state = chain.simulate(chain.parameters.values(), 3000, seed=4).state
    x = state["Dimuon_cos_theta"][state["selected"]][:, None]
    theta = torch.linspace(0.21, 0.25, 5, dtype=torch.float64)[:, None]

    ours = model.log_likelihoods(model.encode([x], [None]), theta[None])[0]
    theirs = extended.log_likelihood(x, theta)
    torch.testing.assert_close(ours.diff(), theirs.diff())
    (one,) = grid_marginals(LikelihoodPosterior(PriorFree(model)), x)
    (other,) = grid_marginals(LikelihoodPosterior(extended), x)
    assert (one.mean, one.std) == pytest.approx((other.mean, other.std), rel=1e-9)


def test_several_channels_have_data_sets_of_their_own() -> None:
    both = combine({"a": shifted(), "b": shifted()}, {"b": {"mean": "mean_b"}})
    posterior = LikelihoodPosterior(PriorFree(both))
    x = torch.linspace(0.0, 4.0, 25, dtype=torch.float64)[:, None]
    with pytest.raises(DataError, match="2 channels"):
        posterior.sample((10,), x)
    (found,) = posterior.draw_sets(4000, both.data({"a/c": x, "b/c": x - 1}), seed=1)
    difference = found.column("mean") - found.column("mean_b")

    # The shared shift cancels: var = 1/25 + 1/25.
    assert difference.mean().item() == pytest.approx(1.0, abs=4 * 0.283 / 2000**0.5)
    assert difference.std().item() == pytest.approx(0.08**0.5, rel=0.1)


@pytest.mark.parametrize("method", ["importance", "nuts", "slice"])
def test_a_likelihood_with_constraints_counts_them_once_by_itself(method: Method) -> None:
    """ν ~ N(0, 1) of which the data say nothing: its posterior is N(0, 1), and not N(0, 1/2)."""
    posterior = LikelihoodPosterior(unknown(), method=method, walkers=500)
    draws = posterior.draw(2000, torch.rand(10, 1), seed=1).column("nu")

    assert draws.std().item() == pytest.approx(1.0, abs=5 / 2000**0.5)
    assert draws.mean().item() == pytest.approx(0.0, abs=5 / 1000**0.5)


def test_a_refined_posterior_counts_constraints_once() -> None:
    posterior = RefinedPosterior(LikelihoodPosterior(unknown()), unknown())
    refined = posterior.refine(2000, torch.rand(10, 1), seed=1)
    width = refined.resample(2000, torch.Generator().manual_seed(1)).std().item()

    assert refined.efficiency > 0.9  # the proposal is the posterior
    assert width == pytest.approx(1.0, abs=5 / 2000**0.5)
    assert refined.log_evidence == pytest.approx(0.0, abs=0.1)  # ∫ p(ν) dν, p(x | ν) = 1


def unknown() -> EventLikelihood:
    """Events that are uniform whatever ν ~ N(0, 1) is."""
    flat = ClosedForm(ParameterSet([]), ("x",), lambda x, _: 0 * x[..., 0])
    nu = ParameterSet([Parameter("nu", 0.0, prior=Normal(0.0, 1.0))])
    return EventLikelihood(nu, [Channel("all", (Sample("flat", flat),))])
