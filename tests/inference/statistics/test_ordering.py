"""The unified intervals against the tables of physics/9711021, and their coverage by summation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, poisson

from hepgen.errors import ParameterError
from hepgen.inference.statistics.ordering import (
    gaussian_critical_value,
    gaussian_interval,
    poisson_acceptance,
    poisson_interval,
)

TABLE_IV = {
    0: (0.00, 1.08), 1: (0.00, 1.88), 2: (0.00, 3.04), 3: (0.00, 4.42), 6: (0.15, 8.47),
    10: (2.63, 13.50),
}  # fmt: skip
"""n₀ events over b = 3.0, 90 %."""

TABLE_X = {
    -3.0: (0.00, 0.26), -2.0: (0.00, 0.40), -1.0: (0.00, 0.81), 0.0: (0.00, 1.64),
    1.0: (0.00, 2.64), 2.0: (0.58, 3.64), 3.0: (1.37, 4.64),
}  # fmt: skip
"""x₀ of a Gaussian with μ ≥ 0, 90 %."""


@pytest.mark.parametrize("n", TABLE_IV)
def test_poisson_is_the_published_table(n: int) -> None:
    # The paper's grid of μ has steps of 0.005.
    assert poisson_interval(n, 3.0, lengthened=True) == pytest.approx(TABLE_IV[n], abs=0.0101)


@pytest.mark.parametrize("x", TABLE_X)
def test_gaussian_is_the_published_table(x: float) -> None:
    assert gaussian_interval(x) == pytest.approx(TABLE_X[x], abs=0.0051)


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5, 6.0])
def test_poisson_acceptance_holds_its_level_and_no_event_more(mu: float) -> None:
    accepted = poisson_acceptance(mu, 3.0, 0.9)
    probability = poisson.pmf(accepted, mu + 3.0)
    assert probability.sum() >= 0.9
    ratio = probability / poisson.pmf(accepted, np.maximum(accepted, 3.0))
    assert probability.sum() - probability[ratio.argmin()] < 0.9


@pytest.mark.parametrize("level", [0.6827, 0.9, 0.95])
@pytest.mark.parametrize("mu", [0.0, 0.4, 1.7, 5.0])
def test_gaussian_sets_cover_exactly(mu: float, level: float) -> None:
    x = np.linspace(mu - 6, mu + 6, 3001)
    root = np.where(x < 0, mu**2 - 2 * mu * x, (x - mu) ** 2)
    held = root <= gaussian_critical_value(mu, level) + 1e-12
    assert float((norm.pdf(x - mu) * held).sum() * (x[1] - x[0])) == pytest.approx(level, abs=4e-3)


def test_an_end_of_an_interval_is_where_its_value_is_barely_accepted() -> None:
    low, high = gaussian_interval(2.2, 0.95)
    for end in (low, high):
        assert (2.2 - end) ** 2 == pytest.approx(gaussian_critical_value(end, 0.95), rel=1e-6)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ParameterError, match="level 1"):
        gaussian_interval(0.0, 1.0)
    with pytest.raises(ParameterError, match="n = -1"):
        poisson_interval(-1, 3.0)
