"""A conjugate Gaussian, answered by an analyst who is right, overconfident, cautious or biased.

θ ~ N(0, 1)ᴰ and x | θ ~ N(θ, σ²) in each of D dimensions: the posterior is Gaussian, with the mean
x/(1 + σ²) and the variance σ²/(1 + σ²).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIGMA = 0.5
WIDTH = SIGMA / math.sqrt(1 + SIGMA**2)


@dataclass(frozen=True)
class Analyst:
    """Whose widths are off by a factor, and whose means by ``bias`` widths."""

    widths: float = 1.0
    bias: float = 0.0

    def mean(self, x: Array) -> Array:
        return np.asarray(x / (1 + SIGMA**2) + self.bias * WIDTH)

    def draws(self, x: Array, number: int, rng: np.random.Generator) -> Array:
        """Shape ``(M, S, D)`` for x of shape ``(M, D)``."""
        noise = rng.standard_normal((len(x), number, x.shape[1]))
        return np.asarray(self.mean(x)[:, None] + self.widths * WIDTH * noise)

    def log_prob(self, theta: Array, x: Array) -> Array:
        """Up to a constant, shape ``(M, S)`` for θ of shape ``(M, S, D)``."""
        z = (theta - self.mean(x)[:, None]) / (self.widths * WIDTH)
        return np.asarray(-0.5 * np.square(z).sum(-1))


ANALYSTS = {
    "exact": Analyst(),
    "overconfident": Analyst(0.7),
    "conservative": Analyst(1.4),
    "biased": Analyst(1.0, 0.5),
}


def study(sets: int, dimensions: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """θ from the prior, and its data, shape ``(M, D)`` each."""
    theta = rng.standard_normal((sets, dimensions))
    return theta, theta + SIGMA * rng.standard_normal(theta.shape)
