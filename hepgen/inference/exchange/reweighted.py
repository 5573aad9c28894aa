r"""Counts from simulated events at one θ₀ that a learned density carries to others.

.. math:: \lambda_b(\theta) = \lambda(\theta)
          \frac{\sum_{i \in b} w_i(\theta)}{\sum_i w_i(\theta)}, \qquad
          w_i(\theta) = \frac{p(x_i | \theta)}{p(x_i | \theta_0)}

A factor of the density that does not depend on θ drops out, so that a ratio serves as well, and x
may have any number of features: one of them is binned, the others are integrated over.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.inference.density import Density
from hepgen.inference.exchange.counts import Counts, Rate

_ROWS = 2**13


@dataclass(frozen=True)
class ReweightedCounts:
    """See the module.

    Arguments:
        density: Learned.
        rate: The number of events, by θ.
        x: Simulated events of θ₀, shape ``(N, d)``.
        theta: θ₀, shape ``(D,)``.
        column: That of the observable.
    """

    density: Density
    rate: Rate
    x: Tensor
    theta: Tensor
    column: int = 0

    def __call__(self, theta: Tensor, edges: Tensor) -> Counts:
        """See :data:`hepgen.inference.exchange.counts.Filler`."""
        weight = self._weights(theta.double())
        place = torch.bucketize(
            self.x[:, self.column].double().contiguous(), edges[1:-1], right=True
        )
        sums = torch.zeros(len(theta), len(edges) - 1, dtype=torch.float64)
        sums.index_add_(1, place, weight)
        square = torch.zeros(len(edges) - 1, dtype=torch.float64)
        square.index_add_(0, place, weight[0].square())
        each = self.rate(theta) / weight.sum(1)
        return Counts(sums * each[:, None], square * each[0] ** 2)

    @torch.no_grad()
    def _weights(self, theta: Tensor) -> Tensor:
        """w, shape ``(K, N)``."""
        points = torch.cat([self.theta.double()[None], theta])[None]
        parts = []
        for rows in torch.split(self.x, _ROWS):
            height = self.density.log_densities(self.density.prepare(rows)[None], points)[0]
            parts.append((height[:, 1:] - height[:, :1]).exp().double())
        return torch.cat(parts).T
