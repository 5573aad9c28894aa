"""γ(t): its clocks, its views, and the discrete schedule."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hepgen.errors import SurrogateError
from hepgen.surrogates.diffusion.log_snr import (
    CLOCKS,
    LogSNR,
    alpha_sigma,
    ddpm,
    from_flow_matching,
    from_variance_exploding,
    to_flow_matching,
    to_variance_exploding,
)

gammas = st.floats(-13, 9)
every_clock = pytest.mark.parametrize("clock", list(CLOCKS))


@every_clock
def test_a_schedule_rises_from_end_to_end(clock: str) -> None:
    gamma = LogSNR(clock, -13.3, 5.0)(torch.linspace(0, 1, 101, dtype=torch.float64))
    torch.testing.assert_close(gamma[[0, -1]], torch.tensor([-13.3, 5.0], dtype=torch.float64))
    assert bool((gamma.diff() > 0).all())


@every_clock
@given(gamma=gammas)
def test_a_clock_inverts(clock: str, gamma: float) -> None:
    value = torch.tensor(gamma, dtype=torch.float64)
    back = CLOCKS[clock].gamma(CLOCKS[clock].time(value))
    torch.testing.assert_close(back, value, rtol=0, atol=1e-6)


@every_clock
def test_the_rate_is_the_slope(clock: str) -> None:
    schedule, t = LogSNR(clock), torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    gamma, rate = schedule.rate(t)
    torch.testing.assert_close(gamma, schedule(t))
    slope = (schedule(t + 1e-5) - schedule(t - 1e-5)) / 2e-5
    torch.testing.assert_close(rate, slope, rtol=1e-5, atol=0)


def test_cosine_is_the_cosine() -> None:
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    alpha, _ = alpha_sigma(LogSNR("cosine", -40.0, 40.0)(t))
    torch.testing.assert_close(alpha[:, 0], torch.cos(math.pi / 2 * t))


def test_linear_beta_solves_its_equation() -> None:
    """d ln α²/dt = −β(t), with β from 0.1 at t = 0 to 20 at t = 1."""
    at_one = math.log(math.expm1(0.1 + 0.5 * 19.9))
    schedule = LogSNR("linear-beta", -30.0, at_one)
    t = torch.linspace(0.1, 1.0, 5, dtype=torch.float64)
    gamma, rate = schedule.rate(t)
    torch.testing.assert_close(torch.sigmoid(gamma) * rate, 0.1 + 19.9 * t, rtol=1e-6, atol=0)


def test_ddpm_is_the_product_of_its_steps() -> None:
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    torch.testing.assert_close(torch.sigmoid(-ddpm()), torch.cumprod(1 - betas, 0))


@given(gamma=gammas, x=st.floats(-5, 5))
def test_views_convert_back(gamma: float, x: float) -> None:
    point, level = torch.tensor([[x]]).double(), torch.tensor([gamma]).double()
    for there, back in (
        (to_variance_exploding, from_variance_exploding),
        (to_flow_matching, from_flow_matching),
    ):
        again, same = back(*there(point, level))
        torch.testing.assert_close(again, point)
        torch.testing.assert_close(same, level, atol=1e-9, rtol=1e-9)


@given(gamma=gammas)
def test_views_are_what_they_say(gamma: float) -> None:
    """VE has x₀ with weight 1 and ε with ς; flow matching has weights τ and 1 − τ."""
    level = torch.tensor([gamma]).double()
    alpha, sigma = alpha_sigma(level)
    one, noise_level = to_variance_exploding(alpha, level)
    torch.testing.assert_close(one, torch.ones_like(one))
    torch.testing.assert_close(to_variance_exploding(sigma, level)[0][:, 0], noise_level)
    tau_weight, tau = to_flow_matching(alpha, level)
    torch.testing.assert_close(tau_weight[:, 0], tau)
    torch.testing.assert_close(to_flow_matching(sigma, level)[0][:, 0], 1 - tau)


def test_learned_ends_are_weights() -> None:
    schedule = LogSNR("linear", -5.0, 5.0, learned=True)
    _, rate = schedule.rate(torch.tensor([0.3]))
    rate.sum().backward()  # type: ignore[no-untyped-call]
    (ends,) = schedule.parameters()
    assert ends.grad is not None
    assert ends.grad.tolist() == [-1.0, 1.0]


def test_nodes_fall() -> None:
    schedule = LogSNR("linear", -6.0, 6.0)
    assert schedule.nodes(3, torch.zeros(1)).tolist() == [6.0, 0.0, -6.0]
    assert schedule.nodes(1, torch.zeros(1)).tolist() == [6.0]


def test_bad_schedules_are_named() -> None:
    with pytest.raises(SurrogateError, match=r"no schedule 'cosin'.*cosine"):
        LogSNR("cosin")
    with pytest.raises(SurrogateError, match="expected it to rise"):
        LogSNR("linear", 3.0, 2.0)
