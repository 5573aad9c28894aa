"""Discrete normalizing flows: u = f(z; c) with z standard normal, built from zuko's layers.

log p(u | c) = log N(f⁻¹(u; c)) + log |det ∂f⁻¹/∂u| (Papamakarios et al., arXiv:1912.02762).
A coupling flow takes two passes a layer in both directions; an autoregressive one takes one
pass for the density and d for a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import zuko
from torch import Tensor

from hepgen.errors import SurrogateError, nearest
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality

KINDS = ("coupling", "spline-coupling", "autoregressive", "spline-autoregressive")


class Flow(ConditionalDensity):
    """A normalizing flow; its density is exact.

    Arguments:
        features: d.
        context: C.
        kind: One of ``coupling``, ``spline-coupling`` (Durkan et al., arXiv:1906.04032),
            ``autoregressive`` (arXiv:1705.07057), ``spline-autoregressive``.
        layers: How many transformations.
        hidden: The widths of the network of each.
        bins: Of a spline.

    >>> flow = Flow(2, 1, layers=2, hidden=(8,))
    >>> import torch
    >>> u, density = flow.generate_with_log_prob(torch.zeros(3, 2), torch.zeros(3, 1))
    >>> torch.allclose(density.value, flow.log_prob(u, torch.zeros(3, 1)).value, atol=1e-5)
    True
    """

    def __init__(
        self,
        features: int,
        context: int,
        kind: str = "spline-coupling",
        layers: int = 5,
        hidden: Sequence[int] = (64, 64),
        bins: int = 8,
    ) -> None:
        super().__init__(features, context)
        if kind not in KINDS:
            raise SurrogateError(f"no flow {kind!r}; {nearest(kind, KINDS)}")
        self._options = {"layers": layers, "hidden": list(hidden), "bins": bins}
        spline = {"bins": bins} if kind.startswith("spline") else {}
        passes = {"passes": min(2, features)} if kind.endswith("coupling") else {}
        flow = zuko.flows.NSF if spline else zuko.flows.MAF
        self.flow = flow(
            features, context, transforms=layers, hidden_features=tuple(hidden), **spline, **passes
        )

    @property
    def options(self) -> dict[str, Any]:
        """What rebuilds it, but for the kind, which the family's name says."""
        return self._options

    @property
    def quality(self) -> Quality:
        """Exact."""
        return Quality("exact", "change of variables")

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        """−log p(u | c) in nats, shape ``(B,)``."""
        return -self._log_prob(u, context)

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        """f(z; c), shape ``(B, d)``."""
        u: Tensor = self._distribution(context).transform.inv(noise)
        return u

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        """log p(u | c), shape ``(B,)``."""
        return LogDensity.exact(self._log_prob(u, context), self.quality.words)

    def generate_with_log_prob(self, noise: Tensor, context: Tensor) -> tuple[Tensor, LogDensity]:
        """Both in one pass."""
        distribution = self._distribution(context)
        u, log_jacobian = distribution.transform.inv.call_and_ladj(noise)
        value = distribution.base.log_prob(noise).double() - log_jacobian.double()
        return u, LogDensity.exact(value, self.quality.words)

    def _distribution(self, context: Tensor) -> Any:
        return self.flow(context if self.context else None)

    def _log_prob(self, u: Tensor, context: Tensor) -> Tensor:
        value: Tensor = self._distribution(context).log_prob(u)
        return value
