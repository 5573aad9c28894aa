"""Events beside counts: sums, constraints counted once, pulls, and what cannot be shared."""

from __future__ import annotations

import pytest
import torch

from hepgen.errors import DataError, ParameterError
from hepgen.inference.binned import (
    BinnedChannel,
    BinnedLikelihood,
    BinnedSample,
    BinnedSets,
    Factor,
    NormSys,
    uncorrelated_background,
)
from hepgen.inference.joint import JointLikelihood
from hepgen.inference.statistics.fit import fit
from hepgen.inference.statistics.impacts import impacts
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform
from tests.inference.bump import bump

MU = Parameter("mu", 1.0, role="interest", prior=Uniform(0.0, 50.0))


def counting(
    nominal: float, high: float = 50.0, nuisance: str = "scale", std: float = 1.0
) -> BinnedLikelihood:
    """n ~ Pois(nominal·μ·1.1^ν), ν measured."""
    sample = BinnedSample("all", (nominal,), (Factor("mu"), NormSys(nuisance, 1 / 1.1, 1.1)))
    parameters = ParameterSet(
        [
            Parameter("mu", 1.0, role="interest", prior=Uniform(0.0, high)),
            Parameter(nuisance, 0.0, prior=Normal(0.0, std)),
        ]
    )
    return BinnedLikelihood([BinnedChannel("c", (sample,))], parameters)


def test_the_product_counts_a_shared_constraint_once() -> None:
    events, counts = bump(), counting(20.0)
    both = JointLikelihood(events, {"published": counts})
    assert both.parameters.free_names == ("mu", "slope", "scale")
    x = events.data({"all": torch.linspace(0.1, 0.8, 30).double()[:, None]})
    n = counts.observed([23.0])
    theta = torch.tensor([[[1.2, 1.5, 0.4], [0.7, 1.0, -1.3]]], dtype=torch.float64)

    found = both.log_likelihoods(both.data(x, {"published": n}), theta)
    one = events.log_likelihoods(x, theta)
    other = counts.log_likelihoods(n, theta[..., [0, 2]])
    constraint = Normal(0.0, 1.0).log_prob(theta[..., 2])
    torch.testing.assert_close(found, one + other - constraint)
    assert both.constraints(both.data(x, {"published": n})) == {"scale": (0.0, 1.0)}


def test_two_counts_of_one_strength_are_the_sum_of_both() -> None:
    """n₁ + n₂ ~ Pois(30 μ 1.1^ν): μ̂ = 36/30, and its error has the constraint of ν once."""
    both = JointLikelihood(None, {"a": counting(10.0), "b": counting(20.0)})
    counts = {"a": counting(10.0).observed([14.0]), "b": counting(20.0).observed([22.0])}
    data = both.data(None, counts)
    best = fit(both, data)
    assert best.column("mu")[0].item() == pytest.approx(1.2, rel=1e-4)
    expected = 1.2 * (1 / 36 + torch.tensor(1.1).log().item() ** 2) ** 0.5
    assert best.error("mu")[0].item() == pytest.approx(expected, rel=1e-3)
    (of_mu,) = impacts(both, data, best=best)
    assert of_mu.ranking[0].pull == pytest.approx(0.0, abs=1e-3)


def test_a_pull_is_the_same_nuisance_as_one_in_its_unit() -> None:
    """A jet scale of 1.00 ± 0.02 is the α of a workspace: θ = 1 + 0.02 α."""
    physical = ParameterSet([MU, Parameter("jes", 1.0, prior=Normal(1.0, 0.02))])
    sample = BinnedSample("all", (40.0,), (Factor("mu"), Factor("jes")))
    first = BinnedLikelihood([BinnedChannel("first", (sample,))], physical)
    second = counting(20.0, nuisance="alpha")
    both = JointLikelihood(None, {"one": first, "two": second}, {"two": {"alpha": "jes"}})
    data = both.data(None, {"one": first.observed([41.0]), "two": second.observed([25.0])})
    theta = torch.tensor([[[1.1, 1.03]]], dtype=torch.float64)
    found = both.log_likelihoods(data, theta)
    own = torch.tensor([[[1.1, 1.5]]], dtype=torch.float64)
    constraint = Normal(0.0, 1.0).log_prob(own[..., 1])
    expected = (
        first.log_likelihoods(first.observed([41.0]), theta)
        + second.log_likelihoods(second.observed([25.0]), own)
        - constraint
    )
    torch.testing.assert_close(found, expected)
    centre, width = both.constraints(data)["jes"]
    assert (centre, width) == pytest.approx((1.0, 0.02))


def test_pseudo_data_are_those_of_every_part() -> None:
    both = JointLikelihood(bump(), {"published": counting(20.0)})
    theta = torch.tensor([[1.0, 1.5, 0.5]], dtype=torch.float64).repeat(2000, 1)
    sets = both.generate(theta, seed=3)
    (_, counts) = sets.parts
    assert isinstance(counts, BinnedSets)
    expected = 20.0 * 1.1**0.5
    # 4.5 standard errors: a false alarm in 150,000.
    assert abs(counts.counts.mean().item() - expected) < 4.5 * (expected / 2000) ** 0.5
    asimov = both.asimov(theta[0])
    best = fit(both, asimov)
    torch.testing.assert_close(best.theta[0], theta[0], atol=2e-3, rtol=0)


def test_what_is_not_the_same_is_not_shared() -> None:
    narrow, wide = counting(10.0, high=5.0), counting(20.0, std=2.0)
    with pytest.raises(ParameterError, match=r"'mu' has the prior .* in 'a' and .* in 'b'"):
        JointLikelihood(None, {"a": counting(10.0), "b": narrow})
    # The range of the first is within that of the second, where it is no more than a range.
    both = JointLikelihood(None, {"b": narrow, "a": counting(10.0)})
    assert both.parameters["mu"].prior == Uniform(0.0, 5.0)
    with pytest.raises(ParameterError, match=r"'scale' has the prior Normal\(mean=0.0, std=2.0\)"):
        JointLikelihood(None, {"a": wide, "b": counting(10.0, std=3.0)})
    with pytest.raises(ParameterError, match=r"'b' has no parameter 'nu' to rename"):
        JointLikelihood(None, {"a": wide, "b": wide}, {"b": {"nu": "nu_b"}})
    bins = uncorrelated_background([5.0], [50.0], [7.0])
    gammas = BinnedLikelihood(
        [
            BinnedChannel(
                "c", (BinnedSample("s", (9.0,), (Factor("mu"), NormSys("g[0]", 0.9, 1.1))),)
            )
        ],
        ParameterSet([MU, Parameter("g[0]", 1.0, prior=Uniform(0.0, 2.0))]),
        {"g[0]": 40.0},
    )
    with pytest.raises(ParameterError, match=r"'g\[0\]' of a bin is in 'a' and in another"):
        JointLikelihood(None, {"a": gammas, "b": gammas})
    parts = {"a": gammas, "b": gammas, "c": bins}
    apart = JointLikelihood(None, parts, {"b": {"g": "h"}, "c": {"mu": "r"}})
    assert {"g[0]", "h[0]", "gamma_0"} < set(apart.parameters.free_names)
    with pytest.raises(DataError, match="expected those of a, b, c"):
        apart.data(None, {"a": gammas.observed([9.0])})
