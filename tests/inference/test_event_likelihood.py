"""The likelihood of event sets: closed forms, identities, limits, derivatives and memory.

Statistical tests are refused at p < 10⁻⁴, at fixed seeds.
"""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.features import Feature
from hepgen.inference.channel import Channel, Sample
from hepgen.inference.density import ClosedForm, Fixed, Given
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.laplace import laplace
from hepgen.inference.likelihood import Likelihood
from hepgen.inference.nle import NLE
from hepgen.inference.rate import Constant, Product
from hepgen.inference.sampler import FromDensity
from hepgen.inference.surrogate_likelihood import SurrogateLikelihood
from hepgen.inference.validity import imbalance
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform
from hepgen.surrogates.surrogate import Surrogate
from tests.inference.bump import BACKGROUND, CENTRE, SIGNAL, UNCERTAINTY, WIDTH, bump

FALSE_ALARM = 1e-4
NOTHING = ParameterSet([])


def point(*values: float) -> Tensor:
    return torch.tensor([[values]], dtype=torch.float64)


def spectrum(n: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0.01, 0.99, (n, 1)))


def by_hand(x: Tensor, mu: float, slope: float, scale: float, a: float) -> float:
    signal = SIGNAL * mu * stats.norm.pdf(x[:, 0].numpy(), CENTRE, WIDTH)
    background = BACKGROUND * math.exp(UNCERTAINTY * scale) * stats.truncexpon.pdf(
        x[:, 0].numpy() * slope, slope
    ) * slope  # fmt: skip
    total = SIGNAL * mu + BACKGROUND * math.exp(UNCERTAINTY * scale)
    density = np.log((signal + background) / total).sum()
    return float(density + stats.poisson.logpmf(len(x), total) + stats.norm.logpdf(a, scale, 1.0))


def test_it_is_the_product_that_it_says() -> None:
    model, x = bump(), spectrum(60, 1)
    assert isinstance(model, Likelihood)
    data = model.data({"all": x}, auxiliary={"scale": 0.3})

    for theta in ((1.0, 1.5, 0.0), (0.0, 0.7, 1.2), (3.3, 2.5, -2.0)):
        found = model.log_likelihoods(data, point(*theta)).item()
        assert found == pytest.approx(by_hand(x, *theta, a=0.3), abs=1e-9)


def test_the_shape_alone_leaves_the_number_of_events_out() -> None:
    x = spectrum(60, 1)
    extended, shape = bump(), bump(extended=False)
    theta = torch.tensor([[[1.0, 1.5, 0.0], [2.0, 1.0, 0.5]]], dtype=torch.float64)
    difference = extended.log_likelihoods(extended.data({"all": x}), theta) - shape.log_likelihoods(
        shape.data({"all": x}), theta
    )
    mean = SIGNAL * theta[0, :, 0] + BACKGROUND * torch.exp(UNCERTAINTY * theta[0, :, 2])

    np.testing.assert_allclose(difference[0], stats.poisson.logpmf(60, mean.numpy()), rtol=1e-12)


def test_a_sample_in_two_halves_is_the_whole() -> None:
    """Σ over samples: 0.3 + 0.7 of one density is that density."""
    density = ClosedForm(NOTHING, ("x",), lambda x, _: torch.log(2 * x[..., 0]))
    mu = ParameterSet([Parameter("mu", 1.0, prior=Uniform(0.0, 3.0))])
    whole = EventLikelihood(mu, [Channel("c", (Sample("s", density, Product(20.0, "mu")),))])
    halves = (Sample("a", density, Product(6.0, "mu")), Sample("b", density, Product(14.0, "mu")))
    split = EventLikelihood(mu, [Channel("c", halves)])
    x, theta = spectrum(30, 2), torch.tensor([[[0.5], [2.0]]], dtype=torch.float64)

    torch.testing.assert_close(
        whole.log_likelihoods(whole.data({"c": x}), theta),
        split.log_likelihoods(split.data({"c": x}), theta),
    )


def test_derivatives_are_those_of_finite_differences() -> None:
    model, x = bump(), spectrum(40, 3)
    data = model.data({"all": x}, {"all": torch.linspace(0.5, 1.5, 40).double()})

    def height(theta: Tensor) -> Tensor:
        return model.log_likelihoods(data, theta[None, None])[0, 0]

    at = torch.tensor([0.0, 1.2, 0.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(height, (at,))
    assert torch.autograd.gradgradcheck(height, (at,))


def test_derivatives_do_not_know_of_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = bump()
    data = model.generate(torch.tensor([[1.0, 1.5, 0.0]] * 3), seed=4)
    theta = torch.tensor([[1.0, 1.5, 0.0], [0.5, 1.2, 0.2]], dtype=torch.float64).expand(3, 2, 3)

    def derivatives() -> tuple[Tensor, Tensor, Tensor]:
        at = theta.clone().requires_grad_(True)
        height = model.log_likelihoods(data, at)
        (first,) = torch.autograd.grad(height.sum(), at, create_graph=True)
        (second,) = torch.autograd.grad(first[..., 1].sum(), at)
        return height.detach(), first.detach(), second

    whole = derivatives()
    monkeypatch.setattr("hepgen.inference.event_likelihood._PAIRS", 64)
    for one, other in zip(whole, derivatives(), strict=True):
        torch.testing.assert_close(one, other)


def test_sets_of_different_sizes_are_each_alone() -> None:
    model = bump()
    x = [spectrum(n, n) for n in (10, 0, 33)]
    theta = torch.tensor([[1.0, 1.5, 0.0], [2.0, 1.0, 0.5]], dtype=torch.float64)
    together = model.log_likelihoods(model.encode(x, [None] * 3), theta.expand(3, -1, -1))
    again = model.log_likelihoods(
        model.encode(x, [None] * 3)[torch.tensor([2, 2, 0])], theta.expand(3, -1, -1)
    )

    for row, one in zip(together, x, strict=True):
        alone = model.log_likelihoods(model.data({"all": one}), theta[None])[0]
        torch.testing.assert_close(row, alone)
    torch.testing.assert_close(again, together[[2, 2, 0]])


def counting(observed: int, a: float | None = None) -> tuple[EventLikelihood, Any]:
    """n ~ Pois(s + b), b measured to be 20 ± 2."""
    flat = ClosedForm(NOTHING, ("x",), lambda x, _: torch.zeros_like(x[..., 0]))
    parameters = ParameterSet(
        [
            Parameter("s", 5.0, role="interest", prior=Uniform(0.0, 50.0)),
            Parameter("b", 20.0, prior=Normal(20.0, 2.0)),
        ]
    )
    rate = lambda v: v["s"] + v["b"]  # noqa: E731
    model = EventLikelihood(parameters, [Channel("c", (Sample("all", flat, rate),))])
    return model, model.data({"c": spectrum(observed, 5)}, auxiliary={} if a is None else {"b": a})


def test_a_counting_experiment_is_fitted_in_closed_form() -> None:
    """ŝ = n − a, b̂ = a, and the covariance is that of two independent measurements."""
    model, data = counting(34, a=19.0)
    start = torch.tensor([[10.0, 20.0]], dtype=torch.float64)
    found = laplace(lambda t: model.log_likelihoods(data, t), start)

    torch.testing.assert_close(
        found.mode[0], torch.tensor([15.0, 19.0]).double(), atol=1e-6, rtol=0
    )
    covariance = found.scale_tril[0] @ found.scale_tril[0].mT
    expected = torch.tensor([[34.0 + 4.0, -4.0], [-4.0, 4.0]]).double()
    torch.testing.assert_close(covariance, expected, rtol=1e-6, atol=1e-6)


def test_a_density_that_is_negative_has_no_likelihood() -> None:
    """Interference: 1 + μ cos 2πx is a density for |μ| ≤ 1."""
    flat = ClosedForm(NOTHING, ("x",), lambda x, _: torch.zeros_like(x[..., 0]))
    wave = ClosedForm(NOTHING, ("x",), lambda x, _: torch.log1p(torch.cos(2 * math.pi * x[..., 0])))
    mu = ParameterSet([Parameter("mu", 0.0, prior=Uniform(-3.0, 3.0))])
    samples = (
        Sample("flat", flat, Product(10.0, lambda v: 1 - v["mu"])),
        Sample("wave", wave, Product(10.0, "mu")),
    )
    model = EventLikelihood(mu, [Channel("c", samples)])
    data = model.data({"c": torch.tensor([[0.5], [0.1], [0.3]])})
    found = model.log_likelihoods(data, torch.tensor([[[-0.5], [0.5], [1.5], [-1.5]]]))[0]

    wanted = math.log(
        1.5 * (1 - 0.5 * math.cos(0.2 * math.pi)) * (1 - 0.5 * math.cos(0.6 * math.pi))
    )
    assert found[0].item() == pytest.approx(wanted + stats.poisson.logpmf(3, 10.0), abs=1e-6)
    assert torch.isfinite(found[1])
    assert torch.isneginf(found[2])
    assert torch.isneginf(found[3])


def test_what_does_not_fit_together_is_an_error() -> None:
    flat = ClosedForm(NOTHING, ("x",), lambda x, _: torch.zeros_like(x[..., 0]))
    with pytest.raises(ParameterError, match="without a rate: a"):
        Channel("c", (Sample("a", flat), Sample("b", flat, Constant(1.0))))
    wrong = Channel("a", (Sample("s", flat, lambda v: v["mu"][..., None]),))
    with pytest.raises(ParameterError, match="one number for each"):
        EventLikelihood(bump().parameters, [wrong]).rates(torch.ones(4, 3))
    with pytest.raises(ParameterError, match="slope"):
        EventLikelihood(NOTHING, [bump().channels[0]])
    with pytest.raises(ParameterError, match="all different"):
        EventLikelihood(bump().parameters, [bump().channels[0]] * 2)
    with pytest.raises(DataError, match="expected all"):
        bump().data({"some": spectrum(3, 0)})
    with pytest.raises(ParameterError, match="mu"):
        bump().data({"all": spectrum(3, 0)}, auxiliary={"mu": 1.0})
    with pytest.raises(DataError, match="finite"):
        bump().data({"all": torch.tensor([[math.nan]])})
    with pytest.raises(DataError, match="sum to -3"):
        bump().data({"all": spectrum(3, 0)}, {"all": -torch.ones(3)})


def test_a_density_of_every_kind_plugs_in(nle: NLE, peak: Any) -> None:
    """Σ log p of a sample alone is what the estimator itself says of the events."""
    x = peak.simulate(torch.tensor([[91.0, 2.0]]).double().expand(300, 2), generator())
    theta = torch.tensor([[91.0, 2.0], [90.0, 3.0]], dtype=torch.float64)
    sampler = FromDensity(nle, nle.parameters.free_names, size=5000)
    sample = Sample("all", nle, Product(200.0), sampler)
    model = EventLikelihood(peak.parameters, [Channel("c", (sample,))])
    found = model.log_likelihoods(model.data({"c": x}), theta[None])[0]

    wanted = nle.log_likelihood(x, theta)
    torch.testing.assert_close(found - wanted, (found - wanted)[:1].expand(2), atol=1e-3, rtol=0)
    # At one θ it is evaluated once.
    fixed = EventLikelihood(peak.parameters, [Channel("c", (Sample("all", Fixed(nle, theta[0])),))])
    alone = fixed.log_likelihoods(fixed.data({"c": x}), theta[None])[0]
    torch.testing.assert_close(alone, wanted[:1].expand(2), atol=1e-3, rtol=0)
    toys = model.generate(theta[[0, 0, 1]], seed=1)
    assert toys.channels["c"].total.mean().item() == pytest.approx(200, abs=4 * (200 / 3) ** 0.5)
    assert imbalance(model, model.asimov(theta[0]), theta[0]) < 1e-5


def test_a_surrogate_plugs_in(peak: Any) -> None:
    draws = peak.parameters.prior().sample((3000,), generator())
    surrogate = Surrogate.fit(
        peak.simulate(draws, generator()), draws, features=[peak.feature],
        inputs=[Feature("mass"), Feature("width")], method="flow", epochs=1,
    )  # fmt: skip
    likelihood = SurrogateLikelihood(surrogate, peak.parameters)
    sampler = FromDensity(likelihood, peak.parameters.free_names)
    sample = Sample("all", likelihood, None, sampler)
    model = EventLikelihood(peak.parameters, [Channel("c", (sample,), events=50)])
    theta = torch.tensor([[91.0, 2.0], [90.0, 3.0], [60.0, 3.0]], dtype=torch.float64)
    x = peak.simulate(theta[:1].expand(100, 2), generator())
    found = model.log_likelihoods(model.data({"c": x}), theta[None])[0]

    torch.testing.assert_close(found, likelihood.log_likelihood(x, theta), atol=1e-3, rtol=0)
    assert torch.isneginf(found[2])
    assert model.generate(theta[:2], seed=1).channels["c"].events.shape == (2, 50, 1)


def test_a_given_log_density_plugs_in() -> None:
    """A column of log p for the signal, and one for the background."""
    mu = ParameterSet([Parameter("mu", 1.0, prior=Uniform(0.0, 5.0))])
    samples = (Sample("s", Given(0), Product(3.0, "mu")), Sample("b", Given(1), Product(5.0)))
    model = EventLikelihood(mu, [Channel("c", samples)])
    density = torch.tensor([[2.0, 0.5], [0.0, 1.5]], dtype=torch.float64)
    found = model.log_likelihoods(model.data({"c": density.log()}), torch.tensor([[[0.5]]]))

    wanted = math.log((1.5 * 2 + 5 * 0.5) * (5 * 1.5)) - 6.5 - math.log(2)
    assert found.item() == pytest.approx(wanted)


def test_memory_is_flat() -> None:
    """The curvature of log L at 400,000 events needs hardly more than at 40,000 before it."""
    program = "from tests.benchmarks.event_likelihood import main; main()"
    found = subprocess.run(
        [sys.executable, "-c", program, "--kind", "closed", "--events", "4e4", "4e5"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    # Two more numbers for each event would be 6 MB, the graph of all events 100.
    assert float(found.stdout.split()[-2]) < 30


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)
