"""The classical Runge–Kutta rule, stage after stage, so that an exported graph holds one stage.

Each stage of the rule needs the slope of the one before it and no other, so a solve of N steps
is one loop of 4N equal stages: written out, a graph of some hundred evaluations of a network
takes minutes to export.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hepgen.nn.repeated import repeated

Slope = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""dx/dt, shape ``(B, d)``, and the integrand, ``(K, B)``, of x and of a row of the nodes."""

State = tuple[Tensor, Tensor, Tensor, Tensor]

# How far from the start of the step, the weight, and whether the step ends here.
_STAGES = ((0.0, 1 / 6, 0.0), (1 / 2, 1 / 3, 0.0), (1 / 2, 1 / 3, 0.0), (1.0, 1 / 6, 1.0))
_NODES = (0, 1, 1, 2)


def rk4(slope: Slope, x: Tensor, parts: int, nodes: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """x at the end, and the integrals along the way, shape ``(K, B)`` and float64.

    Arguments:
        slope: Of plain tensor operations, where it is to be exported.
        x: Where it starts, shape ``(B, d)``.
        parts: K.
        nodes: What the slope is given at the ends and in the middle of each step, in turn,
            shape ``(2N + 1, R)`` and float64.
        h: The length of a step.

    >>> nodes = torch.linspace(0, 1, 21, dtype=torch.float64)[:, None]
    >>> x, area = rk4(lambda x, t: (x, x.mT), torch.ones(1, 1).double(), 1, nodes, 0.1)
    >>> round(x.item(), 5), round(area.item(), 5)
    (2.71828, 1.71828)
    """
    steps = (nodes.shape[0] - 1) // 2
    at = 2 * torch.arange(steps)[:, None] + torch.tensor(_NODES)
    table = torch.tensor(_STAGES, dtype=nodes.dtype, device=nodes.device)
    rows = torch.cat([nodes[at.flatten()], table.repeat(steps, 1)], -1)

    def stage(state: State, row: Tensor) -> State:
        start, before, total, integral = state
        reach, weight, last = row[-3], h * row[-2], row[-1]
        v, integrand = slope(start + (h * reach).to(start) * before, row[:-3])
        total = total + weight.to(start) * v
        start = torch.where(last > 0, total, start)
        return start, v, total, integral + weight * integrand.double()

    integral = x.new_zeros((parts, x.shape[0]), dtype=torch.float64)
    _, _, end, integral = repeated(stage, (x, torch.zeros_like(x), x.clone(), integral), rows)
    return end, integral
