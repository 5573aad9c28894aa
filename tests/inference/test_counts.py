"""Counts as real numbers: the inverse, the slope, the spread."""

from __future__ import annotations

import torch

from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.inference.counts import counted, log_slope, stabilised, whole

COUNTS = torch.tensor([True, False])


def test_round_trip_and_slope() -> None:
    v = torch.tensor([[0.0, -3.0], [7.0, 0.5]], dtype=torch.float64, requires_grad=True)
    y = stabilised(v, COUNTS)
    assert torch.allclose(whole(y, COUNTS), v)
    (slope,) = torch.autograd.grad(y.sum(), v)
    assert torch.allclose(log_slope(v, COUNTS), slope.log().sum(-1))


def test_only_discrete_features_are_counts() -> None:
    features = (Feature("n", kind="discrete", low=0, high=9), Feature("x"))
    space = FeatureSpace(features, (0.0, 0.0), (1.0, 1.0))
    assert counted(space).tolist() == [True, False]


def test_spread_hardly_depends_on_the_mean() -> None:
    """Of 20,000 Poisson numbers with the noise of a unit: 1, less 5 % at a mean of 4.

    The standard deviation has a statistical error of 0.5 %; the bounds are four of these or more
    away, a false alarm of 2·10⁻⁴ in three.
    """
    generator = torch.Generator().manual_seed(0)
    for mean in (4.0, 30.0, 500.0):
        v = torch.poisson(torch.full((20_000, 1), mean, dtype=torch.float64), generator)
        v += torch.rand(v.shape, generator=generator, dtype=torch.float64) - 0.5
        spread = float(stabilised(v, torch.tensor([True])).std())
        assert abs(spread - 1) < 0.03 + 0.2 / mean
