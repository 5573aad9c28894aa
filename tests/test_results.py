from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from hepgen.results import Calibration, FeatureComparison, decimals, rounded, to_json


@pytest.mark.parametrize(
    ("error", "places"),
    [
        # The examples and the limits of the rule in the Review of Particle Physics.
        (0.119, 2),
        (0.367, 1),
        (0.100, 2),
        (0.354, 2),
        (0.355, 1),
        (0.949, 1),
        (0.950, 1),
        (0.999, 1),
        (0.9999, 1),
        (1.0, 1),
        (35.4, 0),
        (35.5, -1),
        (12345.0, -3),
        (2.1e-5, 6),
        (-0.119, 2),
    ],
)
def test_an_error_keeps_the_digits_of_the_pdg_rule(error: float, places: int) -> None:
    assert decimals(error) == places


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.827, 0.119, "0.83"),
        (0.827, 0.367, "0.8"),
        (91.1876, 0.0021, "91.1876"),
        (0.98, 0.98, "1.0"),
        (12345.0, 456.0, "12300"),
        (-0.0001, 0.2, "0.00"),
        (3.0, 0.0, "3"),
        (3.0, float("nan"), "3"),
        (float("nan"), 0.1, "—"),
        (float("inf"), 0.1, "—"),
    ],
)
def test_a_value_is_rounded_with_its_error(value: float, error: float, text: str) -> None:
    assert rounded(value, error) == text


def test_chi2_counts_the_bins_in_which_something_is_expected() -> None:
    feature = FeatureComparison(
        "x",
        np.arange(4.0),
        np.array([12.0, 0.0, 5.0]),
        np.array([9.0, 16.0, 0.0]),
        np.array([0.0, 3.0, 0.0]),
        in_likelihood=True,
    )
    total, bins = feature.chi2()
    assert total == pytest.approx(9 / 9 + 256 / 25)
    assert bins == 2


def test_chi2_of_weighted_data_uses_its_own_errors() -> None:
    feature = FeatureComparison(
        "x",
        np.arange(3.0),
        np.array([12.0, 20.0]),
        np.array([9.0, 16.0]),
        np.zeros(2),
        in_likelihood=False,
        observed_std=np.array([3.0, 2.0]),
    )
    total, bins = feature.chi2()
    assert total == pytest.approx(1.0 + 4.0)
    assert bins == 2


def test_errors_of_coverage_and_pulls_match_their_scatter() -> None:
    rng = np.random.default_rng(1)
    shape = (400, 100)  # 400 repetitions of 100 sets; 5 σ of the scatter's own error, 3.5 %.
    pulls, ranks = rng.standard_normal(shape), rng.uniform(size=shape)
    rows = [_calibration(p, r) for p, r in zip(pulls, ranks, strict=True)]
    for values, errors in (
        ([c.pull_mean("a")[0] for c in rows], [c.pull_mean("a")[1] for c in rows]),
        ([c.pull_width("a")[0] for c in rows], [c.pull_width("a")[1] for c in rows]),
        ([c.coverage("a") for c in rows], [c.coverage_error("a") for c in rows]),
    ):
        assert np.std(values) == pytest.approx(np.mean(errors), rel=0.18)


def _calibration(pulls: np.ndarray, rank: np.ndarray) -> Calibration:
    column = pulls[:, None]
    one, zero = np.ones_like(column), np.zeros_like(column)
    return Calibration(
        "nle", "chain", ("a",), np.full(len(pulls), 500), zero, column, one, rank[:, None]
    )


def test_a_calibration_comes_back_from_json_and_an_old_one_does_too() -> None:
    levels = np.array([0.25, 0.5])
    made = dataclasses.replace(_calibration(levels, levels), draws=4, hpd=levels, tarp=1 - levels)
    entry = json.loads(to_json(made))
    back = Calibration.from_dict(entry)
    assert back.draws == 4
    np.testing.assert_array_equal(back.hpd, levels)
    np.testing.assert_array_equal(back.tarp, 1 - levels)
    for name in ("draws", "hpd", "tarp"):
        del entry[name]
    old = Calibration.from_dict(entry)
    assert (old.draws, old.hpd, old.tarp) == (0, None, None)
    np.testing.assert_array_equal(old.rank, made.rank)
