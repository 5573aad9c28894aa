"""Rational-quadratic splines, against those of zuko and against themselves."""

from __future__ import annotations

import pytest
import torch
import zuko
from torch import Tensor

from hepgen.surrogates.splines import RationalQuadratic


def parameters(scale: float, bins: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    widths, heights, derivatives = (
        scale * torch.randn(40, 3, k, generator=generator, dtype=torch.float64)
        for k in (bins, bins, bins - 1)
    )
    return widths, heights, derivatives


def points() -> Tensor:
    """Inside, outside, and at the ends."""
    x = 4 * torch.randn(40, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x[0] = torch.tensor([-5.0, 5.0, 0.0])
    return x


@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0])
def test_the_function_is_that_of_zuko(scale: float) -> None:
    x = points()
    spline = RationalQuadratic(*parameters(scale))
    other = zuko.transforms.MonotonicRQSTransform(*parameters(scale))
    for found, expected in zip(spline.call_and_ladj(x), other.call_and_ladj(x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(spline.inv(x), other.inv(x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_there_and_back_with_the_jacobian_of_autograd(scale: float) -> None:
    x, spline = points(), RationalQuadratic(*parameters(scale))
    torch.testing.assert_close(spline.inv(spline(x)), x, rtol=1e-7, atol=1e-7)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(spline(x).sum(), x)
    inside = x.abs() < 5
    found = spline.log_abs_det_jacobian(x, spline(x))
    torch.testing.assert_close(found[inside], slope.log()[inside], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found[x.abs() > 5], torch.zeros_like(found[x.abs() > 5]))
