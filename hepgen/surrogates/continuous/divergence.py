"""tr ∂f/∂x of a field f over ℝᵈ: exactly, or by Hutchinson's estimator.

Exact: d derivatives in forward mode, all at once. Hutchinson: E[εᵀ(∂f/∂x)ε] for any ε of unit
covariance (Commun. Stat. Simul. Comput. 18 (1989) 1059); of all of them Rademacher's ±1 has the
least variance, 2 Σ_{i≠j} J̄ᵢⱼ² with J̄ the symmetric part, none at all for a diagonal J. The
probes are arguments: within a solve they stay fixed, or the solver would see noise in t
(Grathwohl et al., arXiv:1810.01367).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp, vmap

Map = Callable[[Tensor], Tensor]


def exact(f: Map, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x), shape ``(B, d)``, and its divergence, shape ``(B, 1)``.

    >>> matrix = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> exact(lambda x: x @ matrix.T, torch.zeros(1, 2))[1]
    tensor([[5.]])
    """
    basis = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)[:, None].expand(-1, *x.shape)
    value, columns = along(f, x, basis)
    return value, columns.diagonal(dim1=0, dim2=2).sum(-1, keepdim=True)


def hutchinson(f: Map, x: Tensor, probes: Tensor) -> tuple[Tensor, Tensor]:
    """f(x), shape ``(B, d)``, and an estimate from each of K probes, shape ``(B, K)``.

    Arguments:
        f: The field.
        x: Shape ``(B, d)``.
        probes: Shape ``(K, B, d)``.
    """
    value, products = along(f, x, probes)
    return value, (products * probes).sum(-1).mT


def rademacher(probes: int, like: Tensor) -> Tensor:
    """±1, shape ``(K, *like.shape)``, from torch's global generator."""
    return torch.randint(0, 2, (probes, *like.shape), device=like.device).to(like) * 2 - 1


def along(f: Map, x: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """f(x), shape ``(B, d)``, and its derivatives along K directions, shape ``(K, B, d)``."""

    def derivative(direction: Tensor) -> tuple[Tensor, Tensor]:
        value, tangent = jvp(f, (x,), (direction,))[:2]
        return value, tangent

    value, derivatives = vmap(derivative, out_dims=(None, 0))(directions)  # type: ignore[arg-type]
    return value, derivatives
