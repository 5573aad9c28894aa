"""Counts and patterns: p(k₁, …, k_m | c) = ∏ⱼ p(kⱼ | k₁, …, kⱼ₋₁, c), each a softmax."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from hepgen.nn.mlp import ConditionedMLP

ONE_HOT = 8
"""A variable of more values is seen as a number, which neighbours share."""


class CategoricalHead(nn.Module):
    """Probabilities of m categorical variables, one after another.

    Arguments:
        levels: How many values each has.
        context: C.
        hidden: The widths of the network of each.

    >>> head = CategoricalHead((3, 2), 0)
    >>> k = torch.cartesian_prod(torch.arange(3), torch.arange(2))
    >>> round(head.log_prob(k, torch.zeros(6, 0)).exp().sum().item(), 5)
    1.0
    """

    def __init__(
        self, levels: Sequence[int], context: int, hidden: Sequence[int] = (64, 64)
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        # A network needs an input: without a context, a constant.
        before = [max(1, context) + _width(self.levels[:j]) for j in range(len(self.levels))]
        self.networks = nn.ModuleList(
            ConditionedMLP(inputs, 0, n, hidden)
            for inputs, n in zip(before, self.levels, strict=True)
        )

    @property
    def width(self) -> int:
        """Of :meth:`encoded`."""
        return _width(self.levels)

    def log_prob(self, k: Tensor, context: Tensor) -> Tensor:
        """log p(k | c), shape ``(B,)``, for k of shape ``(B, m)``; −∞ where k is no value."""
        total = context.new_zeros(context.shape[0])
        for j, network in enumerate(self.networks):
            value, inside = self._value(k, j)
            logits = network(self._before(k, context, j)).log_softmax(-1)
            found = logits.gather(-1, value[:, None]).squeeze(-1)
            total = total + torch.where(inside, found, -torch.inf)
        return total

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        """k ~ p(· | c), shape ``(B, m)``, from standard normal noise of shape ``(B, m)``."""
        # In float32: onnxruntime has no other error function.
        uniform = torch.special.ndtr(noise.float()).double()
        k = torch.zeros_like(noise[:, :0], dtype=torch.long)
        for j, network in enumerate(self.networks):
            logits = network(self._before(k, context, j)).double()
            reached = logits.softmax(-1).cumsum(-1)[:, :-1]
            k = torch.cat([k, (uniform[:, j : j + 1] > reached).sum(-1, keepdim=True)], -1)
        return k

    def encoded(self, k: Tensor, dtype: torch.dtype) -> Tensor:
        """What a network sees of k: one-hot, or a number in [−3, 3]; shape ``(B, width)``."""
        parts = [self._encoded(k, j).to(dtype) for j in range(len(self.levels))]
        return torch.cat([k[:, :0].to(dtype), *parts], dim=-1)

    def _encoded(self, k: Tensor, j: int) -> Tensor:
        value, _ = self._value(k, j)
        if self.levels[j] <= ONE_HOT:
            return one_hot(value, self.levels[j])
        return 6 * value[:, None] / (self.levels[j] - 1) - 3

    def _value(self, k: Tensor, j: int) -> tuple[Tensor, Tensor]:
        value = k[:, j].clamp(0, self.levels[j] - 1)
        return value, value == k[:, j]

    def _before(self, k: Tensor, context: Tensor, j: int) -> Tensor:
        given = context if context.shape[-1] else context.new_ones(context.shape[0], 1)
        return torch.cat([given, *(self._encoded(k, i).to(context) for i in range(j))], dim=-1)


def _width(levels: Sequence[int]) -> int:
    return sum(n if n <= ONE_HOT else 1 for n in levels)
