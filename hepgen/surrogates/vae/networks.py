"""The network behind every conditional distribution of an auto-encoder."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hepgen.nn.mlp import mlp


class SkipMLP(nn.Module):
    """y = Lx + b + f(x), with a perceptron f that begins at zero; linear without hidden layers.

    Training begins at a linear auto-encoder, which does not ignore its latents.

    >>> import torch
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
        return y if self.rest is None else y + self.rest(x)
