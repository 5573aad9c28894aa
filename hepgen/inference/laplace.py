"""Modes and Gaussian approximations of many log-densities at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LogDensity = Callable[[Tensor], Tensor]
"""B log-densities at K points each: ``(B, K, D)`` to ``(B, K)``."""

_LONGEST_STEP = 3.0
_SMALLEST_CURVATURE = 1e-3


@dataclass(frozen=True)
class Laplace:
    """The Gaussian with the mode and the curvature of a log-density, for each of B.

    Arguments:
        mode: Shape ``(B, D)``.
        scale_tril: L with covariance LLᵀ = −H⁻¹, shape ``(B, D, D)``.
        log_density: At the mode, shape ``(B,)``.
        converged: Whether the last Newton step was below 0.01 standard deviations, ``(B,)``.
    """

    mode: Tensor
    scale_tril: Tensor
    log_density: Tensor
    converged: Tensor

    @property
    def log_volume(self) -> Tensor:
        """log √((2π)ᴰ |covariance|), shape ``(B,)``."""
        d = self.mode.shape[-1]
        log_det = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return 0.5 * d * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64)) + log_det


def laplace(log_density: LogDensity, start: Tensor, steps: int = 30) -> Laplace:
    """Newton's method with a line search, from ``start``, shape ``(B, D)``.

    A direction of negative curvature is walked as if it were positive (the absolute
    eigenvalues of Nocedal and Wright, Numerical Optimization, section 3.4), and all step
    lengths of a line search are tried in one call.
    """
    u = start.detach()
    lengths = torch.tensor([1.0, 0.5, 0.25, 0.1, 0.02, 0.0], dtype=u.dtype)
    for _ in range(steps):
        gradient, values, vectors = _curvature(log_density, u)
        along = (vectors.mT @ gradient[..., None]).squeeze(-1)
        size = (along.square() / values).sum(-1).sqrt()
        step = (vectors @ (along / values)[..., None]).squeeze(-1)
        step = step * (_LONGEST_STEP / step.norm(dim=-1, keepdim=True)).clamp(max=1.0)
        trial = u[:, None] + lengths[:, None] * step[:, None]
        with torch.no_grad():
            height = log_density(trial).nan_to_num(nan=-torch.inf)
        u = trial[torch.arange(len(u)), height.argmax(-1)]
        if bool((size < 0.01).all()):
            break
    _, values, vectors = _curvature(log_density, u)
    covariance = (vectors / values[:, None, :]) @ vectors.mT
    with torch.no_grad():
        top = log_density(u[:, None])[:, 0]
    return Laplace(u, torch.linalg.cholesky(covariance), top, size < 0.1)


def _curvature(log_density: LogDensity, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient, shape ``(B, D)``, and the eigensystem of −H, made positive."""
    gradient, hessian = derivatives(log_density, u)
    values, vectors = torch.linalg.eigh(-hessian)
    return gradient, values.abs().clamp(min=_SMALLEST_CURVATURE), vectors


def derivatives(log_density: LogDensity, u: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient, shape ``(B, D)``, and the Hessian, shape ``(B, D, D)``."""
    with torch.enable_grad():
        u = u.detach().requires_grad_(True)
        total = log_density(u[:, None]).sum()
        (gradient,) = torch.autograd.grad(total, u, create_graph=True)
        rows = [
            torch.autograd.grad(gradient[:, i].sum(), u, retain_graph=True)[0]
            for i in range(u.shape[-1])
        ]
    hessian = torch.stack(rows, dim=-2)
    return gradient.detach(), 0.5 * (hessian + hessian.mT)
