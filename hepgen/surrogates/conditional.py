"""The contract of a family: a conditional density over ℝᵈ that can be trained and sampled.

A family (a flow, a diffusion, an auto-encoder) knows nothing of physics. Its event u and its
context c are standardised vectors; :class:`hepgen.surrogates.surrogate.Surrogate` brings the
units, the Jacobians and the range in which the context was trained.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Kind = Literal["exact", "bound", "estimate", "none"]


@dataclass(frozen=True)
class Quality:
    """What kind of number a log-density is.

    Arguments:
        kind: ``exact`` (to rounding), ``bound`` (a lower bound on average over its noise),
            ``estimate`` (of an ODE solver or of Monte Carlo, with the error it states), or
            ``none``: the family has no density and refuses.
        words: Where the number comes from, e.g. ``probability-flow ODE, tolerance 1e-5``.
    """

    kind: Kind
    words: str = ""

    def __str__(self) -> str:
        return f"{self.kind} ({self.words})" if self.words else self.kind


@dataclass(frozen=True)
class LogDensity:
    """log p(u | c) of B events.

    Arguments:
        value: Shape ``(B,)``, float64.
        error: Its standard error from Monte Carlo, in quadrature with what a solver finds of its
            own error, shape ``(B,)``; zero where there is none.
        quality: What kind of number it is.
    """

    value: Tensor
    error: Tensor
    quality: Quality

    @classmethod
    def exact(cls, value: Tensor, words: str = "") -> LogDensity:
        """A density without an error."""
        value = value.double()
        return cls(value, torch.zeros_like(value), Quality("exact", words))


class ConditionalDensity(nn.Module, ABC):
    """p(u | c) over ℝᵈ, for contexts in ℝᶜ (C = 0: no condition).

    Events have shape ``(B, d)``, contexts ``(B, C)``, in one dtype, on one device; one context an
    event. Sampling is a deterministic function of standard normal numbers, so that a seed
    determines the events and an exported graph takes its noise as an input. What is random in
    ``loss`` and in ``log_prob`` comes from torch's global generator, which the caller seeds.

    Arguments:
        features: d.
        context: C.
    """

    #: How many independent standard normal numbers make one event.
    noise: int

    def __init__(self, features: int, context: int) -> None:
        super().__init__()
        self.features = features
        self.context = context
        self.noise = features

    @property
    def precision(self) -> torch.dtype:
        """The dtype in which it computes: that of its weights."""
        return next(self.parameters(), torch.zeros(0)).dtype

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """The keyword arguments that rebuild it, as values that JSON holds."""

    @property
    @abstractmethod
    def quality(self) -> Quality:
        """What kind of number :meth:`log_prob` is."""

    @abstractmethod
    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        """What training minimises, shape ``(B,)``, in nats where it bounds −log p(u | c)."""

    @abstractmethod
    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        """Events u ~ p(· | c), shape ``(B, d)``, from noise of shape ``(B, self.noise)``."""

    @abstractmethod
    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        """log p(u | c), see :class:`LogDensity`.

        Raises:
            SurrogateError: The family has no density.
        """

    def generate_with_log_prob(self, noise: Tensor, context: Tensor) -> tuple[Tensor, LogDensity]:
        """Events as :meth:`generate` makes them and their log-density; in one pass if it can."""
        u = self.generate(noise, context)
        return u, self.log_prob(u, context)

    def prepare(self, u: Tensor, context: Tensor) -> None:
        """Before training: set what is measured on the training sample, not learned."""

    def counted(self, u: Tensor) -> Tensor | None:  # noqa: ARG002
        """Which numbers of u, shape ``(B, d)``, have a probability in :meth:`log_prob`.

        Those have no density, and no Jacobian; ``None`` where all have one.
        """
        return None

    def exportable(self) -> tuple[ConditionalDensity, str]:
        """What computes the same with a fixed number of tensor operations, to be exported.

        A family that solves to a tolerance gives a twin that takes fixed steps, and says how
        many; the export measures how far the two are apart. By default it is itself.

        Returns:
            The twin, of which only ``generate`` and ``log_prob`` are used, and words on how it
            differs, empty where it does not.

        Raises:
            SurrogateError: It cannot be exported; with what to use instead.
        """
        return self, ""


def log_normal(z: Tensor) -> Tensor:
    """log N(z; 0, 1), shape ``(B,)``, of z of shape ``(B, d)``.

    >>> round(log_normal(torch.zeros(1, 2)).item(), 6)
    -1.837877
    """
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))
