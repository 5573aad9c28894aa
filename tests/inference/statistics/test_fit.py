"""Fits against closed forms, and what they say where they cannot succeed."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import torch
from torch import Tensor

from hepgen.errors import ParameterError
from hepgen.inference.binned import correlated_background, uncorrelated_background
from hepgen.inference.likelihood import DataSets
from hepgen.inference.statistics.fit import curvature_error, defaults, fit, profile_fit
from hepgen.inference.statistics.newton import Box, maximise
from hepgen.parameters import Parameter, ParameterSet, Uniform
from tests.inference.given_data import GivenData


class Given(GivenData):
    """log L is any function of θ, the same for all data sets; data sets are numbers."""

    def __init__(self, names: str, function: Any, width: float = 10.0) -> None:
        self.parameters = ParameterSet(
            [Parameter(n, 1.0, role="interest", prior=Uniform(-width, width)) for n in names]
        )
        self.function = function

    def log_likelihoods(self, sets: DataSets, theta: Tensor) -> Tensor:
        del sets
        value: Tensor = self.function(theta.double())
        return value


def test_fits_are_those_of_least_squares(line: Any) -> None:
    sets = line.generate(line.truth().expand(200, -1), 1)
    found = fit(line, sets)
    torch.testing.assert_close(found.theta, line.best(sets), rtol=0, atol=1e-6)
    assert found.covariance is not None
    torch.testing.assert_close(found.covariance[7], line.covariance)
    torch.testing.assert_close(found.errors[3], line.covariance.diagonal().sqrt())
    assert bool(found.converged.all())
    assert set(found.status) == {"converged"}
    assert found.warnings(5) == ()


def test_fixed_parameters_stay_and_the_others_follow(line: Any) -> None:
    """θ̂ given θ_i is θ̂ + C_{·i}/C_{ii} (θ_i − θ̂_i)."""
    sets = line.generate(line.truth().expand(20, -1), 2)
    values = torch.linspace(-1, 2, 20, dtype=torch.float64)
    found = fit(line, sets, fixed={"mu": values})
    best, c = line.best(sets), line.covariance
    expected = best + (values - best[:, 0])[:, None] * c[:, 0] / c[0, 0]
    torch.testing.assert_close(found.theta, expected, rtol=0, atol=1e-6)
    assert found.fixed[:, 0].all()
    assert found.errors[0, 0] == 0


def test_conditional_fits_start_where_they_end_for_a_gaussian(line: Any) -> None:
    sets = line.generate(line.truth().expand(3, -1), 3)
    best = fit(line, sets)
    at = {"mu": torch.tensor([[0.0, 1.0, 2.0]]).double().expand(3, -1)}
    begin = best.shifted(at)
    found = profile_fit(line, sets, at, begin)
    torch.testing.assert_close(found.theta, begin, rtol=0, atol=1e-6)


def test_a_parameter_at_its_bound(bounded_line: Any) -> None:
    """The best fit of the others is the conditional one at the bound."""
    sets = bounded_line.generate(bounded_line.truth(-3.0).expand(50, -1), 4)
    found = fit(bounded_line, sets)
    below = bounded_line.best(sets)[:, 0] < 0
    assert below.any()
    at_zero = fit(bounded_line, sets, fixed={"mu": 0.0})
    torch.testing.assert_close(found.theta[below], at_zero.theta[below], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.at_bound[:, 0], below)
    assert found.errors[below, 0].max() == 0
    k = int(below.nonzero()[0, 0])
    assert any("mu is at its bound" in word for word in found.warnings(k))
    wide = curvature_error(found, "mu")
    torch.testing.assert_close(wide, bounded_line.covariance[0, 0].sqrt().expand(50))


@pytest.mark.parametrize("high", [6.0, 14.0, 140.0])
def test_an_error_by_the_curvature_depends_on_no_range(high: float) -> None:
    """Also where it is a large part of the range: a weak measurement is not a strong one."""
    model = correlated_background([1.2, 1.1], [50, 52], [45, 57], [55, 47], low=-high, high=high)
    found = fit(model, model.observed([52, 54]))
    torch.testing.assert_close(curvature_error(found, "mu"), found.error("mu"))
    assert found.error("mu").item() == pytest.approx(4.472, abs=1e-3)


def test_a_flat_direction_is_named() -> None:
    model = Given("abc", lambda t: -0.5 * ((t[..., 0] + t[..., 1] - 1) ** 2 + t[..., 2] ** 2))
    found = fit(model, torch.zeros(1))
    (word,) = found.warnings(0)
    assert word.startswith("nothing fixes a, b:")
    assert found.flat.tolist() == [[True, True, False]]
    assert math.isinf(found.errors[0, 0].item())
    assert found.errors[0, 2].item() == pytest.approx(1.0)


def coupled(slope: float, unit: float = 1.0) -> Any:
    """log L = −½((a − slope·b)/0.1)² − ½(c/0.3)² with a in another unit; b is free."""

    def function(t: Tensor) -> Tensor:
        a, b, c = (t / torch.tensor([unit, 1.0, 1.0]).double()).unbind(-1)
        return -0.5 * ((a - slope * b) / 0.1) ** 2 - 0.5 * (c / 0.3) ** 2

    model = Given("abc", function, width=20.0)
    model.parameters = ParameterSet(
        [
            Parameter(n, 0.0, role="interest", prior=Uniform(-20.0 * u, 20.0 * u))
            for n, u in (("a", unit), ("b", 1.0), ("c", 1.0))
        ]
    )
    start = torch.tensor([0.3 * unit, 0.4, 0.2])
    return fit(model, torch.zeros(1), start=start)


@pytest.mark.parametrize("slope", [5.0, 1.0, 0.2, 0.02])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
def test_what_hangs_on_a_free_parameter_is_not_fixed(slope: float, unit: float) -> None:
    """Only a − slope·b is measured: a has no finite error, in any unit; c has its own."""
    found = coupled(slope, unit)
    assert found.flat.tolist() == [[True, True, False]]
    assert found.errors[0].tolist() == [math.inf, math.inf, pytest.approx(0.3)]
    (word,) = found.warnings(0)
    assert word.startswith("nothing fixes a, b:")


@pytest.mark.parametrize("slope", [0.0, 1e-4])
def test_a_parameter_beside_a_free_one_keeps_its_error(slope: float) -> None:
    """b within ± 20 moves a by nothing, or by less than 0.02 of its error."""
    found = coupled(slope)
    assert found.flat.tolist() == [[False, True, False]]
    assert found.errors[0, 0].item() == pytest.approx(0.1, rel=1e-4)


def test_a_fit_that_fails_says_where_and_what_to_do() -> None:
    """A likelihood of zero everywhere has no maximum."""
    model = Given("ab", lambda t: t.sum(-1) * 0 - torch.inf)
    found = fit(model, torch.zeros(2))
    assert not found.converged.any()
    for word in (found.status[1], found.warnings(0)[0]):
        assert word.startswith("not converged: log L = -inf")
        assert "a 1 → 1 (gradient" in word
        assert "try other starts" in word


def test_several_starts_find_the_higher_of_two_maxima() -> None:
    def two(t: Tensor) -> Tensor:
        x = t[..., 0]
        return torch.logsumexp(
            torch.stack([-0.5 * (x - 5) ** 2 * 4, math.log(3) - 0.5 * (x + 5) ** 2 * 4]), dim=0
        )

    model, data = Given("x", two), torch.zeros(1)
    one: Any = fit(model, data, start=torch.tensor([4.0]))
    many: Any = fit(model, data, start=torch.tensor([[[4.0], [0.3], [-4.0]]]))
    assert one.theta.item() == pytest.approx(5.0, abs=1e-6)
    assert many.theta.item() == pytest.approx(-5.0, abs=1e-6)


def test_the_valley_of_rosenbrock() -> None:
    model = Given("xy", lambda t: -((1 - t[..., 0]) ** 2 + 100 * (t[..., 1] - t[..., 0] ** 2) ** 2))
    starts = torch.tensor([[-1.2, 1.0], [5.0, -5.0], [-9.0, 9.0]]).double()
    found = fit(model, torch.zeros(3), start=starts)
    torch.testing.assert_close(found.theta, torch.ones(3, 2).double(), rtol=0, atol=1e-4)
    assert found.converged.all()


def test_straight_pieces_need_the_quasi_newton_steps() -> None:
    """A parabola as a polygon, as a network of rectifiers has it: its second derivative is 0."""
    joints = torch.linspace(-12, 12, 2401, dtype=torch.float64)

    def polygon(t: Tensor) -> Tensor:
        x = (t @ torch.tensor([[1.0, 0.4], [0.0, 1.0]]).double() - 0.5).clamp(-11.9, 11.9)
        at = torch.searchsorted(joints, x.detach()).clamp(1, 2400)
        left, right = joints[at - 1], joints[at]
        return -0.5 * (left**2 + (x - left) * (right + left)).sum(-1)

    found = fit(Given("ab", polygon), torch.zeros(1))
    assert found.theta[0, 0].item() == pytest.approx(0.5, abs=0.02)
    assert found.theta[0, 1].item() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("slope", [0.0, -1e-14, 1e-14])
@pytest.mark.parametrize("low", [0.0, -10.0])
def test_a_minimum_is_no_maximum(low: float, slope: float) -> None:
    """Nor is a saddle: Asimov data have no slope where they were made, maximum or not."""

    def wells(t: Tensor) -> Tensor:
        x, y = t[..., 0], t[..., 1]
        return slope * x - (x.square() - 1) ** 2 - (y - 0.3 * x) ** 2

    model, bounds = Given("xy", wells), {"x": (low, 9.0)}
    found = fit(model, torch.zeros(1), start=torch.zeros(1, 2), bounds=bounds)
    assert found.converged.all()
    assert found.theta[0].abs().tolist() == pytest.approx([1.0, 0.3], abs=1e-4)


@pytest.mark.parametrize("start", [0.0, -4e-5, -1e-3])
@pytest.mark.parametrize("width", [1.0, 1e-2, 1e-3])
def test_a_minimum_beside_a_bound(start: float, width: float) -> None:
    """All of the well is on the other side."""

    def wells(t: Tensor) -> Tensor:
        return -(((t[..., 0] / width).square() - 1) ** 2)

    begin = torch.tensor([[start * width]])
    found = fit(Given("x", wells), torch.zeros(1), start=begin, bounds={"x": (-9.0, 0.0)})
    assert found.converged.all()
    assert found.theta.item() == pytest.approx(-width, rel=1e-3)


def test_one_coordinate_at_its_bound_may_be_the_only_way_up() -> None:
    matrix = torch.tensor([[0.0, -1.0, -3.0], [-1.0, 0.0, -3.0], [-3.0, -3.0, 1.0]]).double()

    def hill(t: Tensor) -> Tensor:
        return 0.5 * torch.einsum("...i,ij,...j", t, matrix, t) - t.pow(4).sum(-1)

    at_zero = dict.fromkeys("xyz", (0.0, 9.0))
    found = fit(Given("xyz", hill), torch.zeros(1), start=torch.zeros(1, 3), bounds=at_zero)
    assert found.converged.all()
    assert found.theta[0].tolist() == pytest.approx([0.0, 0.0, 0.5], abs=1e-4)


def test_rows_that_are_done_are_not_evaluated_again() -> None:
    counts = []

    def function(rows: Tensor, point: Tensor) -> Tensor:
        counts.append(len(rows))
        power = torch.where(rows == 0, 2.0, 8.0)[:, None]
        return -(point[..., 0].abs() ** power)

    free = torch.zeros(3, 1, 1, dtype=torch.bool)
    wide = torch.full((1,), 100.0).double()
    found = maximise(function, torch.ones(3, 1, 1).double(), Box(-wide, wide, wide / 100, free))
    assert found.converged.all()
    assert counts[0] == 3
    assert counts[-1] == 2


def test_a_thousand_toys_in_seconds() -> None:
    """Under 5 s of CPU where it takes about 0.3: ten bins with ten gammas."""
    background = [100.0 - 8 * i for i in range(10)]
    signal = [20 * math.exp(-0.5 * (i - 5) ** 2) for i in range(10)]
    model = uncorrelated_background(signal, background, [0.05 * b for b in background], low=-5)
    toys = model.generate(defaults(model.parameters).expand(1000, -1), 1)
    begin = time.process_time()
    found = fit(model, toys)
    assert time.process_time() - begin < 5
    assert found.converged.all()
    pull = (found.column("mu") - 1) / found.error("mu")
    assert abs(pull.mean().item()) < 4 / math.sqrt(1000) + 0.05  # maximum likelihood has a bias
    assert pull.std().item() == pytest.approx(1.0, abs=4 / math.sqrt(2000))


def test_names_and_values_are_checked(line: Any) -> None:
    sets = line.generate(line.truth()[None], 0)
    with pytest.raises(ParameterError, match="no free parameter 'nu_3'"):
        fit(line, sets, fixed={"nu_3": 0.0})
    with pytest.raises(ParameterError, match="no free parameter 'm'"):
        fit(line, sets, bounds={"m": (0.0, 1.0)})
