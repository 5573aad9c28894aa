"""Drell–Yan against a second implementation of its leading-order integrand, in NumPy.

Tests of samples are refused at p < 10⁻⁴, at fixed seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.integrate import quad
from torch import Tensor

from hepgen.simulators.chain import Chain, Trace
from hepgen.simulators.parton import DrellYan

FALSE_ALARM = 1e-4
M_Z, GAMMA_Z, SIN2 = 91.1876, 2.4952, 0.2312
Array = NDArray[np.float64]


def densities(x: Array) -> dict[str, Array]:
    dbar = 0.1939875 * x**-0.1 * (1 - x) ** 6
    ubar = (1 - x) * dbar
    strange = 0.2 * (ubar + dbar)
    return {
        "u": 5.1072 * x**0.8 * (1 - x) ** 3 + ubar,
        "d": 3.06432 * x**0.8 * (1 - x) ** 4 + dbar,
        "s": strange,
        "ubar": ubar,
        "dbar": dbar,
        "sbar": strange,
    }


@dataclass(frozen=True)
class Theory:
    """Where the line is, and whether its width runs with s."""

    m_z: float = 91.1876
    gamma_z: float = 2.4952
    sin2: float = 0.2312
    running: bool = True


DEFAULT = Theory()


def amplitude2(s: float, charge: float, isospin: float, theory: Theory) -> tuple[float, float]:
    """(LL + RR, LR + RL) from complex amplitudes."""
    m, sin2 = theory.m_z, theory.sin2

    def couplings(q: float, t3: float) -> Array:
        return np.array([t3 - q * sin2, -q * sin2]) / math.sqrt(sin2 * (1 - sin2))

    product = np.outer(couplings(charge, isospin), couplings(-1.0, -0.5))
    width = theory.gamma_z * (s / m if theory.running else m)
    resonance = product / (s - m**2 + 1j * width)
    squares = np.abs(4 * math.pi / 128 * (-charge / s + resonance)) ** 2
    return float(squares.trace()), float(squares.sum() - squares.trace())


QUARKS = {"u": (2 / 3, 0.5), "d": (-1 / 3, -0.5), "s": (-1 / 3, -0.5)}


def dsigma_dy(
    mass: float, y: Array, sqrt_s: float, theory: Theory = DEFAULT
) -> dict[tuple[str, bool], tuple[Array, float, float]]:
    """By flavour and whether the quark goes along +z: dσ/dM dy in pb/GeV, and like, unlike."""
    tau = mass / sqrt_s
    one, two = densities(tau * np.exp(y)), densities(tau * np.exp(-y))
    parts = {}
    for q, numbers in QUARKS.items():
        like, unlike = amplitude2(mass**2, *numbers, theory)
        factor = 2 / mass * 3.8938e8 * mass**2 / (48 * math.pi) / 3 * (like + unlike)
        parts[q, True] = (factor * one[q] * two[q + "bar"], like, unlike)
        parts[q, False] = (factor * one[q + "bar"] * two[q], like, unlike)
    return parts


GAUSS = np.polynomial.legendre.leggauss(120)


def dsigma_dm(mass: float, sqrt_s: float, theory: Theory = DEFAULT) -> float:
    """∫dy of all parts, pb/GeV."""
    y_max = math.log(sqrt_s / mass)
    total = sum(part[0] for part in dsigma_dy(mass, y_max * GAUSS[0], sqrt_s, theory).values())
    return float(np.sum(GAUSS[1] * total)) * y_max


def integral(low: float, high: float, sqrt_s: float, theory: Theory = DEFAULT) -> float:
    """σ in pb between two masses, by adaptive quadrature."""
    points = [p for p in (theory.m_z - 3, theory.m_z, theory.m_z + 3) if low < p < high]
    value, _ = quad(
        lambda m: dsigma_dm(m, sqrt_s, theory), low, high,
        points=points or None, epsrel=1e-6, limit=200,
    )  # fmt: skip
    return float(value)


def stage_values(stage: DrellYan, theory: Theory) -> dict[str, Tensor]:
    return values(stage, m_z=theory.m_z, gamma_z=theory.gamma_z, sin2_theta_w=theory.sin2)


def values(stage: DrellYan, **changed: float) -> dict[str, Tensor]:
    return Chain([stage]).parameters.values(None, **changed)


def simulate(
    stage: DrellYan, n: int, changed: dict[str, float] | None = None, seed: int = 1
) -> Trace:
    return Chain([stage]).simulate(values(stage, **(changed or {})), n, seed)


def spectrum_shares(edges: Array, theory: Theory) -> Array:
    """The exact share of each bin in mass at 7 TeV."""
    shares = np.array([integral(a, b, 7000.0, theory) for a, b in pairwise(edges)])
    return np.asarray(shares / shares.sum())


def chi2_p_value(counts: Array, shares: Array) -> float:
    return float(stats.chisquare(counts, shares * counts.sum()).pvalue)


# --- Cross-sections -------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "sigma"), [((60.0, 120.0), 338.0), ((1000.0, 3000.0), 0.0112)])
def test_toy_cross_sections_at_13_tev(window: tuple[float, float], sigma: float) -> None:
    """In pb, given to three digits by an independent calculation."""
    stage = DrellYan(13_000.0, window)

    assert stage.cross_section(values(stage)).item() == pytest.approx(sigma, rel=2e-3)


@pytest.mark.parametrize(
    ("sqrt_s", "window", "theory"),
    [
        (7000.0, (50.0, 150.0), DEFAULT),
        (7000.0, (50.0, 150.0), Theory(running=False)),
        (7000.0, (50.0, 150.0), Theory(89.0, 2.0, 0.25)),
        (7000.0, (50.0, 150.0), Theory(94.0, 5.0)),
        (13_000.0, (60.0, 120.0), DEFAULT),
        (13_000.0, (1000.0, 3000.0), DEFAULT),
    ],
)
def test_normalisation_against_adaptive_quadrature(
    sqrt_s: float, window: tuple[float, float], theory: Theory
) -> None:
    stage = DrellYan(sqrt_s, window, theory.running)
    found = stage.cross_section(stage_values(stage, theory)).item()

    # What is left comes from the tables of the luminosity, linear in ln M and in rapidity.
    assert found == pytest.approx(integral(*window, sqrt_s, theory), rel=2e-4)


def test_a_running_width_is_a_shift_of_mass_and_width() -> None:
    """(m, Γ) of a running width are (m, Γ)/√(1 + γ²) of a fixed one, γ = Γ/m."""
    factor = 1 / math.sqrt(1 + (GAMMA_Z / M_Z) ** 2)
    running, fixed = DrellYan(), DrellYan(running_width=False)
    masses = torch.linspace(80, 100, 201, dtype=torch.float64)[None]
    shapes = [
        stage._dsigma(masses, stage_values(stage, theory))
        for stage, theory in (
            (running, DEFAULT),
            (fixed, Theory(M_Z * factor, GAMMA_Z * factor)),
        )
    ]
    assert M_Z - M_Z * factor == pytest.approx(0.034, abs=5e-4)

    ratio = shapes[0] / shapes[1]
    # Of the pure resonance it is exact; the photon's interference is a few per mille.
    torch.testing.assert_close(ratio / ratio.mean(), torch.ones_like(ratio), rtol=2e-3, atol=0)


def test_many_parameter_points_at_once() -> None:
    stage = DrellYan()
    masses = [90.0, 91.1876, 92.5]
    together = values(stage) | {"m_z": torch.tensor(masses, dtype=torch.float64)[:, None]}

    sigma = stage.cross_section(together)

    for i, mass in enumerate(masses):
        alone = stage.cross_section(values(stage, m_z=mass)).item()
        assert sigma[i].item() == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "at", "step"), [("m_z", M_Z, 1e-3), ("gamma_z", GAMMA_Z, 1e-3),
                             ("sin2_theta_w", SIN2, 1e-4)]
)  # fmt: skip
def test_cross_section_is_differentiable(name: str, at: float, step: float) -> None:
    stage = DrellYan()
    parameters = values(stage)
    parameters[name] = parameters[name].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(stage.cross_section(parameters).sum(), parameters[name])

    up, down = (stage.cross_section(values(stage, **{name: at + d})).item() for d in (step, -step))

    assert gradient.item() == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-3)


# --- Samples --------------------------------------------------------------------------------


@pytest.mark.parametrize("theory", [DEFAULT, Theory(90.0, 3.0), Theory(running=False)])
def test_mass_spectrum(theory: Theory) -> None:
    edges = np.array(
        [50, 52, 56, 62, 70, 78, 84, 87, 88, 89, 90, 90.5, 91, 91.5, 92, 93, 94, 96, 100,
         108, 120, 135, 150], dtype=np.float64,
    )  # fmt: skip
    stage = DrellYan(running_width=theory.running)
    changed = {"m_z": theory.m_z, "gamma_z": theory.gamma_z}
    masses = simulate(stage, 400_000, changed).state["mass"].ravel().numpy()
    counts = np.histogram(masses, edges)[0]

    assert counts.sum() == len(masses)
    assert chi2_p_value(counts, spectrum_shares(edges, theory)) > FALSE_ALARM


def test_mass_density_is_that_of_the_integrand() -> None:
    """log p(M) itself, not only its histogram, on and off the resonance."""
    stage = DrellYan()
    masses = [50.5, 61.7, 80.3, 89.1, 91.19, 92.4, 110.2, 149.0]
    total = integral(50, 150, 7000.0)
    expected = [math.log(dsigma_dm(m, 7000.0) / total) for m in masses]
    trace = simulate(stage, len(masses))
    trace = Trace(
        dict(trace.sites) | {"mass": torch.tensor([masses], dtype=torch.float64)}, trace.state
    )

    found = Chain([stage]).log_prob_terms(trace, values(stage))["mass"][0]

    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)


def around(mass: Tensor, at: float) -> NDArray[np.bool_]:
    return np.asarray((mass - at).abs() < 1.0)


def test_rapidity_given_the_mass() -> None:
    state = simulate(DrellYan(), 400_000).state
    kept = around(state["mass"], 91.0)
    y = state["y"].numpy()[kept]
    edges = np.linspace(-4.0, 4.0, 33)
    counts = np.histogram(y, edges)[0]
    inside = counts.sum()

    def density(values: Array) -> Array:
        return np.asarray(sum(p[0] for p in dsigma_dy(91.0, values, 7000.0).values()))

    shares = np.array([
        quad(lambda v: float(density(np.array(v))), a, b)[0]
        for a, b in pairwise(edges)
    ])  # fmt: skip
    whole = quad(lambda v: float(density(np.array(v))), -math.log(7000 / 91), math.log(7000 / 91))
    assert chi2_p_value(counts, shares / shares.sum()) > FALSE_ALARM
    share = shares.sum() / whole[0]
    assert inside / len(y) == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / len(y)))


def test_flavours_and_directions() -> None:
    """The share of each quark, and of each beam it comes from, near one mass and at y > 1."""
    state = simulate(DrellYan(), 400_000).state
    kept = torch.from_numpy(around(state["mass"], 91.0)) & (state["y"] > 1)
    y = np.linspace(1, math.log(7000 / 91), 4001)
    parts = {k: float(np.trapezoid(p[0], y)) for k, p in dsigma_dy(91.0, y, 7000.0).items()}
    total = sum(parts.values())
    counts = torch.bincount(state["flavour"][kept], minlength=3).double()
    expected = [(parts[q, True] + parts[q, False]) / total for q in QUARKS]

    assert chi2_p_value(counts.numpy(), np.array(expected)) > FALSE_ALARM


@pytest.mark.parametrize(("low", "high"), [(60.0, 80.0), (90.0, 92.0), (100.0, 140.0)])
def test_forward_backward_asymmetry(low: float, high: float) -> None:
    """A_FB of cos θ* to the +z beam at y > 1.2, where the quark mostly comes along +z."""
    state = simulate(DrellYan(), 400_000, seed=4).state
    kept = (state["mass"] > low) & (state["mass"] < high) & (state["y"] > 1.2)
    cosine = state["cos_theta"][kept]
    measured = (2 * (cosine > 0).double() - 1).mean().item()

    def moments(mass: float) -> Array:
        y = np.linspace(1.2, math.log(7000 / mass), 401)
        difference = total = 0.0
        for (_, forward), (density, like, unlike) in dsigma_dy(mass, y, 7000.0).items():
            rate = float(np.trapezoid(density, y))
            sign = 1 if forward else -1
            difference += sign * rate * 0.75 * (like - unlike) / (like + unlike)
            total += rate
        return np.array([difference, total])

    masses = np.linspace(low, high, 801)
    difference, total = np.trapezoid(np.array([moments(m) for m in masses]).T, masses)
    error = 1 / math.sqrt(len(cosine))

    assert measured == pytest.approx(difference / total, abs=4 * error)


def test_symmetries() -> None:
    """Two equal beams: y is even, and cos θ* to the +z axis is odd under y → −y."""
    state = simulate(DrellYan(), 300_000, seed=5).state
    y, c, phi = (state[k].ravel().numpy() for k in ("y", "cos_theta", "phi"))

    assert stats.ks_2samp(y[y > 0], -y[y < 0]).pvalue > FALSE_ALARM
    assert stats.ks_2samp(c[y > 0], -c[y < 0]).pvalue > FALSE_ALARM
    assert stats.kstest(phi, "uniform", (-math.pi, 2 * math.pi)).pvalue > FALSE_ALARM
    assert abs(float(np.mean(c))) < 4 * float(np.std(c)) / math.sqrt(len(c))


def test_background_falls_exponentially_in_its_share() -> None:
    n, fraction, slope = 200_000, 0.2, 0.03
    changed = {"background_fraction": fraction, "background_slope": slope}
    state = simulate(DrellYan(), n, changed).state
    background = state["background"]
    share = background.double().mean().item()
    falling = stats.truncexpon(b=100 * slope, loc=50, scale=1 / slope)

    assert share == pytest.approx(fraction, abs=4 * math.sqrt(fraction * (1 - fraction) / n))
    masses = state["mass"][background].numpy()
    assert stats.kstest(masses, falling.cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_no_background_or_nothing_else(fraction: float) -> None:
    background = simulate(DrellYan(), 1000, {"background_fraction": fraction}).state["background"]

    assert background.all() if fraction else not background.any()


def test_masses_stay_in_the_window_and_rapidities_in_phase_space() -> None:
    state = simulate(DrellYan(7000.0, (85.0, 96.0)), 200_000).state

    assert state["mass"].min() >= 85 - 1e-9
    assert state["mass"].max() <= 96 + 1e-9
    assert (state["y"].abs() <= math.log(7000) - state["mass"].log()).all()
    assert (state["cos_theta"].abs() <= 1).all()
