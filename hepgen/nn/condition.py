"""What a denoising network is told beside its point: how noisy it is, and given what."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

_PERIODS = (64.0, 32.0, 16.0, 8.0)


class Condition(nn.Module):
    """(γ, c) to features: the sum of what each of them says, through a hidden layer.

    γ enters as itself, in units of 8, and as waves of periods 64, 32, 16 and 8.

    Arguments:
        context: The length C of c; 0 for none.
        width: K.

    >>> Condition(1, 5)(torch.zeros(3), torch.ones(3, 1)).shape
    torch.Size([3, 5])
    """

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self.noise = nn.Linear(1 + 2 * len(_PERIODS), width)
        self.context = nn.Linear(context, width) if context else None
        self.last = nn.Linear(width, width)

    def forward(self, gamma: Tensor, context: Tensor) -> Tensor:
        """Shapes ``(B,)`` and ``(B, C)`` to ``(B, K)``."""
        phase = torch.stack([2 * math.pi / period * gamma for period in _PERIODS], -1)
        embedding = self.noise(torch.cat([gamma[:, None] / 8, phase.sin(), phase.cos()], -1))
        if self.context is not None:
            embedding = embedding + self.context(context)
        return silu(self.last(silu(embedding)))
