r"""Repair of posterior sets: which credible sets cover, by pseudo-data whose truth is known.

A credible set is described by its *credibility* at a θ: the posterior mass of what is more
plausible than θ. The set of credibility γ is where it is at most γ. It covers α of data sets drawn
like the pseudo-data, at least, if γ is

.. math:: \gamma(\alpha) = \text{the } \lceil (n + 1)\alpha \rceil\text{-th smallest of }
          \gamma_i = \text{credibility of } x_i \text{ at its true } \theta_i

(split conformal prediction: Vovk, Gammerman and Shafer (2005); Lei et al., arXiv:1604.04173). That
is an average over the θ of the pseudo-data. The same at each θ is the Neyman construction with the
credibility for its statistic: :class:`CentralCredibility` or
:class:`~hepgen.inference.statistics.neyman.NegativeLogDensity`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.likelihood import DataSets
from hepgen.inference.statistics.neyman import Measured
from hepgen.parameters import ParameterSet


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
    """The credibility that covers, on average over the parameters of the pseudo-data.

    Arguments:
        credibility: Of each of n pseudo-data sets at its truth, ascending, shape ``(n,)``.

    >>> overconfident = np.linspace(0.0, 1.0, 999) ** 0.5
    >>> levels = ConformalLevels.fit(overconfident)
    >>> round(levels.at(0.64), 2), round(levels.report([0.64])[0].coverage, 2)
    (0.8, 0.41)
    """

    credibility: NDArray[np.float64]

    @classmethod
    def fit(cls, credibility: ArrayLike) -> ConformalLevels:
        """From the credibilities at the truth.

        Raises:
            DataError: They are not numbers from 0 to 1.
        """
        values = np.sort(np.asarray(credibility, dtype=np.float64))
        if values.ndim != 1 or len(values) < 20:
            raise DataError(
                f"credibilities of shape {values.shape}; expected (n,) of 20 pseudo-data sets "
                "at least"
            )
        if not ((values >= 0) & (values <= 1)).all():
            raise DataError("a credibility is not in [0, 1]; expected the mass of what is likelier")
        return cls(values)

    def at(self, level: float) -> float:
        """The credibility of sets that cover ``level``; 1 where there are too few pseudo-data."""
        rank = math.ceil((len(self.credibility) + 1) * level)
        return 1.0 if rank > len(self.credibility) else float(self.credibility[max(rank, 1) - 1])

    def report(self, levels: Sequence[float] = (0.6827, 0.9545)) -> tuple[Recalibrated, ...]:
        """Raw coverage and repaired credibility, side by side."""
        n = len(self.credibility)
        rows = []
        for level in levels:
            raw = float(np.mean(self.credibility <= level))
            error = math.sqrt(max(raw * (1 - raw), 1 / n) / n)
            # Given the pseudo-data, the coverage is a Beta variate (Vovk 2012).
            spread = math.sqrt(level * (1 - level) / (n + 2))
            rows.append(Recalibrated(level, raw, error, self.at(level), spread))
        return tuple(rows)


def highest_density_credibility(
    density_of_draws: Tensor, density_at_truth: Tensor
) -> NDArray[np.float64]:
    """The mass of what is likelier than the truth, from draws of S posteriors.

    Arguments:
        density_of_draws: log p of n draws of each, shape ``(S, n)``.
        density_at_truth: Shape ``(S,)``.
    """
    above = density_of_draws > density_at_truth[:, None]
    return np.asarray(above.double().mean(1).numpy())


def central_credibility(draws: Tensor, value: Tensor) -> Tensor:
    """The size of 2F(θ) − 1 of the distribution of draws, the credibility of central intervals.

    Arguments:
        draws: Of S posteriors of one parameter, shape ``(S, n)``.
        value: θ, shape ``(S, K)``.
    """
    ordered = draws.double().sort(-1).values
    below = torch.searchsorted(ordered, value.double().contiguous())
    upto = torch.searchsorted(ordered, value.double().contiguous(), right=True)
    share = (0.5 * (below + upto) + 0.5) / (draws.shape[-1] + 1)
    return (2 * share - 1).abs()


@dataclass(frozen=True)
class CentralCredibility:
    """The credibility of central posterior intervals as a statistic of the Neyman construction.

    Arguments:
        draws: Posterior draws of the parameter of interest given each data set, ``(S, n)``.
        parameters: Those of the model.
        interest: The name of the parameter of interest, alone.
    """

    draws: Callable[[Any], Tensor]
    parameters: ParameterSet
    interest: tuple[str, ...]

    @property
    def conditions(self) -> tuple[str, ...]:
        """The parameter of interest."""
        return self.interest

    def __call__(self, sets: DataSets, psi: Tensor) -> Measured:
        """See :class:`hepgen.inference.statistics.neyman.Statistic`."""
        return Measured(central_credibility(self.draws(sets), psi[..., 0]), psi)
