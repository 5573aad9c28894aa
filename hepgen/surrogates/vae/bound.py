r"""Lower bounds of log p(u | c) from draws of the latents.

With weights :math:`w_k = p(u | z_k, c)\, p(z_k | c) / q(z_k | u, c)`, z_k drawn from q:

* the evidence lower bound, :math:`E[\log w]`: reconstruction :math:`E_q[\log p(u | z, c)]` minus
  :math:`\mathrm{KL}(q \| p)` (Kingma and Welling, arXiv:1312.6114, eq. 3),
* the importance-weighted bound, :math:`E[\log \frac1K \sum_k w_k]` (Burda, Grosse and
  Salakhutdinov, arXiv:1509.00519, eq. 8), of each event by itself: it does not fall with K and
  tends to log p(u | c).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions import Independent, MultivariateNormal, Normal
from torch import Tensor
from torch.distributions import kl_divergence

from hepgen.surrogates.vae.hierarchical import Level


@dataclass(frozen=True)
class Elbo:
    """The evidence lower bound of B events and its parts, in nats.

    Arguments:
        reconstruction: E_q[log p(u | z, c)], shape ``(B,)``.
        kl: The divergence of each group of latents, shape ``(B, groups)``: of each latent where
            prior and posterior factorise, else of each level.
    """

    reconstruction: Tensor
    kl: Tensor

    @property
    def value(self) -> Tensor:
        """Reconstruction − KL, shape ``(B,)``: below log p(u | c) on average."""
        return self.reconstruction - self.kl.sum(-1)

    def objective(self, beta: float = 1.0, free_bits: float = 0.0) -> Tensor:
        """Reconstruction − β Σ_j max(λ, KL_j), shape ``(B,)``.

        β: Higgins et al., ICLR 2017. λ, in nats a group: a latent that says less than this is not
        pushed to say less still (Kingma et al., arXiv:1606.04934, eq. 15; here event by event,
        so that an event's loss does not depend on its neighbours).
        """
        return self.reconstruction - beta * self.kl.clamp_min(free_bits).sum(-1)


@dataclass(frozen=True)
class ImportanceBound:
    r"""The importance-weighted bound of B events, shape ``(B,)`` each.

    Arguments:
        value: log (1/K) Σ w, in nats.
        error: Its standard error by the delta method, :math:`\sqrt{(1/\mathrm{ESS} - 1/K)K/(K-1)}`;
            infinite for K = 1, which says nothing of it.
        effective: ESS = (Σw)²/Σw² (Kish), K for equal weights.
    """

    value: Tensor
    error: Tensor
    effective: Tensor


def elbo(levels: Sequence[Level], log_likelihood: Tensor) -> Elbo:
    """The bound and its parts; KL in closed form where there is one, else of the same draws.

    Arguments:
        levels: Of the posterior's draws.
        log_likelihood: log p(u | z₁, c), shape ``(K, B)``.
    """
    return Elbo(log_likelihood.mean(0), torch.cat([_kl(level) for level in levels], dim=-1))


def log_weights(levels: Sequence[Level], log_likelihood: Tensor, beta: float = 1.0) -> Tensor:
    """log w, shape ``(K, B)``; arguments as :func:`elbo`, β multiplies log q − log p."""
    ratio = torch.stack([level.log_ratio for level in levels]).sum(0)
    return log_likelihood - beta * ratio


def importance_bound(log_weight: Tensor) -> ImportanceBound:
    """The bound of K weights for each of B events, log w of shape ``(K, B)``.

    >>> bound = importance_bound(torch.tensor([[0.0], [math.log(3.0)]]))
    >>> round(bound.value.exp().item(), 4), round(bound.effective.item(), 4)
    (2.0, 1.6)
    """
    samples, total = len(log_weight), torch.logsumexp(log_weight, 0)
    effective = (2 * total - torch.logsumexp(2 * log_weight, 0)).exp()
    if samples > 1:
        spread = (1 / effective - 1 / samples).clamp_min(0) * samples / (samples - 1)
        error = spread.detach().sqrt()
    else:
        error = torch.full_like(total, torch.inf)
    return ImportanceBound(total - math.log(samples), error, effective)


def closed_form_kl(q: Any, p: Any) -> Tensor | None:
    """KL(q ‖ p), shape ``(*, groups)``, for two normal distributions; else ``None``."""
    if _is_diagonal(q) and _is_diagonal(p):
        each: Tensor = kl_divergence(q.base_dist, p.base_dist)
        return each
    q, p = _with_covariance(q), _with_covariance(p)
    if isinstance(q, MultivariateNormal) and isinstance(p, MultivariateNormal):
        whole: Tensor = kl_divergence(q, p)[..., None]
        return whole
    return None


def _kl(level: Level) -> Tensor:
    """Shape ``(B, groups)``."""
    known = closed_form_kl(level.posterior, level.prior)
    if known is None:
        return level.log_ratio.mean(0)[..., None]
    return known if known.dim() == 2 else known.mean(0)


def _is_diagonal(distribution: Any) -> bool:
    return isinstance(distribution, Independent) and isinstance(distribution.base_dist, Normal)


def _with_covariance(distribution: Any) -> Any:
    if not _is_diagonal(distribution):
        return distribution
    normal = distribution.base_dist
    factor = torch.diag_embed(normal.scale)
    return MultivariateNormal(normal.loc, scale_tril=factor, validate_args=False)
