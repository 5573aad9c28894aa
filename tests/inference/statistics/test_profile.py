"""Profiles and intervals against closed forms, with bounds and with several maxima."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from hepgen.inference.binned import uncorrelated_background
from hepgen.inference.likelihood import DataSets
from hepgen.inference.statistics.fit import fit, fit_points
from hepgen.inference.statistics.intervals import profile_intervals
from hepgen.inference.statistics.profile import from_neighbours, profile
from hepgen.inference.statistics.scans import profile_contour, profile_scan
from hepgen.parameters import Parameter, ParameterSet, Uniform
from hepgen.results import to_json
from tests.inference.given_data import GivenData
from tests.inference.statistics.models import Rough


def test_a_profile_is_the_parabola_of_the_covariance(line: Any) -> None:
    data = line.generate(line.truth()[None], 5)
    scan = profile_scan(line, data, "mu", points=15)
    mu, error = line.best(data)[0, 0].item(), line.covariance[0, 0].item() ** 0.5
    assert scan.best == pytest.approx(mu, abs=1e-6)
    assert scan.error == pytest.approx(error)
    np.testing.assert_allclose(scan.statistic, ((scan.values - mu) / error) ** 2, atol=1e-6)
    assert scan.others == ("slope", "nu_1", "nu_2")
    assert scan.profiled is not None
    slopes = np.diff(scan.profiled, axis=0) / np.diff(scan.values)[:, None]
    expected = (line.covariance[0, 1:] / line.covariance[0, 0]).numpy()
    np.testing.assert_allclose(slopes, np.broadcast_to(expected, slopes.shape), atol=1e-6)
    for interval, z in zip(scan.intervals, (0.994458, 1.959964), strict=True):
        assert interval.errors == pytest.approx((z * error, z * error), rel=1e-5)
        assert interval.warnings == ()
    assert '"profiled"' in to_json(scan)


def test_a_contour_is_the_ellipse_of_the_covariance(line: Any) -> None:
    data = line.generate(line.truth()[None], 6)
    contour = profile_contour(line, data, ("nu_1", "mu"), points=7)
    c = line.covariance[[2, 0]][:, [2, 0]].numpy()
    np.testing.assert_allclose(contour.covariance, c)
    away = np.stack(np.meshgrid(contour.x, contour.y, indexing="ij"), -1) - contour.best
    expected = np.einsum("abi,ij,abj->ab", away, np.linalg.inv(c), away)
    np.testing.assert_allclose(contour.statistic, expected, atol=1e-6)
    np.testing.assert_allclose(contour.thresholds, (2.278869, 5.991465), atol=1e-6)


def test_wilks(line: Any) -> None:
    """t of the truth is χ² with one degree of freedom, here exactly; false alarm 1e-4."""
    sets = line.generate(line.truth().expand(800, -1), 7)
    found = profile(line, sets, {"mu": torch.ones(1)})
    assert kstest(found.statistic[:, 0].numpy(), "chi2", args=(1,)).pvalue > 1e-4
    two = profile(line, sets, {"mu": torch.ones(1), "slope": torch.full((1,), 0.5)})
    assert kstest(two.statistic[:, 0].numpy(), "chi2", args=(2,)).pvalue > 1e-4
    assert kstest(two.statistic[:, 0].numpy(), "chi2", args=(1,)).pvalue < 1e-4


def test_intervals_of_many_sets_are_those_of_each() -> None:
    model = uncorrelated_background([12, 11], [50, 52], [3, 7], low=-5.0)
    toys = model.generate(torch.ones(6, 3).double(), 1)
    together = profile_intervals(model, toys, "mu")
    for s in (0, 3, 5):
        (alone,) = profile_intervals(model, toys[s : s + 1], "mu")
        for a, b in zip(together[s], alone, strict=True):
            assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=1e-6)


def test_an_interval_that_ends_at_a_bound_is_open(bounded_line: Any) -> None:
    many = bounded_line.generate(bounded_line.truth(0.0).expand(100, -1), 3)
    error = bounded_line.covariance[0, 0].item() ** 0.5
    mu = bounded_line.best(many)[:, 0]
    s = int(((mu / error + 0.5).abs() < 0.2).nonzero()[0, 0])  # a little below the bound
    data, mu = many[s : s + 1], mu[s].item()
    narrow, wide = profile_intervals(bounded_line, data, "mu", levels=(0.1, 0.95))[0]
    assert wide.open_low
    assert not wide.open_high
    assert wide.low == 0.0
    # t rises from the bound: (μ − μ̂)² − (0 − μ̂)².
    expected = mu + math.sqrt(3.841459 * error**2 + mu**2)
    assert wide.high == pytest.approx(expected, rel=1e-4)
    assert any("is open below: t does not cross" in word for word in wide.warnings)
    assert narrow.high < wide.high


class Modes(GivenData):
    """Two maxima of μ, each with its own ν: a profile has two valleys."""

    def __init__(self) -> None:
        self.parameters = ParameterSet(
            [
                Parameter("mu", -2.0, role="interest", prior=Uniform(-6.0, 6.0)),
                Parameter("nu", -1.0, prior=Uniform(-5.0, 5.0)),
            ]
        )

    def log_likelihoods(self, sets: DataSets, theta: Tensor) -> Tensor:
        assert isinstance(sets, Tensor)
        mu, nu = theta.double().unbind(-1)
        left = -0.5 * ((mu + 2) / 0.4) ** 2 - 0.5 * ((nu + 1) / 0.5) ** 2
        right = 0.3 - 0.5 * ((mu - 2) / 0.6) ** 2 - 0.5 * ((nu - 1) / 0.5) ** 2
        return torch.logaddexp(left, right) + 0 * sets[:, None]


def test_an_interval_of_two_pieces_and_the_higher_maximum() -> None:
    """The fit starts in the lower valley; the scan finds the other, and says so."""
    model, data = Modes(), torch.zeros(1)
    assert fit(model, data).theta[0, 0].item() == pytest.approx(-2.0, abs=1e-3)
    ((narrow, wide),) = profile_intervals(model, data, "mu")
    for interval, threshold in ((narrow, 0.98895), (wide, 3.841459)):
        assert interval.best == pytest.approx(2.0, abs=1e-3)
        half_left, half_right = 0.4 * (threshold - 0.6) ** 0.5, 0.6 * threshold**0.5
        expected = (-2 - half_left, -2 + half_left, 2 - half_right, 2 + half_right)
        assert np.ravel(interval.pieces) == pytest.approx(expected, abs=2e-3)
        assert f"the {100 * interval.level:g} % interval of mu has 2 pieces" in interval.warnings
    scan = profile_scan(model, data, "mu", values=np.linspace(-4, 4, 33))
    assert scan.statistic.min() == pytest.approx(0.0, abs=1e-6)
    assert scan.statistic[8] == pytest.approx(0.6, abs=1e-3)


def test_a_scan_leaves_a_lower_maximum_with_its_neighbours() -> None:
    """Two valleys in ν that cross at μ = 0: t is the lower of two parabolas at every point."""

    class Crossing(Modes):
        def log_likelihoods(self, sets: DataSets, theta: Tensor) -> Tensor:
            assert isinstance(sets, Tensor)
            mu, nu = theta.double().unbind(-1)
            left = -0.5 * (mu + 1) ** 2 - 8 * (nu + 2) ** 2
            right = -0.5 * (mu - 1) ** 2 - 8 * (nu - 2) ** 2
            return torch.logaddexp(left, right) + 0 * sets[:, None]

    model, data = Crossing(), torch.zeros(1)
    values = torch.linspace(-3, 3, 25).double()
    found = profile(model, data, {"mu": values})
    right = fit(model, data, start=torch.tensor([2.0, 2.0]), fixed={"mu": 2.0})
    alone = found.conditional.theta.clone()
    alone[0, 20] = right.theta[0]  # one of 25 is in the other valley
    one = fit_points(model, data, alone, found.conditional.fixed, steps=0)
    found = from_neighbours(model, data, replace(found, conditional=one))
    expected = (values.abs() - 1).square()
    torch.testing.assert_close(found.statistic[0], expected, rtol=0, atol=0.01)


def test_fits_that_fail_are_said_with_the_profile() -> None:
    model = Rough()
    data = model.generate(model.truth(1.0)[None], 3)
    scan = profile_scan(model, data, "mu", points=9)
    bad = scan.values > 2.5
    assert np.isnan(scan.statistic[bad]).all()
    assert np.isfinite(scan.statistic[~bad]).all()
    (word,) = scan.warnings
    assert word.startswith(f"{bad.sum()} of 9 fits along mu failed; the first: not converged")
    for interval in scan.intervals:
        assert any("fits along mu failed" in w for w in interval.warnings)
