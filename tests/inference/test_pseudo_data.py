"""Toys and Asimov data sets: moments, scores, and the place of the maximum.

Statistical tests are refused at p < 10⁻⁴, at fixed seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.channel import Channel, Sample
from hepgen.inference.density import ClosedForm
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.exact import ExactLikelihood
from hepgen.inference.laplace import derivatives, laplace
from hepgen.inference.rate import Product
from hepgen.inference.sampler import FromChain, FromPool, Inverse
from hepgen.parameters import Parameter, ParameterSet, Uniform
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity
from hepgen.simulators.processes.registry import process
from tests.inference.bump import (
    BACKGROUND,
    BACKGROUND_DENSITY,
    MU,
    SIGNAL,
    SIGNAL_DENSITY,
    UNCERTAINTY,
    bump,
)

FALSE_ALARM = 1e-4
TRUTH = torch.tensor([1.3, 1.7, 0.4], dtype=torch.float64)
TOYS = 2000


def chance(z: float) -> float:
    return float(2 * stats.norm.sf(abs(z)))


def scores(extended: bool) -> tuple[Tensor, Tensor]:
    model = bump(extended=extended)
    data = model.generate(TRUTH.expand(TOYS, 3), seed=11)
    theta = TRUTH.expand(TOYS, 1, 3).clone().requires_grad_(True)
    (score,) = torch.autograd.grad(model.log_likelihoods(data, theta).sum(), theta)
    return score[:, 0], data.channels["all"].total


def test_the_number_of_events_is_poisson() -> None:
    model = bump()
    number = model.generate(TRUTH.expand(TOYS, 3), seed=11).channels["all"].total
    mean = SIGNAL * 1.3 + BACKGROUND * math.exp(UNCERTAINTY * 0.4)

    assert chance((number.mean().item() - mean) / math.sqrt(mean / TOYS)) > FALSE_ALARM
    ratio = float(number.var()) * (TOYS - 1) / mean
    assert FALSE_ALARM < stats.chi2.sf(ratio, TOYS - 1) < 1 - FALSE_ALARM


def test_the_mean_score_of_toys_is_zero() -> None:
    for extended in (True, False):
        score, _ = scores(extended)
        pulls = score.mean(0) / (score.std(0) / math.sqrt(TOYS))
        assert all(chance(z) > FALSE_ALARM / 6 for z in pulls.tolist())


def test_the_covariance_of_scores_is_the_information() -> None:
    """E[s sᵀ] = −E[∂s/∂θ], the second of them from the Asimov data set."""
    model = bump()
    score, _ = scores(extended=True)
    data = model.asimov(TRUTH)
    _, hessian = derivatives(lambda t: model.log_likelihoods(data, t), TRUTH[None])
    found = torch.cov(score.mT)
    d = torch.sqrt(torch.diagonal(-hessian[0]))

    # The relative error of a covariance is √(2/n): 0.03.
    torch.testing.assert_close(
        found / d[:, None] / d, -hessian[0] / d[:, None] / d, atol=0.15, rtol=0
    )


def test_a_toy_is_a_function_of_the_seed() -> None:
    model = bump()
    one, again, other = (model.generate(TRUTH.expand(3, 3), seed=s) for s in (1, 1, 2))

    assert torch.equal(one.channels["all"].events, again.channels["all"].events)
    assert torch.equal(one.auxiliary, again.auxiliary)
    assert not torch.equal(one.auxiliary, other.auxiliary)
    assert not torch.equal(one.channels["all"].total, other.channels["all"].total)


def test_nothing_fluctuates_in_the_asimov_data() -> None:
    model = bump()
    data = model.asimov(TRUTH)
    theta = TRUTH[None, None].clone().requires_grad_(True)
    (score,) = torch.autograd.grad(model.log_likelihoods(data, theta).sum(), theta)

    expected = SIGNAL * 1.3 + BACKGROUND * math.exp(UNCERTAINTY * 0.4)
    assert abs(data.channels["all"].total.item() / expected - 1) < 1e-12
    assert data.auxiliary.tolist() == [[0.4]]
    assert float(score.abs().max()) < 1e-4


def test_shapes_alone_have_the_number_of_events_that_was_asked_for() -> None:
    data = bump(extended=False).generate(TRUTH.expand(5, 3), seed=1)
    assert data.channels["all"].total.tolist() == [SIGNAL + BACKGROUND] * 5


def drawn(size: int, seed: int) -> EventLikelihood:
    """The model of the bump, with an Asimov sample of drawn events."""

    class Draws(Inverse):
        def expected(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
            events = self.draw(torch.tensor([size]), values, seed)
            return events, torch.full((size,), 1 / size, dtype=torch.float64)

    model = bump()
    samples = [
        replace(s, sampler=Draws(d, 0.0, 1.0))
        for s, d in zip(
            model.channels[0].samples, (SIGNAL_DENSITY, BACKGROUND_DENSITY), strict=True
        )
    ]
    return EventLikelihood(model.parameters, [replace(model.channels[0], samples=tuple(samples))])


def test_an_asimov_sample_of_draws_has_its_maximum_at_the_truth() -> None:
    model = drawn(5000, seed=2)
    data = model.asimov(TRUTH)
    start = torch.tensor([[1.0, 1.5, 0.0]], dtype=torch.float64)
    found = laplace(lambda t: model.log_likelihoods(data, t), start)
    exact = bump()
    other = exact.asimov(TRUTH)
    wanted = laplace(lambda t: exact.log_likelihoods(other, t), start)

    torch.testing.assert_close(found.mode[0], TRUTH, atol=1e-5, rtol=0)
    sigma, reference = (one.scale_tril[0].square().sum(-1).sqrt() for one in (found, wanted))
    # The curvature has the error of 5000 events.
    torch.testing.assert_close(sigma, reference, rtol=0.05, atol=0)


def test_interference_is_drawn_and_weighed() -> None:
    """Flat − 0.8·(1 + cos 2πx): the density is 0.2 − 0.8 cos 2πx, below zero near the edges."""
    flat = ClosedForm(ParameterSet([]), ("x",), lambda x, _: torch.zeros_like(x[..., 0]))
    wave = ClosedForm(
        ParameterSet([]), ("x",), lambda x, _: torch.log1p(torch.cos(2 * math.pi * x[..., 0]))
    )
    kappa = ParameterSet([Parameter("kappa", 0.4, prior=Uniform(-1.0, 1.0))])
    total = 300.0
    samples = (
        Sample("flat", flat, Product(total, lambda v: 1 + v["kappa"]), Inverse(flat, 0.0, 1.0)),
        Sample("wave", wave, Product(-total, "kappa"), Inverse(wave, 0.0, 1.0)),
    )
    model = EventLikelihood(kappa, [Channel("c", samples)])
    data = model.generate(torch.full((500, 1), 0.4), seed=6).channels["c"]

    number = data.total
    assert chance((number.mean().item() - total) / math.sqrt(total / 500)) > FALSE_ALARM
    x = data.events[data.weight > 0][:, 0].numpy()
    found = stats.kstest(x, lambda t: t - 0.4 * np.sin(2 * np.pi * t) / (2 * np.pi))
    assert found.pvalue > FALSE_ALARM
    asimov = model.asimov(torch.tensor([0.4])).channels["c"]
    assert asimov.total.item() == pytest.approx(total, rel=1e-6)
    assert bool((asimov.weight < 0).any())
    # 1 − κ cos 2πx is a density up to κ = 1.
    minus = replace(samples[1], rate=Product(-2.5 * total, "kappa"))
    bad = EventLikelihood(kappa, [Channel("c", (samples[0], minus))])
    with pytest.raises(DataError, match="negative"):
        bad.generate(torch.full((5, 1), 0.9), seed=1)
    with pytest.raises(DataError, match="not positive"):
        bad.asimov(torch.tensor([0.6]))


def test_shapes_with_interference_have_the_number_of_events_that_was_asked_for() -> None:
    flat = ClosedForm(ParameterSet([]), ("x",), lambda x, _: torch.zeros_like(x[..., 0]))
    rising = ClosedForm(ParameterSet([]), ("x",), lambda x, _: torch.log(2 * x[..., 0]))
    samples = (
        Sample("rising", rising, Product(3.0), Inverse(rising, 0.0, 1.0)),
        Sample("flat", flat, Product(1.0), Inverse(flat, 0.0, 1.0)),
        Sample("minus", rising, Product(-2.0), Inverse(rising, 0.0, 1.0)),
    )
    channel = Channel("c", samples, extended=False, events=400)
    model = EventLikelihood(ParameterSet([MU]), [channel])
    data = model.generate(torch.ones(20, 1), seed=3).channels["c"]

    assert data.total.tolist() == [400.0] * 20
    x = data.events.flatten().numpy()
    assert stats.kstest(x, lambda t: 0.5 * (t + t**2)).pvalue > FALSE_ALARM


def test_a_pool_is_reweighted_to_where_it_is_wanted() -> None:
    """Events of slope 1.5 as events of slope 2.5, and refused where too few of them count."""
    origin = {"slope": torch.tensor(1.5).double()}
    x = Inverse(BACKGROUND_DENSITY, 0.0, 1.0).draw(torch.tensor([40_000]), origin, seed=1)
    pool = FromPool(x, density=BACKGROUND_DENSITY, theta=torch.tensor([1.5]))
    wanted = {"slope": torch.tensor([2.5, 2.5, 0.7]).double()}
    counts = torch.tensor([1500, 1500, 2000])
    found = pool.draw(counts, wanted, seed=2)
    assert len(found) == 5000

    def cdf(a: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        return lambda t: (1 - np.exp(-a * t)) / (1 - np.exp(-a))

    assert stats.kstest(found[:3000, 0].numpy(), cdf(2.5)).pvalue > FALSE_ALARM
    assert stats.kstest(found[3000:, 0].numpy(), cdf(0.7)).pvalue > FALSE_ALARM
    values = {"slope": torch.tensor(2.5).double()}
    events, weight = pool.expected(values)
    assert weight.sum().item() == pytest.approx(1)
    mean = 1 / 2.5 - 1 / math.expm1(2.5)
    assert (weight @ events[:, 0]).item() == pytest.approx(mean, abs=4 * 0.25 / 200)
    assert 20_000 < pool.effective(values) < 40_000
    with pytest.raises(DataError, match="worth"):
        FromPool(x[:900]).expected({})
    with pytest.raises(DataError, match="negative"):
        FromPool(x, -torch.ones(len(x)))


def test_toys_of_a_simulator_have_a_mean_score_of_zero() -> None:
    """ee_mumu: events of the chain, their exact density and the exact rate."""
    chain = process("ee_mumu", energies=(89.0,))
    prior = Uniform(0.15, 0.30)
    parameters = ParameterSet(
        [replace(p, prior=prior if p.name == "sin2_theta_w" else None) for p in chain.parameters]
    )
    exact = ExactLikelihood(ElectronPositronDensity.of(chain), parameters)
    sampler = FromChain(chain, parameters, exact.density.columns)
    sample = Sample("signal", exact, Product(0.4, exact.rate), sampler)
    model = EventLikelihood(parameters, [Channel("mumu", (sample,))])
    toys = 300
    truth = torch.full((toys, 1), 0.2312, dtype=torch.float64)
    data = model.generate(truth, seed=9)
    theta = truth[:, None].clone().requires_grad_(True)
    (score,) = torch.autograd.grad(model.log_likelihoods(data, theta).sum(), theta)
    mean = model.rates(truth[0])["mumu"]["signal"].item()

    number = data.channels["mumu"].total.mean().item()
    assert chance((number - mean) / math.sqrt(mean / toys)) > FALSE_ALARM
    z = score.mean() / score.std() * math.sqrt(toys)
    assert chance(z.item()) > FALSE_ALARM
    asimov = model.asimov(truth[0])
    found = laplace(lambda t: model.log_likelihoods(asimov, t), torch.tensor([[0.22]]).double())
    assert found.mode.item() == pytest.approx(0.2312, abs=1e-5)


def test_a_sample_without_a_sampler_has_no_pseudo_data() -> None:
    channel = Channel("c", (Sample("s", SIGNAL_DENSITY, Product(5.0, "mu")),))
    model = EventLikelihood(ParameterSet([MU]), [channel])
    with pytest.raises(ParameterError, match="no sampler"):
        model.generate(torch.ones(3, 1), seed=0)
    alone = EventLikelihood(ParameterSet([MU]), [Channel("c", (Sample("s", SIGNAL_DENSITY),))])
    with pytest.raises(ParameterError, match=r"Channel\.events"):
        alone.asimov(torch.ones(1))
