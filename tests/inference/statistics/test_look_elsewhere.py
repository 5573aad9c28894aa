"""Global p-values of Gaussian processes, whose upcrossings are known, and of a fitted bump."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.polynomial_likelihood import PolynomialLikelihood
from hepgen.inference.statistics.look_elsewhere import (
    brute_force,
    euler_characteristic,
    global_p_value,
    local_p_value,
    local_statistics,
    upcrossings,
)
from hepgen.parameters import Parameter, ParameterSet, Uniform

LENGTH, POINTS = 30.0, 301


def processes(number: int, seed: int) -> NDArray[np.float64]:
    """Z(m) of covariance exp(−d²/2) over a length of 30, shape ``(S, K)``."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, LENGTH, POINTS)
    nodes = np.arange(-6, LENGTH + 6, 0.25)
    # A moving average with a Gaussian of width 1/√2 has the wanted covariance.
    kernel = np.exp(-((x[:, None] - nodes) ** 2))
    kernel /= np.sqrt((kernel**2).sum(1, keepdims=True))
    return np.asarray(rng.standard_normal((number, len(nodes))) @ kernel.T)


def q(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(z > 0, z**2, 0.0)


def test_upcrossings_are_those_of_rice() -> None:
    number = upcrossings(q(processes(2000, 1)), 1.0)
    rice = LENGTH / (2 * math.pi) * math.exp(-0.5)
    # Four standard errors: 1 in 16,000; the grid of a tenth of a width loses 1 %.
    error = number.std() / math.sqrt(len(number))
    assert number.mean() == pytest.approx(rice, abs=4 * error + 0.01 * rice)


def test_few_toys_know_the_global_p_value() -> None:
    few, many = q(processes(100, 2)), q(processes(8000, 3))
    found, exact = global_p_value(12.0, few), brute_force(12.0, many)
    rice = local_p_value(12.0) + LENGTH / (2 * math.pi) * math.exp(-6.0)
    assert found.value == pytest.approx(rice, abs=4 * found.error)
    assert exact.value == pytest.approx(rice, abs=4 * exact.error + 0.05 * rice)
    assert found.trials > 10
    assert found.significance < 3


def test_over_two_parameters_by_the_euler_characteristic() -> None:
    rng = np.random.default_rng(5)
    side, points = 10.0, 41
    nodes = np.arange(-4, side + 4, 0.5)
    kernel = np.exp(-((np.linspace(0, side, points)[:, None] - nodes) ** 2))
    kernel /= np.sqrt((kernel**2).sum(1, keepdims=True))

    def fields(number: int) -> NDArray[np.float64]:
        noise = rng.standard_normal((number, len(nodes), len(nodes)))
        return q(kernel @ noise @ kernel.T)

    found, exact = global_p_value(13.0, fields(60)), brute_force(13.0, fields(800))
    # 10 % of the finite grid, and four standard errors of both.
    allowed = 4 * math.hypot(found.error, exact.error) + 0.1 * exact.value
    assert found.value == pytest.approx(exact.value, abs=allowed)
    assert found.method == "euler characteristic"


def test_euler_characteristic_counts_pieces_minus_holes() -> None:
    field = np.zeros((1, 8, 8))
    field[0, 1:4, 1:4] = 1.0
    field[0, 2, 2] = 0.0
    field[0, 6, 6] = 1.0
    assert euler_characteristic(field, 0.5).tolist() == [1]


def bump() -> PolynomialLikelihood:
    """A Gaussian bump of width 0.3 at a free place on a flat background of 300 events."""
    x = torch.linspace(0.05, 9.95, 100, dtype=torch.float64)

    def log_rate(theta: Tensor) -> Tensor:
        strength, place = theta[:, :1], theta[:, 1:]
        line = torch.exp(-0.5 * ((x - place) / 0.3).square()) / (0.3 * math.sqrt(2 * math.pi))
        return (3.0 + 0.1 * strength * line).log()

    class Exact(PolynomialLikelihood):
        """Only the toys are those of the class: no polynomial follows a narrow bump."""

        def log_rates(self, theta: Tensor) -> Tensor:
            return log_rate(theta.reshape(-1, 2)).reshape(*theta.shape[:-1], -1)

        def log_likelihoods(self, sets: Tensor, theta: Tensor) -> Tensor:  # type: ignore[override]
            rate = self.log_rates(theta)
            return torch.einsum("skb,sb->sk", rate, sets) - rate.exp().sum(-1)

    parameters = ParameterSet(
        [
            Parameter("s", 5.0, role="interest", prior=Uniform(0.0, 80.0)),
            Parameter("m", 5.0, role="interest", prior=Uniform(1.0, 9.0)),
        ]
    )
    return Exact(parameters, log_rate, degree=2, rate=True)


def test_a_fitted_bump_is_found_where_it_is() -> None:
    model = bump()
    places = torch.linspace(1.5, 8.5, 29, dtype=torch.float64)
    rate = torch.full((40, 100), 3.0, dtype=torch.float64)
    counts = torch.poisson(rate, torch.Generator().manual_seed(3))
    empty = local_statistics(model, counts, "s", {"m": places}).numpy()
    # q₀ is ½ δ(0) + ½ χ²: half of the places have none, and the mean is ½.
    assert np.mean(empty == 0) == pytest.approx(0.5, abs=0.08)
    assert empty.mean() == pytest.approx(0.5, abs=0.12)
    signal = model.log_rates(torch.tensor([[25.0, 5.0]]).double()).exp()
    found = local_statistics(model, signal, "s", {"m": places}).numpy()[0]
    assert places[found.argmax()].item() == pytest.approx(5.0, abs=0.13)
    whole = global_p_value(float(found.max()), empty)
    assert whole.local < whole.value < 0.1


def test_what_cannot_be_said_is_refused_or_warned_of() -> None:
    toys = q(processes(50, 1))
    with pytest.raises(DataError, match="ten toys"):
        global_p_value(9.0, toys[:3])
    assert global_p_value(1.0, toys).warnings
    none = brute_force(40.0, toys)
    assert none.value == 1 / 51
    assert math.isfinite(none.significance)
    assert "0 of 50 toys are as large: the p-value is an upper limit, 1/51" in none.warnings[0]


def test_no_upcrossing_has_an_error_and_a_warning() -> None:
    """As if one toy had crossed: e^{−(c − c₀)/2}/S."""
    found = global_p_value(9.0, np.full((50, 20), 0.1))
    assert found.value == local_p_value(9.0)
    assert found.error == pytest.approx(math.exp(-(9.0 - 0.5) / 2) / 50)
    assert any("none of 50 toys rises through q₀ = 0.5" in word for word in found.warnings)


def test_at_one_place_the_global_p_value_is_the_local_one() -> None:
    found = global_p_value(9.0, q(processes(50, 1)[:, :1]))
    assert found.value == local_p_value(9.0)
    assert (found.error, found.warnings) == (0.0, ())


@pytest.mark.parametrize("seed", range(6))
def test_no_global_p_value_is_below_the_local_one(seed: int) -> None:
    """Of fields that are one number each, the Euler characteristics fluctuate about the local."""
    toys = q(np.random.default_rng(seed).standard_normal((50, 1, 1)))
    found = global_p_value(16.0, np.broadcast_to(toys, (50, 6, 6)))
    assert found.value >= found.local == local_p_value(16.0)
    assert math.isfinite(found.significance)
    assert (found.value == found.local) == any("make more toys" in w for w in found.warnings)


def test_a_grid_coarser_than_a_bump_is_warned_of() -> None:
    """exp(−d²/2) is of bumps of width 0.71, 7 points; every 20th is 2.8 widths apart."""
    whole = q(processes(200, 4))
    for step in (1, 3, 7):
        assert global_p_value(12.0, whole[:, ::step]).warnings == ()
    (word,) = global_p_value(12.0, whole[:, ::20]).warnings
    assert "the grid is coarser than a bump is wide" in word
    both = whole[:, :200].reshape(200, 10, 20)  # neighbours of the first axis are 2 apart
    assert any("coarser" in w for w in global_p_value(12.0, both).warnings)


def test_toys_with_a_fit_that_failed_are_left_out() -> None:
    toys = q(processes(100, 2))
    broken = np.concatenate([toys, np.full((5, POINTS), np.nan)])
    for made in (global_p_value, brute_force):
        found, clean = made(9.0, broken), made(9.0, toys)
        assert (found.value, found.error) == (clean.value, clean.error)
        assert found.warnings[0].startswith("5 of 105 toys")
        with pytest.raises(DataError, match="expected 10% at most"):
            made(9.0, np.where(np.arange(100)[:, None] < 11, np.nan, toys))


def test_a_local_test_without_a_fit_is_not_a_number() -> None:
    """A likelihood without a gradient beyond a strength of 20: no search arrives there."""

    class Rough(type(bump())):  # type: ignore[misc]
        def log_likelihoods(self, sets: Tensor, theta: Tensor) -> Tensor:
            one = torch.where(theta[..., 0] > 20.0, 0 * theta[..., 1], 1.0)
            found: Tensor = super().log_likelihoods(sets, theta) + one.sqrt() - one.detach()
            return found

    model = bump()
    rough = bump()
    rough.__class__ = Rough
    places = torch.tensor([2.0, 5.0], dtype=torch.float64)
    signal = model.log_rates(torch.tensor([[40.0, 5.0]]).double()).exp()
    found = local_statistics(rough, signal, "s", {"m": places})[0]
    assert torch.isfinite(local_statistics(model, signal, "s", {"m": places})).all()
    assert torch.isnan(found).tolist() == [False, True]
