"""Priors, the bijection to the real line, and sets of parameters.

Statistical statements are held to p > 10⁻⁴ at fixed seeds: four of them, so another choice of
seeds would fail with a probability of 4 · 10⁻⁴.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, stats
from torch import Tensor

from hepgen.errors import ParameterError
from hepgen.parameters import (
    Normal,
    Parameter,
    ParameterSet,
    Prior,
    PriorDistribution,
    Uniform,
    prior_from_dict,
)

FALSE_ALARM = 1e-4
PRIORS: list[Prior] = [
    Uniform(88.0, 94.0),
    Uniform(-0.3, 0.1),
    Normal(0.0, 0.002),
    Normal(3.0, 5.0),
]
law = settings(deadline=None, derandomize=True)
every_prior = pytest.mark.parametrize("prior", PRIORS, ids=str)

numbers = st.floats(-1e3, 1e3)
widths = st.floats(1e-2, 1e3)
uniforms = st.builds(lambda low, width: Uniform(low, low + width), numbers, widths)
normals = st.builds(Normal, numbers, widths)
priors: st.SearchStrategy[Prior] = st.one_of(uniforms, normals)
line = st.lists(st.floats(-10, 10), min_size=1, max_size=5).map(
    lambda u: torch.tensor(u, dtype=torch.float64)
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def density(prior: Prior, theta: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = prior.log_prob(torch.from_numpy(theta)).exp().numpy()
    return values


def range_of(prior: Prior) -> tuple[float, float]:
    """The support, or where all but a part in 10¹⁵ of the prior is."""
    if math.isfinite(prior.low):
        return prior.low, prior.high
    low, high = prior.physical(torch.tensor([-8.0, 8.0], dtype=torch.float64)).tolist()
    return low, high


# --- one prior ------------------------------------------------------------------------


@law
@given(prior=priors, u=line)
def test_the_bijection_is_inverse_to_itself(prior: Prior, u: Tensor) -> None:
    torch.testing.assert_close(prior.unbounded(prior.physical(u)), u, rtol=0, atol=1e-5)


@law
@given(prior=priors, u=line)
def test_the_jacobian_is_the_derivative(prior: Prior, u: Tensor) -> None:
    u.requires_grad_()
    (slope,) = torch.autograd.grad(prior.physical(u).sum(), u)
    torch.testing.assert_close(prior.log_jacobian(u.detach()), slope.log(), rtol=1e-7, atol=1e-7)


@law
@given(prior=priors, u=line)
def test_the_bijection_ascends_and_stays_in_the_support(prior: Prior, u: Tensor) -> None:
    theta = prior.physical(u)
    assert bool(((theta >= prior.low) & (theta <= prior.high)).all())
    assert bool((prior.physical(u + 0.1) > theta).all())
    assert bool(prior.log_prob(theta).isfinite().all())


@law
@given(prior=uniforms)
def test_the_edges_of_a_uniform_prior_are_the_ends_of_the_line(prior: Uniform) -> None:
    edges = torch.tensor([prior.low, prior.high], dtype=torch.float64)
    ends = torch.tensor([-math.inf, math.inf], dtype=torch.float64)
    assert torch.equal(prior.unbounded(edges), ends)
    torch.testing.assert_close(prior.physical(ends), edges, rtol=1e-15, atol=0)
    assert torch.equal(prior.log_jacobian(ends), torch.full((2,), -math.inf, dtype=torch.float64))
    assert bool(prior.log_prob(edges).isfinite().all())


@law
@given(prior=uniforms)
def test_a_uniform_prior_ends_at_its_edges(prior: Uniform) -> None:
    beyond = [math.nextafter(prior.low, -math.inf), math.nextafter(prior.high, math.inf), math.nan]
    outside = prior.log_prob(torch.tensor(beyond, dtype=torch.float64))
    assert outside.tolist() == [-math.inf] * 3


@every_prior
def test_a_prior_is_normalised(prior: Prior) -> None:
    total, _ = integrate.quad(
        lambda t: float(density(prior, np.array([t]))[0]), *range_of(prior), limit=200
    )
    assert total == pytest.approx(1.0, abs=1e-6)


@every_prior
def test_its_density_on_the_line_is_normalised(prior: Prior) -> None:
    u = torch.linspace(-40, 40, 20_001, dtype=torch.float64)
    log_density = prior.log_prob(prior.physical(u)) + prior.log_jacobian(u)
    assert float(torch.trapezoid(log_density.exp(), u)) == pytest.approx(1.0, abs=1e-6)


@every_prior
def test_draws_follow_the_density(prior: Prior) -> None:
    draws = prior.sample((4000,), generator(3)).numpy()
    grid = np.linspace(*range_of(prior), 4001)
    cumulative = integrate.cumulative_trapezoid(density(prior, grid), grid, initial=0)
    test = stats.kstest(draws, lambda t: np.interp(t, grid, cumulative))
    assert test.pvalue > FALSE_ALARM


@every_prior
def test_a_draw_is_what_its_generator_makes_it(prior: Prior) -> None:
    state = torch.random.get_rng_state()
    first, again, other = (prior.sample((2, 3), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (first.shape, first.dtype) == ((2, 3), torch.float64)


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("uniform", (94.0, 88.0)),
        ("uniform", (1.0, 1.0)),
        ("uniform", (0.0, math.inf)),
        ("uniform", (math.nan, 1.0)),
        ("normal", (0.0, 0.0)),
        ("normal", (0.0, -1.0)),
        ("normal", (math.inf, 1.0)),
        ("normal", (0.0, math.nan)),
        ("uniform", (1.0,)),
        ("normal", (1.0, 2.0, 3.0)),
        ("cauchy", (0.0, 1.0)),
    ],
)
def test_a_prior_that_is_none_is_refused(kind: str, numbers: tuple[float, ...]) -> None:
    with pytest.raises(ParameterError, match=kind):
        prior_from_dict({kind: numbers})


@pytest.mark.parametrize("entry", [{}, {"uniform": (0, 1), "normal": (0, 1)}])
def test_a_prior_is_of_one_kind(entry: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(ParameterError, match="expected one of uniform, normal"):
        prior_from_dict(entry)


def test_no_prior_is_no_prior() -> None:
    assert prior_from_dict(None) is None


# --- one parameter --------------------------------------------------------------------


def test_a_default_outside_the_valid_range_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"'m_z' = 70: expected a value in \[80, 100\] GeV"):
        Parameter("m_z", 70.0, "GeV", low=80.0, high=100.0)


@pytest.mark.parametrize(
    "prior", [Uniform(79.0, 95.0), Uniform(85.0, 101.0), Normal(81.0, 0.3), Normal(90.0, 2.1)]
)
def test_a_prior_that_leaves_the_valid_range_is_refused(prior: Prior) -> None:
    with pytest.raises(ParameterError, match=r"leaves the range \[80, 100\]"):
        Parameter("m_z", 91.0, prior=prior, low=80.0, high=100.0)


@pytest.mark.parametrize("prior", [Uniform(80.0, 100.0), Normal(90.0, 2.0), None])
def test_a_prior_may_fill_the_valid_range(prior: Prior | None) -> None:
    assert Parameter("m_z", 91.0, prior=prior, low=80.0, high=100.0).free == (prior is not None)


@pytest.mark.parametrize("value", [87.9, 94.1, math.nan, math.inf])
def test_a_value_outside_the_prior_is_refused(value: float) -> None:
    parameter = Parameter("m_z", 91.0, "GeV", prior=Uniform(88.0, 94.0))
    with pytest.raises(ParameterError, match="m_z"):
        parameter.check_prior(value)
    parameter.check_prior(88.0)


def test_an_axis_has_label_and_unit() -> None:
    assert Parameter("m_z", 91.0, "GeV", label="$m_Z$").axis == "$m_Z$ [GeV]"
    assert Parameter("alpha_s", 0.118).axis == "alpha_s"


# --- a set ----------------------------------------------------------------------------

M_Z = Parameter("m_z", 91.19, "GeV", "interest", Uniform(88.0, 94.0), low=80.0, high=100.0)
WIDTH = Parameter("gamma_z", 2.4952, "GeV", "interest", reference=2.5)
SCALE = Parameter("scale", 0.0, prior=Normal(0.0, 0.002), label="$s$", reference_error=0.1)
PARAMETERS = ParameterSet([M_Z, WIDTH, SCALE])

parameters = st.builds(
    Parameter,
    name=st.text(min_size=1),
    default=numbers,
    unit=st.text(),
    role=st.sampled_from(["interest", "nuisance"]),
    prior=st.one_of(st.none(), priors),
    label=st.text(),
    reference=st.one_of(st.none(), numbers),
    reference_error=st.floats(0, 10),
    low=st.sampled_from([-math.inf, -1e6]),
    high=st.sampled_from([math.inf, 1e6]),
)


@law
@given(st.lists(parameters, max_size=4, unique_by=lambda p: p.name))
def test_a_set_survives_plain_values(entries: list[Parameter]) -> None:
    known = ParameterSet(entries)
    assert list(ParameterSet.from_dict(known.to_dict())) == entries


def test_the_order_is_kept_and_the_free_ones_are_theta() -> None:
    assert PARAMETERS.names == ("m_z", "gamma_z", "scale")
    assert PARAMETERS.free_names == ("m_z", "scale")
    assert PARAMETERS.interest == ("m_z",)
    assert PARAMETERS.priors == (M_Z.prior, SCALE.prior)
    assert len(PARAMETERS) == 3
    assert "m_z" in PARAMETERS
    assert "mass" not in PARAMETERS


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ParameterError, match=r"no parameter 'm_Z0'; did you mean 'm_z'"):
        PARAMETERS["m_Z0"]
    with pytest.raises(ParameterError, match="did you mean 'scale'"):
        PARAMETERS.values(None, scales=1.0)


def test_a_name_is_there_once() -> None:
    with pytest.raises(ParameterError, match="more than once: m_z"):
        ParameterSet([M_Z, WIDTH, M_Z])


def test_values_come_from_theta_then_what_is_fixed_then_defaults() -> None:
    theta = torch.tensor([[90.0, 0.001], [91.0, 0.002], [92.0, 0.003]], dtype=torch.float64)
    values = PARAMETERS.values(theta, scale=0.5)
    assert values["m_z"].tolist() == [90.0, 91.0, 92.0]
    assert values["scale"].item() == 0.5
    assert values["gamma_z"].item() == 2.4952
    assert {n: v.item() for n, v in PARAMETERS.values().items()} == {
        "m_z": 91.19, "gamma_z": 2.4952, "scale": 0.0,
    }  # fmt: skip


def test_theta_of_another_length_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"θ has 3 columns; expected 2: m_z, scale"):
        PARAMETERS.values(torch.zeros(1, 3))


def test_a_fixed_value_outside_the_valid_range_is_refused() -> None:
    with pytest.raises(ParameterError, match="'m_z' = 79"):
        PARAMETERS.values(None, m_z=79.0)


# --- the joint prior ------------------------------------------------------------------


def test_the_joint_prior_is_the_product() -> None:
    prior = PARAMETERS.prior()
    theta = prior.sample((5, 4), generator(1))
    assert theta.shape == (5, 4, 2)
    parts = [p.log_prob(theta[..., i]) for i, p in enumerate(prior.priors)]
    torch.testing.assert_close(prior.log_prob(theta), parts[0] + parts[1])
    assert prior.log_prob(theta).shape == (5, 4)
    assert prior.event_shape == (2,)
    assert prior.sample().shape == (2,)


def test_the_joint_bijection_is_inverse_and_its_jacobian_a_determinant() -> None:
    prior = PARAMETERS.prior()
    u = torch.randn(3, 2, generator=generator(2), dtype=torch.float64)
    torch.testing.assert_close(prior.unbounded(prior.physical(u)), u)
    for point, value in zip(u, prior.log_jacobian(u), strict=True):
        matrix: Tensor = torch.autograd.functional.jacobian(prior.physical, point)  # type: ignore[no-untyped-call]
        torch.testing.assert_close(torch.linalg.slogdet(matrix).logabsdet, value)


def test_its_mean_is_the_mean_of_its_draws() -> None:
    prior = PARAMETERS.prior()
    n = 20_000
    draws = prior.sample((n,), generator(4))
    # Both means within 4 standard errors: a false alarm rate of 1.3 · 10⁻⁴ for other seeds.
    assert bool(((draws.mean(0) - prior.mean).abs() < 4 * draws.std(0) / math.sqrt(n)).all())


def test_the_support_holds_its_own_edges_in_double_precision() -> None:
    prior = PriorDistribution([Uniform(0.1, 0.7), Normal(0.0, 1.0)])
    edges = torch.tensor([[0.1, -5.0], [0.7, 5.0]], dtype=torch.float64)
    beyond = torch.tensor([[0.1 - 1e-12, 0.0], [0.7 + 1e-12, 0.0]], dtype=torch.float64)
    assert prior.support.check(edges).tolist() == [True, True]  # type: ignore[no-untyped-call]
    assert prior.support.check(beyond).tolist() == [False, False]  # type: ignore[no-untyped-call]
