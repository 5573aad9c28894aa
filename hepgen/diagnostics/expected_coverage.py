r"""Expected coverage: how often regions of highest posterior density hold the truth.

The smallest such region of q(θ | x) that holds θ* has the posterior mass

.. math:: \ell = \int 1[q(\theta | x) > q(\theta^* | x)]\, q(\theta | x)\, d\theta,

estimated by the fraction of draws with a higher density than the truth. The coverage of the
regions at a level 1 − α, over data sets whose θ* are from the prior, is P(ℓ ≤ 1 − α): equal to the
level if q is the posterior (Hermans et al., arXiv:2110.06581, section 2). One number stands for all
parameters together, and says on which side a posterior is wrong: coverage above the level is
conservative, below it overconfident. A density that need not be normalised is enough.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hepgen.diagnostics.uniformity import uniformity
from hepgen.errors import DataError
from hepgen.results import UniformityTest

Array = NDArray[np.float64]


def hpd_levels(log_prob_truth: Array, log_prob_draws: Array) -> Array:
    """ℓ of each data set, shape ``(M,)``.

    Arguments:
        log_prob_truth: log q(θ* | x) up to a constant of each data set, shape ``(M,)``.
        log_prob_draws: The same of S draws from q(θ | x), shape ``(M, S)``.

    Raises:
        DataError: Shapes that do not belong together, or densities that are NaN.

    >>> hpd_levels(np.array([-1.0]), np.array([[-0.5, -2.0, -0.1, -3.0]]))
    array([0.5])
    """
    if log_prob_draws.ndim != 2 or log_prob_truth.shape != log_prob_draws.shape[:1]:
        raise DataError(
            f"densities of shapes {log_prob_truth.shape} at the truth and {log_prob_draws.shape} "
            "at the draws; expected (M,) and (M, S)"
        )
    invalid = np.isnan(log_prob_truth) | np.isnan(log_prob_draws).any(axis=1)
    if invalid.any():
        raise DataError(f"the densities of {int(invalid.sum())} data sets are NaN; expected none")
    levels: Array = (log_prob_draws > log_prob_truth[:, None]).mean(axis=1)
    return levels


def expected_coverage(levels: Array, draws: int = 0, *, confidence: float = 0.95) -> UniformityTest:
    """Coverage against level, with a band for all levels at once.

    Arguments:
        levels: From :func:`hpd_levels`, shape ``(M,)``.
        draws: S.
        confidence: Of the band.
    """
    return uniformity(levels, draws, name="expected coverage", confidence=confidence)
