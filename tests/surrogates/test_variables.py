"""Angles, counts and zeros: the maps themselves, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from hepgen.errors import DataError
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature, as_continuous, feature_from_dict
from hepgen.surrogates.families import build
from hepgen.surrogates.surrogate import Surrogate
from hepgen.surrogates.variables import CategoricalHead, Mixed
from hepgen.surrogates.variables.circular import lifted, lowered, other, weight
from hepgen.surrogates.variables.fixed_points import FixedPoints
from hepgen.surrogates.variables.mixed import Layout

FALSE_ALARM = 1e-4
PHI = Feature("phi", low=-math.pi, high=math.pi, kind="circular")


def test_windings_are_a_partition_of_unity() -> None:
    phi = torch.linspace(-math.pi, math.pi, 101, dtype=torch.float64)
    torch.testing.assert_close(weight(phi) + weight(other(phi)), torch.ones_like(phi))


def test_an_angle_is_lifted_and_lowered() -> None:
    phi = torch.linspace(-3.1, 3.1, 33, dtype=torch.float64)
    torch.testing.assert_close(lowered(lifted(phi)[0]), phi)
    t = torch.linspace(-4.5, 4.5, 19, dtype=torch.float64, requires_grad=True)
    v, slope = lifted(t)
    (gradient,) = torch.autograd.grad(v.sum(), t)
    torch.testing.assert_close(gradient.log(), slope)


@pytest.mark.parametrize("angles", [1, 2])
def test_an_untrained_density_on_the_circle_is_normalised(angles: int) -> None:
    """Whatever the family is: a normal distribution off centre, here by its weights."""
    from hepgen.surrogates.families import build

    space = FeatureSpace((PHI,) * angles, (0.0,) * angles, (1.0,) * angles)
    model = Mixed(Layout.of(space), 0, lambda d, c: build("coupling", d, c, {"hidden": [8]}, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    edge = (torch.arange(120) + 0.5) * math.tau / 120 - math.pi
    grid = torch.cartesian_prod(*[edge] * angles).reshape(-1, angles)
    with torch.no_grad():
        density = model.log_prob(grid, torch.zeros(len(grid), 0)).value.exp()
    assert abs(float(density.sum()) * (math.tau / 120) ** angles - 1) < 2e-3


def test_categories_are_drawn_with_their_probability() -> None:
    torch.manual_seed(1)
    head = CategoricalHead((3, 12), 1, (8,))
    k = torch.cartesian_prod(torch.arange(3), torch.arange(12))
    expected = head.log_prob(k, torch.ones(36, 1)).exp().detach()
    assert abs(float(expected.sum()) - 1) < 1e-5
    drawn = head.generate(torch.randn(20_000, 2), torch.ones(20_000, 1))
    found = torch.bincount(drawn[:, 0] * 12 + drawn[:, 1], minlength=36)
    expected = expected.double()
    expected = expected / expected.sum()
    assert stats.chisquare(found, 20_000 * expected).pvalue > FALSE_ALARM


def test_a_value_outside_its_range_has_no_probability() -> None:
    head = CategoricalHead((3,), 0)
    assert head.log_prob(torch.tensor([[3]]), torch.zeros(1, 0)).item() == -math.inf


def test_counts_of_many_values_are_dequantised() -> None:
    """Poisson counts around 100: whole numbers, and the entropy of the bound."""
    generator = torch.Generator().manual_seed(0)
    x = torch.poisson(torch.full((4000, 1), 100.0, dtype=torch.float64), generator=generator)
    surrogate = Surrogate.fit(
        x, torch.zeros(4000, 0), features=(Feature("n", kind="discrete", low=0, high=300),),
        inputs=(), method="coupling", options={"layers": 1, "hidden": [8]}, device="cpu",
        batch_size=250, epochs=10, max_learning_rate=5e-2, patience=None,
    )  # fmt: skip
    assert surrogate.quality.kind == "bound"
    assert "dequantised" in surrogate.quality.words
    nothing = torch.zeros(0, dtype=torch.float64)
    drawn = surrogate.sample(2000, nothing)
    assert torch.equal(drawn, drawn.round())
    density = surrogate.log_prob(x[:2000], nothing).detach()
    truth = x[:2000, 0] * math.log(100) - 100 - torch.lgamma(x[:2000, 0] + 1)
    assert abs(float((truth - density).mean())) < 0.05


def test_a_family_without_such_variables_is_not_wrapped() -> None:
    x = torch.randn(500, 1, generator=torch.Generator().manual_seed(0))
    surrogate = Surrogate.fit(
        x, torch.zeros(500, 0), features=(Feature("x"),), inputs=(), method="coupling",
        options={"layers": 1, "hidden": [8]}, device="cpu", epochs=1,
    )  # fmt: skip
    assert not isinstance(surrogate.model, Mixed)


def test_kinds_are_kept_and_absent_where_there_are_none() -> None:
    space = FeatureSpace((PHI, Feature("x")), (0.0, 0.0), (1.0, 1.0))
    entry = space.to_dict()
    assert "kind" not in entry["features"][1]
    assert FeatureSpace.from_dict(entry) == space
    assert feature_from_dict({"name": "x", "unit": "", "label": ""}).kind == "continuous"


def test_space_of_mixed_features_and_back() -> None:
    features = (PHI, Feature("n", kind="discrete"), Feature("e", low=0.0, kind="zero_inflated"))
    x = torch.tensor([[3.0, 2.0, 0.0], [-3.0, 7.0, 1.5], [1.0, 4.0, 0.5]], dtype=torch.float64)
    space = FeatureSpace.from_sample(features, x)
    assert (space.features[1].low, space.features[1].high) == (2.0, 7.0)
    u = space.forward(x)
    assert bool(u[0, 2].isnan())
    torch.testing.assert_close(space.inverse(u), x)
    # The Jacobian is that of the energy alone, and of nothing where there is none.
    slope = space.log_jacobian(x)
    assert slope[0] == 0
    assert slope[1].item() == pytest.approx(-math.log(1.5) - math.log(space.std[2]))


@pytest.mark.parametrize(
    ("feature", "value", "words"),
    [
        (Feature("n", kind="discrete", low=0, high=5), 2.5, "whole numbers within"),
        (Feature("n", kind="discrete", low=0, high=5), 6.0, "whole numbers within"),
        (Feature("e", kind="zero_inflated", low=0.0), -1.0, "zero or strictly inside"),
        (PHI, np.nan, "NaN"),
    ],
)
def test_impossible_values_are_refused(feature: Feature, value: float, words: str) -> None:
    space = FeatureSpace((feature,), (0.0,), (1.0,))
    with pytest.raises(DataError, match=words):
        space.check(torch.tensor([[value]]))


def test_a_period_has_two_ends() -> None:
    with pytest.raises(DataError, match="one period apart"):
        Feature("x", kind="circular", low=0.0)


def test_what_has_no_density_is_no_plain_number() -> None:
    assert as_continuous((PHI,))[0].kind == "continuous"
    with pytest.raises(DataError, match="zero-inflated"):
        as_continuous((Feature("e", kind="zero_inflated"),))


def test_the_error_of_the_family_is_kept() -> None:
    """Of an angle nothing is drawn, and the error is that of the auto-encoder."""
    from hepgen.surrogates.families import build

    space = FeatureSpace((PHI,), (0.0,), (1.0,))
    options = {"samples": 4, "hidden": [8]}
    model = Mixed(Layout.of(space), 0, lambda d, c: build("vae", d, c, options, 3))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        found = model.log_prob(torch.linspace(-3, 3, 20)[:, None], torch.zeros(20, 0))
    assert bool((found.error > 0).all())
    assert bool(found.error.isfinite().all())


def test_a_count_of_one_value_is_certain() -> None:
    """e.g. the charge of a muon, in a sample in which none is measured wrong."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(500, 1, generator=generator, dtype=torch.float64)
    x = torch.cat([torch.ones_like(y), y], -1)
    features = (Feature("charge", kind="discrete"), Feature("y"))
    nothing = torch.zeros(500, 0, dtype=torch.float64)
    surrogate = Surrogate.fit(
        x, nothing, features=features, inputs=(), method="coupling",
        options={"layers": 1, "hidden": [8]}, device="cpu", epochs=1,
    )  # fmt: skip
    assert bool((surrogate.sample(100, nothing[0])[:, 0] == 1).all())
    assert surrogate.quality.kind == "exact"
    assert surrogate.log_prob(x, nothing).isfinite().all()


def test_a_wide_density_on_the_line_has_no_spike_on_the_circle() -> None:
    """At ±π/2 the second winding sets in: from nothing, however slowly the density falls."""
    v, slope = lifted(torch.pi * (1.5 - torch.logspace(-1, -5, 5, dtype=torch.float64)))
    logistic = -v.abs() / 2
    assert bool(((logistic + slope).diff() < 0).all())
    assert float((logistic + slope)[-1]) < -20


def test_fixed_points_are_a_quadrature_of_what_draws_estimate() -> None:
    """Of a component that may be zero: sixteen points against thousands, and against draws."""
    features = (Feature("y"), Feature("e", low=0.0, kind="zero_inflated"))
    space = FeatureSpace(features, (0.0, 0.0), (1.0, 1.0))
    model = Mixed(Layout.of(space), 1, lambda d, c: build("coupling", d, c, {"hidden": [8]}, 3))
    generator = torch.Generator().manual_seed(1)
    u, c = torch.randn(40, 2, generator=generator), torch.zeros(40, 1)
    u[::2, 1] = math.nan
    model.draws = 4096
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        torch.manual_seed(1)
        drawn = model.log_prob(u, c)
        few, many = (FixedPoints(model, points).log_prob(u, c).value for points in (16, 4096))
    torch.testing.assert_close(few, many, rtol=0, atol=0.05)
    assert drawn.error is not None
    # Of twenty events with zeros one in 300,000 is beyond by chance; the others have no error.
    assert bool(((drawn.value - many).abs() <= 5 * drawn.error + 1e-6).all())
