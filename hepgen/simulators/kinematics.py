"""Four-vectors as tuples (E, x, y, z) of tensors: boosts and directions."""

from __future__ import annotations

import torch
from torch import Tensor

FourVector = tuple[Tensor, Tensor, Tensor, Tensor]
ThreeVector = tuple[Tensor, Tensor, Tensor]


def boost_from_rest(momentum: FourVector, frame: FourVector, mass: Tensor) -> FourVector:
    """A momentum given in the rest frame of a system, seen where that system moves.

    Arguments:
        momentum: In the rest frame.
        frame: The system's four-momentum in the new frame.
        mass: The system's invariant mass.
    """
    energy, x, y, z = momentum
    e_frame, fx, fy, fz = frame
    projection = x * fx + y * fy + z * fz
    factor = (projection / (e_frame + mass) + energy) / mass
    new_energy = (e_frame * energy + projection) / mass
    return new_energy, x + factor * fx, y + factor * fy, z + factor * fz


def around(axis: ThreeVector, cos_angle: Tensor, azimuth: Tensor) -> ThreeVector:
    """A unit vector at a polar angle and azimuth around a unit axis."""
    nx, ny, nz = axis
    # Two vectors normal to the axis, without a singular direction (Duff et al., JCGT 2017).
    sign = torch.where(nz >= 0, 1.0, -1.0).to(nz.dtype)
    a = -1 / (sign + nz)
    b = nx * ny * a
    first = (1 + sign * nx * nx * a, sign * b, -sign * nx)
    second = (b, sign + ny * ny * a, -ny)
    sin_angle = (1 - cos_angle.square()).clamp_min(0).sqrt()
    u, v = sin_angle * torch.cos(azimuth), sin_angle * torch.sin(azimuth)
    return (
        cos_angle * nx + u * first[0] + v * second[0],
        cos_angle * ny + u * first[1] + v * second[1],
        cos_angle * nz + u * first[2] + v * second[2],
    )
