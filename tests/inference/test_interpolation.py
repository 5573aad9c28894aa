"""Interpolations beside pyhf's, and their derivatives at the seams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hepgen.inference.interpolation import Code, difference, factor

NU = torch.linspace(-3, 3, 61, dtype=torch.float64)
NOMINAL = np.array([10.0, 3.0, 80.0, 1.0])
UP = np.array([12.0, 2.5, 80.0, 3.0])
DOWN = np.array([9.0, 4.0, 72.0, 1.2])


def published(code: str) -> Any:
    """pyhf's result, shape ``(61, 4)``."""
    pyhf = pytest.importorskip("pyhf")
    interpolator = pyhf.interpolators.get(int(code) if code.isdigit() else code)
    histograms = [[[DOWN.tolist(), NOMINAL.tolist(), UP.tolist()]]]
    found = interpolator(histograms)(np.array([NU.numpy()]))
    return found[0, 0]


@pytest.mark.parametrize("code", ["code1", "code4"])
def test_a_factor_is_that_of_pyhf(code: Code) -> None:
    up, down = torch.from_numpy(UP / NOMINAL), torch.from_numpy(DOWN / NOMINAL)
    found = factor(NU[:, None], up, down, code)
    np.testing.assert_allclose(found, published(code[4:]), rtol=1e-12, atol=1e-12)


def test_a_difference_is_that_of_pyhf() -> None:
    up, down = torch.from_numpy(UP - NOMINAL), torch.from_numpy(DOWN - NOMINAL)
    found = difference(NU[:, None], up, down)
    np.testing.assert_allclose(found, published("4p"), rtol=1e-12, atol=1e-12)


def derivatives(code: Code, nu: float, up: float, down: float) -> list[float]:
    at = torch.tensor(nu, dtype=torch.float64, requires_grad=True)
    value = factor(at, torch.tensor(up).double(), torch.tensor(down).double(), code)
    (first,) = torch.autograd.grad(value, at, create_graph=True)
    second: Tensor
    (second,) = torch.autograd.grad(first, at, allow_unused=True)
    return [value.item(), first.item(), 0.0 if second is None else second.item()]


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    st.sampled_from(["code4", "code4p", "log4p"]),
    st.sampled_from([-1.0, 1.0]),
    st.floats(0.3, 3.0),
    st.floats(0.3, 3.0),
)
def test_two_derivatives_are_continuous_at_the_seams(
    code: Code, seam: float, up: float, down: float
) -> None:
    below, above = (derivatives(code, seam * (1 + e), up, down) for e in (-1e-9, 1e-9))
    np.testing.assert_allclose(below, above, atol=1e-6, rtol=1e-6)


def test_a_variation_is_met_at_one_sigma() -> None:
    up, down = torch.tensor([1.3, 0.8], dtype=torch.float64)
    codes: tuple[Code, ...] = ("code1", "code4", "code4p", "log4p")
    for code in codes:
        found = factor(NU[[20, 30, 40]], up, down, code)
        np.testing.assert_allclose(found, [0.8, 1.0, 1.3], rtol=1e-12)
