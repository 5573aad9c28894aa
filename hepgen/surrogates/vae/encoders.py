"""Distributions of a latent that are functions of a condition h: posteriors and priors.

As amortised posterior q(z | u, c) the condition is (u, c); as prior p(z | c) it is c.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import zuko
from pyro.distributions import MultivariateNormal, Normal, TorchDistribution
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from hepgen.errors import SurrogateError, nearest
from hepgen.surrogates.vae.networks import SkipMLP, positive


class Encoder(nn.Module, ABC):
    """A distribution over z ∈ ℝ^Z for each condition h ∈ ℝ^H.

    Arguments:
        latent: Z.
        condition: H.
        hidden: The widths of its network.
    """

    def __init__(self, latent: int, condition: int, hidden: Sequence[int]) -> None:  # noqa: ARG002
        super().__init__()
        self.latent = latent

    @abstractmethod
    def forward(self, condition: Tensor) -> Distribution:
        """The distribution, batch shape ``(*,)``, for h of shape ``(*, H)``."""

    @abstractmethod
    def transport(self, noise: Tensor, condition: Tensor) -> Tensor:
        """z, shape ``(*, Z)``, as a function of standard normal noise, shape ``(*, Z)``."""


class Standard(Encoder):
    """N(0, 1), whatever the condition.

    >>> Standard(2, 1, ())(torch.zeros(5, 1)).batch_shape
    torch.Size([5])
    """

    def forward(self, condition: Tensor) -> Distribution:
        """N(0, 1) for each condition."""
        zero = condition.new_zeros((*condition.shape[:-1], self.latent))
        normal: Distribution = Normal(zero, torch.ones_like(zero), validate_args=False).to_event(1)
        return normal

    def transport(self, noise: Tensor, condition: Tensor) -> Tensor:  # noqa: ARG002
        """The noise itself."""
        return noise


class Diagonal(Encoder):
    """N(m(h), diag s²(h)) (Kingma and Welling, arXiv:1312.6114)."""

    def __init__(self, latent: int, condition: int, hidden: Sequence[int]) -> None:
        super().__init__(latent, condition, hidden)
        self.network = SkipMLP(condition, 2 * latent, hidden)

    def forward(self, condition: Tensor) -> Distribution:
        """The normal distribution at each h."""
        normal: Distribution = Normal(*self.moments(condition), validate_args=False).to_event(1)
        return normal

    def transport(self, noise: Tensor, condition: Tensor) -> Tensor:
        """m + s·noise."""
        mean, scale = self.moments(condition)
        return mean + scale * noise

    def moments(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """m and s, shape ``(*, Z)`` each."""
        mean, log_scale = self.network(condition).chunk(2, dim=-1)
        return mean, positive(log_scale)


class FullCovariance(Encoder):
    """N(m(h), L(h)Lᵀ(h)) with L lower triangular: latents may be correlated given u."""

    def __init__(self, latent: int, condition: int, hidden: Sequence[int]) -> None:
        super().__init__(latent, condition, hidden)
        self.rows, self.columns = torch.tril_indices(latent, latent, -1)
        self.network = SkipMLP(condition, 2 * latent + len(self.rows), hidden)

    def forward(self, condition: Tensor) -> Distribution:
        """The normal distribution at each h."""
        mean, factor = self.moments(condition)
        normal: Distribution = MultivariateNormal(mean, scale_tril=factor, validate_args=False)
        return normal

    def transport(self, noise: Tensor, condition: Tensor) -> Tensor:
        """m + L·noise."""
        mean, factor = self.moments(condition)
        return mean + (factor @ noise[..., None])[..., 0]

    def moments(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """m, shape ``(*, Z)``, and L, shape ``(*, Z, Z)``."""
        output, z = self.network(condition), self.latent
        factor = torch.diag_embed(positive(output[..., z : 2 * z]))
        factor[..., self.rows, self.columns] = output[..., 2 * z :]
        return output[..., :z], factor


class FlowEncoder(Encoder):
    """z = m(h) + s(h)·f(ε; h), with f a coupling flow of rational-quadratic splines.

    Normalizing flows as posteriors: Rezende and Mohamed, arXiv:1505.05770; the splines: Durkan
    et al., arXiv:1906.04032. As a prior p(z | c) it is what lets the aggregate posterior have any
    shape (Chen et al., arXiv:1611.02731).
    """

    def __init__(self, latent: int, condition: int, hidden: Sequence[int]) -> None:
        super().__init__(latent, condition, hidden)
        self.affine = Diagonal(latent, condition, hidden)
        self.flow = zuko.flows.NSF(
            latent, condition, bins=8, transforms=2 if latent == 1 else 3,
            passes=min(2, latent), hidden_features=tuple(hidden),
        )  # fmt: skip

    def forward(self, condition: Tensor) -> Distribution:
        """The distribution at each h."""
        return ScaledFlow(self.flow(condition), *self.affine.moments(condition))

    def transport(self, noise: Tensor, condition: Tensor) -> Tensor:
        """m + s·f(noise)."""
        mean, scale = self.affine.moments(condition)
        z: Tensor = mean + scale * self.flow(condition).transform.inv(noise)
        return z


class ScaledFlow(TorchDistribution):  # type: ignore[misc]
    """z = loc + scale·y with y of a flow's distribution; event shape ``(Z,)``."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own type)
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, flow: Any, loc: Tensor, scale: Tensor) -> None:
        self.flow, self.loc, self.scale = flow, loc, scale
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws, shape ``(*sample_shape, *, Z)``, differentiable."""
        return self.rsample_and_log_prob(sample_shape)[0]

    def rsample_and_log_prob(self, sample_shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """Draws and their log-density, ``(*sample_shape, *)``, without inverting the flow."""
        y, value = self.flow.rsample_and_log_prob(torch.Size(sample_shape))
        return self.loc + self.scale * y, value - self.scale.log().sum(-1)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), shape ``(*,)``."""
        value: Tensor = self.flow.log_prob((z - self.loc) / self.scale)
        return value - self.scale.log().sum(-1)


ENCODERS: dict[str, type[Encoder]] = {
    "standard": Standard,
    "diagonal": Diagonal,
    "full": FullCovariance,
    "flow": FlowEncoder,
}


def encoder(kind: str, latent: int, condition: int, hidden: Sequence[int]) -> Encoder:
    """The encoder that is called ``kind``.

    >>> encoder("ful", 1, 1, ())
    Traceback (most recent call last):
    hepgen.errors.SurrogateError: no distribution 'ful' of latents; did you mean 'full'?
    """
    try:
        return ENCODERS[kind](latent, condition, hidden)
    except KeyError:
        hint = nearest(kind, list(ENCODERS))
        raise SurrogateError(f"no distribution {kind!r} of latents; {hint}") from None
