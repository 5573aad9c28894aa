"""A power of a likelihood: what a line through its log-ratios makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hepgen.inference.event_sets import SetLikelihood


class Power:
    r"""L(θ)^a of a likelihood L.

    A learned ratio r̂ that is recalibrated by log r = a log r̂ + b has

    .. math:: \sum_i w_i \log r(x_i | \theta) = a \sum_i w_i \log \hat r(x_i | \theta) + b \sum w_i

    for a data set, where b moves nothing: its posterior is that of the a-th power.

    Arguments:
        likelihood: L.
        exponent: a.
    """

    def __init__(self, likelihood: SetLikelihood, exponent: float) -> None:
        self.likelihood, self.exponent = likelihood, exponent
        self.parameters = likelihood.parameters

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> Any:
        """As L does."""
        return self.likelihood.encode(x, weight)

    def log_likelihoods(self, sets: Any, theta: Tensor) -> Tensor:
        """a log L, shape ``(S, K)``."""
        return self.exponent * self.likelihood.log_likelihoods(sets, theta)
