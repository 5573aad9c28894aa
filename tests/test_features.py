"""The bijection of the features: round trips, Jacobians, and what is refused."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import jacrev

from hepgen.errors import DataError
from hepgen.events import Events
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature, check_features, events_to_tensor

FEATURES = (
    Feature("mass", "GeV", low=60.0, high=120.0),
    Feature("pt", "GeV", low=0.0),
    Feature("below", high=5.0),
    Feature("free"),
)


def sample(n: int = 4000, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    columns = (
        rng.uniform(60.001, 119.999, n),
        rng.exponential(20.0, n) + 1e-3,
        5.0 - rng.exponential(1.0, n) - 1e-3,
        rng.standard_cauchy(n),
    )
    return torch.from_numpy(np.stack(columns, axis=-1))


@pytest.fixture
def space() -> FeatureSpace:
    return FeatureSpace.from_sample(FEATURES, sample())


def test_round_trip(space: FeatureSpace) -> None:
    x = sample(seed=1)
    assert torch.allclose(space.inverse(space.forward(x)), x, rtol=1e-12, atol=1e-10)


def test_log_jacobian_is_that_of_forward(space: FeatureSpace) -> None:
    x = sample(20, seed=2)
    jacobian = torch.stack([jacrev(space.forward)(row) for row in x])
    expected = torch.linalg.slogdet(jacobian).logabsdet
    assert torch.allclose(space.log_jacobian(x), expected, rtol=1e-10)


def test_density_stays_normalised() -> None:
    """A standard Gaussian in u is a density over (60, 120) in x that integrates to one."""
    space = FeatureSpace(FEATURES[:1], (0.1,), (0.7,))
    x = torch.linspace(60, 120, 40_002, dtype=torch.float64)[1:-1, None]
    u = space.forward(x)[:, 0]
    density = torch.exp(-0.5 * u**2 - 0.5 * math.log(2 * math.pi) + space.log_jacobian(x))
    assert torch.trapezoid(density, x[:, 0]).item() == pytest.approx(1, abs=1e-6)


def test_scale_is_robust() -> None:
    """A Cauchy tail leaves the scale at its quartiles: IQR 2 in units of a Gaussian's 1.349."""
    space = FeatureSpace.from_sample(FEATURES[3:], sample(100_000)[:, 3:])
    assert space.std[0] == pytest.approx(2 / 1.349, rel=0.03)
    assert space.mean[0] == pytest.approx(0, abs=0.03)


def test_half_identical_values_still_have_a_scale() -> None:
    x = torch.cat([torch.zeros(80, 1), torch.ones(20, 1)]).double()
    assert FeatureSpace.from_sample([Feature("flag")], x).std[0] == pytest.approx(0.4)


def test_constant_feature_is_refused() -> None:
    with pytest.raises(DataError, match=r"'mass' has one value only.*90"):
        FeatureSpace.from_sample(FEATURES[:1], torch.full((10, 1), 90.0))


def test_dictionary_round_trip(space: FeatureSpace) -> None:
    assert FeatureSpace.from_dict(space.to_dict()) == space


def test_axis_label() -> None:
    assert Feature("m", "GeV", "$m$").axis == "$m$ [GeV]"
    assert Feature("m").axis == "m"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([91.0, math.nan, math.inf], r"'mass': 2 of 3 values are NaN or infinite"),
        ([91.0, 60.0, 121.0], r"'mass': 2 of 3 values, e\.g\. 60, .* \(60, 120\) GeV"),
        ([], r"empty"),
    ],
)
def test_bad_values_are_counted_and_named(values: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        FeatureSpace(FEATURES[:1], (0.0,), (1.0,)).check(torch.tensor(values)[:, None])


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(DataError, match=r"expected \(N, 1\)"):
        FeatureSpace(FEATURES[:1], (0.0,), (1.0,)).check(torch.zeros(4))


def test_bounds_must_be_ordered() -> None:
    with pytest.raises(DataError, match="low < high"):
        Feature("m", low=2.0, high=1.0)


def test_events_to_tensor_orders_the_columns() -> None:
    events = Events.from_columns({"pt": np.array([3.0, 4.0]), "mass": np.array([90.0, 91.0])})
    x = events_to_tensor(events, FEATURES[:2])
    assert x.tolist() == [[90.0, 3.0], [91.0, 4.0]]
    assert x.dtype == torch.float64


def test_jagged_column_is_refused() -> None:
    events = Events.from_columns({"mass": ak.Array([[90.0], [91.0, 92.0]])})
    with pytest.raises(DataError, match="jagged"):
        events_to_tensor(events, FEATURES[:1])


def test_missing_column_is_refused() -> None:
    events = Events.from_columns({"mas": np.array([90.0])})
    with pytest.raises(DataError, match="did you mean 'mas'"):
        events_to_tensor(events, FEATURES[:1])


@pytest.mark.parametrize(("low", "high"), [(0.0, math.inf), (-math.inf, 3.0), (60.0, 120.0)])
@pytest.mark.parametrize("v", [-1e4, -800.0, 800.0, 1e4])
def test_what_a_model_draws_is_strictly_inside_the_bounds(
    low: float, high: float, v: float
) -> None:
    """A heavy tail in v must not round onto a bound, or overflow."""
    feature = Feature("x", low=low, high=high)
    x = feature.physical(torch.tensor([[v]], dtype=torch.float64))
    check_features(x, [feature])


@pytest.mark.parametrize("feature", FEATURES[1:3], ids=lambda feature: feature.name)
def test_beyond_the_sample_a_one_sided_bijection_is_a_straight_line(feature: Feature) -> None:
    """A logarithm up to the largest distance of the sample, then a line of the same slope."""
    column = FEATURES.index(feature)
    (found,) = FeatureSpace.from_sample([feature], sample()[:, [column]]).features
    bound = found.low if math.isfinite(found.low) else found.high
    distance = (sample()[:, column] - bound).abs()
    assert found.reach == distance.max().item()
    sign = 1 if math.isfinite(found.low) else -1
    x = bound + sign * found.reach * torch.tensor([0.5, 1.0, 2.0, 3.0, 1e6], dtype=torch.float64)
    v = sign * found.unbounded(x)
    expected = math.log(found.reach) + torch.tensor([math.log(0.5), 0, 1, 2, 1e6 - 1]).double()
    torch.testing.assert_close(v, expected)
    torch.testing.assert_close(found.physical(sign * v), x)
    slope = [jacrev(found.unbounded)(one).item() for one in x]
    torch.testing.assert_close(found.log_jacobian(x), torch.tensor(slope).double().log())


def test_a_tail_on_both_sides_of_a_logarithm_has_a_mean() -> None:
    """v logistic of scale 2, which ln y would turn into a density without a mean.

    E[y] = R(1 + 2 ln 2) in the part beyond the reach; five standard errors of a million draws.
    """
    feature = Feature("y", low=0.0, reach=3.0)
    u = torch.rand(10**6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = feature.physical(math.log(3.0) + 2 * torch.logit(u))
    beyond = torch.where(y > 3.0, y, 0.0)
    error = float(beyond.std()) / 1000
    assert abs(float(beyond.mean()) - 3 * (0.5 + 2 * math.log(2))) < 5 * error
