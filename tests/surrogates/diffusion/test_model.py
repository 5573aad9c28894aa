"""Diffusion as a family: with an oracle for a network, and untrained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hepgen.errors import SurrogateError
from hepgen.surrogates.diffusion.guidance import dropped, flagged, guided
from hepgen.surrogates.diffusion.model import Diffusion
from hepgen.surrogates.diffusion.prediction import PREDICTIONS
from hepgen.surrogates.diffusion.samplers import SAMPLERS
from tests.surrogates.diffusion.oracles import Gaussian, Network

SMALL: dict[str, Any] = {"hidden": 8, "blocks": 1, "steps": 4, "likelihood_steps": 4}


def small(features: int = 2, context: int = 1, **options: Any) -> Diffusion:
    torch.manual_seed(0)
    return Diffusion(features, context, **{**SMALL, **options})


def exact(variance: float, **options: Any) -> Diffusion:
    """Of events N(0, s²) in one dimension, in double precision."""
    model = small(1, 0, **{"likelihood_steps": 32, **options}).double()
    model.network = Network(Gaussian(variance))
    return model


def nothing(u: Tensor) -> Tensor:
    return u.new_zeros(len(u), 0)


def stirred(model: Diffusion) -> Diffusion:
    """Away from the start, where the last layer is zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_the_density_of_an_oracle() -> None:
    u = torch.linspace(-1.5, 1.5, 7).double()[:, None]
    density = exact(0.25, high=16.0).log_prob(u, nothing(u))
    torch.testing.assert_close(density.value, Gaussian(0.25).log_prob(u), rtol=0, atol=1e-3)
    assert density.quality.kind == "estimate"
    assert "32 Runge-Kutta steps, exact trace" in density.quality.words


def test_untrained_it_is_the_gaussian_of_the_sample() -> None:
    """Whitening brings mean and covariance, and its volume."""
    torch.manual_seed(0)
    u = torch.randn(500, 2) @ torch.tensor([[1.0, 0.9], [0.0, 0.1]]) + 3
    model = small(2, 0)
    model.prepare(u, nothing(u))
    centred = (u - u.mean(0)).double()
    truth = torch.distributions.MultivariateNormal(u.mean(0).double(), centred.T @ centred / len(u))
    expected = truth.log_prob(u.double())  # type: ignore[no-untyped-call]
    torch.testing.assert_close(model.log_prob(u, nothing(u)).value, expected, rtol=0, atol=2e-3)
    events = model.generate(torch.randn(20_000, model.noise), torch.zeros(20_000, 0))
    torch.testing.assert_close(torch.cov(events.T), torch.cov(u.T), rtol=0.05, atol=0.02)


@pytest.mark.parametrize(("steps", "above"), [(0, 0.0), (20, 0.1)])
def test_the_bound_of_an_oracle(steps: int, above: float) -> None:
    """On average the entropy in continuous time, to four standard errors; more with few steps."""
    torch.manual_seed(1)
    u = 0.5 * torch.randn(500, 1).double()
    terms = exact(0.25).bound(u, nothing(u), draws=200, steps=steps)
    assert terms.total.shape == (500,)
    assert terms.steps.shape == (500, steps or 1)
    truth = -Gaussian(0.25).log_prob(u).mean()
    difference = terms.total.mean() - truth
    if steps:
        assert difference > above
    else:
        assert abs(difference) < 0.2


def test_the_loss_can_be_the_bound_in_nats() -> None:
    torch.manual_seed(2)
    model = exact(0.25, weighting="bound", schedule="linear")
    u = 0.5 * torch.randn(20_000, 1).double()
    model.prepare(u, nothing(u))
    # The oracle lives in x: of variance 1 after whitening.
    model.network = Network(Gaussian(1.0))
    loss = model.loss(u, nothing(u))
    assert abs(loss.mean() - Gaussian(0.25).entropy) < 4 * loss.std() / len(loss) ** 0.5


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("weighting", ["velocity", "simple", "min-snr", "bound"])
def test_every_prediction_and_loss_trains(prediction: str, weighting: str) -> None:
    model = stirred(small(prediction=prediction, weighting=weighting))
    model.loss(torch.randn(32, 2), torch.randn(32, 1)).mean().backward()  # type: ignore[no-untyped-call]
    assert all(
        p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in model.parameters()
    )


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_generates(sampler: str) -> None:
    model = small(sampler=sampler)
    noise, c = torch.randn(5, model.noise), torch.randn(5, 1)
    assert model.noise == 2 * SAMPLERS[sampler].draws(4)
    assert torch.equal(model.generate(noise, c), model.generate(noise, c))
    assert small(sampler="ddim", eta=0.5).noise == 8


def test_the_learned_variance_is_trained_and_used() -> None:
    model = stirred(small(variance="learned", sampler="ancestral"))
    u, c = torch.randn(32, 2), torch.randn(32, 1)
    model.loss(u, c).mean().backward()  # type: ignore[no-untyped-call]
    last = [p for p in model.network.parameters() if p.shape == (4,)]
    assert last
    assert all(p.grad is not None and bool((p.grad != 0).all()) for p in last)
    assert model.generate(torch.randn(5, model.noise), c[:5]).shape == (5, 2)
    assert bool(torch.isfinite(model.bound(u, c, steps=4).total).all())


def test_learned_ends_are_trained_by_the_bound() -> None:
    model = stirred(small(learned_ends=True, weighting="bound", schedule="linear"))
    model.loss(torch.randn(32, 2), torch.randn(32, 1)).mean().backward()  # type: ignore[no-untyped-call]
    assert model.schedule.ends is not None
    assert model.schedule.ends.grad is not None
    assert bool((model.schedule.ends.grad != 0).all())
    assert model.solver is model.schedule


def test_guidance_one_is_none() -> None:
    plain, model = small(drop=0.2), small(drop=0.2, guidance=2.0)
    stirred(plain)
    model.load_state_dict(plain.state_dict())
    noise, c = torch.randn(5, 2), torch.randn(5, 1)
    assert not torch.equal(plain.generate(noise, c), model.generate(noise, c))
    model.guidance = 1.0
    assert torch.equal(plain.generate(noise, c), model.generate(noise, c))


def test_guidance_is_linear_and_has_no_density() -> None:
    x, gamma = torch.randn(4, 1), torch.zeros(4)
    with_, without = Gaussian(0.25), Gaussian(4.0)
    expected = 3 * with_(x, gamma) - 2 * without(x, gamma)
    torch.testing.assert_close(guided(with_, without, 3.0)(x, gamma), expected)
    model = small(drop=0.1, guidance=3.0)
    assert model.quality.kind == "none"
    with pytest.raises(SurrogateError, match="guidance = 3 has no density"):
        model.log_prob(torch.zeros(1, 2), torch.zeros(1, 1))


def test_a_dropped_context_is_not_the_mean_one() -> None:
    torch.manual_seed(0)
    c = torch.zeros(1000, 1)
    assert torch.equal(flagged(c, 0.0)[0], torch.zeros(2))
    assert torch.equal(flagged(c, 1.0)[0], torch.tensor([0.0, 1.0]))
    kept = dropped(c, 0.3)[:, 1].mean().item()
    assert kept == pytest.approx(0.7, abs=4 * (0.21 / 1000) ** 0.5)


def test_probes_state_their_error() -> None:
    model = stirred(small(3, probes=4))
    u, c = torch.randn(6, 3), torch.randn(6, 1)
    torch.manual_seed(3)
    density = model.log_prob(u, c)
    assert bool((density.error > 0).all())
    assert "4 probes of the trace" in density.quality.words
    torch.manual_seed(3)
    assert torch.equal(model.log_prob(u, c).value, density.value)


def test_the_density_has_derivatives_in_event_and_context() -> None:
    model = stirred(small()).double()
    u, c = torch.randn(3, 2).double(), torch.randn(3, 1).double()
    assert not model.log_prob(u, c).value.requires_grad
    moving = c.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model.log_prob(u, moving).value.sum(), moving)
    step = (model.log_prob(u, c + 1e-5).value - model.log_prob(u, c - 1e-5).value) / 2e-5
    torch.testing.assert_close(slope[:, 0], step, rtol=1e-4, atol=1e-6)


def test_options_rebuild_it() -> None:
    model = small(sampler="ancestral", variance="learned", drop=0.1)
    again = Diffusion(2, 1, **model.options)
    again.load_state_dict(model.state_dict())
    assert again.options == model.options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prediction": "nois"}, "no prediction 'nois'; did you mean 'noise'"),
        ({"sampler": "ddpm"}, "no sampler 'ddpm'"),
        ({"network": "mlq"}, "no network 'mlq'"),
        ({"learned_ends": True}, "only the bound trains them"),
        ({"guidance": 2.0}, "drop > 0"),
        ({"steps": 0}, "one at least"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SurrogateError, match=words):
        small(**options)
