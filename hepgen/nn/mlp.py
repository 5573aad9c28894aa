"""Multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def mlp(inputs: int, outputs: int, hidden: Sequence[int] = (64, 64)) -> nn.Sequential:
    """A perceptron with SiLU activations: smooth, so that its gradients are too.

    >>> mlp(2, 3)(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """
    layers: list[nn.Module] = []
    for before, after in pairwise((inputs, *hidden)):
        layers += [nn.Linear(before, after), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear((inputs, *hidden)[-1], outputs))


class ConditionedMLP(nn.Module):
    """y = f(c, x) + Lc, where the first layer of f is a sum of one of c and one of x.

    c, shape ``(*, C)``, and x, shape ``(*, X)``, only broadcast. The first layer therefore
    runs once for each c and once for each x, and with ``inputs = 0`` the whole network runs
    once for each c, however many x there are. The linear term L, a skip connection, is what
    a location or the logarithm of a scale mostly needs.
    """

    def __init__(self, context: int, inputs: int, outputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.context = nn.Linear(context, hidden[0])
        self.inputs = nn.Linear(inputs, hidden[0], bias=False) if inputs else None
        self.rest = nn.Sequential(nn.SiLU(), mlp(hidden[0], outputs, hidden[1:]))
        self.skip = nn.Linear(context, outputs, bias=False)
        with torch.no_grad():
            self.skip.weight.zero_()

    def forward(self, context: Tensor, inputs: Tensor | None = None) -> Tensor:
        """y, shape ``(*, outputs)``."""
        first = self.context(context)
        if self.inputs is not None and inputs is not None:
            first = first + self.inputs(inputs)
        output: Tensor = self.rest(first) + self.skip(context)
        return output
