"""Fréchet and kernel distances: closed forms, no bias under the null, errors that are right."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hepgen.diagnostics.comparison.frechet import frechet, frechet_distance
from hepgen.diagnostics.comparison.kernel import kernel_distance, mmd2
from hepgen.errors import DataError


def pair(n: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.random.default_rng(seed).normal(size=(2, n, d))
    return first, second


def test_a_shift_is_its_square() -> None:
    first, second = pair(20_000, 3, 1)
    found = frechet_distance(first, second + np.array([0.3, 0.0, 0.4]))
    assert found.value == pytest.approx(0.25, abs=4 * found.error)
    assert found.error < 0.02


def test_scales_differ_by_the_squares_of_their_differences() -> None:
    """Σ (σ₁ − σ₂)² for covariances that commute."""
    first, second = pair(20_000, 2, 2)
    found = frechet_distance(first, second * np.array([2.0, 0.5]))
    assert found.value == pytest.approx(1.25, abs=4 * found.error)


def test_the_distance_of_rotated_gaussians() -> None:
    """2 × 2 covariances: tr (Σ₁Σ₂)^½ = √(tr Σ₁Σ₂ + 2√(|Σ₁||Σ₂|))."""
    a = np.array([[1.0, 0.8], [0.8, 1.0]])
    b = np.array([[2.0, -0.5], [-0.5, 0.5]])
    first, second = (
        x @ np.linalg.cholesky(c).T for x, c in zip(pair(200, 2, 3), (a, b), strict=True)
    )
    c1, c2 = np.cov(first.T), np.cov(second.T)
    cross = math.sqrt(np.trace(c1 @ c2) + 2 * math.sqrt(np.linalg.det(c1) * np.linalg.det(c2)))
    expected = np.sum((first.mean(0) - second.mean(0)) ** 2) + np.trace(c1 + c2) - 2 * cross
    assert frechet(first, second) == pytest.approx(expected)


def test_the_bias_is_extrapolated_away() -> None:
    """Over 60 null pairs the mean is zero within four errors, where the plain one is far off."""
    plain, found = [], []
    for seed in range(60):
        first, second = pair(400, 3, seed)
        plain.append(frechet(first, second))
        found.append(frechet_distance(first, second, seed=seed))
    values = np.array([one.value for one in found])
    scatter = values.std(ddof=1)
    assert abs(values.mean()) < 4 * scatter / math.sqrt(60)
    assert np.mean(plain) > 10 * scatter / math.sqrt(60)
    # A jackknife of a statistic without a linear term errs on the safe side.
    assert 0.9 < np.mean([one.error for one in found]) / scatter < 1.8


def test_the_error_is_the_scatter_where_there_is_a_distance() -> None:
    found = []
    for seed in range(100):
        first, second = pair(400, 2, seed)
        found.append(frechet_distance(first, second + 0.7, seed=seed))
    scatter = np.std([one.value for one in found], ddof=1)
    assert np.mean([one.error for one in found]) == pytest.approx(scatter, rel=0.3)


def test_identical_samples_are_at_no_distance() -> None:
    x, _ = pair(1000, 2, 1)
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x).value == pytest.approx(0, abs=0.02)


def test_the_kernel_distance_of_the_null_has_no_bias() -> None:
    """Mean of MMD² over 300 null pairs within four errors of zero."""
    values = np.array([mmd2(*pair(60, 2, seed)) for seed in range(300)])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(300)


def test_the_kernel_distance_is_the_definition() -> None:
    """Beside sums over pairs, written out."""
    x, y = pair(7, 2, 4)

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 2 + 1) ** 4)

    same = sum(
        k(s[i], s[j]) for s in (x, y) for i in range(7) for j in range(7) if i != j
    ) / (7 * 6)  # fmt: skip
    cross = sum(k(a, b) for a in x for b in y) / 49
    assert mmd2(x, y) == pytest.approx(same - 2 * cross)


def test_one_dimensional_moments_make_the_kernel_distance() -> None:
    """d = 1: Σ C(4, j) (E xʲ − E yʲ)², here for a shift of a normal by one."""
    first, second = pair(8000, 1, 5)
    moments = np.array([0, 1, 2 - 1, 4, 10 - 3])
    expected = float(np.sum([math.comb(4, j) * m**2 for j, m in enumerate(moments)]))
    found = kernel_distance(first, second + 1)
    assert found.value == pytest.approx(expected, abs=4 * found.error)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_too_few_events_and_nan_are_refused(distance: object) -> None:
    assert callable(distance)
    with pytest.raises(DataError, match="expected at least"):
        distance(np.zeros((1, 2)), np.zeros((1, 2)))
    with pytest.raises(DataError, match="expected at least"):
        distance(np.zeros((50, 2)), np.zeros((50, 2)))
    with pytest.raises(DataError, match="NaN"):
        distance(np.full((500, 2), np.nan), np.zeros((500, 2)))
