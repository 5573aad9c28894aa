r"""What is known of the cells before a network is asked: how often, how bright, how together.

Each cell becomes w, a number that is positive where it is read, by a function of its own
(:class:`~hepgen.surrogates.images.marginals.CellScores`). Given what an image depends on, z (the
particle, and the energies of the layers),

.. math:: w = B^\mathsf{T} f(z) + e^{A^\mathsf{T} (1, z)} \, \Sigma^{1/2} u,

where f has all products of up to two of z, and of up to four of what describes the particle; B
and A are by least squares. A family learns p(u | z): u has mean 0 and covariance 1, and a family
that has learned nothing gives a normal law with the right means, widths and correlations.

A cell that is not read is w ≤ 0 and no more, which is a censored normal variable (Tobin,
Econometrica 26 (1958) 24). Its w is drawn from the part below zero of its law given all other
cells of the image, in some sweeps of a Gibbs sampler (Geweke 1991) between which the law is
fitted. So w has no spike and no gap at zero, and cells that are dark together are so in u, too.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn

from hepgen.surrogates.images.marginals import CellScores

_ROWS = 20_000
"""How many images give the law."""
_FARTHEST = 5.0
"""z, in standard deviations, where the polynomial ends: beyond, it takes the value there."""
_RIDGE = 1e-3
_SWEEPS = 3
_GAP = 1e-4
"""How far from the threshold a cell is that is not read, in its width: more than rounding."""
_COLOURS = 7
"""Every seventh cell is drawn at once; no two of them are neighbours."""


class CellLaw(nn.Module):
    """v ↔ u given z.

    Arguments:
        voxels: The length V of v and u.
        inputs: The length of z.
        particle: How many of z, its first, describe the particle.

    >>> law = CellLaw(1, 1, 1)
    >>> z, v = torch.linspace(-1, 1, 50)[:, None], torch.zeros(50, 1)
    >>> bool((law.inverse(law.fit(z, v, torch.Generator()), z) <= 0).all())
    True
    """

    def __init__(self, voxels: int, inputs: int, particle: int) -> None:
        super().__init__()
        self.products = _products(inputs, particle)
        self.marginals = CellScores(voxels)
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.register_buffer("coefficients", torch.zeros(1 + len(self.products), voxels))
        self.register_buffer("log_width", torch.zeros(1 + inputs, voxels))
        self.register_buffer("root", torch.eye(voxels))
        self.register_buffer("inverse_root", torch.eye(voxels))
        self.centre: Tensor
        self.scale: Tensor
        self.coefficients: Tensor
        self.log_width: Tensor
        self.root: Tensor
        self.inverse_root: Tensor

    def fit(self, z: Tensor, v: Tensor, generator: torch.Generator) -> Tensor:
        """Fit the law, and choose w ≤ 0 for the cells that are not read.

        Arguments:
            z: Shape ``(N, inputs)``.
            v: Positive where a cell is read, 0 where not; shape ``(N, V)``.
            generator: Of the choice.

        Returns:
            u, shape ``(N, V)``, float32.
        """
        self.marginals.fit(v[:_ROWS])
        self.centre.copy_(z[:_ROWS].mean(0))
        self.scale.copy_(z[:_ROWS].std(0).clamp(min=1e-12))
        precision = torch.eye(v.shape[-1])
        w = self.marginals(v[:_ROWS])
        edge = self.marginals.edge
        filled = _drawn(w + edge, w > 0, edge.expand_as(w), precision, generator) - edge
        for _ in range(_SWEEPS):
            mean, width = self._fit_moments(z[:_ROWS], filled)
            residual = _drawn((filled - mean) / width, w > 0, -mean / width, precision, generator)
            filled = mean + width * residual
            precision = _precision(residual)
        mean, width = self._fit_moments(z[:_ROWS], filled)
        self._set_covariance((filled - mean) / width)
        parts = [(filled - mean) / width @ self.inverse_root]
        for rows in torch.split(torch.arange(len(v))[_ROWS:], _ROWS):
            parts.append(self._unfitted(z[rows], v[rows], precision, generator))
        return torch.cat(parts)

    def inverse(self, u: Tensor, z: Tensor) -> Tensor:
        """v, shape ``(N, V)``."""
        mean, width = self.moments(z)
        return self.marginals.inverse(mean + width * (u.float() @ self.root))

    def moments(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and width of w given z, shape ``(N, V)`` each."""
        terms, linear = self._terms(z)
        return terms @ self.coefficients, (linear @ self.log_width).exp()

    def _unfitted(self, z: Tensor, v: Tensor, precision: Tensor, g: torch.Generator) -> Tensor:
        """u of images that did not make the law."""
        mean, width = self.moments(z)
        w = self.marginals(v)
        residual = torch.where(w > 0, (w - mean) / width, -1 - mean.relu() / width)
        for _ in range(_SWEEPS):
            residual = _drawn(residual, w > 0, -mean / width, precision, g)
        return residual @ self.inverse_root

    def _fit_moments(self, z: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        terms, linear = self._terms(z)
        self.coefficients.copy_(_least_squares(terms, w))
        residual = w - terms @ self.coefficients
        logarithm = 0.5 * (residual.square() + _RIDGE).log()
        self.log_width.copy_(_least_squares(linear, logarithm))
        scaled = residual * (-linear @ self.log_width).exp()
        self.log_width[0] += scaled.std(0).clamp(min=1e-6).log()
        return self.moments(z)

    def _terms(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """f(z), shape ``(N, terms)``, and (1, z), shape ``(N, 1 + inputs)``."""
        z = ((z - self.centre) / self.scale).clamp(-_FARTHEST, _FARTHEST).float()
        linear = torch.cat([torch.ones_like(z[:, :1]), z], -1)
        # A product of fewer than four takes the 1 of the first column for the rest.
        first, second, third, fourth = linear[:, self.products].unbind(-1)
        terms = first * second * third * fourth
        return torch.cat([linear[:, :1], terms], -1), linear

    def _set_covariance(self, residual: Tensor) -> None:
        values, vectors = torch.linalg.eigh(_covariance(residual).double())
        scale = values.clamp(min=1e-6 * values.max().item() + 1e-12).sqrt()
        self.root.copy_(vectors * scale @ vectors.mT)
        self.inverse_root.copy_(vectors / scale @ vectors.mT)


def _products(inputs: int, particle: int) -> Tensor:
    """Which of (1, z) are multiplied, shape ``(terms, 4)``."""
    pairs = [(*pair, 0, 0) for pair in combinations_with_replacement(range(inputs + 1), 2)]
    more = combinations_with_replacement(range(particle + 1), 4)
    rows = {tuple(sorted(row)) for row in (*pairs, *more)} - {(0, 0, 0, 0)}
    return torch.tensor(sorted(rows))


def _coloured(voxels: int) -> list[Tensor]:
    return [torch.arange(voxels)[colour::_COLOURS] for colour in range(min(_COLOURS, voxels))]


def _covariance(x: Tensor) -> Tensor:
    centred = x - x.mean(0)
    covariance: Tensor = centred.mT @ centred / (len(x) - 1)
    return covariance


def _precision(x: Tensor) -> Tensor:
    inverse: Tensor = torch.linalg.inv(_covariance(x) + _RIDGE * torch.eye(x.shape[-1]))
    return inverse


def _least_squares(terms: Tensor, y: Tensor) -> Tensor:
    """Coefficients, shape ``(terms, V)``."""
    normal = terms.mT @ terms + _RIDGE * torch.eye(terms.shape[-1])
    solution: Tensor = torch.linalg.solve(normal, terms.mT @ y)
    return solution


def _drawn(
    residual: Tensor, read: Tensor, limit: Tensor, precision: Tensor, generator: torch.Generator
) -> Tensor:
    """A sweep over the cells that are not read: each from its law given all others, below a limit.

    Arguments:
        residual: Of mean 0 and unit width, shape ``(N, V)``.
        read: Those that stay as they are.
        limit: What others are below.
        precision: The inverse of their covariance, shape ``(V, V)``.
        generator: Of the draws.
    """
    residual = residual.clone()
    for b in _coloured(residual.shape[-1]):
        own = precision.diagonal()[b]
        mean = residual[:, b] - residual @ precision[:, b] / own
        below = torch.special.ndtr((limit[:, b] - mean) * own.sqrt())
        u = torch.rand(mean.shape, generator=generator) * below
        drawn = mean + torch.special.ndtri(u.clamp(1e-7, 1 - 1e-7)) / own.sqrt()
        drawn = torch.minimum(drawn, limit[:, b] - _GAP)
        residual[:, b] = torch.where(read[:, b], residual[:, b], drawn)
    return residual
