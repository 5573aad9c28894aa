"""Explicit Runge–Kutta methods for dy/dt = f(t, y), all events at once.

A method is its Butcher table: kᵢ = f(t + cᵢh, y + h Σⱼ aᵢⱼkⱼ), y ← y + h Σᵢ bᵢkᵢ (Hairer,
Nørsett and Wanner, *Solving Ordinary Differential Equations I*, chapter II). With fixed steps
there is no branch on data, so that a solve can be exported; the adaptive solver chooses the
steps of each event by its own error, so that no event's result depends on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.errors import SurrogateError, nearest

Field = Callable[[Tensor, Tensor], Tensor]
"""f(t, y), shape ``(B, n)``, of times ``(B, 1)`` and states ``(B, n)``."""

_LARGEST_GROWTH, _SMALLEST_GROWTH, _SAFETY = 5.0, 0.2, 0.9


@dataclass(frozen=True)
class Method:
    """A Butcher table.

    Arguments:
        order: The error of a solve falls as h to this power.
        matrix: The rows aᵢ; cᵢ is the sum of a row.
        weights: bᵢ.
        embedded: Those of the solution of lower order, where there is one: their difference
            is the error of a step.
    """

    order: int
    matrix: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    embedded: tuple[float, ...] = ()


METHODS: dict[str, Method] = {
    "euler": Method(1, ((),), (1.0,)),
    "midpoint": Method(2, ((), (1 / 2,)), (0.0, 1.0)),
    "heun": Method(2, ((), (1.0,)), (1 / 2, 1 / 2)),
    "rk4": Method(
        4, ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)
    ),
}  # fmt: skip

# Dormand and Prince, J. Comput. Appl. Math. 6 (1980) 19; the last stage is the next step's first.
DORMAND_PRINCE = Method(
    5,
    (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
    (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40),
)


@dataclass(frozen=True)
class Solution:
    """Where a solve ended.

    Arguments:
        y: The state at the end, shape ``(B, n)``.
        error: The sum over the steps of the error of each, shape ``(B, n)``.
        evaluations: How often f was needed for each event, shape ``(B,)``.
    """

    y: Tensor
    error: Tensor
    evaluations: Tensor


def method(name: str) -> Method:
    """The fixed-step method that is called ``name``.

    >>> method("rk5")
    Traceback (most recent call last):
    hepgen.errors.SurrogateError: no solver 'rk5'; did you mean 'rk4'?
    """
    try:
        return METHODS[name]
    except KeyError:
        raise SurrogateError(f"no solver {name!r}; {nearest(name, list(METHODS))}") from None


def evaluations(name: str, steps: int) -> list[float]:
    """The times at which :func:`fixed` evaluates its field, from 0 to 1, in their order.

    >>> evaluations("midpoint", 2)
    [0.0, 0.25, 0.5, 0.75]
    """
    return [(step + sum(row)) / steps for step in range(steps) for row in method(name).matrix]


def fixed(field: Field, y: Tensor, start: float, end: float, steps: int, name: str) -> Tensor:
    """y(end), shape ``(B, n)``, in ``steps`` equal steps from y(start).

    >>> y = fixed(lambda t, y: y, torch.ones(1, 1, dtype=torch.float64), 0.0, 1.0, 10, "rk4")
    >>> round(y.item(), 5)
    2.71828
    """
    table, h = method(name), (end - start) / steps
    for step in range(steps):
        t = torch.full_like(y[:, :1], start + step * h)
        y = y + h * _combine(table.weights, _stages(table, field, t, y, h, field(t, y)))
    return y


def adaptive(
    field: Field, y: Tensor, start: float, end: float, tolerance: float, most_steps: int = 1000
) -> Solution:
    """y(end) by Dormand and Prince's pair of orders 5 and 4.

    A step of an event is accepted where the largest of its components' errors is below
    ``tolerance · (1 + |y|)``. It is differentiable: the steps are constants, the rest is not.

    Raises:
        SurrogateError: An event needs more than ``most_steps`` steps.
    """
    sign = 1.0 if end > start else -1.0
    t = torch.full_like(y[:, :1], start)
    h = torch.full_like(t, 0.05 * (end - start))
    first, error = field(t, y), torch.zeros_like(y)
    evaluations = torch.ones_like(t[:, 0], dtype=torch.long)
    for _ in range(most_steps):
        running = sign * (end - t) > 0
        if not bool(running.any()):
            return Solution(y, error, evaluations)
        h = sign * torch.minimum(h.abs(), (end - t).abs())
        stages = _stages(DORMAND_PRINCE, field, t, y, h, first)
        step = h * _combine(DORMAND_PRINCE.weights, stages)
        wrong = (step - h * _combine(DORMAND_PRINCE.embedded, stages)).detach().abs()
        largest = torch.maximum(y, y + step).detach().abs()
        ratio = (wrong / (tolerance * (1 + largest))).amax(-1, keepdim=True)
        accepted = ratio <= 1  # false for a number that is not finite: a smaller step may be
        last = accepted & (h.abs() >= (end - t).abs())
        y = torch.where(accepted, y + step, y)
        t = torch.where(last, torch.full_like(t, end), torch.where(accepted, t + h, t))
        error = torch.where(accepted, error + wrong, error)
        first = torch.where(accepted, stages[-1], first)
        evaluations = evaluations + 6 * running[:, 0].long()
        h = h * _growth(ratio)
    left = int(running.sum())
    raise SurrogateError(
        f"the ODE of {left} of {len(y)} events did not reach t = {end:g} in {most_steps} steps of "
        f"tolerance {tolerance:g}; raise the tolerance, or look for outliers among the events"
    )


def _stages(
    table: Method, field: Field, t: Tensor, y: Tensor, h: Tensor | float, first: Tensor
) -> list[Tensor]:
    stages = [first]
    for row in table.matrix[1:]:
        stages.append(field(t + sum(row) * h, y + h * _combine(row, stages)))
    return stages


def _combine(weights: tuple[float, ...], stages: list[Tensor]) -> Tensor:
    terms = [w * k for w, k in zip(weights, stages, strict=False) if w]
    return sum(terms[1:], terms[0])


def _growth(ratio: Tensor) -> Tensor:
    """By how much the next step is longer: the error of one goes as its length to the fifth."""
    growth = _SAFETY * ratio.clamp(min=1e-10).pow(-1 / DORMAND_PRINCE.order)
    return growth.nan_to_num(nan=_SMALLEST_GROWTH).clamp(_SMALLEST_GROWTH, _LARGEST_GROWTH)
