"""Records of statements: what they derive, and that JSON takes them."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from hepgen.results import to_json
from hepgen.statements import (
    Breakdown,
    CoverageMap,
    Impact,
    Impacts,
    Interval,
    Limit,
    LimitScan,
    ProfileContour,
    ProfileScan,
    TestStatistic,
    significance,
)

TWO = Interval("mu", 0.68, 1.0, ((0.5, 0.8), (0.9, 1.4)), "profile", unit="GeV")
IMPACT = Impact("nu", 0.3, 0.8, 0.1, 1.0, (0.2, -0.3), (0.25, -0.35))
LIMIT = Limit("mu", 0.95, math.nan, np.array([0.5, 0.7, 1.0, 1.4, 2.0]), "CLs toys", label="μ")
RECORDS = [
    TWO,
    ProfileScan("mu", np.zeros(3), np.ones(3), 1.0, 0.1, (TWO,), ("nu",), np.zeros((3, 1))),
    ProfileContour(
        ("mu", "nu"), np.zeros(2), np.zeros(3), np.zeros((2, 3)), (0.0, 1.0), np.eye(2),
        (0.68, 0.95), (2.28, 5.99), labels=("μ", ""), units=("", "GeV"),
    ),
    Impacts("mu", 1.0, (IMPACT,), Breakdown(0.5, 0.4, 0.3), unit="pb", label="σ"),
    TestStatistic("q0", "mu", 0.0, 25.0, 1.0, 2.866515719e-07, expected=16.0),
    LimitScan(LIMIT, np.zeros(2), np.ones(2), np.ones((2, 5))),
    CoverageMap(("s",), np.zeros((2, 1)), 0.68, np.array([0.66, 0.8]), np.zeros(2), 0, "exact"),
]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_json_holds_every_field(record: object) -> None:
    assert dataclasses.is_dataclass(record)
    read = json.loads(to_json(record))
    assert set(read) == {field.name for field in dataclasses.fields(record)}
    assert read.get("warnings", []) == []


def test_an_interval_of_two_pieces() -> None:
    assert (TWO.low, TWO.high) == (0.5, 1.4)
    assert TWO.width == pytest.approx(0.8)
    assert TWO.errors == pytest.approx((0.5, 0.4))
    assert [TWO.contains(v) for v in (0.4, 0.5, 0.85, 1.4, 1.5)] == [
        False,
        True,
        False,
        True,
        False,
    ]
    empty = Interval("mu", 0.68, 1.0, (), "neyman")
    assert math.isnan(empty.low)
    assert empty.width == 0


def test_an_impact() -> None:
    assert IMPACT.pull == pytest.approx(0.2)
    assert IMPACT.constraint == pytest.approx(0.8)
    assert IMPACT.size == 0.3


def test_a_test() -> None:
    test = RECORDS[4]
    assert isinstance(test, TestStatistic)
    assert test.significance == pytest.approx(5.0)
    assert test.expected_significance == 4.0
    assert significance(0.5) == 0.0


def test_limits_coverage_and_axes() -> None:
    assert LIMIT.median == 1.0
    assert LIMIT.axis == "μ"
    contour, impacts, coverage = RECORDS[2], RECORDS[3], RECORDS[6]
    assert isinstance(contour, ProfileContour)
    assert contour.axes == ("μ", "nu [GeV]")
    assert isinstance(impacts, Impacts)
    assert impacts.axis == "σ [pb]"
    assert isinstance(coverage, CoverageMap)
    assert coverage.mean == pytest.approx(0.73)
    assert coverage.worst == pytest.approx(0.12)
