"""Combinations: sums, constraints counted once, and shared parameters."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hepgen.errors import ParameterError
from hepgen.inference.channel import Channel, Sample
from hepgen.inference.combination import combine
from hepgen.inference.density import ClosedForm
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.laplace import laplace
from hepgen.inference.rate import Product
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform
from tests.inference.bump import MU, SCALE, bump

FLAT = ClosedForm(ParameterSet([]), ("x",), lambda x, _: torch.zeros_like(x[..., 0]))


def test_data_add_and_a_constraint_counts_once() -> None:
    one = bump()
    both = combine({"a": one, "b": one}, {"b": {"mu": "mu_b", "slope": "slope_b"}})
    assert both.parameters.free_names == ("mu", "slope", "scale", "mu_b", "slope_b")
    assert both.constrained == ("scale",)
    x = [torch.linspace(0.1, 0.8, n).double()[:, None] for n in (20, 33)]
    theta = torch.tensor([[[1.0, 1.5, 0.3, 2.0, 0.9]]], dtype=torch.float64)
    found = both.log_likelihoods(both.data({"a/all": x[0], "b/all": x[1]}), theta)
    first = one.log_likelihoods(one.data({"all": x[0]}), theta[..., [0, 1, 2]])
    second = one.log_likelihoods(one.data({"all": x[1]}), theta[..., [3, 4, 2]])
    constraint = Normal(0.0, 1.0).log_prob(theta[..., 2])

    torch.testing.assert_close(found, first + second - constraint)
    # Again, under other names.
    thrice = combine({"x": both, "y": one}, {"x": {"mu_b": "strength"}})
    assert "strength" in thrice.parameters.free_names
    assert thrice.channels[1].renamed == {"mu_b": "strength", "mu": "strength", "slope": "slope_b"}
    toys = thrice.generate(torch.tensor([[1.0, 1.5, 0.0, 2.0, 1.5]] * 3), seed=1)
    assert toys.auxiliary.shape == (3, 1)


def counting(events: float) -> EventLikelihood:
    """n ~ Pois(events·r·L), L measured to be 1 ± 0.05."""
    ratio = Parameter("r", 1.0, role="interest", prior=Uniform(0.0, 3.0))
    luminosity = Parameter("L", 1.0, prior=Normal(1.0, 0.05))
    sample = Sample("all", FLAT, Product(events, "r", "L"))
    return EventLikelihood(ParameterSet([ratio, luminosity]), [Channel("c", (sample,))])


def test_a_shared_nuisance_correlates_what_two_data_sets_measure() -> None:
    """Two counts of 10,000: var r = 10⁻⁴ + 0.05², and the covariance is 0.05²."""
    both = combine({"a": counting(1e4), "b": counting(1e4)}, {"b": {"r": "r_b"}})
    data = both.data({"a/c": torch.rand(10_000, 1), "b/c": torch.rand(10_000, 1)})
    start = torch.tensor([[1.1, 1.0, 0.9]], dtype=torch.float64)
    found = laplace(lambda t: both.log_likelihoods(data, t), start)
    covariance = (found.scale_tril @ found.scale_tril.mT)[0]

    expected = torch.tensor([[1e-4 + 0.0025, 0.0025], [0.0025, 1e-4 + 0.0025]]).double()
    torch.testing.assert_close(covariance[[0, 2]][:, [0, 2]], expected, rtol=1e-3, atol=1e-6)


def test_parameters_of_one_name_must_agree() -> None:
    one = bump()
    wider = replace(SCALE, prior=Normal(0.0, 2.0))
    other = EventLikelihood(ParameterSet([MU, one.parameters["slope"], wider]), list(one.channels))
    with pytest.raises(ParameterError, match=r"'scale' has the prior Normal\(mean=0.0, std=1.0\)"):
        combine({"a": one, "b": other})
    with pytest.raises(ParameterError, match="'nu' to rename"):
        combine({"a": one, "b": one}, {"b": {"nu": "nu_b"}})
    apart = combine({"a": one, "b": other}, {"b": {"scale": "scale_b"}})
    assert apart.constrained == ("scale", "scale_b")
