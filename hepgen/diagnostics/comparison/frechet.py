r"""The Fréchet distance of two samples, extrapolated to infinitely many events.

.. math:: F = |\mu_1 - \mu_2|^2
              + \mathrm{tr}\bigl(\Sigma_1 + \Sigma_2 - 2(\Sigma_1\Sigma_2)^{1/2}\bigr)

is W₂² of two Gaussians with the moments of the samples. At N events it is biased upwards by a
term in 1/N; a straight line in 1/N through several sizes is extrapolated to 0 (FPD: Kansal et
al., arXiv:2211.10295). The sizes are made of disjoint blocks of events, so that nothing is
counted twice, and the intercept may be negative, as an unbiased estimate of 0 has to be. The
columns should be of one scale: see :class:`hepgen.diagnostics.comparison.samples.NormalScores`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hepgen.diagnostics.comparison.samples import Array, check_samples
from hepgen.errors import DataError
from hepgen.judgement import Measured

_BLOCKS = 40
_PARTS = 10
_GROUPS = (1, 2, 4)


def frechet(first: Array, second: Array) -> float:
    """F at the size of the samples, shapes ``(N, d)`` and ``(M, d)``; biased by O(1/N).

    >>> x = np.random.default_rng(1).normal(size=(1000, 2))
    >>> round(frechet(x, x + np.array([0.5, 0.0])), 6)
    0.25
    """
    check_samples(first, second)
    moments = [(x.mean(0)[None], np.cov(x.T, ddof=1).reshape(1, *2 * x.shape[1:])) for x in
               (first, second)]  # fmt: skip
    return float(_frechet(*moments[0], *moments[1])[0])


def frechet_distance(first: Array, second: Array, seed: int = 0) -> Measured:
    """F extrapolated to infinitely many events, with its error by a delete-a-tenth jackknife.

    For samples of one distribution, where F has no linear term, that error is somewhat too large.

    Arguments:
        first, second: Shapes ``(N, d)`` and ``(M, d)``; the larger one is cut to the smaller.
        seed: Of the division into blocks.

    Raises:
        DataError: NaN, or fewer than two hundred events.
    """
    check_samples(first, second)
    size = min(len(first), len(second)) // _BLOCKS
    if size < 5:
        raise DataError(
            f"samples of {len(first)} and {len(second)} events; expected at least {5 * _BLOCKS}"
        )
    rng = np.random.default_rng(seed)
    blocks = [_Blocks.of(x[rng.permutation(len(x))[: size * _BLOCKS]]) for x in (first, second)]
    whole = _extrapolated(blocks[0], blocks[1])
    parts = [_extrapolated(blocks[0].without(k), blocks[1].without(k)) for k in range(_PARTS)]
    variance = (_PARTS - 1) / _PARTS * np.sum((np.array(parts) - np.mean(parts)) ** 2)
    return Measured(whole, math.sqrt(variance))


@dataclass(frozen=True)
class _Blocks:
    """Σ x and Σ x xᵀ of blocks of so many events, about a common centre."""

    size: int
    centre: Array
    total: Array
    outer: Array

    @classmethod
    def of(cls, x: Array) -> _Blocks:
        centre = x.mean(0)
        blocks = (x - centre).reshape(_BLOCKS, -1, x.shape[1])
        return cls(blocks.shape[1], centre, blocks.sum(1), blocks.swapaxes(1, 2) @ blocks)

    def without(self, k: int) -> _Blocks:
        # As many from every group, so that what is left of a group stays together.
        kept = np.arange(_BLOCKS) % _PARTS != k
        return replace(self, total=self.total[kept], outer=self.outer[kept])

    def moments(self, groups: int) -> tuple[Array, Array]:
        """Means and covariances of so many groups of blocks that follow each other."""
        n = self.size * len(self.total) // groups
        total = self.total.reshape(groups, -1, self.total.shape[1]).sum(1)
        outer = self.outer.reshape(groups, -1, *self.outer.shape[1:]).sum(1)
        mean = total / n
        covariance = (outer - n * mean[:, :, None] * mean[:, None, :]) / (n - 1)
        return mean + self.centre, covariance


def _extrapolated(first: _Blocks, second: _Blocks) -> float:
    """The intercept of F against 1/N, through sizes from a quarter of the events to all."""
    # A group of 1/g of the events has 1/N = g in units of that of all.
    values = [float(_frechet(*first.moments(g), *second.moments(g)).mean()) for g in _GROUPS]
    return float(np.polyfit(_GROUPS, values, 1)[1])


def _frechet(mean_1: Array, cov_1: Array, mean_2: Array, cov_2: Array) -> Array:
    """F of G pairs of Gaussians, shape ``(G,)``."""
    values, vectors = np.linalg.eigh(cov_1)
    root = np.sqrt(np.clip(values, 0, None))[:, None, :] * vectors @ vectors.swapaxes(1, 2)
    product = np.linalg.eigvalsh(root @ cov_2 @ root)
    trace = np.trace(cov_1 + cov_2, axis1=1, axis2=2)
    cross = np.sqrt(np.clip(product, 0, None)).sum(-1)
    return np.asarray(np.square(mean_1 - mean_2).sum(-1) + trace - 2 * cross)
