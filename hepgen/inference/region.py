"""A box in the unbounded space of the parameters, outside of which nothing was simulated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.errors import ParameterError
from hepgen.inference.unbounded import UnboundedPrior

_FARTHEST = 8.0
_MARGIN = 0.1
"""By how much of its width a box is wider than the points that it is around, on each side."""


@dataclass(frozen=True)
class Region:
    """low ≤ u ≤ high, for each of D coordinates of :class:`UnboundedPrior`.

    A prior that is uniform or Gaussian is a standard Gaussian in u; a box in u is a box in θ.

    Arguments:
        low, high: Shape ``(D,)``, float64.

    >>> box = Region.everywhere(2)
    >>> box.contains(torch.tensor([[0.0, 1.0], [9.0, 0.0]])).tolist()
    [True, False]
    """

    low: Tensor
    high: Tensor

    def __post_init__(self) -> None:
        if self.low.shape != self.high.shape or not bool((self.low < self.high).all()):
            raise ParameterError(
                f"a region from {self.low.tolist()} to {self.high.tolist()}; expected low < high"
            )

    @classmethod
    def everywhere(cls, parameters: int) -> Region:
        """All but 10⁻¹⁵ of a prior."""
        edge = torch.full((parameters,), _FARTHEST, dtype=torch.float64)
        return cls(-edge, edge)

    def around(self, u: Tensor) -> Region:
        """The smallest box around the points u, shape ``(N, D)``, and a margin; within this one."""
        low, high = u.amin(0), u.amax(0)
        margin = _MARGIN * (high - low)
        return Region(
            torch.maximum(low - margin, self.low), torch.minimum(high + margin, self.high)
        )

    def contains(self, u: Tensor) -> Tensor:
        """Which of the points are inside, shape ``(*,)`` for ``(*, D)``."""
        return ((u >= self.low) & (u <= self.high)).all(-1)

    def log_mass(self) -> float:
        """The logarithm of the prior's probability inside."""
        below, above = torch.special.ndtr(self.low), torch.special.ndtr(self.high)
        return float((above - below).log().sum())

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws from the prior inside, shape ``(n, D)``."""
        below, above = torch.special.ndtr(self.low), torch.special.ndtr(self.high)
        fraction = torch.rand(n, len(self.low), generator=generator, dtype=torch.float64)
        u = torch.special.ndtri((below + fraction * (above - below)).clamp(1e-16, 1 - 2**-53))
        return torch.minimum(torch.maximum(u, self.low), self.high)

    def log_prior(self, prior: UnboundedPrior, u: Tensor) -> Tensor:
        """log p(u), shape ``(*,)``, and −∞ outside; not normalised to the inside."""
        return torch.where(self.contains(u), prior.log_prob(u), -torch.inf)

    def to_dict(self) -> dict[str, list[float]]:
        """Plain values, for model files; see :meth:`from_dict`."""
        return {"low": self.low.tolist(), "high": self.high.tolist()}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Sequence[float]]) -> Region:
        """The inverse of :meth:`to_dict`."""
        low, high = (torch.tensor(entry[key], dtype=torch.float64) for key in ("low", "high"))
        return cls(low, high)
