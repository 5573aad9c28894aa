r"""The likelihood as every statement sees it: of many data sets, at many parameter points.

.. math:: L(\theta) = \prod_c \mathrm{Pois}(N_c | \lambda_c(\theta))
          \prod_{i \in c} p_c(x_i | \theta)^{w_i} \prod_j \mathcal{N}(a_j | \theta_j, \sigma_j)

over channels c and over the nuisance parameters j that an auxiliary measurement a_j constrains.
A parameter whose prior is :class:`hepgen.parameters.Normal` is such a one, with a_j the mean of the
prior in the data; a :class:`hepgen.parameters.Uniform` prior says where a parameter may be, and
enters no likelihood. Fits, intervals, limits and toys ask a likelihood for nothing else than this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

from torch import Tensor

from hepgen.parameters import ParameterSet


@runtime_checkable
class DataSets(Protocol):
    """S data sets with their auxiliary measurements, as one likelihood keeps them."""

    def __len__(self) -> int:
        """S."""

    def __getitem__(self, part: slice | Tensor) -> DataSets:
        """Some of them: a slice, or the indices of those wanted, shape ``(M,)``, repeats too."""


class Likelihood(ABC):
    """log L of data sets, and the data sets that would be seen at a θ.

    θ has shape ``(*, D)``, physical values of the free parameters in the order of
    ``parameters.free_names``: those of interest and the nuisance parameters alike.
    """

    parameters: ParameterSet

    @abstractmethod
    def log_likelihoods(self, sets: DataSets, theta: Tensor) -> Tensor:
        """log L with the constraints, shape ``(S, K)`` in float64, for θ of shape ``(S, K, D)``.

        Differentiable in θ, twice where a density is. −∞ where θ is outside of what can be
        evaluated.
        """

    @abstractmethod
    def generate(self, theta: Tensor, seed: int) -> DataSets:
        """A pseudo-data set at each θ of shape ``(S, D)``: S of them, a function of the seed.

        The number of events of each channel, the events, and the auxiliary measurements
        fluctuate.
        """

    @abstractmethod
    def asimov(self, theta: Tensor) -> DataSets:
        """The one data set at θ, shape ``(D,)``, in which nothing fluctuates.

        Its log L has its maximum at θ (Cowan et al., arXiv:1007.1727, section 3.2).
        """
