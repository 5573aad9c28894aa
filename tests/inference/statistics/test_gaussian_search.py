"""Toys of a search by its Gaussian process, against what is known of it.

Statistical bounds are 4.5 standard errors, at fixed seeds.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from hepgen.errors import DataError
from hepgen.inference.statistics.gaussian_search import search_p_value, search_toys

TOYS = 20_000


def test_places_that_know_nothing_of_one_another_are_so_many_trials() -> None:
    toys = search_toys(np.diag([1.0, 4.0, 9.0, 0.1, 2.0]), TOYS, seed=1)
    local = norm.sf(2.0)
    found = search_p_value(4.0, toys)
    assert found.local == pytest.approx(local)
    assert abs(found.value - (1 - (1 - local) ** 5)) < 4.5 * found.error


def test_places_that_all_know_the_same_are_one_trial() -> None:
    toys = search_toys(np.outer([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), TOYS, seed=2)
    np.testing.assert_allclose(toys[:, 0], toys[:, 2], atol=1e-10)
    found = search_p_value(4.0, toys)
    assert abs(found.value - norm.sf(2.0)) < 4.5 * found.error


def test_upcrossings_are_those_of_a_smooth_process() -> None:
    """Rice: ⟨N(c)⟩ = e^{−c/2} L/(2π ℓ) for the correlation exp(−Δ²/2ℓ²) over a length L."""
    x = np.linspace(0.0, 30.0, 121)
    toys = search_toys(np.exp(-0.5 * (x[:, None] - x) ** 2), TOYS, seed=3)
    found = search_p_value(25.0, toys)
    assert found.method == "upcrossings"
    exact = norm.sf(5.0) + np.exp(-12.5) * 30.0 / (2 * np.pi)
    # A grid in steps of ℓ/4 misses about a percent of the crossings.
    assert found.value == pytest.approx(exact, rel=0.03)
    assert found.warnings == ()


def test_a_place_without_information_is_named() -> None:
    with pytest.raises(DataError, match="place 1 of 2"):
        search_toys(np.diag([1.0, 0.0]), 100, seed=1)
