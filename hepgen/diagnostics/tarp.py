r"""TARP: tests of accuracy with random points, from draws alone.

Around a reference point θ_r, the ball that reaches to the truth θ* has the posterior mass

.. math:: f = \int 1[\|\theta - \theta_r\| < \|\theta^* - \theta_r\|]\, q(\theta | x)\, d\theta,

which is uniform for every choice of θ_r if q is the posterior, and for every θ_r(x) only then
(Lemos et al., arXiv:2302.03026, theorems 2 and 3). No density is needed, and D parameters are
tested at once. Distances are in standard deviations of the truths.

References that do not depend on x cannot tell a posterior from the prior; give some that do for
that. They must not be made from the draws that are counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hepgen.diagnostics.uniformity import uniformity
from hepgen.errors import DataError
from hepgen.results import UniformityTest

Array = NDArray[np.float64]


def tarp_levels(
    draws: Sequence[Array], truth: Array, *, references: Array | None = None, seed: int = 0
) -> Array:
    """f of each data set, shape ``(M,)``.

    Arguments:
        draws: M arrays of posterior draws, each of shape ``(S, D)``.
        truth: Shape ``(M, D)``.
        references: θ_r of each data set, shape ``(M, D)``; uniform over the range of the truths
            by default.
        seed: Of the references.

    Raises:
        DataError: Shapes that do not belong together.
    """
    if references is None:
        low, high = truth.min(axis=0), truth.max(axis=0)
        references = np.random.default_rng(seed).uniform(low, high, truth.shape)
    if not len(draws) == len(truth) == len(references) or truth.shape != references.shape:
        raise DataError(
            f"{len(draws)} posteriors, truths of shape {truth.shape} and references of shape "
            f"{references.shape}; expected one of each for each data set"
        )
    scale = truth.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    return np.array([
        (_distance(d - r, scale) < _distance(t - r, scale)).mean()
        for d, t, r in zip(draws, truth, references, strict=True)
    ])  # fmt: skip


def tarp(levels: Array, draws: int = 0, *, confidence: float = 0.95) -> UniformityTest:
    """Coverage of the balls against their mass, with a band for all levels at once.

    Arguments:
        levels: From :func:`tarp_levels`, shape ``(M,)``.
        draws: S.
        confidence: Of the band.
    """
    return uniformity(levels, draws, name="TARP", confidence=confidence)


def _distance(difference: Array, scale: Array) -> Array:
    return np.asarray(np.square(difference / scale).sum(axis=-1), dtype=np.float64)
