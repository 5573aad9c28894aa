"""log p(x₀) along the probability-flow ODE, whose marginals are those of the diffusion.

In γ the flow is dx/dγ = ½ α σ v, that is dx/dφ = v in the angle φ with α = cos φ and σ = sin φ.
The density changes by the divergence (Song et al., arXiv:2011.13456, Eq. 39):

    ln p(x₀) = ln N(x_T; 0, 1) + ∫ ½ α σ ∇·v dγ + d ln α(γ₀),

the last term because the flow starts at x = α(γ₀) x₀. The divergence is exact, by dual numbers or
as the sum over the d unit vectors e of eᵀ(∂v/∂x)e, or an average over Rademacher vectors e that
stay the same along the flow (Hutchinson; Grathwohl et al., arXiv:1810.01367), each with its own
integral, so that their scatter gives the standard error.

The rule is Runge–Kutta of fourth order in the time of a schedule, with a fixed number of steps.
The same with half as many differs by 15 times the error of the first, to leading order: that much
is added (Richardson), and is what is stated as the error, which then mostly is smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.errors import SurrogateError
from hepgen.nn.dual import divergence
from hepgen.nn.rk4 import rk4
from hepgen.surrogates.diffusion.log_snr import LogSNR, alpha_sigma
from hepgen.surrogates.diffusion.prediction import Velocity

_LOG_2PI = math.log(2 * math.pi)


def unit_vectors(like: Tensor) -> Tensor:
    """The d unit vectors for points of shape ``(B, d)``: ``(d, B, d)``."""
    features = like.shape[-1]
    eye = torch.eye(features, dtype=like.dtype, device=like.device)
    return eye[:, None, :].repeat(1, len(like), 1)


def rademacher(probes: int, like: Tensor) -> Tensor:
    """Random signs, shape ``(probes, B, d)``, from torch's global generator."""
    if probes < 2:
        raise SurrogateError(f"{probes} probes of the trace: expected two at least, for an error")
    signs = torch.randint(0, 2, (probes, *like.shape), device=like.device)
    return (2 * signs - 1).to(like.dtype)


def quadratic_forms(
    velocity: Velocity, x: Tensor, gamma: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor]:
    """v ``(B, d)``, and eᵀ(∂v/∂x)e ``(K, B)`` for directions e of shape ``(K, B, d)``."""

    def along(e: Tensor) -> tuple[Tensor, Tensor]:
        outputs = torch.func.jvp(lambda y: velocity(y, gamma), (x,), (e,))
        v, change = outputs[0], outputs[1]
        return v, (e * change).sum(-1)

    v, forms = torch.func.vmap(along, out_dims=(None, 0))(directions)  # type: ignore[arg-type]
    return v, forms


@dataclass(frozen=True)
class Slope:
    """v along the flow, and its divergence in parts.

    Arguments:
        at: Points ``(B, d)`` and γ ``(B,)`` to v ``(B, d)`` and the parts ``(K, B)``.
        parts: K.
        exact: Whether the parts add up to the divergence, or each is an estimate of it.
    """

    at: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    parts: int
    exact: bool


def along(velocity: Velocity, directions: Tensor, *, exact: bool) -> Slope:
    """By quadratic forms of directions from :func:`unit_vectors`, or from :func:`rademacher`."""
    return Slope(
        lambda x, gamma: quadratic_forms(velocity, x, gamma, directions), len(directions), exact
    )


def by_dual_numbers(velocity: Velocity) -> Slope:
    """By plain tensor operations, which a graph can hold, of the networks that allow it."""

    def at(x: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
        v, trace = divergence(lambda y: velocity(y, gamma), x)
        return v, trace.mT

    return Slope(at, 1, exact=True)


def log_prob(slope: Slope, x0: Tensor, schedule: LogSNR, steps: int) -> tuple[Tensor, Tensor]:
    """ln p(x₀) and its error, both ``(B,)`` and float64.

    Arguments:
        slope: Of the diffusion.
        x0: Events, shape ``(B, d)``.
        schedule: In whose time the steps are equal.
        steps: An even number.
    """
    if steps < 2 or steps % 2:
        raise SurrogateError(f"{steps} steps of the likelihood: expected an even number")
    normal, forms = _integrated(slope, x0, schedule, steps)
    rough_normal, rough_forms = _integrated(slope, x0, schedule, steps // 2)
    value, rough = (
        total + (each.sum(0) if slope.exact else each.mean(0))
        for total, each in ((normal, forms), (rough_normal, rough_forms))
    )
    correction = (value - rough) / 15
    error = correction.detach().abs()
    if not slope.exact:
        error = torch.hypot(error, forms.detach().std(0) / math.sqrt(slope.parts))
    return value + correction, error


def _integrated(slope: Slope, x0: Tensor, schedule: LogSNR, steps: int) -> tuple[Tensor, Tensor]:
    """ln N(x_T) + d ln α(γ₀), ``(B,)``, and the integral of each part, ``(K, B)``."""
    times = torch.linspace(0, 1, 2 * steps + 1, dtype=torch.float64)
    gammas, rates = (row.to(x0) for row in schedule.rate(times))
    alphas, sigmas = alpha_sigma(gammas)
    speeds = 0.5 * alphas[:, 0] * sigmas[:, 0] * rates

    def at(x: Tensor, node: Tensor) -> tuple[Tensor, Tensor]:
        gamma, speed = node.to(x)
        v, forms = slope.at(x, gamma.expand(x.shape[0]))
        return speed * v, speed * forms

    nodes = torch.stack([gammas, speeds], -1).double()
    x, integral = rk4(at, alphas[0] * x0, slope.parts, nodes, 1 / steps)
    normal = -0.5 * (x.double() ** 2 + _LOG_2PI).sum(-1)
    return normal + x0.shape[-1] * alphas[0].double().log(), integral
