"""x₀, ε, score and v are views of one another."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hepgen.surrogates.diffusion.log_snr import alpha_sigma
from hepgen.surrogates.diffusion.prediction import (
    PREDICTIONS,
    convert,
    flow_matching_velocity,
    view,
)
from tests.surrogates.diffusion.oracles import Gaussian

numbers = st.floats(-5, 5)


@pytest.mark.parametrize("source", PREDICTIONS)
@pytest.mark.parametrize("target", PREDICTIONS)
@given(output=numbers, x=numbers, gamma=st.floats(-9, 9))
def test_round_trips(source: str, target: str, output: float, x: float, gamma: float) -> None:
    values = torch.tensor([[output]]).double()
    point, level = torch.tensor([[x]]).double(), torch.tensor([gamma]).double()
    there = convert(source, target, values, point, level)
    back = convert(target, source, there, point, level)
    torch.testing.assert_close(back, values, rtol=1e-8, atol=1e-8)


@given(x0=numbers, noise=numbers, gamma=st.floats(-9, 9))
def test_each_is_what_it_says(x0: float, noise: float, gamma: float) -> None:
    level = torch.tensor([gamma]).double()
    alpha, sigma = alpha_sigma(level)
    x, v = alpha * x0 + sigma * noise, alpha * noise - sigma * x0
    expected = {"x0": x0, "noise": noise, "score": -noise / sigma.item(), "v": v.item()}
    for kind, value in expected.items():
        assert view(kind, v, x, level).item() == pytest.approx(value, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("variance", [0.01, 0.25, 1.0, 4.0])
def test_gaussian_noise_and_score(variance: float) -> None:
    """ε* = σ x/v and ∇ln p = −x/v at every level."""
    gamma = torch.linspace(-10, 6, 9, dtype=torch.float64)
    x, oracle = torch.full((9, 1), 1.3, dtype=torch.float64), Gaussian(variance)
    _, sigma = alpha_sigma(gamma)
    v, diffused = oracle(x, gamma), oracle.diffused(gamma)
    torch.testing.assert_close(view("noise", v, x, gamma), sigma * x / diffused)
    torch.testing.assert_close(view("score", v, x, gamma), -x / diffused, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("variance", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
def test_flow_matching_of_a_gaussian(variance: float, tau: float) -> None:
    """u*(y) = [τ s² − (1 − τ)] / [(1 − τ)² + τ² s²] · y on y = τ x₀ + (1 − τ) ε."""
    y = torch.tensor([[0.7]], dtype=torch.float64)
    gamma = torch.tensor([-2 * math.log(tau / (1 - tau))], dtype=torch.float64)
    alpha, sigma = alpha_sigma(gamma)
    x = (alpha + sigma) * y
    expected = (tau * variance - (1 - tau)) / ((1 - tau) ** 2 + tau**2 * variance) * y
    found = flow_matching_velocity(Gaussian(variance)(x, gamma), x, gamma)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
