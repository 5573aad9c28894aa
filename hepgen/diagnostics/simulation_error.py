r"""Finite simulation: how much an estimate would change if its estimator were trained again.

From K independent retrainings (other simulated events, other initial weights; or bootstrap
resamples of the events) and M data sets, with the estimate μ_km and its width σ_m,

.. math:: \hat v_m = \frac{1}{K - 1} \sum_k (\mu_{km} - \bar\mu_m)^2, \qquad
          \hat v = \frac1M \sum_m \hat v_m

is the variance that one training adds. What the mean of K adds is v/K. Its own error is that of a
variance of K numbers, √(2/(K − 1)) of it, since trainings are off in the same way for all data sets
that are near each other. The total is √(σ² + v).

A bias that all retrainings share, of a network that is too small or stops too early, is not in it:
for that, see the pulls of :mod:`hepgen.diagnostics.calibration`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hepgen.errors import DataError
from hepgen.results import Check

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SimulationSpread:
    """What the finite simulation adds to the error of each parameter.

    Arguments:
        parameters: D names.
        variance: v of one training, shape ``(D,)``.
        variance_error: The standard error of v, shape ``(D,)``.
        share: √(v/σ²) over the data sets, shape ``(D,)``.
        trainings: K.
    """

    parameters: tuple[str, ...]
    variance: Array
    variance_error: Array
    share: Array
    trainings: int

    def inflated(self, std: Array, members: int = 1) -> Array:
        """√(σ² + v/members), shape ``(*, D)``, for posterior widths of shape ``(*, D)``.

        Arguments:
            std: Of the posterior.
            members: How many trainings the posterior is the mean of.
        """
        return np.sqrt(np.square(std) + self.variance / members)

    def check(self, name: str, largest: float) -> Check:
        """That the finite simulation adds at most ``largest`` of a width."""
        i = self.parameters.index(name)
        value = float(self.share[i])
        total = float(np.hypot(1.0, value))
        return Check(
            f"finite simulation: {name}", value <= largest, value, largest,
            f"standard deviation of {self.trainings} retrainings in widths of the posterior; with "
            f"it the error is {total:.3f} times as large",
        )  # fmt: skip


def simulation_error(mean: Array, std: Array, *, parameters: Sequence[str]) -> SimulationSpread:
    """The variance between retrainings.

    Arguments:
        mean: Estimates of K trainings for the same M data sets, shape ``(K, M, D)``.
        std: Their posterior widths, of that shape or ``(M, D)``.
        parameters: The D names.

    Raises:
        DataError: Fewer than two trainings, or shapes that do not belong together.

    >>> rng = np.random.default_rng(1)
    >>> found = simulation_error(
    ...     rng.normal(0, 0.1, (400, 1, 1)), np.ones((1, 1)), parameters=["a"]
    ... )
    >>> round(float(found.share[0]), 2), np.round(found.inflated(np.array([1.0])), 3)
    (0.09, array([1.004]))
    """
    if mean.ndim != 3 or mean.shape[2] != len(parameters) or len(mean) < 2:
        raise DataError(
            f"estimates of shape {mean.shape}; expected (K, M, {len(parameters)}) with at least "
            "two trainings"
        )
    if std.shape not in (mean.shape, mean.shape[1:]) or not bool((std > 0).all()):
        raise DataError(
            f"widths of shape {std.shape} for estimates of shape {mean.shape}; expected positive "
            "ones of that shape, or one for each data set"
        )
    each = mean.var(axis=0, ddof=1)
    widths = np.square(std).mean(axis=0) if std.ndim == 3 else np.square(std)
    variance = each.mean(axis=0)
    return SimulationSpread(
        tuple(parameters),
        variance,
        variance * np.sqrt(2 / (len(mean) - 1)),
        np.sqrt((each / widths).mean(axis=0)),
        len(mean),
    )
