"""Every sampler carries the noise of a Gaussian's diffusion to the Gaussian."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from hepgen.surrogates.diffusion.log_snr import LogSNR
from hepgen.surrogates.diffusion.process import fixed
from hepgen.surrogates.diffusion.samplers import (
    SAMPLERS,
    Sampler,
    ancestral,
    ddim,
    heun,
    predictor_corrector,
    reverse_sde,
)
from tests.surrogates.diffusion.oracles import Gaussian, Mixture

MIXTURE = Mixture(
    torch.tensor([0.3, 0.7]),
    torch.tensor([[1.0, 0.5], [-0.8, 0.0]]),
    torch.tensor([[[0.1, 0.05], [0.05, 0.2]], [[0.3, 0.0], [0.0, 0.05]]]),
)
LOW, HIGH = -10.0, 8.0


def variance(sampler: Sampler, oracle: Gaussian, levels: Tensor) -> float:
    """Of what comes out, exactly: the loop is linear in its noise, so its row has the sum."""
    draws = sampler.draws(len(levels))
    units = torch.eye(draws, dtype=torch.float64)[:, :, None]
    return float(sampler.run(oracle, units, levels).square().sum())


def levels(n: int) -> Tensor:
    return LogSNR("linear", LOW, HIGH).nodes(n, torch.zeros(1).double())


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("s2", [0.25, 1.0, 2.0])
def test_the_variance_of_a_gaussian(name: str, s2: float) -> None:
    found = variance(SAMPLERS[name], Gaussian(s2), levels(201))
    # First-order rules and the corrector's finite step remain; others are of second order.
    tolerance = {"dpm": 2e-3, "heun": 2e-3, "predictor-corrector": 0.06}.get(name, 0.05)
    assert found == pytest.approx(s2, rel=tolerance)


@pytest.mark.parametrize(
    ("name", "gain"),
    [("ddim", 1.7), ("ancestral", 1.7), ("reverse-sde", 1.7), ("dpm", 3.4), ("heun", 3.4)],
)
def test_the_error_falls_with_the_order(name: str, gain: float) -> None:
    """Twice the steps: half the error for the first order, a quarter for the second."""
    wide, oracle = LogSNR("linear", -18.0, 18.0), Gaussian(0.25)
    paths = (wide.nodes(n, torch.zeros(1).double()) for n in (81, 161))
    coarse, fine = (abs(variance(SAMPLERS[name], oracle, path) - 0.25) for path in paths)
    assert coarse / fine > gain


@pytest.mark.parametrize("run", [reverse_sde, predictor_corrector])
def test_the_reverse_sde_has_the_marginal_of_each_time(run: object) -> None:
    """Stopped at γ, the last denoising undone: v = α² s² + σ²."""
    oracle, sampler = Gaussian(0.25), SAMPLERS["reverse-sde"]
    if run is predictor_corrector:
        sampler = SAMPLERS["predictor-corrector"]
    for stop in (4.0, 0.0, -4.0):
        path = LogSNR("linear", stop, HIGH).nodes(801, torch.zeros(1).double())
        gamma = torch.tensor([stop]).double()
        diffused = oracle.diffused(gamma).item()
        shrink = torch.sigmoid(-gamma).item() * oracle.variance**2 / diffused**2
        found = variance(sampler, oracle, path) / shrink
        assert found == pytest.approx(diffused, rel=0.05 if run is predictor_corrector else 0.015)


def test_ddim_with_all_its_noise_is_ancestral() -> None:
    torch.manual_seed(0)
    noise, path = torch.randn(5, 20, 2).double(), levels(20)
    mixed = Gaussian(0.25)
    torch.testing.assert_close(
        ddim(mixed, noise, path, eta=1.0), ancestral(mixed, noise, path, fixed("posterior"))
    )


def test_an_exact_variance_makes_every_ancestral_step_exact() -> None:
    """N(0, 1) has σ*² = β: no error, in any number of steps."""
    beta = Sampler(partial(ancestral, log_variance=fixed("beta")), lambda n: n)
    coarse = LogSNR("linear", -20.0, 20.0).nodes(5, torch.zeros(1).double())
    assert variance(beta, Gaussian(1.0), coarse) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_moments_of_a_mixture(name: str) -> None:
    """4000 events: mean and covariance within five standard errors and 3 % of steps."""
    torch.manual_seed(1)
    sampler, path = SAMPLERS[name], LogSNR("linear", LOW, HIGH).nodes(80, torch.zeros(1))
    x = sampler.run(MIXTURE, torch.randn(4000, sampler.draws(80), 2), path)
    truth = MIXTURE.sample(200_000)
    spread = truth.std(0)
    assert bool(((x.mean(0) - truth.mean(0)).abs() < 0.08 * spread).all())
    assert bool(((x.std(0) / spread - 1).abs() < 0.08).all())
    torch.testing.assert_close(torch.corrcoef(x.T), torch.corrcoef(truth.T), atol=0.08, rtol=0)


@pytest.mark.parametrize("name", ["dpm", "heun", "ddim"])
def test_deterministic_samplers_agree_in_the_limit(name: str) -> None:
    """They solve one equation, whose reference is Heun's rule in 400 steps."""
    torch.manual_seed(2)
    noise = torch.randn(50, 1, 2)
    fine = LogSNR("linear", LOW, HIGH).nodes(400, torch.zeros(1))
    path = LogSNR("linear", LOW, HIGH).nodes(200, torch.zeros(1))
    found = SAMPLERS[name].run(MIXTURE, noise, path)
    difference = (found - heun(MIXTURE, noise, fine)).abs().mean()
    assert difference < (0.05 if name == "ddim" else 0.002)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_one_level_is_one_denoising(name: str) -> None:
    noise = torch.ones(3, SAMPLERS[name].draws(1), 1)
    path = LogSNR("linear", LOW, HIGH).nodes(1, noise)
    x = SAMPLERS[name].run(Gaussian(1.0), noise, path)
    torch.testing.assert_close(x, noise[:, 0] * torch.sigmoid(torch.tensor(-HIGH)).sqrt())
