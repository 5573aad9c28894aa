"""What a network predicts of x_t = α x₀ + σ ε: x₀, the noise ε, the score, or the velocity v.

All are views of v = α ε − σ x₀ (Salimans and Ho, arXiv:2202.00512, App. D): with α = cos φ and
σ = sin φ, (x, v) are (x₀, ε) turned by φ, so that x₀ = α x − σ v and ε = σ x + α v without a
division. For x₀ ~ N(0, 1) the expectation of v is 0, and ‖v‖ does not depend on γ: a network
that predicts v is the preconditioned network of Karras et al. (arXiv:2206.00364, Table 1) at
σ_data = 1.

The velocity is also dx/dφ along the probability flow: see
:mod:`hepgen.surrogates.diffusion.probability_flow`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from hepgen.surrogates.diffusion.log_snr import alpha_sigma

Velocity = Callable[[Tensor, Tensor], Tensor]
"""Points x ``(B, d)`` and γ ``(B,)`` to the expected velocity ``(B, d)``."""

PREDICTIONS = ("v", "noise", "x0", "score")


def velocity(kind: str, output: Any, x: Any, gamma: Tensor) -> Any:
    """v from an output of the given kind at the points x; inverts :func:`view`.

    Both may be :class:`hepgen.nn.dual.Dual`, and v is one then.
    """
    alpha, sigma = alpha_sigma(gamma)
    match kind:
        case "x0":
            return (alpha * x - output) * (1 / sigma)
        case "noise":
            return (output - sigma * x) * (1 / alpha)
        case "score":
            return -sigma / alpha * (output + x)
        case _:
            return output


def view(kind: str, v: Tensor, x: Tensor, gamma: Tensor) -> Tensor:
    """v as a prediction of the given kind; the score is ∇ₓ ln p_t = −ε/σ."""
    alpha, sigma = alpha_sigma(gamma)
    match kind:
        case "x0":
            return alpha * x - sigma * v
        case "noise":
            return sigma * x + alpha * v
        case "score":
            return -x - alpha / sigma * v
        case _:
            return v


def convert(source: str, target: str, output: Tensor, x: Tensor, gamma: Tensor) -> Tensor:
    """An output of one kind as one of another.

    >>> import torch
    >>> x, gamma = torch.tensor([[2.0]]), torch.zeros(1)
    >>> round(convert("x0", "noise", torch.tensor([[1.0]]), x, gamma).item(), 4)
    1.8284
    """
    v: Tensor = velocity(source, output, x, gamma)
    return view(target, v, x, gamma)


def flow_matching_velocity(v: Tensor, x: Tensor, gamma: Tensor) -> Tensor:
    """x₀ − ε, the velocity of the path τ x₀ + (1 − τ) ε (Lipman et al., arXiv:2210.02747)."""
    return view("x0", v, x, gamma) - view("noise", v, x, gamma)
