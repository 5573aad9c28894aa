"""A massless pair that becomes three: kinematics of one step of a dipole shower."""

from __future__ import annotations

import torch
from torch import Tensor


def transverse(emitter: Tensor, spectator: Tensor, azimuth: Tensor) -> Tensor:
    r"""A vector n with n·p_e = n·p_s = 0 and n² = −2 p_e·p_s, at an azimuth.

    The real part of :math:`e^{i\varphi} \langle e|\sigma^\mu|s]`, so no boost is needed.

    Arguments:
        emitter, spectator: Massless momenta (E, x, y, z), shape ``(4, T)``.
        azimuth: φ, shape ``(T,)``.
    """
    e0, e1, e2 = _spinor(emitter)
    s0, s1, s2 = _spinor(spectator)
    cos, sin = torch.cos(azimuth), torch.sin(azimuth)
    upper = e0 * s0 * cos
    # conj(e₁) s₁, e₀ s₁ and conj(e₁) s₀, each times e^{iφ}.
    re, im = e1 * s1 + e2 * s2, e1 * s2 - e2 * s1
    lower = re * cos - im * sin
    first_re, first_im = e0 * (s1 * cos - s2 * sin), e0 * (s2 * cos + s1 * sin)
    second_re, second_im = s0 * (e1 * cos + e2 * sin), s0 * (e1 * sin - e2 * cos)
    return torch.stack([upper + lower, first_re + second_re, first_im - second_im, upper - lower])


def _spinor(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(√p₊, x/√p₊, y/√p₊), p₊ = E + z without cancellation."""
    energy, x, y, z = p
    transverse2 = x * x + y * y
    along = torch.where(z > 0, energy + z, transverse2 / (energy - z).clamp_min(1e-300))
    root = along.clamp_min(1e-300).sqrt()
    # Exactly along −z the phase is free.
    first = torch.where(transverse2 > 0, x / root, (energy - z).clamp_min(0).sqrt())
    return root, first, y / root


def branch(
    emitter: Tensor, spectator: Tensor, left: Tensor, share: Tensor, azimuth: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The emitter splits and the spectator gives momentum along itself.

    .. math:: p_s' = x p_s, \quad k = (1 - z) p_e + z (1 - x) p_s + k_\perp, \quad
              p_e' = z p_e + (1 - z)(1 - x) p_s - k_\perp

    with k_T² = z(1 − z)(1 − x)s: all massless, and their sum is p_e + p_s to rounding
    (Catani and Seymour, Nucl. Phys. B 485 (1997) 291, Eqs. 5.3 to 5.7).

    Arguments:
        emitter, spectator: Massless momenta, shape ``(4, T)``.
        left: x, what the spectator keeps, shape ``(T,)``.
        share: z.
        azimuth: φ.

    Returns:
        p_e', p_s', k.
    """
    taken = 1 - left
    rest = 1 - share
    # n² is −s, so this is k_T in units of n.
    kick = (share * rest * taken).sqrt() * transverse(emitter, spectator, azimuth)
    given = taken * spectator
    new = rest * emitter + share * given + kick
    return emitter + given - new, left * spectator, new
