"""The shower against matrix elements, Sudakov factors and itself at another coupling."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.simulators.annihilation import QuarkPairs
from hepgen.simulators.augment import joint_log_ratio
from hepgen.simulators.chain import Chain, Trace
from hepgen.simulators.coupling import FixedCoupling, RunningCoupling
from hepgen.simulators.dipole_cascade import DipoleCascade
from hepgen.simulators.dipole_kinematics import branch
from hepgen.simulators.dipole_shower import DipoleShower
from hepgen.simulators.shower import running_coupling
from tests.simulators.shapes import thrust

E_CM = 91.1876
C_F = 4 / 3


@cache
def showered(running: bool, alpha_s: float, cutoff: float, n: int = 20_000) -> Trace:
    chain = Chain([QuarkPairs(), DipoleShower(running=running)])
    return chain.simulate(
        chain.parameters.values(None, alpha_s=alpha_s, shower_cutoff=cutoff), n, seed=3
    )


def momenta(trace: Trace) -> Tensor:
    """(E, x, y, z), shape ``(4, N, K)``."""
    return torch.stack([trace.state[f"Parton_{c}"][0] for c in ("e", "px", "py", "pz")])


# --- The clock ------------------------------------------------------------------------------


def test_one_leg_has_the_sudakov_of_its_heaviest_emission() -> None:
    """Σ(ρ) of ρ = max xθ² with t = θ² ≤ 1, α_s = 0.118: clock and veto with another kernel.

    Anchors from −ln Σ = (α_s C_F/2π) ∫_ρ¹ dx [1 + (1 − x)²]/x ln(x/ρ); 4 standard errors.
    """
    torch.manual_seed(1)
    clock, n, rate, floor = FixedCoupling(0.2), 100_000, C_F / math.pi, math.log(1e-4)
    t, heaviest = torch.zeros(n, dtype=torch.float64), torch.full((n,), -1e9).double()
    length, alive = torch.full_like(t, -floor), torch.arange(n)
    while len(alive):
        area = -torch.rand(len(alive), dtype=torch.float64).log() / rate
        t[alive] = clock.next_scale(t[alive], length[alive], 0 * t[alive], area)
        alive = alive[t[alive] > floor]
        log_x = floor * torch.rand(len(alive), dtype=torch.float64)
        chance = clock.ratio(torch.tensor(0.118), t[alive]) * (1 + (1 - log_x.exp()) ** 2) / 2
        kept = torch.rand(len(alive)) < chance
        emitted = torch.where(kept, log_x + t[alive], -1e9)
        heaviest[alive] = torch.maximum(heaviest[alive], emitted)
    for rho, expected in {1e-1: 0.918, 1e-2: 0.669, 1e-3: 0.376, 1e-4: 0.162}.items():
        found = (heaviest < math.log(rho)).double().mean().item()
        assert abs(found - expected) < 4 * math.sqrt(expected * (1 - expected) / n) + 5e-4, rho


@given(
    t=st.floats(1.0, 9.0), down=st.floats(0.01, 0.9), length=st.floats(0.0, 20.0),
    dipoles=st.integers(1, 12), running=st.booleans(),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_the_clock_integrates_its_own_rate(
    t: float, down: float, length: float, dipoles: int, running: bool
) -> None:
    clock = RunningCoupling(0.15) if running else FixedCoupling(0.2)
    tensor = (torch.tensor(v, dtype=torch.float64) for v in (t, t - down, length, dipoles))
    upper, lower, open_, n = tensor
    expected, _ = integrate.quad(
        lambda x: float(clock.over(torch.tensor(x).double())) * (length + dipoles * (t - x)),
        t - down, t,
    )  # fmt: skip
    area = clock.integral(upper, lower, open_, n)

    assert area.item() == pytest.approx(expected, rel=1e-7)
    found = clock.next_scale(upper, open_, n, area).item()
    assert found == pytest.approx(t - down, abs=1e-8)


def test_the_ratio_is_that_of_the_running_couplings() -> None:
    clock = RunningCoupling(0.15)
    t = torch.linspace(1.0, 9.0, 20, dtype=torch.float64)
    low, high = (
        running_coupling(t - 2 * math.log(E_CM), torch.tensor(a).double()) for a in (0.12, 0.15)
    )
    torch.testing.assert_close(clock.ratio(torch.tensor(0.12).double(), t), low / high)
    torch.testing.assert_close(clock.over(t), high)


# --- Kinematics -----------------------------------------------------------------------------


def test_a_branching_conserves_momentum_and_has_its_invariants() -> None:
    torch.manual_seed(2)
    p = torch.randn(2, 3, 500, dtype=torch.float64)
    p[0, :2, :20] = 0.0  # along the axis, both ways
    p = torch.cat([p.norm(dim=1, keepdim=True), p], dim=1)
    x, z = torch.rand(2, 500, dtype=torch.float64)
    azimuth = 6.28 * torch.rand(500, dtype=torch.float64)
    parts = branch(p[0], p[1], x, z, azimuth)

    def product(a: Tensor, b: Tensor) -> Tensor:
        return a[0] * b[0] - (a[1:] * b[1:]).sum(0)

    s = 2 * product(p[0], p[1])
    torch.testing.assert_close(sum(parts, torch.zeros(())), p[0] + p[1])
    for part in parts:
        assert (product(part, part).abs() < 1e-12 * (1 + s)).all()
    emitter, spectator, new = parts
    torch.testing.assert_close(2 * product(emitter, new), (1 - x) * s)
    torch.testing.assert_close(2 * product(emitter, spectator), x * z * s)


@pytest.mark.parametrize("running", [True, False])
def test_every_event_keeps_its_momentum(running: bool) -> None:
    trace = showered(running, 0.12, 1.0)
    p = momenta(trace)
    total = p.sum(-1)

    assert (total[0] - E_CM).abs().max() < 1e-5 * E_CM
    assert total[1:].abs().max() < 1e-5 * E_CM
    assert (p[0].square() - p[1:].square().sum(0)).abs().max() < 1e-9
    assert (trace.state["nParton"] >= 2).all()


def test_quarks_and_antiquarks_balance_and_chains_are_closed() -> None:
    """Along the colour, each chain begins with a quark and ends with an antiquark."""
    ids = showered(True, 0.12, 1.0).state["Parton_id"][0]
    quark = torch.where((ids != 0) & (ids != 21), ids.sign(), 0)

    for flavour in range(1, 6):
        assert ((ids == flavour).sum(-1) == (ids == -flavour).sum(-1)).all()
    open_chains = quark.cumsum(-1)
    assert ((open_chains == 0) | (open_chains == 1)).all()
    assert (open_chains[ids == 21] == 1).all()


def test_the_masses_of_dipoles_that_the_clock_uses_are_those_of_the_partons() -> None:
    n = 2_000
    one = torch.ones(n, dtype=torch.float64)
    direction = torch.nn.functional.normalize(torch.randn(3, n, dtype=torch.float64), dim=0)
    cascade = DipoleCascade(
        E_CM * one, torch.full((n,), 2), direction, 0.12 * one, one, RunningCoupling(0.15)
    )
    torch.manual_seed(4)
    cascade.draw()
    p, ids = cascade.ordered()
    left, right = p[..., :-1], p[..., 1:]
    mass2 = 2 * (left[0] * right[0] - (left[1:] * right[1:]).sum(0))
    gap = (ids[:, :-1] < 0) & (ids[:, 1:] > 0)
    stored = cascade.log_s[:, : mass2.shape[1]]
    exists = ids[:, 1:] != 0

    assert gap.any()
    assert (stored[gap] < -1e8).all()
    found = stored[exists & ~gap].exp()
    torch.testing.assert_close(found, mass2[exists & ~gap], rtol=1e-6, atol=1e-6)


# --- Physics --------------------------------------------------------------------------------


def test_the_first_emission_has_the_sudakov_of_the_matrix_element() -> None:
    """P(k_T < k) = exp(−∫ (α_s C_F/2π)(x₁² + x₂²) d ln k_T² dy), KS with false alarm 10⁻⁴."""
    alpha, n = 0.12, 20_000
    trace = showered(False, alpha, 2.0)
    outcome, scale = trace.sites["shower_outcome"][0], trace.sites["shower_scale"][0]
    emitted = outcome > 0
    first = torch.where(emitted, scale, -torch.inf).max(-1).values.numpy()

    def rate(t: float) -> float:
        root = math.exp(0.5 * t) / E_CM
        top = math.acosh(max(1.0, 0.5 / root))
        y = np.linspace(-top, top, 400)
        shape = (1 - root * np.exp(y)) ** 2 + (1 - root * np.exp(-y)) ** 2
        return float(alpha * C_F / (2 * math.pi) * np.trapezoid(shape, y))

    nodes = np.linspace(2 * math.log(2.0), 2 * math.log(E_CM / 2), 300)
    rates = np.array([rate(t) for t in nodes])
    above = np.array([np.trapezoid(rates[i:], nodes[i:]) for i in range(len(nodes))])
    none = math.exp(-above[0])
    assert abs((first < nodes[0]).mean() - none) < 4 * math.sqrt(none / n)
    seen = first[first > nodes[0]]

    def cumulative(t: np.ndarray[tuple[int], np.dtype[np.float64]]) -> object:
        return (np.interp(t, nodes, np.exp(-above)) - none) / (1 - none)

    assert stats.kstest(seen, cumulative).pvalue > 1e-4


def leading_order(t: float, alpha: float) -> float:
    """1/σ dσ/dT."""
    log = math.log((2 * t - 1) / (1 - t))
    first = 2 * (3 * t * t - 3 * t + 2) / (t * (1 - t)) * log
    return 2 * alpha / (3 * math.pi) * (first - 3 * (3 * t - 2) * (2 - t) / (1 - t))


def test_thrust_where_it_is_leading_order_and_where_it_is_resummed() -> None:
    """At α_s = 0.05: beyond that order 15 % at 1 − T > 0.2, and 0.03 in Σ(τ) at small τ."""
    alpha, n = 0.05, 60_000
    tau = 1 - thrust(momenta(showered(False, alpha, 0.5, n))[1:].permute(1, 2, 0))
    expected, _ = integrate.quad(leading_order, 2 / 3, 0.8, args=(alpha,))
    found = (tau > 0.2).double().mean().item()
    assert found == pytest.approx(expected, rel=0.15)
    for small in (0.003, 0.01, 0.03):
        log = math.log(small)
        resummed = math.exp(-alpha * C_F / math.pi * (log * log + 1.5 * log))
        assert (tau < small).double().mean().item() == pytest.approx(resummed, abs=0.03), small


def test_events_reweighted_to_another_coupling_are_its_events() -> None:
    """α_s 0.118 → 0.130: number of partons, χ² with p > 0.01; E[w] = 1 to 4 errors."""
    chain = Chain([QuarkPairs(), DipoleShower()])
    low, high = (chain.parameters.values(None, alpha_s=a) for a in (0.118, 0.130))
    n = 20_000
    here, there = chain.simulate(low, n, seed=5), chain.simulate(high, n, seed=6)
    weight = joint_log_ratio(chain, here, high, low).exp()[0].numpy()
    assert abs(weight.mean() - 1) < 4 * weight.std() / math.sqrt(n)

    bins = np.array([*np.arange(1.5, 11.5), 100])
    count = here.state["nParton"][0].numpy()
    moved, _ = np.histogram(count, bins, weights=weight)
    squared, _ = np.histogram(count, bins, weights=weight**2)
    direct, _ = np.histogram(there.state["nParton"][0].numpy(), bins)
    chi2 = ((moved - direct) ** 2 / (squared + direct)).sum()
    assert stats.chi2.sf(chi2, len(direct)) > 0.01
    unmoved, _ = np.histogram(count, bins)
    assert stats.chi2.sf(((unmoved - direct) ** 2 / (unmoved + direct)).sum(), len(direct)) < 1e-4


def test_the_density_of_a_history_without_any_trial_is_the_sudakov_alone() -> None:
    """Above k_T = √s/2 there is no phase space; the term of the count is −∫ of the clock."""
    chain = Chain([QuarkPairs(), DipoleShower(0.15, running=False)])
    theta = chain.parameters.values(None, shower_cutoff=10.0)
    trace = chain.simulate(theta, 500, seed=1)
    term = chain.log_prob_terms(trace, theta)["shower_trials"]
    none = trace.sites["shower_trials"] == 0
    step = 2 * math.log(E_CM / 10.0)

    expected = -3 / (2 * math.pi) * 0.15 * step**2 / 2
    torch.testing.assert_close(term[none], torch.full_like(term[none], expected))
    assert none.any()


def test_a_trial_below_the_cutoff_is_impossible() -> None:
    trace = showered(True, 0.12, 1.0)
    chain = Chain([QuarkPairs(), DipoleShower()])
    density = chain.log_prob(trace, chain.parameters.values(None, shower_cutoff=4.0))

    assert (density == -torch.inf).any()


@pytest.mark.parametrize("value", [0.01, 0.5])
def test_a_clock_out_of_range_is_an_error(value: float) -> None:
    with pytest.raises(WorkflowError, match=f"alpha_s_max = {value}"):
        DipoleShower(value)
