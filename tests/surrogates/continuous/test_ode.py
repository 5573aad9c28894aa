"""Runge–Kutta methods against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hepgen.errors import SurrogateError
from hepgen.surrogates.continuous.ode import METHODS, adaptive, fixed


def decay(t: Tensor, y: Tensor) -> Tensor:
    """y' = −2ty: y(t) = y(0) exp(−t²)."""
    return -2 * t * y


def start(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("name", list(METHODS))
def test_the_error_falls_with_the_order_of_the_method(name: str) -> None:
    exact = math.exp(-1)
    errors = [abs(fixed(decay, start(1.0), 0, 1, n, name).item() - exact) for n in (20, 40)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(METHODS[name].order, abs=0.25)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_the_adaptive_solver_keeps_its_tolerance(tolerance: float) -> None:
    y = start(1.0, -3.0, 0.2)
    solution = adaptive(decay, y, 0.0, 2.0, tolerance)
    wrong = (solution.y - y * math.exp(-4)).abs()
    assert bool((wrong <= 10 * tolerance * (1 + y.abs())).all())
    assert bool((wrong <= 3 * solution.error + 1e-15).all())
    back = adaptive(decay, solution.y, 2.0, 0.0, tolerance)
    assert bool(((back.y - y).abs() < 10 * math.exp(4) * tolerance * (1 + y.abs())).all())


def test_a_smaller_tolerance_costs_more_evaluations() -> None:
    counts = [int(adaptive(decay, start(1.0), 0, 2, t).evaluations) for t in (1e-3, 1e-6, 1e-9)]
    assert counts == sorted(counts)
    assert counts[0] < counts[2]


def test_an_event_takes_its_own_steps() -> None:
    y = start(1.0, 1e-3, 50.0)
    together = adaptive(lambda t, y: torch.sin(y * t * 9), y, 0.0, 1.0, 1e-6)
    for i in range(3):
        alone = adaptive(lambda t, y: torch.sin(y * t * 9), y[i : i + 1], 0.0, 1.0, 1e-6)
        assert torch.equal(alone.y, together.y[i : i + 1])
        assert torch.equal(alone.evaluations, together.evaluations[i : i + 1])
    assert len(set(together.evaluations.tolist())) > 1


def test_the_adaptive_solver_is_differentiable() -> None:
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    y = adaptive(lambda t, y: -rate * y, start(2.0), 0.0, 1.0, 1e-9).y.sum()  # noqa: ARG005
    (gradient,) = torch.autograd.grad(y, rate)
    assert gradient.item() == pytest.approx(-2 * math.exp(-0.7), rel=1e-6)


def test_an_equation_that_is_too_stiff_is_named() -> None:
    with pytest.raises(SurrogateError, match=r"1 of 2 events did not reach t = 1 in 20 steps"):
        adaptive(lambda t, y: -(y**3), start(1e6, 1e-3), 0.0, 1.0, 1e-9, most_steps=20)  # noqa: ARG005


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(SurrogateError, match="did you mean 'heun'"):
        fixed(decay, start(1.0), 0, 1, 2, "huen")
