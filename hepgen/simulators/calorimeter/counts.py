"""The law of the numbers of spots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

#: A cell has at least this rate, so that its logarithm is finite.
LEAST_RATE = 1e-200
#: A layer with less, before a photon converts, has no spot.
LEAST_LAYER = 1e-150


class SpotCounts(TorchDistribution):  # type: ignore[misc]
    r"""Independent Poisson numbers, given that each row has at least one.

    .. math:: p(n) = \prod_l \frac{1}{1 - e^{-\Lambda_l}} \prod_c
              \frac{\lambda_{lc}^{n_{lc}} e^{-\lambda_{lc}}}{n_{lc}!},
              \qquad \Lambda_l = \sum_c \lambda_{lc}, \quad \sum_c n_{lc} \ge 1

    A row whose Λ is zero has none.

    Arguments:
        rates: λ, shape ``(*batch, L, K)``. Values are flat, shape ``(*batch, L · K)``.

    >>> law = SpotCounts(torch.tensor([[0.5, 0.2]], dtype=torch.float64))
    >>> p = [law.log_prob(torch.tensor(n)).exp() for n in ([1.0, 0.0], [0.0, 1.0])]
    >>> round(float(p[0] / p[1]), 6)
    2.5
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own type)
    support = constraints.independent(constraints.nonnegative_integer, 1)  # type: ignore[no-untyped-call]

    def __init__(self, rates: Tensor) -> None:
        self.rates = rates.clamp_min(LEAST_RATE)
        self.total = self.rates.sum(-1)
        flat = torch.Size([rates.shape[-2] * rates.shape[-1]])
        super().__init__(rates.shape[:-2], flat, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> SpotCounts:
        """The same numbers over a larger batch."""
        return SpotCounts(self.rates.expand(*batch_shape, *self.rates.shape[-2:]))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, *batch, L · K)``."""
        with torch.no_grad():
            rates = self.rates.expand(*sample_shape, *self.rates.shape)
            drawn = torch.poisson(rates)
            empty = (drawn.sum(-1) == 0) & (rates.sum(-1) > LEAST_LAYER)
            drawn[empty] = self._not_empty(rates[empty])
            return drawn.flatten(-2)

    @staticmethod
    def _not_empty(rates: Tensor) -> Tensor:
        """Rows that have at least one, shape ``(M, K)``.

        In a Poisson process of length Λ with any point at all, the first lies at
        −ln[1 − u(1 − e^−Λ)], and what follows it is Poisson again.
        """
        total = rates.sum(-1)
        first = -torch.log1p(torch.rand_like(total) * torch.expm1(-total))
        left = ((total - first) / total).clamp(0, 1)
        drawn = torch.poisson(rates * left[:, None])
        if len(rates):
            place = torch.multinomial(rates / total[:, None], 1)
            drawn.scatter_add_(-1, place, torch.ones_like(total)[:, None])
        return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(n), shape ``(*batch,)``."""
        number = value.reshape(*value.shape[:-1], *self.rates.shape[-2:])
        poisson = torch.xlogy(number, self.rates) - self.rates - torch.lgamma(number + 1)
        some = self.total > LEAST_LAYER
        # One where there is none, so that its derivative is finite.
        any_at_all = -torch.expm1(-torch.where(some, self.total, 1.0))
        condition = torch.where(some, any_at_all.log(), 0.0)
        density: Tensor = poisson.sum((-2, -1)) - condition.sum(-1)
        return density
