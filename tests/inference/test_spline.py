"""The spline against scipy's, its derivatives, and its continuation."""

from __future__ import annotations

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from hepgen.inference.spline import spline

NODES = torch.linspace(-4.0, 4.0, 17, dtype=torch.float64)
VALUES = torch.from_numpy(np.random.default_rng(3).normal(size=(5, 17)))


def test_it_is_scipys() -> None:
    at = torch.linspace(-4, 4, 101, dtype=torch.float64)
    for values in VALUES:
        expected = CubicSpline(NODES.numpy(), values.numpy(), bc_type="natural")(at.numpy())
        np.testing.assert_allclose(spline(NODES, values.expand(101, -1), at), expected, atol=1e-12)


def test_it_has_two_derivatives_and_goes_on_straight() -> None:
    values = VALUES.clone().requires_grad_()
    at = torch.tensor([-5.0, -1.0, 0.2, 3.9, 6.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, a: spline(NODES, v, a), (values, at))
    assert torch.autograd.gradgradcheck(lambda v, a: spline(NODES, v, a), (values, at))
    ends = torch.tensor([4.0, 5.0, 6.0, 7.0], dtype=torch.float64)
    line = spline(NODES, VALUES[0], ends)
    torch.testing.assert_close(line.diff(), line.diff()[:1].expand(3))
    eps = 1e-6
    near = torch.tensor([4 - eps, 4 + eps], dtype=torch.float64)
    assert (spline(NODES, VALUES[0], near).diff() / 2 / eps - line.diff()[0]).abs() < 1e-5
