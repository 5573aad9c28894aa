"""Thrust, by iteration from the hardest momenta."""

from __future__ import annotations

import torch
from torch import Tensor


def thrust(momenta: Tensor) -> Tensor:
    """T of padded three-momenta, shape ``(N, K, 3)``."""
    size = momenta.norm(dim=-1)
    best = torch.zeros(len(momenta), dtype=momenta.dtype)
    for seed in size.topk(3 if size.shape[1] > 2 else 2).indices.unbind(-1):
        axis = momenta[torch.arange(len(momenta)), seed]
        for _ in range(8):
            side = torch.where((momenta * axis[:, None]).sum(-1) >= 0, 1.0, -1.0)
            axis = (side[..., None] * momenta).sum(1)
        best = torch.maximum(best, axis.norm(dim=-1) / size.sum(-1))
    return best
