"""Events with mean 0 and covariance 1, which is what noise at γ → ∞ ends in.

x = W (u − m), with m and W = Σ^{−1/2} of the training sample. Features that go together in u
would otherwise differ in a direction that vanishes at noise levels where all else is visible.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SMALLEST = 1e-6
"""The smallest eigenvalue of Σ, in units of the largest, that is scaled to 1."""


class Whitening(nn.Module):
    """u ↔ x; the identity until :meth:`measure`.

    Arguments:
        features: d.
        on: Whether it is ever to be anything else.

    >>> whitening = Whitening(1)
    >>> whitening.measure(torch.tensor([[0.0], [4.0]]))
    >>> whitening.forward(torch.tensor([[4.0]])).item()
    1.0
    """

    def __init__(self, features: int, *, on: bool = True) -> None:
        super().__init__()
        self.on = on
        size = features if on else 0
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("root", torch.eye(size))
        self.register_buffer("inverse_root", torch.eye(size))
        self.register_buffer("log_volume", torch.zeros(()))
        self.mean: Tensor
        self.root: Tensor
        self.inverse_root: Tensor
        self.log_volume: Tensor

    def measure(self, u: Tensor) -> None:
        """Take mean and covariance from the events u, shape ``(N, d)``."""
        if not self.on:
            return
        u = u.double()
        centred = u - u.mean(0)
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(u))
        scale = values.clamp(min=max(_SMALLEST * values.max().item(), 1e-12)).sqrt()
        self.mean.copy_(u.mean(0))
        self.root.copy_(vectors * scale @ vectors.T)
        self.inverse_root.copy_(vectors / scale @ vectors.T)
        self.log_volume.copy_(scale.log().sum())

    def forward(self, u: Tensor) -> Tensor:
        """x, shape ``(B, d)``."""
        return (u - self.mean) @ self.inverse_root if self.on else u

    def inverse(self, x: Tensor) -> Tensor:
        """u, shape ``(B, d)``; ln |det ∂u/∂x| is ``log_volume``."""
        return x @ self.root + self.mean if self.on else x
