"""f f̄ → γ*/Z → μμ against published numbers, the PDG's formula, and complex amplitudes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hepgen.simulators.electroweak import (
    ALPHA,
    PICOBARN,
    HelicitySum,
    cross_section,
    forward_backward,
    helicity_sum,
)

M_Z, GAMMA_Z, SIN2 = 91.1876, 2.4952, 0.2312
ELECTRON, UP, DOWN = (-1.0, -0.5), (2 / 3, 0.5), (-1 / 3, -0.5)


def real(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def amplitudes(
    energy: float, fermion: tuple[float, float] = ELECTRON, sin2: float = SIN2
) -> HelicitySum:
    return helicity_sum(real(energy).square(), real(M_Z), real(GAMMA_Z), real(sin2), *fermion)


@pytest.mark.parametrize(
    ("energy", "sigma", "asymmetry"),
    [
        (60.0, 29.58, -0.374),
        (89.0, 487.8, -0.188),
        (91.1876, 2011.3, 0.0167),
        (93.0, 672.0, 0.176),
        (120.0, 11.81, 0.736),
    ],
)
def test_muon_pairs_from_electrons(energy: float, sigma: float, asymmetry: float) -> None:
    found = amplitudes(energy)
    value = cross_section(real(energy).square(), found, colour=1.0).item()

    assert value == pytest.approx(sigma, rel=1e-3)
    # The asymmetries are given to three digits.
    last_digit = 5e-5 if abs(asymmetry) < 0.1 else 5e-4
    assert forward_backward(found).item() == pytest.approx(asymmetry, abs=last_digit)


def pdg(s: float, c: float, fermion: tuple[float, float], sin2: float = SIN2) -> float:
    """dσ/dc in 1/GeV² with C = 1, as the Review of Particle Physics writes it."""
    charge, isospin = fermion
    a_e, v_e = -1.0, -1 + 4 * sin2
    a_f, v_f = 2 * isospin, 2 * isospin - 4 * charge * sin2
    d = (s - M_Z**2) ** 2 + (M_Z * GAMMA_Z) ** 2
    mixing = sin2 * (1 - sin2)
    chi1 = s * (s - M_Z**2) / (16 * mixing * d)
    chi2 = s**2 / (256 * mixing**2 * d)
    even = charge**2 - 2 * chi1 * v_e * v_f * charge
    even += chi2 * (a_e**2 + v_e**2) * (a_f**2 + v_f**2)
    odd = -2 * chi1 * a_e * a_f * charge + 4 * chi2 * a_e * a_f * v_e * v_f
    return 2 * math.pi * ALPHA**2 / (4 * s) * ((1 + c * c) * even + 2 * c * odd)


def differential(s: float, c: float, found: HelicitySum) -> float:
    """dσ/dc in 1/GeV² with C = 1 from the helicity sums."""
    like, unlike = found.like.item(), found.unlike.item()
    return s / (128 * math.pi) * ((1 + c) ** 2 * like + (1 - c) ** 2 * unlike)


@pytest.mark.parametrize("fermion", [ELECTRON, UP, DOWN])
@pytest.mark.parametrize("energy", [20.0, 60.0, 89.0, 91.1876, 93.0, 150.0, 2000.0])
@pytest.mark.parametrize("sin2", [0.2, 0.2312, 0.3])
def test_identical_to_the_form_of_the_pdg(
    energy: float, fermion: tuple[float, float], sin2: float
) -> None:
    s = energy**2
    found = amplitudes(energy, fermion, sin2)
    for c in (-0.9, 0.0, 0.4, 1.0):
        assert differential(s, c, found) == pytest.approx(pdg(s, c, fermion, sin2), rel=1e-9)


@pytest.mark.parametrize("fermion", [ELECTRON, UP, DOWN])
@pytest.mark.parametrize("energy", [40.0, 91.0, 300.0])
def test_squares_of_complex_amplitudes(energy: float, fermion: tuple[float, float]) -> None:
    """|A_XY|² with complex numbers, where the module expands the square."""
    charge, isospin = fermion
    s = energy**2
    propagator = 1 / (s - M_Z**2 + 1j * M_Z * GAMMA_Z)

    def couplings(q: float, t3: float) -> tuple[float, float]:
        norm = math.sqrt(SIN2 * (1 - SIN2))
        return (t3 - q * SIN2) / norm, -q * SIN2 / norm

    incoming, muon = couplings(charge, isospin), couplings(-1.0, -0.5)
    squares = np.array(
        [
            [abs(4 * math.pi * ALPHA * (-charge / s + i * f * propagator)) ** 2 for f in muon]
            for i in incoming
        ]
    )
    found = amplitudes(energy, fermion)

    assert found.like.item() == pytest.approx(squares[0, 0] + squares[1, 1], rel=1e-12)
    assert found.unlike.item() == pytest.approx(squares[0, 1] + squares[1, 0], rel=1e-12)


def test_a_running_width_is_a_fixed_one_of_another_size() -> None:
    """At one s, a width that runs is the fixed width Γs/m_Z²; at s = m_Z² they are equal."""
    for energy in (80.0, 91.1876, 95.0):
        theory = (real(energy).square(), real(M_Z))
        running = helicity_sum(*theory, real(GAMMA_Z), real(SIN2), *UP, running_width=True)
        width = GAMMA_Z * (energy / M_Z) ** 2
        fixed = helicity_sum(*theory, real(width), real(SIN2), *UP)

        torch.testing.assert_close(running.like, fixed.like)
        torch.testing.assert_close(running.unlike, fixed.unlike)


def test_total_and_asymmetry_are_integrals_of_the_angle() -> None:
    energy, nodes = 95.0, np.polynomial.legendre.leggauss(4)
    found = amplitudes(energy, UP)

    def integral(low: float, high: float) -> float:
        half = (high - low) / 2
        return half * sum(
            w * differential(energy**2, low + half * (1 + x), found)
            for x, w in zip(*nodes, strict=True)
        )

    forward, backward = integral(0, 1), integral(-1, 0)
    sigma = cross_section(real(energy**2), found, colour=1.0).item()

    assert sigma == pytest.approx(PICOBARN * (forward + backward), rel=1e-12)
    asymmetry = (forward - backward) / (forward + backward)
    assert forward_backward(found).item() == pytest.approx(asymmetry, rel=1e-12)


def test_far_below_the_z_it_is_quantum_electrodynamics() -> None:
    """σ(e⁺e⁻ → μ⁺μ⁻) → 4πα²/3s, without an asymmetry."""
    s = 1.0
    found = amplitudes(1.0)
    expected = PICOBARN * 4 * math.pi * ALPHA**2 / (3 * s)

    assert cross_section(real(s), found, colour=1.0).item() == pytest.approx(expected, rel=1e-3)
    assert forward_backward(found).item() == pytest.approx(0, abs=1e-3)


def test_colour_is_a_factor() -> None:
    found = amplitudes(91.0, UP)
    one, third = (cross_section(real(91.0**2), found, c) for c in (1.0, 1 / 3))

    torch.testing.assert_close(third, one / 3)


def test_derivative_in_the_mass_is_the_finite_difference() -> None:
    def sigma(m_z: Tensor) -> Tensor:
        sums = helicity_sum(real(92.0**2), m_z, real(GAMMA_Z), real(SIN2), *UP)
        return cross_section(real(92.0**2), sums, 1 / 3)

    mass = real(M_Z).requires_grad_()
    (gradient,) = torch.autograd.grad(sigma(mass), mass)
    numeric = (sigma(real(M_Z + 1e-4)) - sigma(real(M_Z - 1e-4))) / 2e-4

    assert gradient.item() == pytest.approx(numeric.item(), rel=1e-6)
