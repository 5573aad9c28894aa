"""The variational bound of Gaussian events, against its closed forms."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from hepgen.surrogates.diffusion import bound
from hepgen.surrogates.diffusion.log_snr import CLOCKS, LogSNR, ddpm
from hepgen.surrogates.diffusion.process import (
    LogVariance,
    diffuse,
    fixed,
    log_beta,
    log_posterior_variance,
    posterior_mean,
)
from tests.surrogates.diffusion.oracles import Gaussian, quadrature


def optimal(oracle: Gaussian) -> LogVariance:
    """σ*² = v_s β/v_t."""

    def log_variance(_: Tensor, s: Tensor, t: Tensor) -> Tensor:
        return oracle.diffused(s).log() + log_beta(s, t) - oracle.diffused(t).log()

    return log_variance


def expected(oracle: Gaussian, levels: Tensor, log_variance: LogVariance) -> bound.Bound:
    """E of each term over events and noise: shape ``(1,)`` and ``(1, T)``."""
    x0, noise = quadrature(oracle.variance)
    found = bound.discrete(oracle, x0, noise, levels, log_variance)
    return bound.Bound(*(term.mean(0, keepdim=True) for term in vars(found).values()))


@pytest.mark.parametrize(
    ("variance", "by_beta", "by_posterior", "prior"),
    [
        (1.0, 1.418939, 1.883831, 2.018e-5),
        (0.25, 0.726884, 1.182140, 5.05e-6),
        (0.01, -0.864059, -0.492039, 2.02e-7),
    ],
)
def test_a_thousand_steps_of_ddpm(
    variance: float, by_beta: float, by_posterior: float, prior: float
) -> None:
    """The table of the three variances; with the optimal one the bound is the entropy."""
    oracle, levels = Gaussian(variance), ddpm()
    found = {
        by_beta: expected(oracle, levels, fixed("beta")),
        by_posterior: expected(oracle, levels, fixed("posterior")),
        oracle.entropy: expected(oracle, levels, optimal(oracle)),
    }
    for value, terms in found.items():
        assert terms.total.item() == pytest.approx(value, abs=1e-5)
        assert terms.prior.item() == pytest.approx(prior, rel=2e-3)
        assert bool((terms.steps >= 0).all())
    bits = found[by_beta].bits_per_dimension(1)
    assert bits.item() == pytest.approx(by_beta / math.log(2), abs=2e-5)


def test_each_term_of_a_gaussian() -> None:
    """L_{t−1} = ½[β̃/σ² − 1 − ln(β̃/σ²)] + β²/(2σ²(1 − β)σ_t²) · E‖ε − ε̂‖²."""
    oracle, levels = Gaussian(0.25), ddpm(20, 0.01, 0.4)
    found = expected(oracle, levels, fixed("beta")).steps[0]
    s, t = levels[:-1], levels[1:]
    beta, ratio = log_beta(s, t).exp()[:, 0], torch.sigmoid(s) / torch.sigmoid(t)
    error = torch.sigmoid(-t) * 0.25 / oracle.diffused(t)[:, 0]
    scale = beta / (2 * (1 - beta) * torch.sigmoid(t))
    torch.testing.assert_close(found, 0.5 * (ratio - 1 - ratio.log()) + scale * error)


def test_the_posterior_step_back_is_bayes() -> None:
    """q(x_s | x_t, x₀) from N(x_s; α_s x₀, σ_s²) N(x_t; √(1−β) x_s, β)."""
    s, t = torch.tensor([-2.0]).double(), torch.tensor([-1.0]).double()
    x0, x_t = torch.tensor([[0.4]]).double(), torch.tensor([[1.1]]).double()
    beta, sigma2 = log_beta(s, t).exp(), torch.sigmoid(s)
    precision = 1 / sigma2 + (1 - beta) / beta
    mean = (torch.sigmoid(-s).sqrt() * x0 / sigma2 + (1 - beta).sqrt() * x_t / beta) / precision
    torch.testing.assert_close(log_posterior_variance(s, t).exp(), 1 / precision)
    torch.testing.assert_close(posterior_mean(x_t, x0, s, t), mean)


def test_one_step_after_another_is_the_process() -> None:
    """α_t x₀ + σ_t ε has the variance that a step from s to t gives."""
    s, t = torch.tensor([-2.0]).double(), torch.tensor([1.0]).double()
    one = torch.ones(1, 1, dtype=torch.float64)
    beta = log_beta(s, t).exp()
    torch.testing.assert_close(
        (1 - beta).sqrt() * diffuse(one, 0 * one, s), diffuse(one, 0 * one, t)
    )
    there = (1 - beta) * diffuse(0 * one, one, s) ** 2 + beta
    torch.testing.assert_close(there, diffuse(0 * one, one, t) ** 2)


@pytest.mark.parametrize(("steps", "value"), [(10, 17.7079), (100, 7.2438), (1000, 6.7032)])
def test_finite_steps_come_from_above(steps: int, value: float) -> None:
    """Linear γ from −13.3 to 5 and events N(0, 1); the limit is 6.646643."""
    levels = LogSNR("linear", -13.3, 5.0).nodes(steps + 1, torch.zeros(1).double()).flip(0)
    found = expected(Gaussian(1.0), levels, fixed("posterior")).steps.sum().item()
    assert found == pytest.approx(value, abs=6e-5)
    assert found > 6.646643


def integrated(oracle: Gaussian, schedule: LogSNR, nodes: int = 20_000) -> bound.Bound:
    """E of the terms in continuous time, by the midpoint rule in t^{1/3}."""
    root = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes
    x0, noise = (x.repeat_interleave(nodes, 0) for x in quadrature(oracle.variance))
    found = bound.continuous(oracle, x0, noise, (root**3).repeat(4), schedule)
    inner = found.steps * (3 * root**2).repeat(4)[:, None]
    terms = (found.reconstruction, inner, found.prior)
    return bound.Bound(*(term.mean(0, keepdim=True) for term in terms))


@pytest.mark.parametrize("clock", list(CLOCKS))
@pytest.mark.parametrize("variance", [1.0, 0.25, 0.01])
def test_the_limit_does_not_depend_on_the_shape(clock: str, variance: float) -> None:
    """L_∞ = ½ ln[(1 + s² e^{−γ0})/(1 + s² e^{−γ1})]; the total is the entropy plus the ends'."""
    low, high = -13.3, 5.0
    oracle = Gaussian(variance)
    found = integrated(oracle, LogSNR(clock, low, high))
    limit = 0.5 * (math.log1p(variance * math.exp(-low)) - math.log1p(variance * math.exp(-high)))
    assert found.steps.item() == pytest.approx(limit, abs=1e-5)
    last = oracle.diffused(torch.tensor([high]).double()).item()
    ends = 0.5 * math.log1p(math.exp(low) / variance) + 0.5 * (last - 1 - math.log(last))
    assert found.total.item() == pytest.approx(oracle.entropy + ends, abs=1e-5)


def test_the_three_numbers_of_a_unit_gaussian() -> None:
    found = integrated(Gaussian(1.0), LogSNR("linear", -13.3, 5.0))
    assert found.steps.item() == pytest.approx(6.646643, abs=1e-5)
    assert found.prior.item() == pytest.approx(0.003358, abs=1e-6)
    assert found.reconstruction.item() == pytest.approx(-5.231061, abs=1e-5)
    assert found.total.item() == pytest.approx(1.418939, abs=1e-5)


def test_the_learned_variance_finds_the_optimal_one() -> None:
    """Where σ*² lies between β̃ and β, the best fraction gives it."""
    oracle = Gaussian(0.25)
    s, t = torch.full((4,), -1.0).double(), torch.full((4,), -0.5).double()
    x0, noise = quadrature(0.25)
    x = diffuse(x0, noise, t)
    predicted = x0 * 0 + 0.25 * torch.sigmoid(-t[0]).sqrt() / oracle.diffused(t) * x
    loss = partial(bound.learned_variance, x0=x0, predicted=predicted, s=s, t=t)
    fractions = torch.linspace(0, 1, 2001, dtype=torch.float64)
    losses = torch.stack([loss(fraction).mean() for fraction in fractions])
    upper, lower = log_beta(s, t)[0], log_posterior_variance(s, t)[0]
    expected_fraction = (optimal(oracle)(x, s, t)[0] - lower) / (upper - lower)
    assert fractions[losses.argmin()].item() == pytest.approx(expected_fraction.item(), abs=1e-3)


@pytest.mark.parametrize("kind", ["velocity", "simple", "min-snr"])
def test_weights_are_of_what_they_say(kind: str) -> None:
    """Of errors δ in v: those in ε are α δ, those in x₀ σ δ."""
    gamma = torch.linspace(-6, 6, 7)
    snr = torch.exp(-gamma)
    noise, x0 = torch.sigmoid(-gamma), torch.sigmoid(gamma)
    expected_weight = {"velocity": noise + x0, "simple": noise, "min-snr": snr.clamp(max=5) * x0}
    torch.testing.assert_close(bound.weight(kind, gamma), expected_weight[kind])


def test_stratified_times_are_one_a_part() -> None:
    torch.manual_seed(0)
    t = bound.stratified(64, torch.zeros(1))
    assert sorted((t * 64).floor().int().tolist()) == list(range(64))
