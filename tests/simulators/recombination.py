"""Sequential recombination in torch, for all events at once: slow, and independent of FastJet."""

from __future__ import annotations

import torch
from torch import Tensor

from hepgen.simulators.coordinates import delta_r


def antikt_jets(p: Tensor, radius: float) -> Tensor:
    """Jets (px, py, pz, e) of particles of shape ``(B, N, 4)``, zeros after the last, any order."""
    p, jets = p.clone(), torch.zeros_like(p)
    event = torch.arange(len(p))
    for step in range(p.shape[1]):
        px, py, pz, e = p.unbind(-1)
        kt2 = px.square() + py.square()
        rapidity = 0.5 * ((e + pz) / (e - pz).clamp_min(1e-300)).clamp_min(1e-300).log()
        phi = torch.atan2(py, px)
        beam = torch.where(e > 0, 1 / kt2.clamp_min(1e-300), torch.inf)
        angle = delta_r(rapidity[:, :, None], phi[:, :, None], rapidity[:, None], phi[:, None])
        pair = torch.minimum(beam[:, :, None], beam[:, None]) * (angle / radius).square()
        both = (e > 0)[:, :, None] & (e > 0)[:, None] & ~torch.eye(p.shape[1], dtype=torch.bool)
        distance = torch.where(both, pair, torch.inf).flatten(1)
        nearest, place = distance.min(-1)
        first, last = place // p.shape[1], place % p.shape[1]
        to_beam, alone = beam.min(-1)
        done = to_beam <= nearest
        finished = done & (e > 0).any(-1)
        jets[event[finished], step] = p[event[finished], alone[finished]]
        p[event[finished], alone[finished]] = 0
        merging = ~done
        p[event[merging], first[merging]] += p[event[merging], last[merging]]
        p[event[merging], last[merging]] = 0
    return jets


def durham_y23(p: Tensor) -> Tensor:
    """y₂₃ of particles of shape ``(B, N, 4)``, none of them padding; shape ``(B,)``."""
    p = p.clone()
    total = p[..., 3].sum(-1)
    event = torch.arange(len(p))
    y = torch.zeros(len(p), dtype=p.dtype)
    for _ in range(p.shape[1] - 2):
        e, unit = p[..., 3], torch.nn.functional.normalize(p[..., :3], dim=-1)
        away = 1 - torch.einsum("bic,bjc->bij", unit, unit)
        pair = 2 * torch.minimum(e[:, :, None], e[:, None]).square() * away
        both = (e > 0)[:, :, None] & (e > 0)[:, None] & ~torch.eye(p.shape[1], dtype=torch.bool)
        y, place = torch.where(both, pair, torch.inf).flatten(1).min(-1)
        first, last = place // p.shape[1], place % p.shape[1]
        p[event, first] += p[event, last]
        p[event, last] = 0
    return y / total.square()
