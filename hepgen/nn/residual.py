"""A residual perceptron of an event, a noise level and a context.

The width stays the same from block to block, each block adds to what came before (He et al.,
arXiv:1512.03385), and the noise level and the context scale and shift its inner features (FiLM,
Perez et al., arXiv:1709.07871). The last layer starts at zero.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from hepgen.nn.condition import Condition


class ResidualBlock(nn.Module):
    """h + V silu((1 + a) W silu(h) + b), with a and b linear in the condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.condition = nn.Linear(width, 2 * width)

    def forward(self, h: Any, condition: Tensor) -> Any:
        """Shapes ``(B, width)``."""
        scale, shift = self.condition(condition).chunk(2, -1)
        inner = (1 + scale) * self.into(silu(h)) + shift
        return h + self.out(silu(inner))


class ResidualMLP(nn.Module):
    """y = f(x, γ, c), which sees x also as waves of periods 8, 4, 2, … in each feature.

    Without them a network takes long to learn edges (Tancik et al., arXiv:2006.10739).

    Arguments:
        features: The length d of x.
        context: The length C of c; 0 for none.
        outputs: The length of y.
        hidden: The width.
        blocks: How many residual blocks.
        octaves: How many periods.

    >>> network = ResidualMLP(2, 1, 2, hidden=16)
    >>> network(torch.ones(3, 2), torch.zeros(3), torch.ones(3, 1)).abs().max().item()
    0.0
    """

    def __init__(
        self,
        features: int,
        context: int,
        outputs: int,
        hidden: int = 128,
        blocks: int = 3,
        octaves: int = 4,
    ) -> None:
        super().__init__()
        self.octaves = octaves
        self.event = nn.Linear(features * (1 + 2 * octaves), hidden)
        self.condition = Condition(context, hidden)
        self.blocks = nn.ModuleList(ResidualBlock(hidden) for _ in range(blocks))
        self.last = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Any, gamma: Tensor, context: Tensor) -> Any:
        """Shapes ``(B, d)``, ``(B,)`` and ``(B, C)`` to ``(B, outputs)``.

        x is a tensor, or a :class:`hepgen.nn.dual.Dual` that brings its derivatives along.
        """
        condition = self.condition(gamma, context)
        h = self.event(self._waves(x))
        for block in self.blocks:
            h = block(h, condition)
        return self.last(silu(h))

    def _waves(self, x: Any) -> Any:
        phases = [2**k * math.pi / 4 * x for k in range(self.octaves)]
        return torch.cat([x, *(wave(p) for p in phases for wave in (torch.sin, torch.cos))], -1)
