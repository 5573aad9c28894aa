"""Encoders, decoders and hierarchies against what is known of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from hepgen.errors import SurrogateError
from hepgen.features import Feature
from hepgen.nn.rows import Table
from hepgen.nn.train import train
from hepgen.surrogates.surrogate import Surrogate
from hepgen.surrogates.vae.decoders import ZeroInflated, decoder
from hepgen.surrogates.vae.encoders import ENCODERS, encoder
from hepgen.surrogates.vae.model import VAE
from tests.surrogates.vae.linear import PrincipalComponents, module, raw, set_linear


def gap_after_training(posterior: str) -> tuple[float, PrincipalComponents]:
    """Mean of log p − ELBO when only the posterior of a known model is learned."""
    weight = torch.tensor([[1.0, 0.9], [0.9, 1.0]]).double()
    known = PrincipalComponents(weight, torch.zeros(2).double(), 0.3)
    generator = torch.Generator().manual_seed(0)
    x = (
        torch.randn(1000, 2, generator=generator)
        @ torch.linalg.cholesky(known.weight @ known.weight.T + 0.3 * torch.eye(2)).float().T
    )
    torch.manual_seed(0)
    model = VAE(2, 0, latent=2, hidden=(16,), posterior=posterior, variance=0.3, importance=1)
    set_linear(module(model, "decoder.mean.linear"), weight, known.mean)
    for parameter in model.decoder.parameters():
        parameter.requires_grad_(False)
    none = x.new_zeros(len(x), 0)
    train(
        model, lambda b: model.loss(*b), Table(x, none), batch_size=100, epochs=20,
        max_learning_rate=0.02, patience=None, weight_decay=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.no_grad():
        bound = model.log_weights(x, none, 50).mean(0)
    return float((known.log_prob(x.double()) - bound).mean()), known


@pytest.mark.parametrize("posterior", ["full", "flow"])
def test_a_correlated_posterior_is_recovered(posterior: str) -> None:
    gap, _ = gap_after_training(posterior)
    assert abs(gap) < 0.06


def test_a_diagonal_posterior_keeps_the_gap_of_the_mean_field() -> None:
    """½(Σ log Λ_jj − log det Λ), Λ the precision of the posterior."""
    gap, known = gap_after_training("diagonal")
    precision = known.precision
    expected = 0.5 * float(precision.diagonal().log().sum() - torch.logdet(precision))
    assert expected > 0.3
    assert gap == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("latent", [1, 3])
def test_transport_draws_from_the_distribution(kind: str, latent: int) -> None:
    """log N(ε) − log |∂z/∂ε| is the density."""
    torch.manual_seed(0)
    model = encoder(kind, latent, 2, (8,)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    noise, h = torch.randn(latent).double(), torch.randn(2).double()
    jacobian = torch.func.jacrev(lambda e: model.transport(e[None], h[None])[0])(noise)
    expected = (
        -0.5 * (noise.square() + math.log(2 * math.pi)).sum()
        - torch.linalg.slogdet(jacobian.reshape(latent, latent)).logabsdet
    )
    found = model(h[None]).log_prob(model.transport(noise[None], h[None]))
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("positive", [True, False])
def test_a_zero_inflated_density_sums_to_one(positive: bool) -> None:
    logits, spike = torch.tensor(-0.4).double(), torch.tensor(-0.7).double()
    loc, scale = torch.tensor(0.2).double(), torch.tensor(0.6).double()
    density = ZeroInflated(logits, loc, scale, spike, positive)
    u = torch.linspace(-20, 60, 2_000_001).double()
    away = u[u != spike]
    integral = torch.trapezoid(density.log_prob(away).exp(), away)
    assert float(integral + density.log_prob(spike).exp()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli", "zero-inflated"])
def test_a_decoder_makes_what_its_density_says(kind: str) -> None:
    """The same moments from the distribution's own draws and from noise; 4.5 σ each."""
    torch.manual_seed(0)
    model = decoder(kind, 2, 3, (8,), "event")
    model.prepare(torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))
    n = 50_000
    z, c = torch.randn(1, 2).expand(n, 2), torch.randn(1, 1).expand(n, 1)
    with torch.no_grad():
        made = model.transport(torch.randn(n, model.noise), z, c).atan()
        drawn = model(z, c).sample().atan()
    error = (made.var(0) / n + drawn.var(0) / n).sqrt()
    assert ((made.mean(0) - drawn.mean(0)).abs() < 4.5 * error).all()
    assert ((made == made.mode(0).values).double().mean(0) -
            (drawn == drawn.mode(0).values).double().mean(0)).abs().max() < 0.02  # fmt: skip


def test_the_spike_is_the_most_frequent_value() -> None:
    model = VAE(2, 0, decoder="zero-inflated", hidden=(8,))
    u = torch.randn(100, 2).exp()
    u[::3] = 0.0
    u = (u - 1.3) / 0.7
    model.prepare(u, u[:, :0])
    made = model.generate(torch.randn(500, model.noise), torch.zeros(500, 0))
    assert ((made == u[0]).double().mean(0) > 0.1).all()
    assert (made >= u[0]).all()
    assert torch.isfinite(model.log_prob(u, u[:, :0]).value).all()


def test_more_than_two_values_are_refused() -> None:
    model = VAE(2, 0, decoder="bernoulli", hidden=(8,))
    with pytest.raises(SurrogateError, match="feature 1 has more than two values"):
        model.prepare(torch.tensor([[0.0, 0.0], [1.0, 0.5], [0.0, 1.0]]), torch.zeros(3, 0))


# --- Hierarchies ----------------------------------------------------------------------------


def hierarchy(context: Tensor, theta: float = 0.7) -> tuple[VAE, MultivariateNormal]:
    """z₂ ~ N(0, 1), z₁ | z₂ ~ N(0.8 z₂ + θc, 0.5²), x | z₁ ~ N(1.5 z₁ − 0.2, 0.4²).

    With the exact posterior; and the density of (z₂, z₁, x).
    """
    lower = torch.tensor([[1.0, 0, 0], [0.8, 0.5, 0], [1.2, 0.75, 0.4]]).double()
    zero = torch.zeros(len(context)).double()
    drive = theta * context[:, 0]
    joint = MultivariateNormal(torch.stack([zero, drive, 1.5 * drive - 0.2], -1), scale_tril=lower)
    model = VAE(1, 1, latent=1, levels=2, hidden=(), posterior="diagonal", variance=0.16).double()
    tensor = torch.tensor
    set_linear(
        module(model, "decoder.mean.linear"), tensor([[1.5, 0.0]]).double(), tensor([-0.2]).double()
    )
    set_linear(
        module(model, "hierarchy.priors.1.network.linear"), tensor([[0.8, theta]]).double(),
        torch.cat([zero[:1], raw(tensor([0.5]).double())]),
    )  # fmt: skip
    covariance = lower @ lower.T
    # Of z₂ given x, and of z₁ given z₂ and x: regressions on what is above and on the data.
    for level, (target, given) in enumerate([(0, [2]), (1, [0, 2])]):
        inner = covariance[given][:, given]
        slope = torch.linalg.solve(inner, covariance[given, target])
        sigma = (covariance[target, target] - slope @ covariance[given, target]).sqrt()
        mean = torch.tensor([0.0, 0.0, -0.2]).double()
        shift = torch.tensor([0.0, theta, 1.5 * theta]).double()
        row = torch.cat([slope, (shift[target] - slope @ shift[given])[None]])
        bias = torch.stack([mean[target] - slope @ mean[given], raw(sigma)])
        name = f"hierarchy.posteriors.{level}.network.linear"
        set_linear(module(model, name), row[None], bias)
    return model, joint


def test_two_linear_levels_have_the_likelihood_of_the_closed_form() -> None:
    torch.manual_seed(0)
    x, c = torch.randn(9, 1).double(), torch.randn(9, 1).double()
    model, joint = hierarchy(c)
    weights = model.log_weights(x, c, 4)
    marginal = torch.distributions.Normal(joint.mean[:, 2], joint.covariance_matrix[:, 2, 2].sqrt())
    expected = marginal.log_prob(x[:, 0])  # type: ignore[no-untyped-call]
    torch.testing.assert_close(weights, expected.expand(4, 9), rtol=0, atol=1e-6)


def test_two_linear_levels_sample_the_closed_form() -> None:
    n = 100_000
    c = torch.full((n, 1), 0.5).double()
    model, joint = hierarchy(c[:1])
    torch.manual_seed(0)
    with torch.no_grad():
        x = model.generate(torch.randn(n, model.noise).double(), c)[:, 0]
    variance = float(joint.covariance_matrix[0, 2, 2])
    assert abs(float(x.mean() - joint.mean[0, 2])) < 4.5 * math.sqrt(variance / n)
    assert abs(float(x.var()) / variance - 1) < 4.5 * math.sqrt(2 / n)


def test_the_bound_of_two_levels_falls_short_by_the_divergence_of_both() -> None:
    """A posterior that is wrong on top: the gap is KL(N(0.2, s²) ‖ N(0, s²)) = 0.02/s²."""
    torch.manual_seed(0)
    x, c = torch.randn(2, 1).double(), torch.randn(2, 1).double()
    model, joint = hierarchy(c)
    before = model.log_weights(x, c, 1)[0]
    with torch.no_grad():
        module(model, "hierarchy.posteriors.0.network.linear").bias[0] += 0.2
        found = model.elbo(x, c, 500_000).value
    covariance = joint.covariance_matrix[0]
    variance = covariance[0, 0] - covariance[0, 2] ** 2 / covariance[2, 2]
    torch.testing.assert_close(before - found, (0.02 / variance).expand(2), rtol=0, atol=4e-3)


@pytest.mark.parametrize("kind", ["bernoulli", "zero-inflated"])
def test_a_probability_has_no_unit(kind: str) -> None:
    """Of x = 0 or 1000, or 0 or around 1000: probabilities as they are in x, not in x/scale."""
    generator = torch.Generator().manual_seed(0)
    upper = torch.rand(2000, 1, generator=generator, dtype=torch.float64) < 0.3
    spread = 100 * torch.rand(2000, 1, generator=generator, dtype=torch.float64)
    x = torch.where(upper, 1000 + (spread if kind == "zero-inflated" else 0), 0.0)
    nothing = torch.zeros(2000, 0, dtype=torch.float64)
    surrogate = Surrogate.fit(
        x, nothing, features=[Feature("x", "GeV")], inputs=[], method="vae",
        options={"decoder": kind, "hidden": [8], "latent": 1}, epochs=10, batch_size=100,
        device="cpu",
    )  # fmt: skip
    zero = torch.zeros(1, 1, dtype=torch.float64)
    assert abs(surrogate.log_prob(zero, nothing[:1]).exp().item() - 0.7) < 0.1
    made, density = surrogate.sample_and_log_prob(200, nothing[0])
    at_zero = made[:, 0].abs() < 1e-3
    torch.testing.assert_close(
        density.value[at_zero].exp(), torch.full((int(at_zero.sum()),), 0.7).double(),
        rtol=0, atol=0.1,
    )  # fmt: skip
