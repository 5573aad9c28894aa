"""Thrust, exactly."""

from __future__ import annotations

import torch
from torch import Tensor

#: Largest number of doubles in a working array.
WORKSPACE = 1_000_000


def thrust(momentum: Tensor) -> tuple[Tensor, Tensor]:
    r"""T = max_n Σ|p·n| / Σ|p| and its axis, for events of padded momenta.

    .. math:: \sum_k |p_k \cdot n| = \Big|\sum_k s_k p_k\Big|, \quad s_k = \mathrm{sign}(p_k \cdot n)

    at the maximum, and the signs are those of a plane through the origin. A plane can be turned,
    without passing a momentum, until it holds one of them, and then around that one until it
    holds a second: so all planes are found by turning one around every p_i. The signs flip one
    by one in the order of the azimuth around p_i, and cumulative sums give all N² vectors:
    O(N² log N) for an event, without approximation (Wei, Naik, Harrow, Thaler, Phys. Rev. D 101
    (2020) 094015).

    Arguments:
        momentum: GeV, shape ``(B, N, 3)``, padded with zeros.

    Returns:
        T, shape ``(B,)``, and the unit axis, ``(B, 3)``; zeros for an event without momentum.

    >>> thrust(torch.tensor([[[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]]))[0]
    tensor([1.])
    """
    step = max(1, WORKSPACE // (3 * momentum.shape[1] ** 2))
    axis = torch.cat([_largest(part) for part in momentum.split(step)])
    length = axis.norm(dim=-1)
    total = momentum.norm(dim=-1).sum(-1)
    unit = axis / length.clamp_min(1e-300)[:, None]
    return torch.where(total > 0, length / total.clamp_min(1e-300), 0.0), unit


def _largest(p: Tensor) -> Tensor:
    """The longest Σ s_k p_k of each event, shape ``(B, 3)``."""
    first, second, unit = _frames(p)
    u, v, w = (torch.einsum("bkc,bic->bik", p, axis) for axis in (first, second, unit))
    # What is parallel to p_i goes with it to one side.
    beside = torch.hypot(u, v) <= 1e-12 * p.norm(dim=-1)[:, None, :]
    with_it = torch.einsum("bik,bkc->bic", (beside * w.sign()).to(p.dtype), p)
    azimuth = torch.atan2(v, u)
    above = torch.where(azimuth > 0, 1.0, -1.0).to(p.dtype) * ~beside
    order = torch.where(azimuth > 0, azimuth, azimuth + torch.pi).argsort(-1)
    start = torch.einsum("bik,bkc->bic", above, p)[:, :, None, :]
    flips = -2 * above[..., None] * p[:, None, :, :]
    turned = flips.gather(2, order[..., None].expand(flips.shape)).cumsum(2)
    sums = torch.cat([start, start + turned], dim=2)
    both = torch.cat([sums + with_it[:, :, None], sums - with_it[:, :, None]], dim=2).flatten(1, 2)
    best = both.square().sum(-1).argmax(-1)
    return both[torch.arange(len(p)), best]


def _frames(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Two unit vectors normal to each momentum, and its own; shape ``(B, N, 3)``."""
    unit = p / p.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    smallest = torch.nn.functional.one_hot(unit.abs().argmin(-1), 3).to(p.dtype)
    first = torch.linalg.cross(unit, smallest)
    first = first / first.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    return first, torch.linalg.cross(unit, first), unit
