"""Thrust, exactly."""

from __future__ import annotations

import torch
from torch import Tensor

#: Largest number of doubles in a working array.
WORKSPACE = 300_000


def thrust(momentum: Tensor) -> tuple[Tensor, Tensor]:
    r"""T = max_n Σ|p·n| / Σ|p| and its axis, for events of padded momenta.

    .. math:: \sum_k |p_k \cdot n| = \Big|\sum_k s_k p_k\Big|, \quad
              s_k = \mathrm{sign}(p_k \cdot n)

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
    axis = torch.cat([_largest(part) for part in torch.split(momentum, step)])
    length = axis.norm(dim=-1)
    total = momentum.norm(dim=-1).sum(-1)
    unit = axis / length.clamp_min(1e-300)[:, None]
    return torch.where(total > 0, length / total.clamp_min(1e-300), 0.0), unit


def _largest(p: Tensor) -> Tensor:
    """The longest Σ s_k p_k of each event, shape ``(B, 3)``."""
    beside, own = _own_side(p)
    # Components come first: torch is slow in sums over a last dimension of three.
    sums, own = _beside(p, *beside), own.permute(2, 0, 1)
    # |s ± w|² at its larger sign.
    along = torch.zeros_like(sums[0])
    square = own.square().sum(0)[..., None].expand(along.shape).clone()
    for component, w in zip(sums, own, strict=True):
        along.addcmul_(component, w[..., None])
        square.addcmul_(component, component)
    best = square.add_(along.abs(), alpha=2).flatten(1).argmax(-1)
    event, turned = torch.arange(len(p)), best // p.shape[1]
    sign = torch.where(along.flatten(1)[event, best] < 0, -1.0, 1.0).to(p.dtype)
    return (sums.flatten(2)[:, event, best] + sign * own[:, event, turned]).T


def _own_side(p: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Around each p_i: azimuth and whether it has one, ``(B, N, N)``; p_i and what is along it."""
    first, second, unit = _frames(p)
    u, v, w = (torch.einsum("bkc,bic->bik", p, axis) for axis in (first, second, unit))
    parallel = torch.hypot(u, v) <= 1e-12 * p.norm(dim=-1)[:, None, :]
    own = torch.einsum("bik,bkc->bic", parallel * w.sign(), p)
    return (torch.atan2(v, u), ~parallel), own


def _beside(p: Tensor, azimuth: Tensor, exists: Tensor) -> Tensor:
    """Σ s_k p_k of what is beside each p_i, for every plane that holds it, ``(3, B, N, N)``."""
    above = torch.where(azimuth > 0, 1.0, -1.0).to(p.dtype).mul_(exists)
    order = torch.where(azimuth > 0, azimuth, azimuth + torch.pi).argsort(-1)
    weight = -2 * above.gather(-1, order)
    sums = torch.empty(3, *order.shape, dtype=p.dtype)
    for component, total in zip(p.unbind(-1), sums, strict=True):
        flips = component[:, None].expand(order.shape).gather(-1, order).mul_(weight)
        flips[..., 0] += torch.einsum("bik,bk->bi", above, component)
        torch.cumsum(flips, -1, out=total)
    return sums


def _frames(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Two unit vectors normal to each momentum, and its own; shape ``(B, N, 3)``."""
    unit = p / p.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    smallest = torch.nn.functional.one_hot(unit.abs().argmin(-1), 3).to(p.dtype)
    first = torch.linalg.cross(unit, smallest)
    first = first / first.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    return first, torch.linalg.cross(unit, first), unit
