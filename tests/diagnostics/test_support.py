"""Support: p-values that are uniform where two samples are alike, and small where not.

Uniformity is held to p > 10⁻⁴ over a hundred repetitions at fixed seeds, five times: for
other seeds the file would fail with a probability of 5 · 10⁻⁴.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from hepgen.diagnostics.support import (
    Kernel,
    prior_predictive_p_value,
    two_sample_p_value,
)
from hepgen.errors import DataError

Array = NDArray[np.float64]

FALSE_ALARM = 1e-4
REPETITIONS = 100


def mass(rng: np.random.Generator, n: int, shift: float = 0.0) -> Array:
    """Something like the mass of a pair: a peak with heavy tails."""
    values: Array = 91.2 + shift + 1.25 * rng.standard_cauchy((n, 1))
    return values.clip(60.0, 120.0)


# --- two samples ----------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m", "d"), [(40, 60, 1), (30, 10, 3)])
def test_p_values_of_like_samples_are_uniform(n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(1)
    p_values = [
        two_sample_p_value(
            rng.standard_cauchy((n, d)), rng.standard_cauchy((m, d)), permutations=99, seed=seed
        )
        for seed in range(REPETITIONS)
    ]
    assert stats.kstest(p_values, "uniform").pvalue > FALSE_ALARM


@pytest.mark.parametrize("seed", range(5))
def test_p_values_are_exact_for_any_five_events(seed: int) -> None:
    # Whatever the events are, of the ten ways to call two of them observed one has the
    # largest discrepancy, one the second largest, and so on.
    events = np.random.default_rng(seed).standard_cauchy((5, 1))
    p_values = [
        two_sample_p_value(
            events[list(chosen)],
            events[[i for i in range(5) if i not in chosen]],
            permutations=2000,
        )
        for chosen in itertools.combinations(range(5), 2)
    ]
    # 4 standard deviations of a p-value from 2000 permutations.
    assert sorted(p_values) == pytest.approx(np.arange(1, 11) / 10, abs=0.045)


@pytest.mark.parametrize(
    "other",
    [
        lambda x: x + 1.0,
        lambda x: 91.2 + 2 * (x - 91.2),
        lambda x: 91.2 + np.abs(x - 91.2),
        lambda x: np.where(np.arange(len(x))[:, None] % 4 == 0, 70.0, x),
    ],
    ids=["shifted", "wider", "one-sided", "contaminated"],
)
def test_p_values_of_unlike_samples_are_small(other: Callable[[Array], Array]) -> None:
    rng = np.random.default_rng(2)
    assert two_sample_p_value(other(mass(rng, 300)), mass(rng, 400), permutations=199) == 1 / 200


def test_a_correlation_shows_jointly_and_only_there() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 300, 1))
    observed, simulated = np.hstack([x, 0.8 * x + 0.6 * y]), rng.standard_normal((300, 2))
    assert two_sample_p_value(observed, simulated, permutations=199) == 1 / 200
    for i in range(2):
        alone = two_sample_p_value(observed[:, [i]], simulated[:, [i]], permutations=199)
        assert alone > 0.01


def test_units_do_not_matter() -> None:
    rng = np.random.default_rng(15)
    observed, simulated = rng.standard_normal((50, 2)), rng.normal(0.2, 1.0, (70, 2))
    scale, shift = np.array([1000.0, 1e-3]), np.array([5.0, -7.0])
    in_gev = two_sample_p_value(observed, simulated, permutations=199)
    in_mev = two_sample_p_value(
        scale * observed + shift, scale * simulated + shift, permutations=199
    )
    assert 0.01 < in_gev < 0.99
    assert in_mev == pytest.approx(in_gev, abs=0.011)


def test_samples_that_are_the_same_differ_by_nothing() -> None:
    x = mass(np.random.default_rng(5), 50)
    assert two_sample_p_value(x, x, permutations=99) == 1.0


def test_a_constant_feature_is_no_obstacle() -> None:
    rng = np.random.default_rng(6)
    same = np.zeros((30, 1))
    assert two_sample_p_value(same, same, permutations=99) == 1.0
    observed, simulated = rng.normal(3.0, 1.0, (30, 1)), rng.standard_normal((30, 1))
    both = two_sample_p_value(
        np.hstack([observed, same]), np.hstack([simulated, same]), permutations=99
    )
    assert both == 1 / 100


def test_the_seed_is_all_the_randomness() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.standard_normal((30, 1)), rng.standard_normal((40, 1))
    first, again, other = (two_sample_p_value(a, b, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first == pytest.approx(other, abs=0.1)


# --- the kernel -----------------------------------------------------------------------


def test_the_kernel_is_symmetric_and_positive() -> None:
    sample = np.random.default_rng(8).standard_normal((30, 2))
    gram = Kernel.from_sample(sample)(sample, sample)
    np.testing.assert_allclose(gram, gram.T, rtol=1e-12)
    np.testing.assert_allclose(gram.diagonal(), 2.0, rtol=1e-6)
    assert np.linalg.eigvalsh(gram.numpy()).min() > -1e-10


def test_the_kernel_of_two_samples_is_a_matrix_of_pairs() -> None:
    a, b = np.random.default_rng(9).standard_normal((2, 5, 1))
    kernel = Kernel.from_sample(a)
    whole = kernel(a, b[:3])
    assert whole.shape == (5, 3)
    assert float(whole[4, 2]) == pytest.approx(float(kernel(a[4:], b[2:3])))


# --- a data set among simulated ones --------------------------------------------------


def prior_sets(rng: np.random.Generator, sets: int, n: int) -> tuple[list[Array], Array]:
    """Data sets from the prior of a shift, and a training sample over all shifts."""
    groups = [mass(rng, n, rng.uniform(-2, 2)) for _ in range(sets)]
    reference = np.concatenate([mass(rng, 4, rng.uniform(-2, 2)) for _ in range(50)])
    return groups, reference


@pytest.mark.parametrize(("n", "size"), [(25, 25), (10, 40), (60, 25)])
def test_p_values_of_data_from_the_prior_are_uniform_for_any_size(n: int, size: int) -> None:
    rng = np.random.default_rng(10)
    p_values = []
    for seed in range(REPETITIONS):
        groups, reference = prior_sets(rng, 50, size)
        observed = mass(rng, n, rng.uniform(-2, 2))
        p_values.append(prior_predictive_p_value(observed, groups, reference, seed=seed))
    assert stats.kstest(p_values, "uniform").pvalue > FALSE_ALARM


def test_data_at_the_edge_of_the_prior_are_not_unlike_it() -> None:
    # A test against the whole training sample would refuse these.
    rng = np.random.default_rng(11)
    groups, reference = prior_sets(rng, 99, 200)
    edge = mass(rng, 200, 2.0)
    assert prior_predictive_p_value(edge, groups, reference) > 0.01
    assert two_sample_p_value(edge, reference, permutations=199) < 0.01


@pytest.mark.parametrize("shift", [-8.0, 8.0])
def test_data_outside_of_the_prior_are_unlike_it(shift: float) -> None:
    rng = np.random.default_rng(12)
    groups, reference = prior_sets(rng, 99, 200)
    assert prior_predictive_p_value(mass(rng, 200, shift), groups, reference) == 1 / 100


@pytest.mark.parametrize(
    ("observed", "simulated", "words"),
    [
        (np.zeros(5), np.zeros((5, 1)), r"shapes \(5,\) and \(5, 1\)"),
        (np.zeros((5, 2)), np.zeros((5, 1)), r"expected \(N, d\) and \(M, d\)"),
        (np.zeros((1, 1)), np.zeros((5, 1)), "1 and 5 events; expected at least two"),
        (np.zeros((5, 1)), np.zeros((0, 1)), "5 and 0 events"),
    ],
)
def test_samples_that_cannot_be_compared_are_refused(
    observed: Array, simulated: Array, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        two_sample_p_value(observed, simulated)
    with pytest.raises(DataError, match=words):
        prior_predictive_p_value(observed, [simulated], simulated)
