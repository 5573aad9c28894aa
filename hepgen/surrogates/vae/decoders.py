"""Decoders: p(u | z, c), independent features given the latent.

A decoder also says how a sample is made of standard normal noise, so that the whole model is a
deterministic function of its noise.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from pyro.distributions import Bernoulli, Normal, TorchDistribution
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid

from hepgen.errors import SurrogateError, nearest
from hepgen.surrogates.vae.networks import SkipMLP, positive

Variance = Literal["event", "feature", "shared"] | float


class Decoder(nn.Module, ABC):
    """p(u | z, c) over d features.

    Arguments:
        features: d.
        inputs: The length of (z, c).
        hidden: The widths of its network.
        variance: See :class:`GaussianDecoder`.
    """

    #: How many standard normal numbers make one event.
    noise: int

    @abstractmethod
    def forward(self, z: Tensor, context: Tensor) -> Distribution:
        """The distribution, batch shape ``(*,)``, event shape ``(d,)``."""

    @abstractmethod
    def transport(self, noise: Tensor, z: Tensor, context: Tensor) -> Tensor:
        """u, shape ``(*, d)``, as a function of noise, shape ``(*, self.noise)``."""

    def prepare(self, u: Tensor) -> None:
        """Measure constants on the training sample, shape ``(N, d)``."""

    def counted(self, u: Tensor) -> Tensor | None:  # noqa: ARG002
        """Which numbers of u, shape ``(B, d)``, have a probability; ``None`` for none."""
        return None


class GaussianDecoder(Decoder):
    """u ~ N(m(z, c), diag s²).

    Arguments:
        features, inputs, hidden: See :class:`Decoder`.
        variance: ``event``: s is a function of (z, c); ``feature``: one learned number a feature;
            ``shared``: one learned number; or the variance itself.
    """

    def __init__(
        self, features: int, inputs: int, hidden: Sequence[int], variance: Variance = "event"
    ) -> None:
        super().__init__()
        self.noise = features
        self.scale = _Scale(features, inputs, hidden, variance)
        self.mean = SkipMLP(inputs, features, hidden)

    def forward(self, z: Tensor, context: Tensor) -> Distribution:
        """The normal distribution at each (z, c)."""
        moments = self.moments(z, context)
        normal: Distribution = Normal(*moments, validate_args=False).to_event(1)
        return normal

    def transport(self, noise: Tensor, z: Tensor, context: Tensor) -> Tensor:
        """m + s·noise."""
        mean, scale = self.moments(z, context)
        return mean + scale * noise

    def moments(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """m and s, shape ``(*, d)`` each."""
        h = _joined(z, context)
        mean = self.mean(h)
        return mean, self.scale(h).expand_as(mean)


class BernoulliDecoder(Decoder):
    """Features with two values each, the upper one with probability σ(l(z, c)).

    The values are those of the training sample. The density is a probability.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        features: int,
        inputs: int,
        hidden: Sequence[int],
        variance: Variance = "event",  # noqa: ARG002
    ) -> None:
        super().__init__()
        self.noise = features
        self.logit = SkipMLP(inputs, features, hidden)
        self.register_buffer("low", torch.zeros(features))
        self.register_buffer("high", torch.ones(features))

    def prepare(self, u: Tensor) -> None:
        """Find the two values of each feature.

        Raises:
            SurrogateError: A feature has others.
        """
        low, high = u.amin(0), u.amax(0)
        more = ((u != low) & (u != high)).any(0).nonzero()
        if len(more):
            raise SurrogateError(
                f"feature {int(more[0])} has more than two values; a Bernoulli decoder needs "
                "features with two, e.g. 0 and 1: take decoder='gaussian'"
            )
        self.low.copy_(low)
        self.high.copy_(torch.where(high > low, high, low + 1))

    def counted(self, u: Tensor) -> Tensor:
        """All of them."""
        return torch.ones_like(u, dtype=torch.bool)

    def forward(self, z: Tensor, context: Tensor) -> Distribution:
        """The distribution over the two values at each (z, c)."""
        logits = self.logit(_joined(z, context))
        two: Distribution = _TwoValues(logits, self.low, self.high).to_event(1)
        return two

    def transport(self, noise: Tensor, z: Tensor, context: Tensor) -> Tensor:
        """The upper value where Φ(noise) < σ(l)."""
        logits = self.logit(_joined(z, context))
        upper = torch.special.ndtr(noise) < torch.sigmoid(logits)
        return torch.where(upper, self.high, self.low)


class ZeroInflatedDecoder(Decoder):
    """A spike with probability σ(l(z, c)), and a continuous density elsewhere.

    p(u | z, c) is a density with respect to Lebesgue's measure plus a unit mass at the spike: the
    probability there and the integral elsewhere sum to one. The spike is the most frequent value
    of the training sample: zero, once it is standardised.

    Arguments:
        features, inputs, hidden, variance: See :class:`GaussianDecoder`.
        positive: Log-normal above the spike; else normal around it.
    """

    spike: Tensor

    def __init__(
        self,
        features: int,
        inputs: int,
        hidden: Sequence[int],
        variance: Variance = "event",
        positive: bool = True,
    ) -> None:
        super().__init__()
        self.noise, self.positive = 2 * features, positive
        self.logit = SkipMLP(inputs, features, hidden)
        self.continuous = GaussianDecoder(features, inputs, hidden, variance)
        self.register_buffer("spike", torch.zeros(features))

    def prepare(self, u: Tensor) -> None:
        """Find the spike of each feature."""
        self.spike.copy_(u.mode(0).values)

    def counted(self, u: Tensor) -> Tensor:
        """Those at the spike."""
        return u == self.spike

    def forward(self, z: Tensor, context: Tensor) -> Distribution:
        """The distribution at each (z, c)."""
        loc, scale = self.continuous.moments(z, context)
        logits = self.logit(_joined(z, context))
        each = ZeroInflated(logits, loc, scale, self.spike, self.positive)
        inflated: Distribution = each.to_event(1)
        return inflated

    def transport(self, noise: Tensor, z: Tensor, context: Tensor) -> Tensor:
        """The spike where Φ(first half of the noise) < σ(l), else made of the second half."""
        first, second = noise.chunk(2, dim=-1)
        y = self.continuous.transport(second, z, context)
        spiked = torch.special.ndtr(first) < torch.sigmoid(self.logit(_joined(z, context)))
        return torch.where(spiked, self.spike, self.spike + (y.exp() if self.positive else y))


class ZeroInflated(TorchDistribution):  # type: ignore[misc]
    """A mass σ(l) at the spike s, and u − s log-normal or normal elsewhere.

    Arguments:
        logits: l.
        loc, scale: Of log(u − s), or of u − s.
        spike: s.
        positive: Which of the two.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own type)
    support = constraints.real

    def __init__(
        self, logits: Tensor, loc: Tensor, scale: Tensor, spike: Tensor, positive: bool
    ) -> None:
        self.logits, self.spike, self.positive = logits, spike, positive
        self.normal = Normal(loc, scale, validate_args=False)
        super().__init__(logits.shape, torch.Size(), validate_args=False)

    def log_prob(self, u: Tensor) -> Tensor:
        """The log-probability of the spike, or the log-density elsewhere."""
        y, spiked = u - self.spike, u == self.spike
        elsewhere = logsigmoid(-self.logits) + self._continuous(torch.where(spiked, 1.0, y))
        return torch.where(spiked, logsigmoid(self.logits), elsewhere)

    def _continuous(self, y: Tensor) -> Tensor:
        if not self.positive:
            normal: Tensor = self.normal.log_prob(y)
            return normal
        log_y = torch.where(y > 0, y, 1.0).log()
        return torch.where(y > 0, self.normal.log_prob(log_y) - log_y, -torch.inf)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws, shape ``(*sample_shape, *)``."""
        y = self.normal.sample(torch.Size(sample_shape))
        spiked = torch.rand_like(y) < torch.sigmoid(self.logits)
        return torch.where(spiked, self.spike, self.spike + (y.exp() if self.positive else y))


class _TwoValues(TorchDistribution):  # type: ignore[misc]
    """A Bernoulli variable between two given values."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own type)
    support = constraints.real

    def __init__(self, logits: Tensor, low: Tensor, high: Tensor) -> None:
        self.low, self.high = low, high
        self.upper = Bernoulli(logits=logits, validate_args=False)
        super().__init__(logits.shape, torch.Size(), validate_args=False)

    def log_prob(self, u: Tensor) -> Tensor:
        value: Tensor = self.upper.log_prob(((u - self.low) / (self.high - self.low)).round())
        return value

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        upper = self.upper.sample(torch.Size(sample_shape))
        return torch.where(upper > 0, self.high, self.low)


class _Scale(nn.Module):
    """The standard deviation, shape ``(*, d)`` or one that broadcasts to it."""

    def __init__(
        self, features: int, inputs: int, hidden: Sequence[int], variance: Variance
    ) -> None:
        super().__init__()
        self.network: nn.Module | None = None
        self.log_scale: Tensor
        if isinstance(variance, (int, float)):
            if not variance > 0:
                raise SurrogateError(f"variance = {variance:g}: expected a positive number")
            value = torch.tensor(0.5 * math.log(variance))
            self.register_buffer("log_scale", value, persistent=False)
        elif variance == "event":
            self.network = SkipMLP(inputs, features, hidden)
        elif variance in ("feature", "shared"):
            size = features if variance == "feature" else 1
            self.log_scale = nn.Parameter(torch.zeros(size))
        else:
            hint = nearest(str(variance), ["event", "feature", "shared"])
            raise SurrogateError(f"no variance {variance!r}; {hint}, or give a number")

    def forward(self, h: Tensor) -> Tensor:
        if self.network is None:
            return self.log_scale.exp()
        return positive(self.network(h))


def _joined(z: Tensor, context: Tensor) -> Tensor:
    shape = (*z.shape[:-1], context.shape[-1])
    return torch.cat([z, context.expand(shape)], dim=-1)


_DECODERS = ("gaussian", "bernoulli", "zero-inflated", "zero-inflated-gaussian")


def decoder(
    kind: str, features: int, inputs: int, hidden: Sequence[int], variance: Variance
) -> Decoder:
    """The decoder that is called ``kind``.

    >>> decoder("gausian", 1, 1, (), 1.0)
    Traceback (most recent call last):
    hepgen.errors.SurrogateError: no decoder 'gausian'; did you mean 'gaussian'?
    """
    if kind == "gaussian":
        return GaussianDecoder(features, inputs, hidden, variance)
    if kind == "bernoulli":
        return BernoulliDecoder(features, inputs, hidden, variance)
    if kind in _DECODERS:
        positive = kind == "zero-inflated"
        return ZeroInflatedDecoder(features, inputs, hidden, variance, positive)
    raise SurrogateError(f"no decoder {kind!r}; {nearest(kind, list(_DECODERS))}")
