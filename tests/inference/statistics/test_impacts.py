"""Pulls, impacts and breakdowns against the covariance of a linear model."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from hepgen.inference.binned import (
    BinFactors,
    BinnedChannel,
    BinnedLikelihood,
    BinnedSample,
    Factor,
    uncorrelated_background,
)
from hepgen.inference.statistics.impacts import constraints, impacts
from hepgen.parameters import Parameter, ParameterSet, Uniform
from tests.inference.bump import bump


def test_impacts_of_a_linear_model(line: Any) -> None:
    """Post-fit C_{μν}/σ_ν, pre-fit C_{μν}/C_{νν} · σ: both symmetric."""
    data = line.generate(line.truth()[None], 1)
    (found,) = impacts(line, data)
    c, best = line.covariance, line.best(data)[0]
    names = list(line.parameters.free_names)
    assert found.parameter == "mu"
    sizes = [row.size for row in found.ranking]
    assert sizes == sorted(sizes, reverse=True)
    for row in found.ranking:
        j = names.index(row.parameter)
        post = (c[0, j] / c[j, j].sqrt()).item()
        assert row.post == pytest.approx((post, -post), abs=1e-5)
        assert row.error == pytest.approx(c[j, j].sqrt().item())
        sigma = line.sigma[j].item()
        if math.isinf(sigma):
            assert math.isnan(row.pull)
            assert math.isnan(row.pre[0])
            continue
        pre = (c[0, j] / c[j, j]).item() * sigma
        assert row.pre == pytest.approx((pre, -pre), abs=1e-5)
        assert row.pull == pytest.approx(best[j].item() / sigma, abs=1e-6)
        assert row.constraint == pytest.approx(c[j, j].sqrt().item() / sigma)
        assert row.warnings == ()


def test_breakdown(line: Any) -> None:
    """Statistical: the error with ν₁ and ν₂ known; the slope, without constraint, is in it."""
    data = line.generate(line.truth()[None], 1)
    (found,) = impacts(line, data, groups={"first": ["nu_1"], "both": ["nu_1", "nu_2"]})
    free = line.precision[:2, :2]
    statistical = torch.linalg.inv(free)[0, 0].sqrt().item()
    total = line.covariance[0, 0].sqrt().item()
    parts = found.breakdown
    assert parts.total == pytest.approx(total)
    assert parts.statistical == pytest.approx(statistical)
    assert parts.systematic == pytest.approx(math.sqrt(total**2 - statistical**2))
    rest = torch.linalg.inv(line.precision[[0, 1, 3]][:, [0, 1, 3]])[0, 0].item()
    assert parts.groups == ("first", "both")
    assert parts.parts == pytest.approx((math.sqrt(total**2 - rest), parts.systematic))


def test_poisson_constraints_have_pulls() -> None:
    model = uncorrelated_background([12, 11], [50, 52], [3, 7], low=-5.0)
    (found,) = impacts(model, model.observed([70, 40]))
    for row in found.ranking:
        assert row.sigma == pytest.approx({"gamma_0": 3 / 50, "gamma_1": 7 / 52}[row.parameter])
        assert row.centre == 1.0
        assert 0.5 < row.constraint < 1.02  # a γ̂ above 1 is less sure than at 1
        assert row.post[0] * row.post[1] < 0
    pulls = {row.parameter: row.pull for row in found.ranking}
    assert pulls["gamma_0"] > 0 > pulls["gamma_1"]


def test_pulls_are_from_what_was_measured() -> None:
    """In a toy the auxiliary measurement is another, on histograms and on events."""
    model = uncorrelated_background([12, 11], [50, 52], [3, 7], low=-5.0)
    toy = model.generate(torch.ones(1, 3), 5)
    tau = torch.tensor(list(model.poisson.values()))
    known = constraints(model, toy)
    assert [known[f"gamma_{b}"][0] for b in (0, 1)] == pytest.approx(
        (toy.poisson[0] / tau).tolist()
    )
    events = bump()
    sets = events.generate(torch.tensor([[1.0, 1.5, 0.0]]), 3)
    (found,) = impacts(events, sets)
    row = next(r for r in found.ranking if r.parameter == "scale")
    assert row.centre == sets.auxiliary[0, 0].item() != 0
    assert row.pull == pytest.approx(row.value - row.centre)
    assert math.isnan(next(r for r in found.ranking if r.parameter == "slope").pull)


def test_a_nuisance_that_nothing_fixes_is_named() -> None:
    """A gamma of a bin in which nothing is expected of it."""
    loose = BinFactors((None, "loose"))
    model = BinnedLikelihood(
        [
            BinnedChannel(
                "c",
                (
                    BinnedSample("signal", (10.0, 5.0), (Factor("mu"),)),
                    BinnedSample("other", (30.0, 0.0), (loose,)),
                ),
            )
        ],
        ParameterSet(
            [
                Parameter("mu", 1.0, role="interest", prior=Uniform(-2.0, 5.0)),
                Parameter("loose", 1.0, prior=Uniform(0.0, 2.0)),
            ]
        ),
    )
    (found,) = impacts(model, model.observed([41, 5]))
    assert any("nothing fixes loose" in word for word in found.warnings)
    (row,) = found.ranking
    assert "nothing fixes loose" in row.warnings[0]
    assert math.isnan(row.post[0])


def test_a_nuisance_at_its_bound_has_an_error_an_impact_and_a_word(line: Any) -> None:
    """A slope that wants below its bound: one side of its impact is C_{μs}/σ_s, the other none."""
    model = type(line)()
    low = 0.0
    model.parameters = ParameterSet(
        [
            replace(p, prior=Uniform(low, 30.0), default=1.0) if p.name == "slope" else p
            for p in model.parameters
        ]
    )
    truth = torch.tensor([[1.0, -4.0, 0.2, -0.1]]).double()
    data = model.generate(truth, 1)
    (found,) = impacts(model, data)
    row = next(r for r in found.ranking if r.parameter == "slope")
    c = line.covariance
    assert row.value == low
    assert row.error == pytest.approx(c[1, 1].sqrt().item())
    assert row.post == pytest.approx(((c[0, 1] / c[1, 1].sqrt()).item(), 0.0), abs=1e-4)
    assert any("slope is at its bound, 0" in word for word in row.warnings)
    assert all(r.warnings == () for r in found.ranking if r.parameter != "slope")
