"""Misspecification: exact p-values for sets of the simulator, small ones for others.

Uniformity is held to p > 10⁻⁴ at fixed seeds, twice.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from hepgen.diagnostics.misspecification import FourierEmbedding, misspecification
from hepgen.diagnostics.support import Kernel
from hepgen.errors import DataError

Array = NDArray[np.float64]


def prior_sets(rng: np.random.Generator, number: int, n: int = 60) -> list[Array]:
    return [rng.normal(rng.uniform(-2, 2), 1, (n, 1)) for _ in range(number)]


@pytest.mark.parametrize("embedded", [False, True], ids=["Fourier", "moments"])
def test_p_values_of_sets_from_the_simulator_are_uniform(embedded: bool) -> None:
    rng, p_values = np.random.default_rng(1), []
    embedding = (lambda x: np.array([x.mean(), x.std()])) if embedded else None
    for seed in range(60):
        observed, *sets = prior_sets(rng, 40)
        p_values.append(misspecification(observed, sets, embedding=embedding, seed=seed).p_value)
    assert stats.kstest(p_values, "uniform").pvalue > 1e-4


@pytest.mark.parametrize(
    ("mean", "width"), [(3.2, 1.0), (0.0, 1.8), (-1.0, 0.4)], ids=["beyond", "wide", "narrow"]
)
def test_a_set_that_no_parameter_makes_is_strange(mean: float, width: float) -> None:
    rng = np.random.default_rng(2)
    observed = rng.normal(mean, width, (60, 1))
    assert misspecification(observed, prior_sets(rng, 99)).p_value == 1 / 100


def test_a_set_at_the_edge_of_the_prior_is_not() -> None:
    rng = np.random.default_rng(3)
    sets = prior_sets(rng, 199)
    assert misspecification(rng.normal(1.9, 1, (60, 1)), sets).p_value > 0.02


def test_the_size_of_the_observed_set_makes_no_difference() -> None:
    rng = np.random.default_rng(4)
    sets = prior_sets(rng, 99)
    assert misspecification(rng.normal(0.0, 1, (5000, 1)), sets).p_value > 0.05


def test_distances_of_embeddings_are_those_of_the_kernel() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(0, 1, (150, 2)), rng.normal(0.7, 1, (150, 2))
    kernel = Kernel.from_sample(a)
    exact = kernel(a, a).mean() + kernel(b, b).mean() - 2 * kernel(a, b).mean()
    embedding = FourierEmbedding.from_sample(a, features=4096)
    # cos² + sin² of each frequency is a half of the two kernels' mean, times K.
    found = 2 * np.square(embedding(a) - embedding(b)).sum() / 4096
    assert found == pytest.approx(float(exact), rel=0.1)


def test_too_few_sets_and_other_columns_are_refused() -> None:
    with pytest.raises(DataError, match="5 simulated sets"):
        misspecification(np.zeros((5, 1)), [np.zeros((5, 1))] * 5)
    with pytest.raises(DataError, match="same columns"):
        misspecification(np.zeros((5, 2)), [np.zeros((5, 1))] * 9)
