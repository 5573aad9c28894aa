"""f f̄ → γ*/Z → f' f̄' at leading order, from helicity amplitudes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

ALPHA = 1 / 128  # at the Z
PICOBARN = 3.8938e8  # pb GeV²
MUON_MASS = 0.1056584  # GeV
MUON_CHARGE, MUON_ISOSPIN = -1.0, -0.5


@dataclass(frozen=True)
class HelicitySum:
    """|A|² summed over equal (LL + RR) and opposite (LR + RL) helicities."""

    like: Tensor
    unlike: Tensor


@dataclass(frozen=True)
class Contact:
    """Contact interactions c_XY in 1/GeV²: X is the helicity of the fermion that comes in, Y
    that of the muon. Each is added to the amplitude A_XY."""

    ll: Tensor
    lr: Tensor
    rl: Tensor
    rr: Tensor


def helicity_sum(
    s: Tensor,
    m_z: Tensor,
    gamma_z: Tensor,
    sin2_theta_w: Tensor,
    charge: float,
    isospin: float,
    running_width: bool = False,
    contact: Contact | None = None,
    final: tuple[float, float] = (MUON_CHARGE, MUON_ISOSPIN),
) -> HelicitySum:
    r"""Squared amplitudes of massless fermions i → f.

    .. math:: A_{XY} = 4\pi\alpha\left[\frac{Q_i Q_f}{s}
              + \frac{g_X^i g_Y^f}{s - m_Z^2 + i m_Z \Gamma_Z}\right] + c_{XY}

    with g_L = (T₃ − Q s_W²)/(s_W c_W) and g_R = −Q s_W/c_W.

    Arguments:
        s: Invariant mass squared in GeV².
        m_z, gamma_z: GeV.
        sin2_theta_w: sin²θ_W.
        charge, isospin: Of the incoming fermion.
        running_width: With sΓ_Z/m_Z in the place of m_ZΓ_Z, the convention of the world
            average of m_Z; the same line then has an m_Z larger by Γ_Z²/(2m_Z) = 34 MeV.
        contact: c_XY; none by default.
        final: Charge and isospin of the outgoing fermion; muons by default.
    """
    final_charge, final_isospin = final
    distance = s - m_z.square()
    width = s * gamma_z / m_z if running_width else m_z * gamma_z
    propagator = distance.square() + width.square()
    photon = charge * final_charge / s
    scale = (4 * math.pi * ALPHA) ** 2
    norm = sin2_theta_w * (1 - sin2_theta_w)
    left_i, right_i = isospin - charge * sin2_theta_w, -charge * sin2_theta_w
    left_f, right_f = final_isospin - final_charge * sin2_theta_w, -final_charge * sin2_theta_w

    # |Q_iQ_f/s + g/(d + iw)|² = (Q_iQ_f/s)² + (2 g d Q_iQ_f/s + g²)/(d² + w²), summed.
    def squares(first: Tensor, second: Tensor) -> Tensor:
        resonant = 2 * photon * distance * (first + second) + first.square() + second.square()
        return scale * (2 * photon.square() + resonant / propagator)

    ll, rr = left_i * left_f / norm, right_i * right_f / norm
    lr, rl = left_i * right_f / norm, right_i * left_f / norm
    like, unlike = squares(ll, rr), squares(lr, rl)
    if contact is None:
        return HelicitySum(like, unlike)

    # |A + c|² = |A|² + 2c Re A + c².
    def added(c: Tensor, coupling: Tensor) -> Tensor:
        real_part = 4 * math.pi * ALPHA * (photon + coupling * distance / propagator)
        return 2 * c * real_part + c.square()

    return HelicitySum(
        like=like + added(contact.ll, ll) + added(contact.rr, rr),
        unlike=unlike + added(contact.lr, lr) + added(contact.rl, rl),
    )


def cross_section(s: Tensor, amplitudes: HelicitySum, colour: float) -> Tensor:
    """σ̂ = (s/48π)·C·Σ|A|² in pb: dσ/dc integrated over c.

    C = 1 for leptons on both sides, 3 for e⁺e⁻ → qq̄, 1/3 for qq̄ → leptons.
    """
    return PICOBARN * colour * s / (48 * math.pi) * (amplitudes.like + amplitudes.unlike)


def forward_backward(amplitudes: HelicitySum) -> Tensor:
    """A_FB = ¾ (like − unlike)/(like + unlike)."""
    total = amplitudes.like + amplitudes.unlike
    return 0.75 * (amplitudes.like - amplitudes.unlike) / total
