from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from hepgen.plots.density import credible_levels, density_1d, density_2d, grid_range


def test_density_of_gaussian_draws_is_the_gaussian_widened_by_the_kernel() -> None:
    size = 40_000
    draws = norm.ppf((np.arange(size) + 0.5) / size, 3.0, 0.5)
    x, density = density_1d(draws, (0.0, 6.0))
    width = 0.5 * np.sqrt(1 + (1.25 * size**-0.2) ** 2)
    assert density == pytest.approx(norm.pdf(x, 3.0, width), abs=0.01)


def test_density_integrates_to_one() -> None:
    draws = np.random.default_rng(0).exponential(size=2000)
    x, density = density_1d(draws, (0.0, 8.0))
    assert density.sum() * (x[1] - x[0]) == pytest.approx(1.0)


def test_a_flat_density_is_flat_up_to_the_edge_of_its_prior() -> None:
    draws = (np.arange(20_000) + 0.5) / 20_000
    _, density = density_1d(draws, grid_range(draws, 0.0, 1.0))
    assert density == pytest.approx(np.ones_like(density), abs=0.02)


def test_a_strong_correlation_survives_the_smoothing() -> None:
    rng = np.random.default_rng(3)
    draws = rng.multivariate_normal([0, 0], [[1, 0.95], [0.95, 1]], 20_000) * [1.0, 1e-3]
    x, y, density = density_2d(draws, [(-5, 5), (-5e-3, 5e-3)])
    xx, yy = np.meshgrid(x, y, indexing="ij")
    xy = (density * xx * yy).sum()
    correlation = xy / np.sqrt((density * xx**2).sum() * (density * yy**2).sum())
    assert correlation == pytest.approx(0.95, abs=0.01)


def test_the_first_axis_is_the_first_parameter() -> None:
    draws = np.random.default_rng(3).normal([1.0, 30.0], [0.1, 3.0], (5000, 2))
    x, y, density = density_2d(draws, [(0, 2), (10, 50)])
    assert (density.sum(1) * x).sum() == pytest.approx(1.0, abs=0.02)
    assert (density.sum(0) * y).sum() == pytest.approx(30.0, abs=0.5)


@pytest.mark.parametrize("mass", [0.68, 0.95])
def test_a_credible_region_holds_its_mass(mass: float) -> None:
    # A Gaussian in two dimensions: the region is a disc, its level is (1 − mass)·peak.
    x = np.linspace(-5, 5, 201)
    density = np.exp(-0.5 * (x[:, None] ** 2 + x**2))
    (level,) = credible_levels(density, [mass])
    assert level == pytest.approx(1 - mass, abs=0.01)


def test_draws_that_are_all_the_same_have_a_range_and_a_density() -> None:
    low, high = grid_range(np.full(10, 2.0))
    assert low < 2.0 < high
    assert np.isfinite(density_1d(np.full(10, 2.0), (low, high))[1]).all()


def test_the_range_stays_inside_the_prior() -> None:
    draws = np.linspace(0.0, 1.0, 100)
    assert grid_range(draws, 0.0, 1.0) == (0.0, 1.0)
