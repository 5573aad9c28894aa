"""The density of several samples together: laws of a mixture whose weights depend on θ."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from hepgen.inference.channel import Channel, Sample
from hepgen.inference.density import ClosedForm, Density
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.held import Held
from hepgen.inference.sample_sum import SampleRate, SampleSum
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform

MU = Parameter("mu", 1.0, prior=Uniform(-3.0, 5.0))
SLOPE = Parameter("slope", 1.0, prior=Uniform(0.5, 2.0))
ALL = ParameterSet([MU, SLOPE])


def falling() -> ClosedForm:
    """p(x) = k e^{−kx}/(1 − e^{−k}) on [0, 1]."""

    def formula(x: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        k = values["slope"]
        return k.log() - k * x[..., 0] - (-torch.expm1(-k)).log()

    return ClosedForm(ParameterSet([SLOPE]), ("x",), formula)


def peak(x: Tensor) -> Tensor:
    """Log of x³⁹(1 − x)³⁹/B(40, 40)."""
    return 39 * (x.log() + torch.log1p(-x)) + math.lgamma(80) - 2 * math.lgamma(40)


def bump() -> ClosedForm:
    return ClosedForm(ParameterSet([]), ("x",), lambda x, _: peak(x[..., 0]))


def model() -> SampleSum:
    """10·slope events of background, and μ of signal."""
    samples = [
        Sample("background", falling(), lambda v: 10 * v["slope"]),
        Sample("signal", bump(), SampleRate(lambda v: 0.5 * v["mu"], {"mu": 2.0}, "mu")),
    ]
    return SampleSum(ALL, samples)


def by_hand(x: Tensor, mu: float, slope: float) -> Tensor:
    b = slope * torch.exp(-slope * x) / -math.expm1(-slope)
    s = peak(x.double()).exp()
    return (10 * slope * b + 0.5 * mu * s) / (10 * slope + 0.5 * mu)


@pytest.mark.parametrize("mu", [-0.5, 0.0, 1.0, 5.0])
@pytest.mark.parametrize("slope", [0.5, 2.0])
def test_it_is_the_mixture_and_integrates_to_one(mu: float, slope: float) -> None:
    x = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    p = model().log_prob(x[:, None], torch.tensor([[mu, slope]])).exp()[:, 0]
    torch.testing.assert_close(p, by_hand(x, mu, slope))
    assert float(p.mean()) == pytest.approx(1.0, abs=1e-6)


def test_where_the_sum_is_negative_there_are_no_events() -> None:
    x, theta = torch.tensor([[0.5], [0.9]]), torch.tensor([[-3.0, 0.5]])
    assert by_hand(x[0], -3.0, 0.5) < 0
    found = model().log_prob(x, theta)[:, 0]
    assert found[0] == -torch.inf
    assert torch.isfinite(found[1])


def test_event_sets_are_sums_over_events_with_their_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    sets = [torch.rand(n, 1, generator=generator) for n in (20_000, 70)]
    weights = [torch.rand(20_000, generator=generator), None]
    theta = torch.tensor([[[1.0, 0.8], [3.0, 1.5]], [[-0.5, 1.0], [0.0, 2.0]]]).double()
    one, at = model(), theta.clone().requires_grad_(True)
    found = one.log_likelihoods(one.encode(sets, weights), at)
    for s, (x, w) in enumerate(zip(sets, weights, strict=True)):
        each = one.log_prob(x, theta[s])
        torch.testing.assert_close(found[s], (each if w is None else w[:, None] * each).sum(0))
    (slope,) = torch.autograd.grad(found.sum(), at)
    step = torch.zeros_like(theta)
    step[..., 0] = 1e-4
    sides = [one.log_likelihoods(one.encode(sets, weights), theta + s * step) for s in (1, -1)]
    torch.testing.assert_close(slope[..., 0], (sides[0] - sides[1]) / 2e-4, rtol=1e-4, atol=1e-3)


def test_a_set_with_an_impossible_event_is_impossible_and_its_padding_is_not() -> None:
    one = model()
    sets = one.encode([torch.tensor([[0.5]]), torch.tensor([[0.9], [0.1], [0.2]])], [None, None])
    found = one.log_likelihoods(sets, torch.tensor([[[-3.0, 0.5]], [[-3.0, 0.5]]]))
    assert found[0, 0] == -torch.inf
    padded = one.encode([torch.tensor([[0.9]]), torch.tensor([[0.1], [0.2]])], [None, None])
    both = one.log_likelihoods(padded, torch.tensor([[[-3.0, 0.5]], [[-3.0, 0.5]]]))
    assert torch.isfinite(both).all()


def test_it_is_one_sample_where_another_likelihood_has_two() -> None:
    one, x = model(), torch.rand(300, 1, generator=torch.Generator().manual_seed(2))
    constrained = ParameterSet([MU, Parameter("slope", 1.0, prior=Normal(1.0, 0.1))])
    channels = [
        Channel("all", (Sample("sum", one),), extended=False, events=300),
        Channel("all", one.samples, extended=False, events=300),
    ]
    theta = torch.tensor([[[0.0, 1.0], [2.0, 1.1], [-0.5, 0.9]]])
    both = [EventLikelihood(constrained, [channel]) for channel in channels]
    values = [model.log_likelihoods(model.encode([x], [None]), theta) for model in both]
    shifts = values[0] - values[1]
    torch.testing.assert_close(shifts, shifts[:, :1].expand_as(shifts), atol=1e-9, rtol=0)


def test_it_is_a_density_that_can_be_held() -> None:
    one = model()
    assert isinstance(one, Density)
    x, at = torch.tensor([[0.3], [0.5]]), Held(one, "mu", 2.0)
    found = at.log_densities(at.prepare(x)[None], torch.tensor([[[1.2]]]))[0]
    torch.testing.assert_close(found, one.log_prob(x, torch.tensor([[2.0, 1.2]])))
