"""A velocity field v(t, x; c): a residual perceptron that is told the time and the context."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

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
        embedding = self.embedding(torch.cat([self._waves(t), context], dim=-1))
        return self.shifted(x, [block.told(embedding) for block in self._blocks])

    def shifts(self, times: Sequence[float], context: Tensor) -> list[tuple[Tensor, ...]]:
        """What :meth:`shifted` takes at each of some times, all from one product.

        For few events, whose cost is that of reading the weights: once here, not at each time.
        """
        waves = self._waves(torch.tensor(times, device=context.device).to(context)[:, None])
        linear, number = cast(nn.Linear, self.embedding[0]), waves.shape[-1]
        told = nn.functional.linear(context, linear.weight[:, number:], linear.bias)
        of_times = nn.functional.linear(waves, linear.weight[:, :number])
        embedding = nn.functional.silu(told[:, None] + of_times)
        weight = torch.cat([block.shift.weight for block in self._blocks])
        bias = torch.cat([block.first.bias for block in self._blocks])
        rows = nn.functional.linear(embedding.flatten(0, 1), weight, bias)
        shifts = torch.split(rows.reshape(context.shape[0], -1), embedding.shape[-1], dim=-1)
        blocks = len(self._blocks)
        return [tuple(shifts[k * blocks : (k + 1) * blocks]) for k in range(len(times))]

    def shifted(self, x: Any, shifts: Sequence[Tensor]) -> Any:
        """v at x, shape ``(B, d)``, given the shift of each block, shapes ``(B, width)``."""
        hidden = self.inputs(x)
        for block, shift in zip(self._blocks, shifts, strict=True):
            hidden = block(hidden, shift)
        return self.output(nn.functional.silu(hidden))

    @property
    def _blocks(self) -> list[_Block]:
        return cast("list[_Block]", list(self.blocks))

    def _waves(self, t: Tensor) -> Tensor:
        angle = self.frequency * t
        return torch.cat([t, angle.sin(), angle.cos()], dim=-1)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.shift = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.second = nn.Linear(width, width)

    def told(self, embedding: Tensor) -> Tensor:
        """The shift, and with it the bias of the first layer."""
        return nn.functional.linear(embedding, self.shift.weight, self.first.bias)

    def forward(self, hidden: Any, shift: Tensor) -> Any:
        # One node of an exported graph, the shift in the place of the bias that it brings.
        inner = torch.addmm(shift, nn.functional.silu(hidden), self.first.weight.T)
        return hidden + self.second(nn.functional.silu(inner))
