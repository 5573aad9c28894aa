r"""Conformal recalibration: the level of credible sets that hold the truth as often as they say.

A score of each calibration data set is the level of the smallest credible set that holds its
truth: ℓ of :mod:`hepgen.diagnostics.expected_coverage` for regions of highest density, the size of
2r − 1 of the rank r for central intervals. With M of them, the credible set at the level

.. math:: \ell_{(k)}, \qquad k = \lceil (M + 1)(1 - \alpha) \rceil,

the k-th smallest score, holds the truth of a new data set with a probability of at least 1 − α, and
at most 1 − α + 1/(M + 1) where scores do not tie, for any posterior and any M (split conformal
prediction: Vovk, Gammerman and Shafer 2005; Lei et al., arXiv:1604.04173, theorem 2). The new θ has
to be from the same prior: the coverage is that over the prior, and not that at each θ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hepgen.errors import DataError
from hepgen.results import Calibration

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Recalibrated:
    """One level, raw and repaired.

    Arguments:
        level: What is wanted.
        coverage, error: Of the raw credible set of that level on the pseudo-data, and the
            binomial standard error.
        credibility: γ, the level of the credible set to quote instead; 1 where no finite one is
            enough.
        uncertainty: The standard deviation of the coverage of that set over pseudo-data, by their
            number.
    """

    level: float
    coverage: float
    error: float
    credibility: float
    uncertainty: float


@dataclass(frozen=True)
class ConformalLevels:
    """Credible levels that have been recalibrated.

    Arguments:
        scores: The level at which each calibration set is first covered, shape ``(M,)``.

    >>> levels = ConformalLevels(np.linspace(0.005, 0.995, 99) ** 0.5)
    >>> round(levels.level(0.68), 3), levels.level(0.995)
    (0.826, 1.0)
    """

    scores: Array

    def __post_init__(self) -> None:
        inside = (self.scores >= 0) & (self.scores <= 1)
        if self.scores.ndim != 1 or not len(self.scores) or not bool(inside.all()):
            raise DataError(
                f"scores of shape {self.scores.shape}, {int((~inside).sum())} of them outside of "
                "[0, 1]; expected a level for each calibration set"
            )

    @classmethod
    def central(cls, result: Calibration, name: str) -> ConformalLevels:
        """For central intervals of one parameter."""
        return cls(np.abs(2 * result.rank[:, result.column(name)] - 1))

    @classmethod
    def highest_density(cls, result: Calibration) -> ConformalLevels:
        """For regions of highest density of all parameters.

        Raises:
            DataError: The calibration has not kept the densities.
        """
        if result.hpd is None:
            raise DataError(
                f"the calibration of {result.method} has no densities at the truth; calibrate again"
            )
        return cls(result.hpd)

    def level(self, nominal: float) -> float:
        """The credible level whose sets cover with at least the probability ``nominal``.

        It is 1, the whole range of the parameter, where the calibration sets are too few.
        """
        if not 0 < nominal < 1:
            raise DataError(f"a nominal level of {nominal:g}; expected a number in (0, 1)")
        # Rounding must not ask for one more.
        k = math.ceil((len(self.scores) + 1) * nominal - 1e-9)
        return float(np.sort(self.scores)[k - 1]) if k <= len(self.scores) else 1.0

    def report(self, levels: Sequence[float] = (0.6827, 0.9545)) -> tuple[Recalibrated, ...]:
        """Raw coverage and repaired level, side by side.

        >>> overconfident = ConformalLevels(np.linspace(0.0, 1.0, 999) ** 0.5)
        >>> (found,) = overconfident.report([0.64])
        >>> round(found.credibility, 2), round(found.coverage, 2)
        (0.8, 0.41)
        """
        n = len(self.scores)
        rows = []
        for level in levels:
            raw = float(np.mean(self.scores <= level))
            error = math.sqrt(max(raw * (1 - raw), 1 / n) / n)
            # Given the pseudo-data, the coverage is a Beta variate (Vovk 2012).
            spread = math.sqrt(level * (1 - level) / (n + 2))
            rows.append(Recalibrated(level, raw, error, self.level(level), spread))
        return tuple(rows)

    def interval(self, draws: Array, nominal: float) -> tuple[float, float]:
        """The recalibrated central interval of posterior draws, shape ``(S,)``."""
        tail = (1 - self.level(nominal)) / 2
        low, high = np.quantile(draws, [tail, 1 - tail])
        return float(low), float(high)
