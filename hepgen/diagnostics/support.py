"""Support: is a data set like the simulation?

Two samples are compared by the maximum mean discrepancy, the distance of their mean
embeddings in a reproducing-kernel space (Gretton et al., JMLR 13 (2012) 723), with a
Gaussian kernel as wide as the median distance between events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Kernel:
    """A sum of Gaussian kernels on standardised features.

    Arguments:
        location, scale: Median and half the 16–84 % range of each feature, shape ``(d,)``.
        width: The median distance of two events.
    """

    location: Array
    scale: Array
    width: float

    @classmethod
    def from_sample(cls, reference: Array) -> Kernel:
        """Scales from a reference sample, shape ``(N, d)``."""
        low, location, high = np.quantile(reference, [0.16, 0.5, 0.84], axis=0)
        scale = np.where(high > low, (high - low) / 2, 1.0)
        part = torch.from_numpy((reference[:500] - location) / scale)
        width = float(torch.pdist(part).median()) if len(part) > 1 else 1.0
        return cls(location, scale, width or 1.0)

    def __call__(self, a: Array, b: Array) -> Tensor:
        """k(aᵢ, bⱼ), shape ``(N, M)``."""
        first, second = (torch.from_numpy((x - self.location) / self.scale) for x in (a, b))
        squared = torch.cdist(first, second).square() / (2 * self.width**2)
        # A second, narrower kernel sees structure within the peak.
        return torch.exp(-squared) + torch.exp(-9 * squared)


def two_sample_p_value(
    observed: Array, simulated: Array, *, permutations: int = 999, seed: int = 0
) -> float:
    """p-value that two samples come from one distribution, by permuting their labels.

    Arguments:
        observed: Shape ``(N, d)``.
        simulated: Shape ``(M, d)``.
        permutations: How many; the smallest p-value is one over their number plus one.
        seed: Of the permutations.

    >>> rng = np.random.default_rng(1)
    >>> two_sample_p_value(rng.normal(size=(100, 1)), rng.normal(1, 1, size=(100, 1)))
    0.001
    """
    _check(observed, simulated)
    pooled = np.concatenate([observed, simulated])
    n, m = len(observed), len(simulated)
    rng = np.random.default_rng(seed)
    # Permutations are exact only if the kernel does not know which event came from where.
    gram = Kernel.from_sample(rng.permutation(pooled))(pooled, pooled)
    labels = torch.full((n + m, permutations + 1), -1 / m, dtype=torch.float64)
    labels[:n, 0] = 1 / n
    for column in range(1, permutations + 1):
        labels[torch.from_numpy(rng.permutation(n + m)[:n]), column] = 1 / n
    # aᵀKa with a = 1/n on one sample and −1/m on the other is the (biased) MMD².
    statistics = (labels * (gram @ labels)).sum(0)
    return float((statistics >= statistics[0] - 1e-15).double().mean())


def prior_predictive_p_value(
    observed: Array, sets: Sequence[Array], reference: Array, *, seed: int = 0
) -> float:
    """p-value of a data set among simulated ones, each from one θ of the prior.

    The statistic is the discrepancy between a set and the whole training sample. Sets from
    different θ differ from that sample; the question is whether the observed one differs
    more than they do.

    Arguments:
        observed: Shape ``(N, d)``.
        sets: Simulated data sets, each of shape ``(·, d)``; cut to N events.
        reference: The training sample over all θ, shape ``(M, d)``.
        seed: Of the choice, where the sets are smaller than the data set.
    """
    _check(observed, reference)
    size = min(len(observed), *(len(s) for s in sets))
    kernel = Kernel.from_sample(reference)

    def discrepancy(events: Array) -> float:
        events = events[:size]
        own = kernel(events, events)
        return float(own.mean() - 2 * kernel(events, reference).mean())

    rng = np.random.default_rng(seed)
    chosen = observed[rng.permutation(len(observed))]
    values = np.array([discrepancy(s) for s in sets])
    return float((1 + np.sum(values >= discrepancy(chosen))) / (1 + len(values)))


def _check(first: Array, second: Array) -> None:
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise DataError(
            f"samples of shapes {first.shape} and {second.shape}; expected (N, d) and (M, d)"
        )
    if len(first) < 2 or len(second) < 2:
        raise DataError(f"samples of {len(first)} and {len(second)} events; expected at least two")
