"""The network behind every conditional distribution of an auto-encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hepgen.nn.mlp import mlp

_LOG_RANGE = 6.0


def positive(raw: Tensor) -> Tensor:
    """A scale exp(6 tanh(raw/6)), between e⁻⁶ and e⁶: finite for an outlier too.

    >>> positive(torch.tensor([0.0, -1e9])).log()
    tensor([ 0., -6.])
    """
    return torch.exp(_LOG_RANGE * torch.tanh(raw / _LOG_RANGE))


class SkipMLP(nn.Module):
    """y = Lx + b + f(asinh x), f a perceptron that begins at zero; linear without hidden layers.

    Training begins at a linear auto-encoder, which does not ignore its latents; what the
    perceptron sees is compressed, so that it is in range for an outlier too.

    >>> SkipMLP(2, 3, (8,))(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(self, inputs: int, outputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        nn.init.zeros_(self.linear.bias)
        self.rest = mlp(inputs, outputs, hidden) if hidden else None
        if self.rest is not None:
            nn.init.zeros_(self.rest[-1].weight)  # type: ignore[arg-type]
            nn.init.zeros_(self.rest[-1].bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """y, shape ``(*, outputs)``."""
        y: Tensor = self.linear(x)
        return y if self.rest is None else y + self.rest(torch.asinh(x))
