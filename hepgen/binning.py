"""What an analysis loses in bins: a fit with them beside one without."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BinnedFit:
    """The estimate of one parameter from counts in bins, and from the events themselves.

    Both are best fits to the same data, with the nuisance parameters profiled. What the bins cost
    is by the errors that are expected at the best fit, which do not fluctuate with the data: from
    the Fisher information of the score of an event, and of its mean over each bin.

    Arguments:
        parameter: Its name.
        observable: What is binned.
        value, error: Of the fit to the counts, by the curvature of its likelihood.
        unbinned_value, unbinned_error: Of the fit to the events.
        bins: Numbers of bins that were tried, ascending, shape ``(K,)``.
        errors: Expected with each of them, shape ``(K,)``; infinite where nothing is known.
        unbinned: Expected without bins.
        chosen: The number of bins of the workspace.
        unit, label: Of the parameter.
        warnings: What a reader must know.

    >>> one = BinnedFit("mu", "x", 1.0, 0.23, 1.1, 0.2, np.array([8]), np.array([0.22]), 0.2, 8)
    >>> round(one.cost, 3), round(one.shift, 3)
    (0.1, -0.5)
    """

    parameter: str
    observable: str
    value: float
    error: float
    unbinned_value: float
    unbinned_error: float
    bins: NDArray[np.int64]
    errors: NDArray[np.float64]
    unbinned: float
    chosen: int
    unit: str = ""
    label: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def cost(self) -> float:
        """By how much of itself the expected error grows."""
        return float(self.errors[self.bins == self.chosen][0]) / self.unbinned - 1

    @property
    def shift(self) -> float:
        """By how much the estimate moves, in errors without bins."""
        return (self.value - self.unbinned_value) / self.unbinned_error
