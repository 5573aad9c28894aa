"""The forward process, and one step back of it, between noise levels γ_s < γ_t.

q(x_t | x_0) = N(α_t x_0, σ_t²), and q(x_t | x_s) = N(√(1 − β) x_s, β) with
1 − β = α_t²/α_s². γ_s = −∞ is x_0 itself, without noise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from hepgen.errors import SurrogateError, nearest
from hepgen.surrogates.diffusion.log_snr import alpha_sigma

LogVariance = Callable[[Tensor, Tensor, Tensor], Tensor]
"""x_t ``(B, d)``, γ_s and γ_t ``(B,)`` to ln σ² of the step back, ``(B, d)`` or ``(B, 1)``."""

VARIANCES = ("posterior", "beta", "learned")


def diffuse(x0: Tensor, noise: Tensor, gamma: Tensor) -> Tensor:
    """x_t = α x_0 + σ ε, shape ``(B, d)``."""
    alpha, sigma = alpha_sigma(gamma)
    return alpha * x0 + sigma * noise


def log_beta(s: Tensor, t: Tensor) -> Tensor:
    """ln β of the step from γ_s to γ_t, shape ``(B, 1)``: β = 1 − α_t²/α_s²."""
    return torch.log(-torch.expm1(softplus(s) - softplus(t)))[:, None]


def log_posterior_variance(s: Tensor, t: Tensor) -> Tensor:
    """ln β̃, shape ``(B, 1)``: β̃ = β σ_s²/σ_t², the variance of q(x_s | x_t, x_0)."""
    return log_beta(s, t) + (softplus(-t) - softplus(-s))[:, None]


def posterior_mean(x_t: Tensor, x0: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """The mean of q(x_s | x_t, x_0): (σ_s²/σ_t²) √(1 − β) x_t + (β/σ_t²) α_s x_0.

    Ho et al., arXiv:2006.11239, Eq. 7.
    """
    alpha_s, sigma_s = alpha_sigma(s)
    alpha_t, sigma_t = alpha_sigma(t)
    beta = log_beta(s, t).exp()
    return (sigma_s**2 * alpha_t / alpha_s * x_t + beta * alpha_s * x0) / sigma_t**2


def interpolated(fraction: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """ln σ² = w ln β + (1 − w) ln β̃ (Nichol and Dhariwal, arXiv:2102.09672, Eq. 15).

    The step to γ_s = −∞, where β̃ = 0, takes β.
    """
    upper, lower = log_beta(s, t), log_posterior_variance(s, t)
    lower = torch.where(torch.isfinite(lower), lower, upper)
    return fraction * upper + (1 - fraction) * lower


def fixed(kind: str) -> LogVariance:
    """``beta``: that of N(0, 1) events; ``posterior``: that of events at a point."""
    if kind not in VARIANCES[:2]:
        raise SurrogateError(f"no fixed variance {kind!r}; {nearest(kind, VARIANCES[:2])}")
    weight = torch.tensor(float(kind == "beta"))
    return lambda _, s, t: interpolated(weight.to(s), s, t)
