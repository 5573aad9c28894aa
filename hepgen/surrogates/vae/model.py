"""The auto-encoder as a family of surrogates, and as a model and a guide of Pyro."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import torch
from torch import Tensor

from hepgen.errors import SurrogateError
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality
from hepgen.surrogates.marginals import Marginals
from hepgen.surrogates.vae.bound import (
    Elbo,
    ImportanceBound,
    elbo,
    importance_bound,
    log_weights,
)
from hepgen.surrogates.vae.decoders import Variance, decoder
from hepgen.surrogates.vae.hierarchical import Hierarchy, Level

_ROWS = 2**16
"""How many pairs of event and draw are in memory at once."""


class VAE(ConditionalDensity):
    """p(u | c) = ∫ p(u | z, c) p(z | c) dz, trained with an amortised posterior q(z | u, c).

    A Gaussian decoder has the :class:`~hepgen.surrogates.marginals.Marginals` of the events, not
    themselves.

    Arguments:
        features: d.
        context: C.
        latent: Z, the length of the latent (of each level); d where it is 0.
        levels: T, see :class:`~hepgen.surrogates.vae.hierarchical.Hierarchy`.
        hidden: The widths of every network; none: a linear auto-encoder.
        posterior: ``diagonal``, ``full`` or ``flow``.
        prior: ``standard``, or learned as a function of c: ``diagonal``, ``full``, ``flow``.
        decoder: ``gaussian``, ``bernoulli``, ``zero-inflated`` (log-normal above the spike) or
            ``zero-inflated-gaussian``.
        variance: Of the decoder, see :class:`~hepgen.surrogates.vae.decoders.GaussianDecoder`.
        importance: K in training: 1 is the evidence lower bound, more the importance-weighted one.
        samples: K of :meth:`log_prob`.
        beta: What the KL divergence is multiplied with in training.
        warm_up: Steps over which that factor rises from zero.
        free_bits: In nats, see :meth:`~hepgen.surrogates.vae.bound.Elbo.objective`.

    Raises:
        SurrogateError: A value that cannot be used.

    >>> vae = VAE(3, 1, latent=2, hidden=(8,))
    >>> vae.generate(torch.zeros(4, vae.noise), torch.zeros(4, 1)).shape
    torch.Size([4, 3])
    >>> vae.quality
    Quality(kind='bound', words='importance-weighted, K = 100')
    """

    steps: Tensor

    def __init__(
        self,
        features: int,
        context: int,
        latent: int = 0,
        levels: int = 1,
        hidden: Sequence[int] = (64, 64),
        posterior: str = "full",
        prior: str = "standard",
        decoder: str = "gaussian",
        variance: Variance = "event",
        importance: int = 8,
        samples: int = 100,
        beta: float = 1.0,
        warm_up: int = 0,
        free_bits: float = 0.0,
    ) -> None:
        super().__init__(features, context)
        _check(levels=levels, importance=importance, samples=samples)
        if importance > 1 and free_bits > 0:
            raise SurrogateError(
                f"free_bits = {free_bits:g} with importance = {importance}: the weighted bound "
                "has no KL term of its own; set importance = 1, or free_bits = 0"
            )
        self._options = {
            "latent": latent, "levels": levels, "hidden": list(hidden), "posterior": posterior,
            "prior": prior, "decoder": decoder, "variance": variance, "importance": importance,
            "samples": samples, "beta": beta, "warm_up": warm_up, "free_bits": free_bits,
        }  # fmt: skip
        self.importance, self.samples = importance, samples
        self.beta, self.warm_up, self.free_bits = beta, warm_up, free_bits
        size, condition = latent or features, max(context, 1)
        self.hierarchy = Hierarchy(features, condition, levels, size, hidden, posterior, prior)
        self.decoder = _decoder(decoder, features, size + condition, hidden, variance)
        self.noise = self.hierarchy.noise + self.decoder.noise
        self.marginals = Marginals(features) if decoder == "gaussian" else None
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def options(self) -> dict[str, Any]:
        """What rebuilds it."""
        return self._options

    @property
    def quality(self) -> Quality:
        """A bound, of K draws."""
        return Quality("bound", f"importance-weighted, K = {self.samples}")

    def prepare(self, u: Tensor, context: Tensor) -> None:  # noqa: ARG002
        """Measure the margins, or let the decoder find its constants."""
        if self.marginals is not None:
            self.marginals.measure(u)
        self.decoder.prepare(u)

    def counted(self, u: Tensor) -> Tensor | None:
        """As the decoder counts them."""
        return self.decoder.counted(u)

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        """−(the bound), shape ``(B,)``: with β, warm-up and free bits in training."""
        beta = self._beta()
        if self.importance > 1:
            return -importance_bound(self.log_weights(u, context, self.importance, beta)).value
        return -self.elbo(u, context).objective(beta, self.free_bits if self.training else 0.0)

    def elbo(self, u: Tensor, context: Tensor, samples: int = 1) -> Elbo:
        """The evidence lower bound and its parts."""
        return elbo(*self._draw(u, context, samples))

    def log_weights(self, u: Tensor, context: Tensor, samples: int, beta: float = 1.0) -> Tensor:
        """log p(u, z | c) − log q(z | u, c) of draws from q, shape ``(samples, B)``."""
        return log_weights(*self._draw(u, context, samples), beta)

    def bound(self, u: Tensor, context: Tensor, samples: int) -> ImportanceBound:
        """The importance-weighted bound with K = ``samples`` draws for each event."""
        rows = max(1, _ROWS // samples)
        pairs = zip(torch.split(u, rows), torch.split(context, rows), strict=True)
        return importance_bound(
            torch.cat([self.log_weights(*pair, samples).double() for pair in pairs], dim=-1)
        )

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        """The importance-weighted bound of log p(u | c), and its standard error."""
        found = self.bound(u, context, self.samples)
        return LogDensity(found.value, found.error, self.quality)

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        """u of latents from the prior, shape ``(B, d)``."""
        of_latent, of_data = torch.split(noise, [self.hierarchy.noise, self.decoder.noise], dim=-1)
        return self.decode(
            self.hierarchy.transport(of_latent, self._given(context)), context, of_data
        )

    def decode(self, z: Tensor, context: Tensor, noise: Tensor | None = None) -> Tensor:
        """u of latents z₁, shape ``(B, Z)``; without noise, that of zero noise.

        With a Gaussian decoder zero noise gives the mean of the normal scores: a median.
        """
        if noise is None:
            noise = z.new_zeros((*z.shape[:-1], self.decoder.noise))
        v = self.decoder.transport(noise, z, self._given(context))
        return v if self.marginals is None else self.marginals.inverse(v)

    def model(self, u: Tensor, context: Tensor) -> None:
        """The generative model as a Pyro model: sites ``z_T`` … ``z_1`` and, observed, ``u``.

        With a Gaussian decoder ``u`` is observed in its normal scores.
        """
        pyro.module("vae", self)
        given = self._given(context)
        with pyro.plate("events", len(u), dim=-1):
            z = self.hierarchy.model(given)
            pyro.sample("u", self.decoder(z, given), obs=self._scores(u)[0])

    def guide(self, u: Tensor, context: Tensor) -> None:
        """The posterior as a Pyro guide: the same latent sites."""
        pyro.module("vae", self)
        with pyro.plate("events", len(u), dim=-1):
            self.hierarchy.guide(self._scores(u)[0], self._given(context))

    def _draw(self, u: Tensor, context: Tensor, samples: int) -> tuple[list[Level], Tensor]:
        given, (v, log_slope) = self._given(context), self._scores(u)
        levels = self.hierarchy.draw(v, given, samples)
        return levels, self.decoder(levels[-1].z, given).log_prob(v) + log_slope

    def _scores(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """What the networks see of u, and the logarithm of its Jacobian, shape ``(B,)``."""
        if self.marginals is None:
            return u, u.new_zeros(u.shape[0])
        return self.marginals.with_log_slope(u)

    def _given(self, context: Tensor) -> Tensor:
        # A network needs an input: without a context, a constant one.
        return context if self.context else context.new_ones((len(context), 1))

    def _beta(self) -> float:
        """β of this step; outside of training the bound is the bound."""
        if not self.training:
            return 1.0
        self.steps += 1
        return self.beta * min(1.0, int(self.steps) / self.warm_up) if self.warm_up else self.beta


_decoder = decoder  # the option of that name hides it


def _check(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise SurrogateError(f"{name} = {value}: expected a whole number above 0")
