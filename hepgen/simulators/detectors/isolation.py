"""Isolation: how much there is around a candidate."""

from __future__ import annotations

import torch
from torch import Tensor

from hepgen.simulators.coordinates import delta_r
from hepgen.simulators.jagged import rows


def isolation(
    candidates: tuple[Tensor, Tensor, Tensor, Tensor],
    objects: tuple[Tensor, Tensor, Tensor],
    cone: float = 0.5,
    pt_min: float = 0.5,
) -> Tensor:
    """ΣpT of the objects around a candidate, divided by its pT (``Isolation.cc`` of Delphes).

    Arguments:
        candidates: pT, η, φ, and which of the objects it is, shape ``(G, E, C)``, pT = 0 where
            there is none.
        objects: pT, η, φ of what counts, pT = 0 where it does not, shape ``(G, E, K)``.
        cone: ΔR.
        pt_min: GeV, of the objects.

    Returns:
        Shape ``(G, E, C)``, zero where there is no candidate.
    """
    exists = candidates[0] > 0
    pt, eta, phi, itself = (column[exists][:, None] for column in candidates)
    event = rows(exists)
    other_pt, other_eta, other_phi = (column.flatten(0, 1)[event] for column in objects)
    inside = (delta_r(eta, phi, other_eta, other_phi) < cone) & (other_pt > pt_min)
    others = inside & (torch.arange(other_pt.shape[-1]) != itself)
    ratio = torch.where(others, other_pt, 0.0).sum(-1) / pt[:, 0]
    return torch.zeros_like(candidates[0]).masked_scatter(exists, ratio)
