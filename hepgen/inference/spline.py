"""Natural cubic splines through values that have gradients."""

from __future__ import annotations

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor


def spline(nodes: Tensor, values: Tensor, at: Tensor) -> Tensor:
    """The natural cubic spline through ``values`` at ``nodes``, and straight lines beyond.

    It has two derivatives everywhere, in ``at`` and, being linear in them, in ``values``.

    Arguments:
        nodes: Increasing, equally spaced, shape ``(K,)``.
        values: Shape ``(*, K)``; what is missing of the shape of ``at`` is repeated.
        at: Shape ``(*,)``.

    Returns:
        Shape ``(*,)``.

    >>> nodes = torch.linspace(-2, 2, 5, dtype=torch.float64)
    >>> at = torch.tensor([-1.0, 0.5, 3.0], dtype=torch.float64)
    >>> spline(nodes, 2 * nodes + 1, at).round(decimals=9).tolist()
    [-1.0, 2.0, 7.0]
    """
    width = float(nodes[1] - nodes[0])
    curvature = values @ _curvatures(nodes).T
    within = at.clamp(nodes[0], nodes[-1])
    left = ((within - nodes[0]) / width).floor().long().clamp(0, len(nodes) - 2)
    b = (within - nodes[left]) / width
    a = 1 - b
    low, high = _taken(values, left), _taken(values, left + 1)
    curve_low, curve_high = _taken(curvature, left), _taken(curvature, left + 1)
    bend = (a**3 - a) * curve_low + (b**3 - b) * curve_high
    slope = (high - low) / width + width / 6 * (
        (1 - 3 * a**2) * curve_low + (3 * b**2 - 1) * curve_high
    )
    # Inside, `at` is `within`, and the slope counts for nothing.
    return a * low + b * high + width**2 / 6 * bend + slope * (at - within)


def _taken(values: Tensor, index: Tensor) -> Tensor:
    return values.expand(*index.shape, -1).gather(-1, index[..., None])[..., 0]


def _curvatures(nodes: Tensor) -> Tensor:
    """The matrix that makes second derivatives at the nodes of values there."""
    x = nodes.numpy()
    natural = CubicSpline(x, np.eye(len(x)), bc_type="natural")
    return torch.from_numpy(natural(x, 2))
