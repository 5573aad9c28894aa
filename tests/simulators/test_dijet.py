"""The parton level of the dijet resonance: densities, deficits, rates and information.

Tests of samples are refused at p < 10⁻⁴ or beyond 4 standard errors, at fixed seeds.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from hepgen.errors import ParameterError, WorkflowError
from hepgen.simulators.augment import joint_score
from hepgen.simulators.chain import Chain, Trace
from hepgen.simulators.dijet import DijetParton
from hepgen.simulators.dijet_distributions import BreitWigner, DecayAngle, ExchangeAngle

FALSE_ALARM = 1e-4
Array = NDArray[np.float64]
STRONG = DijetParton(signal=4.0)
WINDOW = (900.0, 5000.0)
STRENGTHS = (2.0, 0.0, -0.5)


def values(stage: DijetParton, **changed: float) -> dict[str, Tensor]:
    return Chain([stage]).parameters.values(None, **changed)


def simulate(stage: DijetParton, n: int, seed: int = 1, **changed: float) -> Trace:
    return Chain([stage]).simulate(values(stage, **changed), n, seed)


def falling(m: Array, p: tuple[float, float, float] = (9.0, 5.0, 0.1)) -> Array:
    """b(m), normalised by a fine trapezium rule."""

    def shape(mass: Array) -> Array:
        x = mass / 13_000
        return np.asarray((1 - x) ** p[0] * x ** (-p[1] - p[2] * np.log(x)))

    grid = np.geomspace(*WINDOW, 200_001)
    return np.asarray(shape(m) / np.trapezoid(shape(grid), grid))


def line(m: Array, m_x: float = 2000.0, width: float = 60.0) -> Array:
    """s(m), normalised over the window from its own integral in m²."""
    low, high = (math.atan((w**2 - m_x**2) / (m_x * width)) for w in WINDOW)
    s = m_x * width / ((m**2 - m_x**2) ** 2 + (m_x * width) ** 2)
    return np.asarray(2 * m * s / (high - low))


def total(m: Array, strength: float, signal: float = 4.0) -> Array:
    rate = strength * signal
    return np.asarray((rate * line(m) + 1000 * falling(m)) / (rate + 1000))


def density(stage: DijetParton, masses: Array, **changed: float) -> Array:
    """p(m) of the stage."""
    given = values(stage, **changed)
    rates = sum(stage.rates(torch.from_numpy(masses)[None], given))
    return np.asarray((rates / stage.cross_section(given)).ravel())


# --- The density of the mass ----------------------------------------------------------------


@pytest.mark.parametrize("strength", STRENGTHS)
def test_the_density_is_that_of_the_formula(strength: float) -> None:
    masses = np.concatenate([np.geomspace(*WINDOW, 997), np.linspace(1900, 2100, 101)])

    found = density(STRONG, masses, signal_strength=strength)

    # Between its nodes b is a straight line. A deficit of half the background doubles the error.
    np.testing.assert_allclose(found, total(masses, strength), rtol=3e-4)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_the_site_has_that_density(strength: float) -> None:
    trace = simulate(STRONG, 1000, signal_strength=strength)
    given = values(STRONG, signal_strength=strength)
    found = Chain([STRONG]).log_prob_terms(trace, given)["mass"].exp().ravel().numpy()
    mass = trace.state["mass"].ravel().numpy()

    np.testing.assert_allclose(found, density(STRONG, mass, signal_strength=strength), rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(-0.02, 50.0), st.floats(1200.0, 4500.0), st.floats(5.0, 600.0),
    st.floats(5.0, 13.0), st.floats(3.0, 7.0), st.floats(-0.2, 0.3),
)  # fmt: skip
def test_the_density_integrates_to_one(
    strength: float, m_x: float, width: float, p1: float, p2: float, p3: float
) -> None:
    stage = DijetParton(signal=0.01)
    at = {
        "signal_strength": strength, "m_x": m_x, "gamma_x": width,
        "background_p1": p1, "background_p2": p2, "background_p3": p3,
    }  # fmt: skip
    u = np.linspace(-1, 1, 20_001)
    # Dense at the resonance, and at every node of b in between.
    around = m_x + width * np.sinh(12 * u)
    inside = around[(around > WINDOW[0]) & (around < WINDOW[1])]
    masses = np.unique(np.concatenate([stage.nodes[0].numpy(), inside]))

    assert np.trapezoid(density(stage, masses, **at), masses) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_masses_follow_the_density(strength: float) -> None:
    edges = np.concatenate([
        np.geomspace(900, 1750, 20), np.linspace(1800, 2200, 41), np.geomspace(2250, 5000, 8),
    ])  # fmt: skip
    n = 400_000
    drawn = simulate(STRONG, n, seed=2, signal_strength=strength).state["mass"].ravel().numpy()
    grid = np.unique(np.concatenate([np.geomspace(*WINDOW, 100_001), edges]))
    exact = total(grid, strength)
    cumulative = np.append(0, np.cumsum(0.5 * (exact[1:] + exact[:-1]) * np.diff(grid)))
    shares = np.diff(np.interp(edges, grid, cumulative))
    counts = np.histogram(drawn, edges)[0]

    assert counts.sum() == n
    assert stats.chisquare(counts, shares / shares.sum() * n).pvalue > FALSE_ALARM


def test_a_negative_strength_is_a_deficit_of_its_size() -> None:
    """Within m_X ± Γ there are (μS∫s + B∫b)/(μS + B) of the events: 20 % fewer than without."""
    n = 400_000
    grid = np.linspace(1940, 2060, 20_001)
    counts = {}
    for strength in (0.0, -0.5):
        mass = simulate(STRONG, n, seed=3, signal_strength=strength).state["mass"]
        counts[strength] = int(((mass - 2000).abs() < 60).sum())
        share = float(np.trapezoid(total(grid, strength), grid))
        assert counts[strength] == pytest.approx(n * share, abs=4 * math.sqrt(n * share))

    missing = counts[0.0] - counts[-0.5]
    assert missing > 5 * math.sqrt(counts[0.0] + counts[-0.5])


def test_without_signal_nothing_depends_on_the_resonance() -> None:
    chain = Chain([DijetParton()])
    none, other = (
        values(DijetParton(), signal_strength=0.0, m_x=m, gamma_x=g)
        for m, g in ((2000.0, 60.0), (3100.0, 200.0))
    )
    trace = chain.simulate(none, 5000, seed=4)

    assert torch.equal(chain.log_prob(trace, none), chain.log_prob(trace, other))
    for name in ("m_x", "gamma_x"):
        assert (joint_score(chain, trace, none, name) == 0).all()
    assert (joint_score(chain, trace, none, "signal_strength") != 0).any()


# --- The limit of a deficit -----------------------------------------------------------------


def test_a_deficit_deeper_than_the_background_is_an_error() -> None:
    """The message has the strength, the mass and the negative density there."""
    stage = DijetParton()
    with pytest.raises(ParameterError, match=r"signal_strength = -5: .* m = 2000 GeV .* -0\.0"):
        simulate(stage, 10, signal_strength=-5.0)
    chain = Chain([stage])
    trace = simulate(stage, 10)
    with pytest.raises(ParameterError, match="deeper than the background"):
        chain.log_prob(trace, values(stage, signal_strength=-5.0))


def test_the_deepest_deficit_is_where_the_density_vanishes() -> None:
    """μ_min = −min B b(m) p_b(0)/(S s(m) p_s(0)): just above it runs, just below it does not."""
    m = np.linspace(1900, 2100, 100_001)
    p_b, p_s = 0.4 / (2 * 0.6), 1 / (2 * (0.6 + 0.6**3 / 3))
    deepest = -float((1000 * falling(m) * p_b / (line(m) * p_s)).min())
    stage = DijetParton()

    trace = simulate(stage, 100_000, signal_strength=0.99 * deepest)
    near = trace.state["mass"][(trace.state["cos_theta"].abs() < 0.05)]
    assert ((near - 2000).abs() < 20).double().mean() < 0.002
    with pytest.raises(ParameterError):
        simulate(stage, 10, signal_strength=1.01 * deepest)


def test_of_many_points_the_impossible_one_is_named() -> None:
    given = values(DijetParton()) | {
        "signal_strength": torch.tensor([[-0.5], [3.0], [-4.0]], dtype=torch.float64),
        "m_x": torch.tensor([[2000.0], [4000.0], [2500.0]], dtype=torch.float64),
    }
    with pytest.raises(ParameterError, match=r"= -4: the density at m = 250\d GeV"):
        Chain([DijetParton()]).simulate(given, 10, seed=1)


# --- Rate and information -------------------------------------------------------------------


def test_the_cross_section_is_linear_in_the_strength() -> None:
    stage = DijetParton(signal=3.0, background=500.0)
    strengths = torch.tensor([[-2.0], [0.0], [1.0], [10.0]], dtype=torch.float64)
    sigma = stage.cross_section(values(stage, luminosity=1.1) | {"signal_strength": strengths})

    torch.testing.assert_close(sigma, 1.1 * (3 * strengths[:, 0] + 500))


def test_the_information_on_the_strength_without_signal() -> None:
    """Of an event at μ = 0: (S/B)²(∫s²/b − 1) from the mass, with ∫p_s²/p_b from the angle too.

    A Poisson number of events adds (S/B)², so that L pb⁻¹ have L ∫S²s²/(Bb).
    """
    stage, n = DijetParton(signal=4.0, spin=0), 400_000
    chain, none = Chain([stage]), values(stage, signal_strength=0.0)
    trace = chain.simulate(none, n, seed=5)
    score = joint_score(chain, trace, none, "signal_strength").ravel()
    m = np.linspace(*WINDOW, 400_001)
    c = np.linspace(0, 0.6, 100_001)
    mass = float(np.trapezoid(line(m) ** 2 / falling(m), m))
    # p_s = 1/1.2 and p_b = 0.4/(1.2 (1 − c)²).
    angle = float(2 * np.trapezoid((1 / 1.2) ** 2 / (0.4 / (1.2 * (1 - c) ** 2)), c))

    def moments(terms: Tensor) -> tuple[float, float]:
        square = terms.square()
        return square.mean().item(), square.std().item() / math.sqrt(n)

    found, error = moments(score)
    assert found == pytest.approx(0.004**2 * (mass * angle - 1), abs=4 * error)
    assert error < 0.05 * found

    def mass_only(strength: Tensor) -> Tensor:
        return chain.log_prob_terms(trace, none | {"signal_strength": strength})["mass"]

    zero = none["signal_strength"]
    alone = torch.func.jvp(mass_only, (zero,), (torch.ones_like(zero),))[1].ravel()
    found, error = moments(alone)
    assert found == pytest.approx(0.004**2 * (mass - 1), abs=4 * error)
    rate = 1000 * (found + 0.004**2)
    assert rate == pytest.approx(
        float(np.trapezoid(4.0**2 * line(m) ** 2 / (1000 * falling(m)), m)), abs=4000 * error
    )


# --- Angles and rapidity --------------------------------------------------------------------


@pytest.mark.parametrize(
    "angle", [ExchangeAngle(0.6), ExchangeAngle(0.95), DecayAngle(0.6, 0), DecayAngle(0.9, 1)]
)
def test_angles_are_normalised_and_drawn_from_their_density(angle: Any) -> None:
    c = np.linspace(-angle.limit, angle.limit, 40_001)
    p = angle.log_prob(torch.from_numpy(c)).exp().numpy()
    cumulative = np.append(0, np.cumsum(0.5 * (p[1:] + p[:-1]) * np.diff(c)))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        drawn = angle.expand((100_000,)).sample().numpy()

    assert cumulative[-1] == pytest.approx(1, abs=1e-6)
    assert stats.kstest(drawn, lambda v: np.interp(v, c, cumulative)).pvalue > FALSE_ALARM
    assert np.isneginf(angle.log_prob(torch.tensor([-0.99, 0.99])).numpy()).all()


def test_a_line_is_normalised_and_minus_infinity_outside() -> None:
    theta = torch.tensor([[2000.0], [4900.0]], dtype=torch.float64)
    wigner = BreitWigner(theta, torch.tensor([[3.0], [400.0]], dtype=torch.float64), WINDOW)
    m = torch.linspace(*WINDOW, 400_001, dtype=torch.float64)[None]

    integral = torch.trapezoid(wigner.log_prob(m).exp(), m)

    torch.testing.assert_close(integral, torch.ones_like(integral), rtol=1e-5, atol=0)
    assert wigner.log_prob(torch.tensor([[899.0, 5001.0]])).isneginf().all()


@pytest.mark.parametrize("strength", [2.0, -0.5])
def test_the_angle_on_the_resonance_is_the_mixture_given_the_mass(strength: float) -> None:
    """Near m_X the share of signal is μS s/(μS s + B b), also where that is negative."""
    state = simulate(STRONG, 600_000, seed=8, signal_strength=strength).state
    near = (state["mass"] - 2000).abs() < 10
    c = state["cos_theta"][near].abs()
    at = np.array([2000.0])
    signal, background = strength * 4 * line(at)[0], 1000 * falling(at)[0]
    share = signal / (signal + background)
    central = share * (0.3 + 0.3**3 / 3) / (0.6 + 0.6**3 / 3)
    central += (1 - share) * (0.3 / 0.7) / (0.6 / 0.4)
    error = math.sqrt(central * (1 - central) / len(c))

    # Over ± 10 GeV the share changes by a few per cent of itself.
    assert (c < 0.3).double().mean().item() == pytest.approx(central, abs=4 * error + 0.004)


def test_the_rapidity_is_a_parabola_inside_phase_space() -> None:
    state = simulate(DijetParton(), 100_000, seed=9).state
    v = (state["y"] / (13_000 / state["mass"]).log()).ravel().numpy()

    assert (np.abs(v) <= 1).all()
    assert stats.kstest(v, lambda x: 0.5 + 0.25 * (3 * x - x**3)).pvalue > FALSE_ALARM
    phi = state["phi"].ravel().numpy()
    assert stats.kstest(phi, "uniform", (-math.pi, 2 * math.pi)).pvalue > FALSE_ALARM


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": (3000.0, 1000.0)}, "0 < low < high"),
        ({"sqrt_s": 4000.0}, "0 < low < high"),
        ({"signal": -1.0}, "signal_strength carries the sign"),
        ({"background": 0.0}, "expected positive ones"),
        ({"spin": 2}, "spin 2"),
        ({"cos_theta_max": 1.0}, "between 0 and 1"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        DijetParton(**options)
