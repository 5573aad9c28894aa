r"""Misspecification: is the observed data set one that the simulator could have made?

A data set is embedded as the mean of random Fourier features over its events,

.. math:: h = \frac1N \sum_i \left(\cos\omega_k \cdot x_i,\, \sin\omega_k \cdot x_i\right)_k,

in which the distance of two sets is their maximum mean discrepancy (Rahimi and Recht, NIPS 2007);
any other embedding will do, such as that of a network (Schmitt et al., arXiv:2112.08866) or the
posterior mean. How strange a set is, is its distance to the nearest of all others. The observed set
and M simulated ones are treated alike, so that their strangeness is exchangeable if the observed
set is from the same distribution, and

.. math:: p = \frac{1 + \#\{m : s_m \ge s_o\}}{1 + M}

is exact for every M (a conformal p-value; Vovk, Gammerman and Shafer, Algorithmic Learning in a
Random World, 2005, section 2.2). Sets from the prior ask whether any θ makes such data; sets from
the posterior predictive, which has seen the data, whether the θ that were inferred do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hepgen.diagnostics.support import Kernel
from hepgen.errors import DataError

Array = NDArray[np.float64]
Embedding = Callable[[Array], Array]
"""A data set, shape ``(N, d)``, to a vector of any fixed length."""

_FEATURES = 64
_NEIGHBOURS = 5


@dataclass(frozen=True)
class FourierEmbedding:
    """The mean of random Fourier features of events.

    Arguments:
        location, scale: That standardise the events, shape ``(d,)``.
        frequencies: ω, shape ``(d, K)``.
    """

    location: Array
    scale: Array
    frequencies: Array

    @classmethod
    def from_sample(
        cls, reference: Array, features: int = _FEATURES, seed: int = 0
    ) -> FourierEmbedding:
        """Of a kernel as wide as the median distance of events, and one a third as wide."""
        kernel = Kernel.from_sample(reference)
        rng = np.random.default_rng(seed)
        width = kernel.width / np.where(np.arange(features) % 2, 3.0, 1.0)
        omega = rng.standard_normal((reference.shape[1], features)) / width
        return cls(kernel.location, kernel.scale, omega)

    def __call__(self, x: Array) -> Array:
        """The embedding of a set, shape ``(2K,)``."""
        phase = (x - self.location) / self.scale @ self.frequencies
        return np.concatenate([np.cos(phase).mean(axis=0), np.sin(phase).mean(axis=0)])


@dataclass(frozen=True)
class MisspecificationTest:
    """How strange the observed set is among simulated ones.

    Arguments:
        observed: Its distance to the nearest simulated sets.
        simulated: That of each simulated set to its nearest, shape ``(M,)``.
    """

    observed: float
    simulated: Array

    @property
    def p_value(self) -> float:
        """The share of sets that are at least as strange, the observed one among them."""
        number = np.sum(self.simulated >= self.observed * (1 - 1e-12))
        return float((1 + number) / (1 + len(self.simulated)))


def misspecification(
    observed: Array,
    sets: Sequence[Array],
    *,
    embedding: Embedding | None = None,
    neighbours: int = _NEIGHBOURS,
    seed: int = 0,
) -> MisspecificationTest:
    """Test one observed data set.

    Arguments:
        observed: Shape ``(N, d)``.
        sets: M simulated data sets, each of shape ``(·, d)`` and cut to the smallest of all: a
            larger set is less strange by its size alone.
        embedding: Made from the simulated events by default. It must not have seen the observed
            set, unless it has seen all simulated ones alike.
        neighbours: To how many others the distance is taken.
        seed: Of the choice of events, and of the default embedding.

    Raises:
        DataError: Too few sets, or sets of other columns.
    """
    if len(sets) <= neighbours or any(s.shape[1:] != observed.shape[1:] for s in sets):
        raise DataError(
            f"{len(sets)} simulated sets for data of shape {observed.shape}; expected more than "
            f"{neighbours}, of the same columns"
        )
    rng = np.random.default_rng(seed)
    size = min(len(observed), *map(len, sets))
    parts = [x[rng.permutation(len(x))[:size]] for x in (observed, *sets)]
    if embedding is None:
        # All sets take part alike, or the test would not be exact.
        pooled = np.concatenate(parts)
        embedding = FourierEmbedding.from_sample(pooled[rng.permutation(len(pooled))], seed=seed)
    strange = strangeness(np.stack([embedding(x) for x in parts]), neighbours)
    return MisspecificationTest(float(strange[0]), strange[1:])


def strangeness(embedded: Array, neighbours: int = _NEIGHBOURS) -> Array:
    """The mean distance of each row, shape ``(M, k)``, to its nearest others, ``(M,)``."""
    distance, _ = cKDTree(embedded).query(embedded, k=neighbours + 1)
    # The first is the row itself.
    return np.asarray(distance[:, 1:].mean(axis=1), dtype=np.float64)
