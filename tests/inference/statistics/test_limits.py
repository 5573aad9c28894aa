"""CLs limits: pyhf's published numbers, closed forms, and toys beside formulae."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyhf
import pytest
from scipy.optimize import brentq
from scipy.stats import norm, poisson

from hepgen.inference.binned import correlated_background, uncorrelated_background
from hepgen.inference.statistics.limits import FOR_A_BAND, upper_limit
from tests.inference.statistics.models import Rough, counting


def test_published_cls_of_pyhf() -> None:
    """The example of pyhf's README, to 10⁻³ of each number."""
    model = uncorrelated_background([12, 11], [50, 52], [3, 7])
    scan = upper_limit(model, model.observed([51, 48]), "mu", values=[1.0])
    assert scan.observed[0] == pytest.approx(0.05251497, rel=1e-3)
    assert scan.expected[0] == pytest.approx(
        [0.00260626, 0.01382005, 0.06445321, 0.23525644, 0.57303621], rel=1e-3
    )


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
def test_limits_are_those_of_pyhf() -> None:
    """At each limit, observed and of the bands, pyhf finds the CLs of 0.05, to 10⁻³ of it."""
    pyhf.set_backend("numpy")
    pairs: list[tuple[Any, Any]] = [
        (
            uncorrelated_background([12, 11], [50, 52], [3, 7]),
            pyhf.simplemodels.uncorrelated_background([12, 11], [50, 52], [3, 7], validate=False),
        ),
        (
            correlated_background([12, 11], [50, 52], [45, 57], [55, 47]),
            pyhf.simplemodels.correlated_background(
                [12.0, 11], [50.0, 52], [45.0, 57], [55.0, 47], validate=False
            ),
        ),
    ]
    for mine, theirs in pairs:
        limit = upper_limit(mine, mine.observed([51, 48]), "mu", points=2).limit
        data = [51.0, 48.0, *theirs.config.auxdata]
        for k, mu in enumerate([limit.observed, *limit.expected.tolist()]):
            found, band = pyhf.infer.hypotest(mu, data, theirs, return_expected_set=True)
            assert float([found, *band][k]) == pytest.approx(0.05, rel=1e-3)
        assert limit.warnings == ()


def test_a_gaussian_limit_in_closed_form(line: Any) -> None:
    """CLs = Φ((μ̂ − μ)/σ)/Φ(μ̂/σ) while μ̂ < μ, also for μ̂ < 0."""
    sigma = line.covariance[0, 0].sqrt().item()
    for seed, truth in ((1, 0.0), (2, -1.0), (3, 3.0)):
        data = line.generate(line.truth(truth)[None], seed)
        best = line.best(data)[0, 0].item()
        scan = upper_limit(line, data, "mu", points=5)
        exact = best - sigma * norm.ppf(0.05 * norm.cdf(best / sigma))
        assert scan.limit.observed == pytest.approx(exact, rel=1e-4)
        median = sigma * norm.ppf(1 - 0.05 * 0.5)
        assert scan.limit.median == pytest.approx(median, rel=1e-4)


def test_an_expected_limit_needs_no_data(line: Any) -> None:
    scan = upper_limit(line, None, "mu", points=4, at=125.0)
    assert math.isnan(scan.limit.observed)
    assert scan.limit.at == 125.0
    assert np.all(np.diff(scan.limit.expected) > 0)
    assert scan.limit.warnings == ()
    assert scan.values.shape == scan.observed.shape == (4,)


def test_a_limit_out_of_range_is_said() -> None:
    model = uncorrelated_background([12, 11], [50, 52], [3, 7], high=0.9)
    limit = upper_limit(model, model.observed([60, 60]), "mu", points=3).limit
    assert math.isnan(limit.observed)
    assert math.isnan(limit.expected[4])
    assert any("the observed limit on mu lies beyond its range" in w for w in limit.warnings)
    assert any("expected (+2σ)" in w for w in limit.warnings)
    assert len(limit.warnings) == 2  # what is expected in one sentence


def test_limits_by_toys_of_a_count() -> None:
    """CLs = P(≤ n | μs + b)/P(≤ n | b) exactly; within four of the errors given."""
    s, b, n = 4.0, 6.0, 5
    model = counting(s, b, low=0.0)
    exact = brentq(lambda mu: poisson.cdf(n, mu * s + b) - 0.05 * poisson.cdf(n, b), 0.1, 10)
    values = np.linspace(0.6 * exact, 1.4 * exact, 9)
    scan = upper_limit(model, model.observed([float(n)]), "mu", method="toys", toys=3000,
                       values=values, seed=4)  # fmt: skip
    cls = [poisson.cdf(n, mu * s + b) / poisson.cdf(n, b) for mu in values]
    assert scan.observed_error is not None
    assert np.all(np.abs(scan.observed - cls) < 4.5 * scan.observed_error)
    assert abs(scan.limit.observed - exact) < 4 * scan.limit.observed_error
    assert 0 < scan.limit.observed_error < 0.1 * exact
    assert scan.limit.method == "CLs toys"


def test_toys_agree_with_formulae_for_many_events(line: Any) -> None:
    data = line.generate(line.truth(0.3)[None], 5)
    formula = upper_limit(line, data, "mu", points=8)
    toys = upper_limit(line, data, "mu", values=formula.values, method="toys", toys=1500, seed=2)
    assert toys.limit.observed_error < 0.1 * formula.limit.observed
    assert abs(toys.limit.observed - formula.limit.observed) < 4 * toys.limit.observed_error
    assert toys.limit.expected_error is not None
    difference = np.abs(toys.limit.expected - formula.limit.expected)
    assert np.all((difference < 4 * toys.limit.expected_error)[1:4])


def test_fits_that_fail_are_said_with_the_limit() -> None:
    model = Rough()
    data = model.generate(model.truth(1.0)[None], 3)
    scan = upper_limit(model, data, "mu", points=4)
    for words in (scan.warnings, scan.limit.warnings):
        assert any("fits with mu held did not converge, from 2." in word for word in words)
        assert any("limits there are not to be believed" in word for word in words)


def test_an_error_of_an_expected_limit_is_its_scatter() -> None:
    """Of 16 sets of toys, where the scatter is known to 18 %: a false alarm in 1 of 300."""
    model = counting(8.0, 60.0, low=0.0)
    values = np.linspace(0.8, 3.2, 6)
    limits = [
        upper_limit(model, model.observed([60.0]), "mu", method="toys", toys=800, values=values,
                    seed=1000 * seed).limit for seed in range(1, 17)
    ]  # fmt: skip
    expected = np.array([one.expected for one in limits])[:, 1:4]
    errors = np.array([one.expected_error for one in limits])[:, 1:4]
    ratio = expected.std(0, ddof=1) / errors.mean(0)
    assert np.all((ratio > 0.5) & (ratio < 1.6)), ratio


def test_a_band_that_toys_cannot_resolve_says_how_many_are_needed() -> None:
    """CLs of T toys is 1/((T + 1) p_b) at least, and p_b = 0.0228 two deviations below."""
    model = counting(8.0, 60.0, low=0.0)
    values = np.linspace(0.2, 6.0, 8)
    scan = upper_limit(model, model.observed([60.0]), "mu", method="toys", toys=500, values=values)
    assert np.isnan(scan.limit.expected[0])
    assert np.all(np.isfinite(scan.limit.expected[1:]))
    (words,) = (w for w in scan.warnings if "-2σ" in w)
    assert words.endswith(FOR_A_BAND)
    assert "needs more than 879 toys, and has 500" in words


def test_too_few_toys_are_said() -> None:
    model = counting(4.0, 6.0, low=0.0)
    values = np.linspace(0.5, 3.0, 6)
    scan = upper_limit(model, model.observed([5.0]), "mu", method="toys", toys=60, values=values)
    assert any("from the number of toys, 60; draw more" in word for word in scan.warnings)
