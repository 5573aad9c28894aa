"""An autoregressive mixture of logistics as a family; see :mod:`hepgen.nn.mixture`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hepgen.nn.mixture import LogisticMixture, LogisticMixtureDistribution
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality

_WIDEST = 0.1


class Mixture(ConditionalDensity):
    """p(u | c) = ∏ᵢ Σₖ wᵢₖ logistic(uᵢ; μᵢₖ, sᵢₖ), of c and the features before; exact.

    It samples in one pass a feature, without an inverse to find, from two normal numbers each.

    Arguments:
        features: d.
        context: C.
        components: The number of logistics a feature.
        hidden: The widths of the network of each feature, two at least.

    >>> import torch
    >>> Mixture(2, 0).generate(torch.zeros(3, 4), torch.zeros(3, 0)).shape
    torch.Size([3, 2])
    """

    widest: Tensor

    def __init__(
        self,
        features: int,
        context: int,
        components: int = 16,
        hidden: Sequence[int] = (64, 64, 64),
    ) -> None:
        super().__init__(features, context)
        self.noise = 2 * features
        self._options = {"components": components, "hidden": list(hidden)}
        # A network needs an input: without a context, a constant.
        self.register_buffer("widest", torch.full((features,), torch.inf))
        self.mixture = LogisticMixture(features, max(1, context), components, hidden)

    @property
    def options(self) -> dict[str, Any]:
        """What rebuilds it."""
        return self._options

    def prepare(self, u: Tensor, context: Tensor) -> None:  # noqa: ARG002
        """No component is wider than a tenth of the range of the sample.

        One that hardly has a weight is hardly trained, and a wide one would reach far beyond.
        """
        self.widest.copy_(_WIDEST * (u.amax(0) - u.amin(0)))

    @property
    def quality(self) -> Quality:
        """Exact."""
        return Quality("exact", "mixture of logistics")

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        """−log p(u | c) in nats, shape ``(B,)``."""
        return -self._given(context).log_prob(u)

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        """Events, shape ``(B, d)``, from noise of shape ``(B, 2d)``."""
        return self._given(context).transport(noise)

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        """log p(u | c), shape ``(B,)``."""
        return LogDensity.exact(self._given(context).log_prob(u), self.quality.words)

    def _given(self, context: Tensor) -> LogisticMixtureDistribution:
        conditions = context if self.context else context.new_ones(len(context), 1)
        distribution: LogisticMixtureDistribution = self.mixture(conditions, self.widest)
        return distribution
