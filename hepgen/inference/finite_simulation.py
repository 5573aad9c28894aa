r"""Finite simulation: how much an estimate would change if its estimator were trained again.

From K trainings, each from simulated events and random numbers of its own, and M data sets, with
the estimate μ_km and its width σ_m,

.. math:: \hat v_m = \frac{1}{K - 1} \sum_k (\mu_{km} - \bar\mu_m)^2, \qquad
          \hat v = \frac1M \sum_m \hat v_m

is the variance that one training adds; what the mean of n of them adds is v/n. Its own error is
that of a variance of K numbers, √(2/(K − 1)) of it, since trainings are off in the same way for all
data sets that are near each other. The total error is √(σ² + v/n).

The trainings may be retrainings, each with its own estimate, or the members of an ensemble, each
with the shift of the maximum that it would make (:mod:`hepgen.inference.ensemble`).

A bias that all trainings share, of a network that is too small or stops too early, is not in it:
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
class FiniteSimulation:
    """What the finite simulation adds to the error of each parameter.

    Arguments:
        names: D parameters.
        estimate: The mean over the trainings, shape ``(M, D)``.
        statistical: The widths σ of the posteriors, their rms over the data sets, shape ``(D,)``.
        simulation: √(v/n), shape ``(D,)``.
        simulation_error: The standard error of that, shape ``(D,)``.
        in_sigmas: √(v/(nσ²)) over the data sets, shape ``(D,)``.
        trainings: K.
    """

    names: tuple[str, ...]
    estimate: Array
    statistical: Array
    simulation: Array
    simulation_error: Array
    in_sigmas: Array
    trainings: int

    @property
    def total(self) -> Array:
        """√(σ² + v/n), shape ``(D,)``."""
        return self.inflated(self.statistical)

    def inflated(self, std: Array) -> Array:
        """√(σ² + v/n), shape ``(*, D)``, for posterior widths of shape ``(*, D)``."""
        return np.asarray(np.hypot(std, self.simulation), dtype=np.float64)

    def check(self, name: str, largest: float) -> Check:
        """That the finite simulation adds at most ``largest`` of a width."""
        value = float(self.in_sigmas[self.names.index(name)])
        return Check(
            f"finite simulation: {name}", value <= largest, value, largest,
            f"by how much another simulation would move it, by {self.trainings} trainings, in "
            "widths of the posterior; with it the error is "
            f"{np.hypot(1, value):.3f} times as large",
        )  # fmt: skip


def finite_simulation(
    estimates: Array, std: Array, names: Sequence[str], *, averaged: int = 1
) -> FiniteSimulation:
    """The spread of trainings.

    Arguments:
        estimates: Of K trainings for the same M data sets, shape ``(K, M, D)``.
        std: Their posterior widths, of that shape or ``(M, D)``.
        names: The D parameters.
        averaged: n, how many trainings what is stated is the mean of.

    Raises:
        DataError: Fewer than two trainings, or shapes that do not belong together.

    >>> rng = np.random.default_rng(1)
    >>> found = finite_simulation(rng.normal(0, 0.1, (400, 1, 1)), np.ones((1, 1)), ["a"])
    >>> np.round(found.simulation, 2), np.round(found.total, 3)
    (array([0.09]), array([1.004]))
    """
    if estimates.ndim != 3 or estimates.shape[2] != len(names) or len(estimates) < 2:
        raise DataError(
            f"estimates of shape {estimates.shape}; expected (K, M, {len(names)}) with at least "
            "two trainings"
        )
    if std.shape not in (estimates.shape, estimates.shape[1:]) or not bool((std > 0).all()):
        raise DataError(
            f"widths of shape {std.shape} for estimates of shape {estimates.shape}; expected "
            "positive ones of that shape, or one for each data set"
        )
    variance = estimates.var(axis=0, ddof=1) / averaged
    widths = np.square(std).mean(axis=0) if std.ndim == 3 else np.square(std)
    simulation = np.sqrt(variance.mean(axis=0))
    return FiniteSimulation(
        tuple(names), estimates.mean(axis=0), np.sqrt(widths.mean(axis=0)), simulation,
        # Of a root it is half the relative error of what is below it.
        simulation / np.sqrt(2 * (len(estimates) - 1)),
        np.sqrt((variance / widths).mean(axis=0)), len(estimates),
    )  # fmt: skip
