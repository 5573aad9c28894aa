"""γ(t), the one description of a diffusion: the negative log of its signal-to-noise ratio.

A diffused event is x_t = α x_0 + σ ε with α² = sigmoid(−γ), σ² = sigmoid(γ), so that α² + σ² = 1
and α²/σ² = e^{−γ} (Kingma et al., arXiv:2107.00630, Eq. 3). γ rises with the time t ∈ [0, 1].

Every schedule runs from γ₀ to γ₁ at a constant rate *of its own clock*, a function k of γ:

    γ(t) = k⁻¹[(1 − t) k(γ₀) + t k(γ₁)]

- ``linear``: k = γ; linear in the log-SNR (arXiv:2107.00630)
- ``cosine``: k = φ = arctan e^{γ/2}; the angle with α = cos φ, σ = sin φ (arXiv:2102.09672)
- ``linear-beta``: k = β₀k + ½(β₁ − β₀)k² = −ln α²; VP-SDE, β from 0.1 to 20 (arXiv:2011.13456)
- ``edm``: k = (e^{γ/2})^{1/7}; power of the VE noise σ/α (arXiv:2206.00364, Eq. 5)
- ``flow-matching``: k = σ/(α + σ); x = (1 − k) x₀ + k ε up to a factor (arXiv:2210.02747)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from hepgen.errors import SurrogateError, nearest


def alpha_sigma(gamma: Tensor) -> tuple[Tensor, Tensor]:
    """α and σ, as columns ``(B, 1)`` for γ of shape ``(B,)``.

    >>> alpha, sigma = alpha_sigma(torch.tensor([0.0]))
    >>> round((alpha**2 + sigma**2).item(), 6)
    1.0
    """
    column = gamma[:, None]
    return torch.sigmoid(-column).sqrt(), torch.sigmoid(column).sqrt()


@dataclass(frozen=True)
class Clock:
    """A time k(γ) in which a schedule runs at a constant rate, and its inverse."""

    time: Callable[[Tensor], Tensor]
    gamma: Callable[[Tensor], Tensor]


_BETA_MIN, _BETA_RISE, _RHO = 0.1, 19.9, 7.0


def _beta_time(gamma: Tensor) -> Tensor:
    return ((_BETA_MIN**2 + 2 * _BETA_RISE * softplus(gamma)).sqrt() - _BETA_MIN) / _BETA_RISE


def _beta_gamma(k: Tensor) -> Tensor:
    return torch.expm1(_BETA_MIN * k + 0.5 * _BETA_RISE * k**2).log()


CLOCKS = {
    "linear": Clock(lambda gamma: gamma, lambda k: k),
    "cosine": Clock(lambda g: torch.atan(torch.exp(g / 2)), lambda k: 2 * torch.tan(k).log()),
    "linear-beta": Clock(_beta_time, _beta_gamma),
    "edm": Clock(lambda g: torch.exp(g / (2 * _RHO)), lambda k: 2 * _RHO * k.log()),
    "flow-matching": Clock(lambda g: torch.sigmoid(g / 2), lambda k: 2 * torch.logit(k)),
}


class LogSNR(nn.Module):
    """γ(t).

    Arguments:
        clock: One of :data:`CLOCKS`.
        low, high: γ₀ and γ₁.
        learned: Whether the two are trained (arXiv:2107.00630, Sec. 4.1).

    >>> schedule = LogSNR("cosine", -8.0, 8.0)
    >>> schedule(torch.tensor([0.0, 0.5, 1.0])).round(decimals=3).abs().tolist()
    [8.0, 0.0, 8.0]
    """

    def __init__(
        self, clock: str = "linear", low: float = -12.0, high: float = 10.0, learned: bool = False
    ) -> None:
        super().__init__()
        if clock not in CLOCKS:
            raise SurrogateError(f"no schedule {clock!r}; {nearest(clock, list(CLOCKS))}")
        if not low < high:
            raise SurrogateError(f"γ from {low:g} to {high:g}: expected it to rise")
        self.clock = CLOCKS[clock]
        self._start = (low, high)
        self.ends = nn.Parameter(torch.tensor([low, high])) if learned else None

    @property
    def low(self) -> Tensor:
        """γ₀, the least noise."""
        return self._ends()[0]

    @property
    def high(self) -> Tensor:
        """γ₁, the most noise."""
        return self._ends()[1]

    def forward(self, t: Tensor) -> Tensor:
        """γ at times t, of the same shape."""
        first, last = self.clock.time(self._ends()).to(t.dtype)
        return self.clock.gamma(torch.lerp(first, last, t))

    def rate(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """γ and dγ/dt at times t."""
        found: tuple[Tensor, Tensor] = torch.func.jvp(
            lambda times: self(times), (t,), (torch.ones_like(t),)
        )  # type: ignore[assignment]
        return found

    def nodes(self, n: int, like: Tensor) -> Tensor:
        """n values of γ at equal steps of t, falling from γ₁ to γ₀; for n = 1, γ₁ alone."""
        t = torch.linspace(1, 0, n, dtype=torch.float64, device=like.device)
        gamma: Tensor = self(t)
        return gamma.to(like.dtype)

    def _ends(self) -> Tensor:
        if self.ends is not None:
            return self.ends
        return torch.tensor(self._start, dtype=torch.float64)


def ddpm(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """γ₁ … γ_T of T steps with β linear: e^{−γ} = ᾱ/(1 − ᾱ), ᾱ_t = ∏(1 − β) (arXiv:2006.11239).

    >>> alpha_bar = torch.sigmoid(-ddpm())
    >>> round(1 - alpha_bar[0].item(), 6), round(alpha_bar[-1].item(), 8)
    (0.0001, 4.036e-05)
    """
    log_alpha_bar = torch.log1p(-torch.linspace(first, last, steps, dtype=torch.float64)).cumsum(0)
    return torch.log(-torch.expm1(log_alpha_bar)) - log_alpha_bar


def to_variance_exploding(x: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    """The same point as x₀ + ς ε (VE, EDM): x/α ``(B, d)``, and ς = e^{γ/2} ``(B,)``."""
    alpha, _ = alpha_sigma(gamma)
    return x / alpha, torch.exp(gamma / 2)


def from_variance_exploding(y: Tensor, noise_level: Tensor) -> tuple[Tensor, Tensor]:
    """x ``(B, d)`` and γ = 2 ln ς ``(B,)``; inverts :func:`to_variance_exploding`."""
    gamma = 2 * noise_level.log()
    alpha, _ = alpha_sigma(gamma)
    return alpha * y, gamma


def to_flow_matching(x: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    """The same point as τ x₀ + (1 − τ) ε: x/(α + σ) ``(B, d)``, τ = sigmoid(−γ/2) ``(B,)``."""
    alpha, sigma = alpha_sigma(gamma)
    return x / (alpha + sigma), torch.sigmoid(-gamma / 2)


def from_flow_matching(y: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """x ``(B, d)`` and γ = −2 logit τ ``(B,)``; inverts :func:`to_flow_matching`."""
    gamma = -2 * torch.logit(time)
    alpha, sigma = alpha_sigma(gamma)
    return (alpha + sigma) * y, gamma
