r"""Angles: a density on the circle from a density on the real line.

An angle φ ∈ [−π, π) is lifted to t = φ + 2πk, where the winding k is drawn with the probability
w(φ + 2πk). The weight is a smooth partition of unity,

.. math:: w(t) = \begin{cases} 1 & |t| \le \pi/2 \\
    \cos^2\!\big((|t| - \pi/2)/2\big) & \pi/2 < |t| < 3\pi/2 \\ 0 & \text{else} \end{cases}
    \qquad \sum_k w(\varphi + 2\pi k) = 1,

so that t has the density w(t) p(t mod 2π), which has no edge. The bijection
v ∝ t/√((3π/2)² − t²) takes its support to ℝ, where any family learns it as q(v). Then

.. math:: p(\varphi) = \sum_k q(v(t_k))\,|\mathrm dv/\mathrm dt|_{t_k},
    \qquad t_k = \varphi + 2\pi k, \quad |t_k| < 3\pi/2

holds exactly for whatever q was learned: at most two windings are inside the support. It is
continuous at ±π because both sides have the same two, and at ±π/2 where q falls faster than the
Jacobian rises, which is as the cube of v: a normal or a logistic tail does, and one in asinh v.
(After a logit the Jacobian would rise exponentially, and a wide q would have a spike there.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

EDGE = 1.5 * math.pi
#: So that v of a uniform angle has about unit variance.
_SCALE = 1.8
_CLOSEST = 1e-6
"""How close to the edge of the support t may come, in units of the edge."""


def weight(t: Tensor) -> Tensor:
    """w(t), shape as t.

    >>> phi = torch.linspace(-3.1, 3.1, 5, dtype=torch.float64)
    >>> total = weight(phi) + weight(other(phi))
    >>> torch.allclose(total, torch.ones_like(phi))
    True
    """
    beyond = (t.abs() - math.pi / 2).clamp(0, math.pi)
    return (beyond / 2).cos().square()


def wrapped(t: Tensor) -> Tensor:
    """t mod 2π in [−π, π)."""
    return torch.remainder(t + math.pi, math.tau) - math.pi


def other(phi: Tensor) -> Tensor:
    """The second winding, φ − 2π sgn φ, of an angle in [−π, π)."""
    return phi - math.tau * torch.where(phi < 0, -1.0, 1.0).to(phi)


def inside(t: Tensor) -> Tensor:
    """Whether t is in the support of w."""
    return t.abs() < EDGE


def lifted(t: Tensor) -> tuple[Tensor, Tensor]:
    """v(t) and log dv/dt, both those of the closest t in the support; shapes as t."""
    t = t.clamp(-EDGE * (1 - _CLOSEST), EDGE * (1 - _CLOSEST))
    # (1 − z)(1 + z), not 1 − z²: near the edge the first is exact.
    room = (1 - t / EDGE) * (1 + t / EDGE)
    return _SCALE * t / EDGE * room.rsqrt(), math.log(_SCALE / EDGE) - 1.5 * room.log()


def lowered(v: Tensor) -> Tensor:
    """φ in [−π, π) of v.

    >>> phi = torch.tensor([3.0, -2.0])
    >>> torch.allclose(lowered(lifted(other(phi))[0]), phi, atol=1e-5)
    True
    """
    # v/√(v² + scale²), for v of any size.
    return wrapped(EDGE * torch.sin(torch.atan(v / _SCALE)))
