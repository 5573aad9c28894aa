"""The variational bound on −ln p(x₀), term by term, in nats.

With T + 1 noise levels γ_0 < … < γ_T (Ho et al., arXiv:2006.11239, Eq. 5; the levels are those
of x_1 … x_{T+1} there):

    −ln p(x₀) ≤ reconstruction + Σ_t KL[q(x_s | x_t, x₀) ‖ p(x_s | x_t)] + KL[q(x_T | x₀) ‖ N(0, 1)]

and, for T → ∞, with the sum as ½ ∫ γ'(t) E‖ε − ε̂‖² dt (Kingma et al., arXiv:2107.00630, Eq. 17),
which depends on the schedule only through γ(0) and γ(1). Times may therefore be drawn at any
schedule's pace: its γ' is the importance weight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import softplus

from hepgen.surrogates.diffusion.log_snr import LogSNR, alpha_sigma
from hepgen.surrogates.diffusion.prediction import Velocity, view
from hepgen.surrogates.diffusion.process import (
    LogVariance,
    diffuse,
    interpolated,
    log_beta,
    log_posterior_variance,
)

_LOG_2PI = math.log(2 * math.pi)
_MIN_SNR = 5.0


@dataclass(frozen=True)
class Bound:
    """The terms of the bound on −ln p(x₀), in nats.

    Arguments:
        reconstruction: L₀, shape ``(B,)``.
        steps: L_{t−1} of each step, least noise first, shape ``(B, T)``; for continuous time,
            one column, their integral.
        prior: L_T, shape ``(B,)``.
    """

    reconstruction: Tensor
    steps: Tensor
    prior: Tensor

    @property
    def total(self) -> Tensor:
        """The sum, shape ``(B,)``."""
        return self.reconstruction + self.steps.sum(-1) + self.prior

    def bits_per_dimension(self, features: int) -> Tensor:
        """The sum in bits for each of d features."""
        return self.total / (features * math.log(2))


def prior(x0: Tensor, gamma: Tensor) -> Tensor:
    """L_T = KL[N(α x₀, σ²) ‖ N(0, 1)] = ½ Σ(α² x₀² − α² − ln σ²), shape ``(B,)``."""
    alpha, _ = alpha_sigma(gamma)
    return 0.5 * (alpha**2 * (x0**2 - 1) + softplus(-gamma)[:, None]).sum(-1)


def gaussian(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """−ln N(x; mean, σ²), shape ``(B,)``."""
    scaled = (x - mean) ** 2 * torch.exp(-log_variance)
    return 0.5 * (scaled + log_variance + _LOG_2PI).sum(-1)


def channel(x0: Tensor, noise: Tensor, gamma: Tensor) -> Tensor:
    """L₀ of the decoder N(x_t/α, e^γ), which inverts the channel and needs no network."""
    log_variance = gamma[:, None]
    return gaussian(x0, x0 + noise * torch.exp(log_variance / 2), log_variance)


def step(x0: Tensor, predicted: Tensor, log_variance: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """L_{t−1} = ½ Σ[β̃/σ² − 1 − ln(β̃/σ²) + (μ̃ − μ)²/σ²], shape ``(B,)``.

    μ̃ − μ = α_s (β/σ_t²) (x₀ − x̂₀), with x̂₀ ``predicted``.
    """
    alpha_s, _ = alpha_sigma(s)
    _, sigma_t = alpha_sigma(t)
    shift = alpha_s * log_beta(s, t).exp() / sigma_t**2 * (x0 - predicted)
    log_ratio = log_posterior_variance(s, t) - log_variance
    squares = shift**2 * torch.exp(-log_variance)
    return 0.5 * (torch.expm1(log_ratio) - log_ratio + squares).sum(-1)


def discrete(
    velocity: Velocity, x0: Tensor, noise: Tensor, levels: Tensor, log_variance: LogVariance
) -> Bound:
    """All terms with the levels γ_0 < … < γ_T, shape ``(T + 1,)``.

    L₀ = −ln N(x₀; x̂₀(x_{γ₀}), σ²) is the step back to no noise at all. One ε, shape ``(B, d)``,
    serves every term: each has the right mean.
    """
    rows = [level.to(x0).expand(len(x0)) for level in levels]
    nothing = torch.full_like(rows[0], -torch.inf)
    x = diffuse(x0, noise, rows[0])
    decoded = view("x0", velocity(x, rows[0]), x, rows[0])
    first = gaussian(x0, decoded, log_variance(x, nothing, rows[0]))
    terms = []
    for s, t in pairwise(rows):
        x = diffuse(x0, noise, t)
        predicted = view("x0", velocity(x, t), x, t)
        terms.append(step(x0, predicted, log_variance(x, s, t), s, t))
    return Bound(first, torch.stack(terms, -1), prior(x0, rows[-1]))


def continuous(velocity: Velocity, x0: Tensor, noise: Tensor, t: Tensor, schedule: LogSNR) -> Bound:
    """The terms for T → ∞, with the integral from one time t ~ U(0, 1) an event, ``(B,)``."""
    gamma, rate = schedule.rate(t)
    low, high = (schedule(torch.full_like(t, end)) for end in (0.0, 1.0))
    squares = velocity_error(velocity, x0, noise, gamma)
    integral = 0.5 * rate * torch.sigmoid(-gamma) * squares
    return Bound(channel(x0, noise, low), integral[:, None], prior(x0, high))


def velocity_error(velocity: Velocity, x0: Tensor, noise: Tensor, gamma: Tensor) -> Tensor:
    """‖v − v̂‖², shape ``(B,)``; ‖ε − ε̂‖² is α², and ‖x₀ − x̂₀‖² is σ² times that."""
    alpha, sigma = alpha_sigma(gamma)
    v = velocity(alpha * x0 + sigma * noise, gamma)
    return (alpha * noise - sigma * x0 - v).square().sum(-1)


def weight(kind: str, gamma: Tensor) -> Tensor:
    """The weight of ‖v − v̂‖² in a loss that is not the bound, shape ``(B,)``.

    ``velocity``: 1; ``simple``: that of ‖ε − ε̂‖² (arXiv:2006.11239, Eq. 14); ``min-snr``:
    min(SNR, 5) times that of ‖x₀ − x̂₀‖² (Hang et al., arXiv:2303.09556).
    """
    match kind:
        case "simple":
            return torch.sigmoid(-gamma)
        case "min-snr":
            return torch.sigmoid(gamma) * torch.exp(-gamma).clamp(max=_MIN_SNR)
        case _:
            return torch.ones_like(gamma)


def stratified(n: int, like: Tensor) -> Tensor:
    """n times in [0, 1), equally spaced from a random start (arXiv:2107.00630, App. I.1).

    In an order that is random, too, so that neighbours in a batch are strangers.
    """
    start = torch.rand((), device=like.device)
    times = (start + torch.randperm(n, device=like.device) / n) % 1
    return times.to(like.dtype)


def learned_variance(
    fraction: Tensor, x0: Tensor, predicted: Tensor, s: Tensor, t: Tensor
) -> Tensor:
    """L_{t−1} as a loss of the variance alone: x̂₀ is held (arXiv:2102.09672, Sec. 3.1)."""
    return step(x0, predicted.detach(), interpolated(fraction, s, t), s, t)
