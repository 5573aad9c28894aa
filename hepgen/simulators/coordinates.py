"""Momenta in Cartesian and in collider coordinates."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hepgen.simulators.stage import State

ThreeVector = tuple[Tensor, Tensor, Tensor]


def cylindrical(px: Tensor, py: Tensor, pz: Tensor) -> ThreeVector:
    """(pT, η, φ), any shape; padding (zero momentum) gives zeros.

    >>> one = torch.ones(1)
    >>> [round(float(x), 3) for x in cylindrical(one, one, one)]
    [1.414, 0.658, 0.785]
    """
    pt = torch.hypot(px, py)
    return pt, torch.asinh(pz / pt.clamp_min(1e-9)), torch.atan2(py, px)


def cartesian(pt: Tensor, eta: Tensor, phi: Tensor) -> ThreeVector:
    """(px, py, pz), any shape."""
    return pt * torch.cos(phi), pt * torch.sin(phi), pt * torch.sinh(eta)


def momenta(state: State, prefix: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The columns (px, py, pz, e) of a collection, shape ``(G, E, K)``."""
    px, py, pz, e = (state[f"{prefix}_{c}"] for c in ("px", "py", "pz", "e"))
    return px, py, pz, e


def delta_r(eta: Tensor, phi: Tensor, other_eta: Tensor, other_phi: Tensor) -> Tensor:
    r"""ΔR = √(Δη² + Δφ²), with Δφ in (−π, π]; shapes broadcast.

    >>> zero = torch.zeros(1)
    >>> delta_r(zero, zero + 3.1, zero, zero - 3.1) < 0.1
    tensor([True])
    """
    delta = torch.remainder(phi - other_phi + math.pi, 2 * math.pi) - math.pi
    return torch.hypot(eta - other_eta, delta)
