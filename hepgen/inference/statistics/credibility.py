r"""Credibility: how much of a posterior is more plausible than a θ.

A credible set is described by its *credibility* at a θ: the posterior mass of what is more
plausible than θ. The set of credibility γ is where it is at most γ. Which γ covers on average over
the θ of pseudo-data is the business of :mod:`hepgen.diagnostics.conformal`. The same at each θ is
the Neyman construction with the credibility for its statistic: :class:`CentralCredibility` or
:class:`~hepgen.inference.statistics.neyman.NegativeLogDensity`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.inference.likelihood import DataSets
from hepgen.inference.statistics.neyman import Measured
from hepgen.parameters import ParameterSet


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
