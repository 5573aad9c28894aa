"""A likelihood that is known without training, in the place of an estimator.

It answers as :class:`hepgen.inference.nle.NLE` does, so that posteriors, grids and Markov chains
of one can be set beside those of the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.event_sets import EventSets, pad
from hepgen.parameters import ParameterSet

_PAIRS = 2**22
"""How many (event, θ) pairs are evaluated at once."""


@runtime_checkable
class EventDensity(Protocol):
    """The density of one selected event, such as
    :class:`hepgen.simulators.ee_mumu_exact.ElectronPositronDensity`."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What x holds."""

    def log_prob(self, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """log p(x | θ), shape ``(*, N)`` for x ``(*, N, d)`` and parameters ``(*, 1)``."""

    def rate(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The cross-section of selected events in pb, shape ``(*,)``."""


class ExactLikelihood:
    r"""The likelihood of event sets under a known density.

    .. math:: \log L(\theta) = \sum_i w_i \log p(x_i | \theta)
              \;[\, + N \ln(\mathcal{L}\sigma\varepsilon) - \mathcal{L}\sigma\varepsilon\,],
              \quad N = \sum_i w_i

    Arguments:
        density: Of one event.
        parameters: Those of the chain; the free ones make θ.
        luminosity: 𝓛 in 1/pb: with it, the number of events counts too.

    >>> import hepgen
    >>> from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity
    >>> chain = hepgen.process("ee_mumu")
    >>> free = hepgen.Parameter("sin2_theta_w", 0.2312, prior=hepgen.Uniform(0.2, 0.26))
    >>> others = [p for p in chain.parameters if p.name != free.name]
    >>> exact = ExactLikelihood(
    ...     ElectronPositronDensity.of(chain), hepgen.ParameterSet([free, *others])
    ... )
    >>> exact.log_prob(torch.zeros(1, 1), torch.tensor([[0.23], [0.24]])).shape
    torch.Size([1, 2])
    """

    def __init__(
        self, density: EventDensity, parameters: ParameterSet, luminosity: float | None = None
    ) -> None:
        self.density = density
        self.parameters = parameters
        self.luminosity = luminosity

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """log p(xᵢ | θₖ), shape ``(N, K)``, for x ``(N, d)`` and θ ``(K, D)``."""
        return self.density.log_prob(x.double(), self._values(theta)).mT

    def log_likelihood(self, x: Tensor, theta: Tensor, weight: Tensor | None = None) -> Tensor:
        """log L of one data set, shape ``(K,)``, for x ``(N, d)`` and θ ``(K, D)``."""
        return self.log_likelihoods(self.encode([x], [weight]), theta[None])[0]

    def posterior(self, x: Tensor, theta: Tensor, weight: Tensor | None = None) -> Tensor:
        """The posterior probability of each point of an even grid, shape ``(K,)``, of sum one.

        Arguments:
            x: The data set, shape ``(N, d)``.
            theta: A grid over the range of the prior, shape ``(K, D)``.
            weight: Event weights, shape ``(N,)``.
        """
        log_prior = self.parameters.prior().log_prob(theta.double())
        return torch.softmax(self.log_likelihood(x, theta, weight) + log_prior, dim=0)

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        """Data sets, each of shape ``(N, d)``.

        Raises:
            DataError: They have other columns than the density.
        """
        return pad(list(map(self.prepare, x)), weight, [one.new_zeros(len(one)) for one in x])

    def prepare(self, x: Tensor) -> Tensor:
        """The events themselves, ``(N, d)``, checked."""
        if x.dim() != 2 or x.shape[-1] != len(self.density.columns):
            raise DataError(
                f"events of shape {tuple(x.shape)}; expected "
                f"(N, {len(self.density.columns)}): {', '.join(self.density.columns)}"
            )
        return x.double()

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """log p of events ``(S, n, d)`` at θ ``(S, K, D)``, shape ``(S, n, K)``, all at once."""
        return self.density.log_prob(prepared[:, None], self._values(theta.double())).mT

    def rate(self, values: Mapping[str, Tensor]) -> Tensor:
        """σ(θ)ε(θ) in pb, shape ``(*,)``, of parameters by name; others are at their defaults."""
        # The density wants a last dimension for its events, see EventDensity.
        known = self.parameters.values() | dict(values)
        return self.density.rate({n: v[..., None] if v.dim() else v for n, v in known.items()})

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        """log L of S data sets at K points each, shape ``(S, K)``, for θ ``(S, K, D)``."""
        points = max(1, _PAIRS // sets.weight.numel())
        return torch.cat([self._sum(sets, part) for part in torch.split(theta, points, 1)], dim=1)

    def _sum(self, sets: EventSets, theta: Tensor) -> Tensor:
        values = self._values(theta.double())
        terms = self.density.log_prob(sets.events[:, None], values)
        # A copy that fills up a set has weight zero.
        weight = sets.weight[:, None]
        total = torch.where(weight == 0, 0.0, terms * weight).sum(-1)
        if self.luminosity is None:
            return total
        expected = self.luminosity * self.density.rate(values)
        return total + weight.sum(-1) * expected.log() - expected

    def _values(self, theta: Tensor) -> dict[str, Tensor]:
        values = self.parameters.values(theta)
        return {name: v[..., None] if v.dim() else v for name, v in values.items()}
