"""A velocity field v(t, x; c): a residual perceptron that is told the time and the context."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class Velocity(nn.Module):
    """v(t, x; c) in ℝᵈ for t in [0, 1], smooth in all its arguments, and zero before training.

    The time enters as t, sin 2πkt and cos 2πkt; with c it makes an embedding, which shifts the
    hidden layer of each residual block h ← h + W₂ silu(W₁ silu(h) + W₃ e(t, c)).

    Arguments:
        features: d.
        context: C.
        width: Of each layer.
        blocks: How many.
        frequencies: The largest k.

    >>> Velocity(2, 1)(torch.rand(5, 1), torch.randn(5, 2), torch.zeros(5, 1)).shape
    torch.Size([5, 2])
    """

    frequency: Tensor

    def __init__(
        self, features: int, context: int, width: int = 128, blocks: int = 2, frequencies: int = 3
    ) -> None:
        super().__init__()
        angular = 2 * math.pi * torch.arange(1, frequencies + 1)
        self.register_buffer("frequency", angular, persistent=False)
        self.embedding = nn.Sequential(nn.Linear(1 + 2 * frequencies + context, width), nn.SiLU())
        self.inputs = nn.Linear(features, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.output = nn.Linear(width, features)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, t: Tensor, x: Any, context: Tensor) -> Any:
        """v, shape ``(B, d)``, at t of shape ``(B, 1)``, x ``(B, d)`` and c ``(B, C)``.

        x is a tensor, or a :class:`hepgen.nn.dual.Dual` that brings its derivatives along.
        """
        angle = self.frequency * t
        embedding = self.embedding(torch.cat([t, angle.sin(), angle.cos(), context], dim=-1))
        hidden = self.inputs(x)
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return self.output(nn.functional.silu(hidden))


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.shift = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.second = nn.Linear(width, width)

    def forward(self, hidden: Any, embedding: Tensor) -> Any:
        inner = self.first(nn.functional.silu(hidden)) + self.shift(embedding)
        return hidden + self.second(nn.functional.silu(inner))
