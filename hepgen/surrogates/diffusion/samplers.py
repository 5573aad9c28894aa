"""From noise to events: loops with a fixed number of steps down the noise levels γ₁ … γ₀.

Each takes a velocity, standard normal numbers of shape ``(B, draws, d)`` and the levels, falling,
and returns x̂₀ at the last, so that n levels cost n evaluations (2n − 1 for Heun and the
predictor–corrector). Nothing depends on the values, so that every loop can be unrolled into a
graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from hepgen.surrogates.diffusion.log_snr import alpha_sigma
from hepgen.surrogates.diffusion.prediction import Velocity, view
from hepgen.surrogates.diffusion.process import (
    LogVariance,
    fixed,
    log_posterior_variance,
    posterior_mean,
)

_CORRECTION = 0.16
"""The corrector's signal-to-noise ratio r (Song et al., arXiv:2011.13456, App. G)."""


def ancestral(
    velocity: Velocity, noise: Tensor, levels: Tensor, log_variance: LogVariance
) -> Tensor:
    """x_s ~ N(μ̃(x_t, x̂₀), σ²) (Ho et al., arXiv:2006.11239, Algorithm 2)."""
    x = noise[:, 0]
    for i, (t, s) in enumerate(pairwise(_rows(levels, x)), start=1):
        x0 = view("x0", velocity(x, t), x, t)
        deviation = torch.exp(0.5 * log_variance(x, s, t))
        x = posterior_mean(x, x0, s, t) + deviation * noise[:, i]
    return denoised(velocity, x, levels)


def ddim(velocity: Velocity, noise: Tensor, levels: Tensor, eta: float = 0.0) -> Tensor:
    """x_s = α_s x̂₀ + √(σ_s² − η²β̃) ε̂ + η √β̃ z (Song et al., arXiv:2010.02502, Eq. 12).

    η = 1 is :func:`ancestral` with β̃; η = 0 uses no noise but the first.
    """
    x = noise[:, 0]
    for i, (t, s) in enumerate(pairwise(_rows(levels, x)), start=1):
        v = velocity(x, t)
        alpha, sigma = alpha_sigma(s)
        fresh = eta**2 * log_posterior_variance(s, t).exp()
        x0, direction = view("x0", v, x, t), view("noise", v, x, t)
        x = alpha * x0 + (sigma**2 - fresh).clamp(min=0).sqrt() * direction
        x = x + fresh.sqrt() * noise[:, i] if eta else x
    return denoised(velocity, x, levels)


def reverse_sde(velocity: Velocity, noise: Tensor, levels: Tensor) -> Tensor:
    """Euler–Maruyama on the reverse VP-SDE (Song et al., arXiv:2011.13456, Eq. 6).

    In γ it reads dx = −σ²(½x + ∇ln p) dγ + σ dw, with γ falling.
    """
    x = noise[:, 0]
    for i, (t, s) in enumerate(pairwise(_rows(levels, x)), start=1):
        x = _euler_maruyama(velocity, x, noise[:, i], s, t)
    return denoised(velocity, x, levels)


def predictor_corrector(velocity: Velocity, noise: Tensor, levels: Tensor) -> Tensor:
    """Each step of :func:`reverse_sde`, then one of Langevin at the new level.

    x ← x + δ ∇ln p + √(2δ) z with δ = 2 r²σ² (arXiv:2011.13456, Algorithm 5, with the norms
    of noise and score replaced by their expectations, so that events stay independent).
    """
    x = noise[:, 0]
    for i, (t, s) in enumerate(pairwise(_rows(levels, x))):
        x = _euler_maruyama(velocity, x, noise[:, 2 * i + 1], s, t)
        _, sigma = alpha_sigma(s)
        drift = _CORRECTION * view("noise", velocity(x, s), x, s)
        x = x + 2 * _CORRECTION * sigma * (noise[:, 2 * i + 2] - drift)
    return denoised(velocity, x, levels)


def heun(velocity: Velocity, noise: Tensor, levels: Tensor) -> Tensor:
    """Heun's rule, of second order, on the probability flow dx/dφ = v with φ = arctan e^{γ/2}."""
    return denoised(velocity, flow(velocity, noise[:, 0], levels), levels)


def flow(velocity: Velocity, x: Tensor, levels: Tensor) -> Tensor:
    """x at the last level, from x at the first, along the probability flow."""
    for t, s in pairwise(_rows(levels, x)):
        turn = (torch.atan(torch.exp(s / 2)) - torch.atan(torch.exp(t / 2)))[:, None]
        v = velocity(x, t)
        x = x + 0.5 * turn * (v + velocity(x + turn * v, s))
    return x


def dpm(velocity: Velocity, noise: Tensor, levels: Tensor) -> Tensor:
    """DPM-Solver++(2M): second order from the step before (Lu et al., arXiv:2211.01095, Alg. 2).

    In λ = −γ/2 = ln(α/σ), with h its step: x_s = (σ_s/σ_t) x_t − α_s expm1(−h) x̂₀, where x̂₀
    is extrapolated by half a step.
    """
    x = noise[:, 0]
    rows = _rows(levels, x)
    before: Tensor | None = None
    last_h = torch.ones(1)
    for t, s in pairwise(rows):
        alpha, sigma = alpha_sigma(s)
        h = 0.5 * (t - s)[:, None]
        x0 = view("x0", velocity(x, t), x, t)
        ahead = x0 if before is None else x0 + 0.5 * h / last_h * (x0 - before)
        x = sigma / alpha_sigma(t)[1] * x - alpha * torch.expm1(-h) * ahead
        before, last_h = x0, h
    return denoised(velocity, x, levels)


@dataclass(frozen=True)
class Sampler:
    """A loop, and how many standard normal vectors it takes for n levels."""

    run: Callable[[Velocity, Tensor, Tensor], Tensor]
    draws: Callable[[int], int]


SAMPLERS = {
    "dpm": Sampler(dpm, lambda _: 1),
    "heun": Sampler(heun, lambda _: 1),
    "ddim": Sampler(ddim, lambda _: 1),
    "ancestral": Sampler(partial(ancestral, log_variance=fixed("posterior")), lambda n: n),
    "reverse-sde": Sampler(reverse_sde, lambda n: n),
    "predictor-corrector": Sampler(predictor_corrector, lambda n: 2 * n - 1),
}


def _rows(levels: Tensor, x: Tensor) -> list[Tensor]:
    return [level.to(x).expand(x.shape[0]) for level in levels.unbind()]


def denoised(velocity: Velocity, x: Tensor, levels: Tensor) -> Tensor:
    """x̂₀ at the last level."""
    gamma = levels[-1].to(x).expand(x.shape[0])
    return view("x0", velocity(x, gamma), x, gamma)


def _euler_maruyama(velocity: Velocity, x: Tensor, z: Tensor, s: Tensor, t: Tensor) -> Tensor:
    _, sigma = alpha_sigma(t)
    width = (t - s)[:, None]
    noise = view("noise", velocity(x, t), x, t)
    return x + width * sigma * (0.5 * sigma * x - noise) + sigma * width.sqrt() * z
