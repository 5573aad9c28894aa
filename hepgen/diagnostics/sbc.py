r"""Simulation-based calibration: the ranks of the truth among posterior draws are uniform.

With θ from the prior and x from p(x | θ), θ and draws from p(θ | x) are exchangeable, so that the
rank of each parameter's truth among S independent draws is uniform on {0, …, S}/S (Talts et al.,
arXiv:1804.06788, theorem 1). A bias piles ranks up at one end, a width that is too small at both
ends, one that is too large in the middle. The distribution function of the ranks is tested at all
levels at once, see :mod:`hepgen.diagnostics.uniformity`.

What it cannot see: a posterior that is the prior for every data set is calibrated too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hepgen.diagnostics.uniformity import uniformity
from hepgen.errors import DataError
from hepgen.results import Calibration, UniformityTest

Array = NDArray[np.float64]


def ranks(draws: Sequence[Array], truth: Array) -> Array:
    """The fraction of draws below the truth, shape ``(M, D)``.

    Arguments:
        draws: M arrays of posterior draws, each of shape ``(S, D)``.
        truth: Shape ``(M, D)``.

    >>> ranks([np.array([[0.1], [0.2], [0.3], [0.4]])], np.array([[0.35]]))
    array([[0.75]])
    """
    if len(draws) != len(truth) or not len(draws):
        raise DataError(f"{len(draws)} posteriors for {len(truth)} truths; expected one for each")
    return np.stack([(d < t).mean(axis=0) for d, t in zip(draws, truth, strict=True)])


def sbc(result: Calibration, name: str, *, confidence: float = 0.95) -> UniformityTest:
    """The ranks of one parameter, tested.

    Arguments:
        result: From :func:`hepgen.diagnostics.calibration.calibration`.
        name: The parameter.
        confidence: Of the band.
    """
    rank = result.rank[:, result.column(name)]
    return uniformity(rank, result.draws, name=f"ranks of {name}", confidence=confidence)
