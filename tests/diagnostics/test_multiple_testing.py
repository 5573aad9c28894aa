"""Corrections for many tests, against their definitions and their rates.

Rates are held to 4 standard errors at fixed seeds: three such statements, so for other seeds the
file would fail with a probability below 2 · 10⁻⁴.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, norm

from hepgen.diagnostics.multiple_testing import (
    PValue,
    benjamini_hochberg,
    corrected,
    holm,
    resolving_weights,
)
from hepgen.errors import DataError

law = settings(deadline=None, derandomize=True)
p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=6)
both = pytest.mark.parametrize("correct", [holm, benjamini_hochberg])
Correction = Callable[[Sequence[float]], list[float]]


def closed_testing(p_values: Sequence[float]) -> list[float]:
    """Holm's correction by its definition: Bonferroni on every set of hypotheses."""
    every = range(len(p_values))
    subsets = [s for k in every for s in itertools.combinations(every, k + 1)]
    bonferroni = {s: min(1.0, len(s) * min(p_values[i] for i in s)) for s in subsets}
    return [max(p for s, p in bonferroni.items() if i in s) for i in every]


@law
@given(p_lists)
def test_holm_is_closed_testing_with_bonferroni(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(closed_testing(p_values), abs=1e-11)


@law
@given(p_lists)
def test_benjamini_and_hochberg_are_those_of_scipy(p_values: list[float]) -> None:
    expected = false_discovery_control(p_values)
    assert benjamini_hochberg(p_values) == pytest.approx(expected, abs=1e-11)


@both
@law
@given(p_lists)
def test_a_correction_keeps_the_order_and_grows(correct: Correction, p_values: list[float]) -> None:
    corrected = correct(p_values)
    pairs = sorted(zip(p_values, corrected, strict=True))
    assert all(a[1] <= b[1] for a, b in itertools.pairwise(pairs))
    assert all(p - 1e-12 <= c <= min(1, len(p_values) * p) + 1e-12 for p, c in pairs)
    assert correct(p_values[::-1]) == corrected[::-1]


@both
def test_one_test_needs_no_correction(correct: Correction) -> None:
    assert correct([0.03]) == [0.03]
    assert correct([]) == []


def test_holm_keeps_the_family_wise_rate() -> None:
    rng = np.random.default_rng(14)
    alarms = [min(holm(rng.uniform(size=10).tolist())) <= 0.05 for _ in range(1000)]
    # 4 standard errors of the rate 1 − (1 − 0.05/10)¹⁰.
    assert np.mean(alarms) == pytest.approx(0.0489, abs=4 * np.sqrt(0.05 * 0.95 / 1000))


@law
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 5)), min_size=1, max_size=6))
def test_weighted_holm_is_closed_testing_with_weights(pairs: list[tuple[float, float]]) -> None:
    p, w = (list(column) for column in zip(*pairs, strict=True))
    every = range(len(p))
    subsets = [s for k in every for s in itertools.combinations(every, k + 1)]
    found = {s: min(1.0, sum(w[i] for i in s) * min(p[i] / w[i] for i in s)) for s in subsets}
    expected = [max(q for s, q in found.items() if i in s) for i in every]
    assert holm(p, w) == pytest.approx(expected, abs=1e-11)


@law
@given(st.lists(st.sampled_from([0.0, 1e-3, 2.5e-3, 4e-3]), min_size=1, max_size=12))
def test_every_test_can_reject_alone_where_there_is_room(smallest: list[float]) -> None:
    level = 0.01
    weights = resolving_weights(smallest, level)
    assert sum(weights) == pytest.approx(1)
    # Also beside tests that need more than there is, one with an exact p-value can reject.
    assert min(weights) > 0
    if sum(smallest) < level:
        for i, floor in enumerate(smallest):
            p = [1.0] * len(smallest)
            p[i] = floor
            assert holm(p, weights)[i] <= level * (1 + 1e-9)


def test_weights_of_tests_with_a_smallest_p_value_keep_the_rate() -> None:
    rng, level, sets = np.random.default_rng(16), 0.05, 80
    alarms = []
    for _ in range(2000):
        ranked = (1 + rng.integers(0, sets + 1, 2)) / (1 + sets)
        tests = [PValue("ranked", p, "", 1 / (1 + sets)) for p in ranked]
        tests += [PValue("exact", p, "") for p in rng.uniform(size=8)]
        alarms.append(not all(check.passed for check in corrected(tests, level)))
    # Bonferroni's bound, which independent tests nearly reach.
    error = np.sqrt(level * (1 - level) / 2000)
    assert np.mean(alarms) <= level + 4 * error
    assert np.mean(alarms) >= 0.6 * level - 4 * error


def test_a_check_says_for_how_many_tests_it_is_corrected() -> None:
    found = corrected([PValue("a", 0.004, "p of a"), PValue("b", 0.5, "p of b")], 0.01)
    assert [check.name for check in found] == ["a", "b"]
    # 0.004 · 2 is below the level.
    assert [check.passed for check in found] == [False, True]
    assert found[0].value == pytest.approx(0.008)
    assert found[0].meaning == "p of a, corrected for 2 tests"


def test_weights_that_are_not_positive_are_refused() -> None:
    with pytest.raises(DataError, match="expected positive numbers"):
        holm([0.1, 0.2], [1.0, 0.0])
    with pytest.raises(DataError, match="of 2 tests"):
        holm([0.1, 0.2], [1.0])


def test_benjamini_and_hochberg_keep_the_share_of_false_alarms() -> None:
    rng, shares, found = np.random.default_rng(15), [], 0
    for _ in range(1000):
        # Six of ten hypotheses hold: the share is 0.05 · 6/10 for independent tests.
        p = norm.sf(rng.standard_normal(10) + np.repeat([0.0, 3.0], [6, 4]))
        alarms = np.array(benjamini_hochberg(p.tolist())) <= 0.05
        shares.append(alarms[:6].sum() / max(alarms.sum(), 1))
        found += alarms[6:].sum() - (np.array(holm(p.tolist())) <= 0.05)[6:].sum()
    assert np.mean(shares) == pytest.approx(0.03, abs=4 * np.std(shares) / np.sqrt(1000))
    # It finds more of the others than Holm does.
    assert found > 0


@both
def test_what_is_no_probability_is_refused(correct: Correction) -> None:
    with pytest.raises(DataError, match=r"expected numbers in \[0, 1\]"):
        correct([0.5, 1.2])
    with pytest.raises(DataError, match="nan"):
        correct([0.5, float("nan")])
