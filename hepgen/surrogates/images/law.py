r"""What is known of the cells before a network is asked: their mean and covariance.

Given what an image depends on, z (the particle, and the energies of the layers), the numbers v of
its cells are

.. math:: v = B^\mathsf{T} f(z) + \Sigma^{1/2} u, \qquad f(z) = (1, z, z z^\mathsf{T}),

with B by least squares. A family learns p(u | z): u has mean 0 and covariance 1, and a family
that has learned nothing gives a normal law with the right mean and covariance.

A cell that is not read is v ≤ 0 and no more, which is a censored normal variable (Tobin,
Econometrica 26 (1958) 24). Its v is drawn from the part below zero of a normal law: first of
the one that has the cell read as often, and as far above zero, as it is; then of the one around
the mean given z. So v has no spike and no gap at zero, and how often it is positive is how often
the cell is read.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_ROWS = 20_000
"""How many images give the law."""
_FARTHEST = 5.0
"""z, in standard deviations, where the polynomial ends: beyond, it takes the value there."""
_RIDGE = 1e-3


class CellLaw(nn.Module):
    """v ↔ u given z.

    Arguments:
        voxels: The length V of v and u.
        inputs: The length of z.

    >>> law = CellLaw(1, 1)
    >>> z, v = torch.linspace(-1, 1, 50)[:, None], torch.zeros(50, 1)
    >>> bool((law.fit(z, v, torch.Generator()) <= 0).all())
    True
    """

    def __init__(self, voxels: int, inputs: int) -> None:
        super().__init__()
        terms = 1 + inputs + inputs * (inputs + 1) // 2
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.register_buffer("coefficients", torch.zeros(terms, voxels))
        self.register_buffer("root", torch.eye(voxels))
        self.register_buffer("inverse_root", torch.eye(voxels))
        self.centre: Tensor
        self.scale: Tensor
        self.coefficients: Tensor
        self.root: Tensor
        self.inverse_root: Tensor

    def fit(self, z: Tensor, v: Tensor, generator: torch.Generator) -> Tensor:
        """Fit the law, and choose v ≤ 0 for the cells that are not read.

        Arguments:
            z: Shape ``(N, inputs)``.
            v: Positive where a cell is read, 0 where not; shape ``(N, V)``.
            generator: Of the choice.

        Returns:
            v, shape ``(N, V)``, float32.
        """
        some, v = slice(0, _ROWS), v.float()
        self.centre.copy_(z[some].mean(0))
        self.scale.copy_(z[some].std(0).clamp(min=1e-12))
        terms = self._terms(z[some])
        known = torch.linalg.inv(terms.mT @ terms + _RIDGE * torch.eye(terms.shape[1])) @ terms.mT
        filled = _below_zero(v[some], *_moments(v[some]), generator)
        self.coefficients.copy_(known @ filled)
        mean = terms @ self.coefficients
        width = (filled - mean).std(0)
        filled = _below_zero(v[some], mean, width, generator)
        self._set_covariance(filled - mean)
        rest = torch.split(torch.arange(len(v))[_ROWS:], _ROWS)
        parts = [_below_zero(v[i], self._terms(z[i]) @ self.coefficients, width, generator)
                 for i in rest]  # fmt: skip
        return torch.cat([filled, *parts])

    def forward(self, v: Tensor, z: Tensor) -> Tensor:
        """u, shape ``(N, V)``."""
        return (v.float() - self._terms(z) @ self.coefficients) @ self.inverse_root

    def inverse(self, u: Tensor, z: Tensor) -> Tensor:
        """v, shape ``(N, V)``."""
        return u.float() @ self.root + self._terms(z) @ self.coefficients

    def _terms(self, z: Tensor) -> Tensor:
        """f(z), shape ``(N, terms)``."""
        far = _FARTHEST
        z = ((z - self.centre) / self.scale).clamp(-far, far).float()
        i, j = torch.triu_indices(z.shape[-1], z.shape[-1])
        return torch.cat([torch.ones_like(z[:, :1]), z, z[:, i] * z[:, j]], -1)

    def _set_covariance(self, residual: Tensor) -> None:
        centred = (residual - residual.mean(0)).double()
        values, vectors = torch.linalg.eigh(centred.mT @ centred / len(centred))
        scale = values.clamp(min=1e-6 * values.max().item() + 1e-12).sqrt()
        self.root.copy_(vectors * scale @ vectors.mT)
        self.inverse_root.copy_(vectors / scale @ vectors.mT)


def _moments(v: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and width of the normal law of each cell, from how often and how far it is above 0.

    With p = Φ(a) the frequency, a = mean / width and ⟨v | v > 0⟩ = width · (a + φ(a)/p).
    """
    read = v > 0
    p = read.float().mean(0).clamp(0.5 / len(v), 1 - 0.5 / len(v))
    above = (v.sum(0) / read.sum(0).clamp(min=1)).clamp(min=1e-3)
    a = torch.special.ndtri(p)
    density = torch.exp(-0.5 * a.square()) / math.sqrt(2 * math.pi)
    width = above / (a + density / p)
    return (a * width).expand_as(v), width


def _below_zero(v: Tensor, mean: Tensor, width: Tensor, generator: torch.Generator) -> Tensor:
    """v where it is positive, elsewhere a draw from N(mean, width²) below zero."""
    width = width.clamp(min=1e-6)
    below = torch.special.ndtr(-mean / width)
    u = torch.rand(v.shape, generator=generator) * below
    drawn = mean + width * torch.special.ndtri(u.clamp(1e-7, 1 - 1e-7))
    return torch.where(v > 0, v, drawn.clamp(max=-1e-6))
