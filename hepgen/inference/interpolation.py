r"""Between a nominal value and its variations at ν = ±1: the interpolations of HistFactory.

With κ₊ and κ₋ the ratios of the up and the down variation to the nominal, a factor is

.. math:: I(\nu) = \begin{cases} \kappa_+^{\nu} & \nu \ge 1 \\
          1 + \sum_{i=1}^6 a_i \nu^i & |\nu| < 1 \\ \kappa_-^{-\nu} & \nu \le -1 \end{cases}

(``code4``), with the a_i that match the value and two derivatives at ν = ±1; ``code1`` has the
exponentials from ν = 0 on, and a kink there. With δ₊ and δ₋ the differences, an additive term is
linear beyond ±1 and a polynomial of the sixth order that matches in the same way within
(``code4p``). Names and definitions are those of pyhf (Cranmer et al., CERN-OPEN-2012-016; Heinrich
et al., JOSS 6 (2021) 2823). ``log4p`` is code4p of the logarithm, and so always positive.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Code = Literal["code1", "code4", "code4p", "log4p"]


def factor(nu: Tensor, up: Tensor, down: Tensor, code: Code = "code4") -> Tensor:
    """I(ν) for the ratios κ₊ = ``up`` and κ₋ = ``down``; all shapes broadcast.

    ``code4p`` is one plus the additive term of κ₊ − 1 and κ₋ − 1, and may be negative.

    >>> nu = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    >>> up, down = torch.tensor(1.2).double(), torch.tensor(0.9).double()
    >>> factor(nu, up, down)
    tensor([0.8100, 0.9000, 1.0000, 1.2000, 1.4400], dtype=torch.float64)
    """
    if code == "code1":
        return torch.exp(nu.abs() * torch.where(nu > 0, up.log(), down.log()))
    if code == "code4":
        return _code4(nu, up, down)
    if code == "code4p":
        return 1 + difference(nu, up - 1, down - 1)
    return difference(nu, up.log(), down.log()).exp()


def difference(nu: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """The additive term (``code4p``), for the differences δ₊ = ``up`` and δ₋ = ``down``.

    Between ν = −1 and 1 it is ν(δ₊ − δ₋)/2 + (δ₊ + δ₋)/16 · ν²(3ν⁴ − 10ν² + 15).
    """
    square = nu.square()
    even = square * (square * (3 * square - 10) + 15) / 16
    within = 0.5 * nu * (up - down) + even * (up + down)
    return torch.where(nu > 1, nu * up, torch.where(nu < -1, -nu * down, within))


def _code4(nu: Tensor, up: Tensor, down: Tensor) -> Tensor:
    log_up, log_down = up.log(), down.log()
    # Value, slope and curvature at ν = ±1, as their even and odd parts.
    even, odd = 0.5 * (up + down) - 1, 0.5 * (up - down)
    even1, odd1 = 0.5 * (up * log_up - down * log_down), 0.5 * (up * log_up + down * log_down)
    curve_up, curve_down = up * log_up.square(), down * log_down.square()
    even2, odd2 = 0.5 * (curve_up + curve_down), 0.5 * (curve_up - curve_down)
    a = (
        (15 * odd - 7 * even1 + odd2) / 8,
        (24 * even - 9 * odd1 + even2) / 8,
        (-10 * odd + 10 * even1 - 2 * odd2) / 8,
        (-24 * even + 14 * odd1 - 2 * even2) / 8,
        (3 * odd - 3 * even1 + odd2) / 8,
        (8 * even - 5 * odd1 + even2) / 8,
    )
    inside = nu.clamp(-1, 1)
    total = torch.zeros_like(inside)
    for coefficient in reversed(a):
        total = (total + coefficient) * inside
    outside = torch.exp(nu.abs() * torch.where(nu > 0, log_up, log_down))
    return torch.where(nu.abs() < 1, 1 + total, outside)
