r"""A Markovian hierarchy of latents: T = 1 level is an ordinary auto-encoder.

.. math:: p(u, z_{1:T} | c) = p(u | z_1, c) \prod_{t<T} p(z_t | z_{t+1}, c)\; p(z_T | c)

with the top-down posterior :math:`q(z_T | u, c) \prod_{t<T} q(z_t | z_{t+1}, u, c)`
(Sønderby et al., arXiv:1602.02282; Kingma et al., arXiv:1606.04934).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from hepgen.surrogates.vae.encoders import encoder


@dataclass(frozen=True)
class Level:
    """One level of one draw from the posterior.

    Arguments:
        posterior: q(z_t | z_{t+1}, u, c), batch shape ``(B,)`` at the top, else ``(K, B)``.
        prior: p(z_t | z_{t+1}, c).
        z: Draws from the posterior, shape ``(K, B, Z)``.
        log_q: Their log-density under it, shape ``(K, B)``.
    """

    posterior: Distribution
    prior: Distribution
    z: Tensor
    log_q: Tensor

    @property
    def log_ratio(self) -> Tensor:
        """log q − log p, shape ``(K, B)``; its mean under q is the KL divergence."""
        return self.log_q - self.prior.log_prob(self.z)


class Hierarchy(nn.Module):
    """T levels of latents, from the top (T) down to the one that is decoded (1).

    Arguments:
        features: d.
        context: C.
        levels: T.
        latent: Z, of each level.
        hidden: The widths of every network.
        posterior, prior: Kinds of :data:`~hepgen.surrogates.vae.encoders.ENCODERS`; a ``standard``
            prior is that of the top only, below it is ``diagonal``.
    """

    def __init__(
        self,
        features: int,
        context: int,
        levels: int,
        latent: int,
        hidden: Sequence[int],
        posterior: str,
        prior: str,
    ) -> None:
        super().__init__()
        self.latent, self.levels = latent, levels
        above = [0] + [latent] * (levels - 1)
        lower = "diagonal" if prior == "standard" else prior
        self.priors = nn.ModuleList(
            encoder(lower if size else prior, latent, size + context, hidden) for size in above
        )
        self.posteriors = nn.ModuleList(
            encoder(posterior, latent, size + features + context, hidden) for size in above
        )

    @property
    def noise(self) -> int:
        """How many standard normal numbers make the latents of one event."""
        return self.levels * self.latent

    def transport(self, noise: Tensor, context: Tensor) -> Tensor:
        """z₁ of the prior, shape ``(B, Z)``, as a function of noise, shape ``(B, T·Z)``."""
        z = context[..., :0]
        for prior, part in zip(self.priors, torch.split(noise, self.latent, dim=-1), strict=True):
            z = prior.transport(part, torch.cat([z, context], dim=-1))  # type: ignore[operator]
        return z

    def draw(self, u: Tensor, context: Tensor, samples: int) -> list[Level]:
        """``samples`` draws from the posterior of each event, from the top down."""
        given, levels = torch.cat([u, context], dim=-1), list[Level]()
        above, repeat = u[..., :0], torch.Size([samples])
        for prior, posterior in zip(self.priors, self.posteriors, strict=True):
            q = posterior(_under(above, given))
            z, log_q = _draw(q, repeat)
            levels.append(Level(q, prior(_under(above, context)), z, log_q))
            above, repeat = z, torch.Size()
        return levels

    def model(self, context: Tensor) -> Tensor:
        """The prior as Pyro's sites ``z_T`` … ``z_1``, inside a plate of events; it gives z₁."""
        z = context[..., :0]
        for t, prior in zip(range(self.levels, 0, -1), self.priors, strict=True):
            z = pyro.sample(f"z_{t}", prior(_under(z, context)))
        return z

    def guide(self, u: Tensor, context: Tensor) -> Tensor:
        """The posterior as the same sites."""
        given, z = torch.cat([u, context], dim=-1), u[..., :0]
        for t, posterior in zip(range(self.levels, 0, -1), self.posteriors, strict=True):
            z = pyro.sample(f"z_{t}", posterior(_under(z, given)))
        return z


def _under(above: Tensor, given: Tensor) -> Tensor:
    """The condition of a level: the one above it, ``(K, B, Z)``, and what all levels see."""
    if not above.shape[-1]:
        return given
    return torch.cat([above, given.expand(*above.shape[:-1], given.shape[-1])], dim=-1)


def _draw(q: Distribution, repeat: torch.Size) -> tuple[Tensor, Tensor]:
    if hasattr(q, "rsample_and_log_prob"):
        pair: tuple[Tensor, Tensor] = q.rsample_and_log_prob(repeat)
        return pair
    z = q.rsample(repeat)
    return z, q.log_prob(z)
