"""Rates: products, morphing, and efficiencies learned from a simulation.

Statistical tests are refused at p < 10⁻⁴, at fixed seeds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.learned_rate import LearnedRate, Points, legendre_products, selected_counts
from hepgen.inference.rate import MorphedRate, Product
from hepgen.parameters import Parameter, ParameterSet, Uniform
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity
from hepgen.simulators.morphing import Morphing
from hepgen.simulators.processes.registry import process

FALSE_ALARM = 1e-4
TWO = ParameterSet(
    [Parameter("a", 0.0, prior=Uniform(-1.0, 1.0)), Parameter("b", 2.0, prior=Uniform(1.0, 3.0))]
)


def efficiency(theta: Tensor) -> Tensor:
    a, b = theta.unbind(-1)
    return torch.sigmoid(-1 + 0.8 * a - 0.4 * a * (b - 2) + 0.5 * (b - 2).square())


def counted(points: int, events: int, seed: int) -> Points:
    rng = np.random.default_rng(seed)
    theta = torch.from_numpy(rng.uniform([-1, 1], [1, 3], (points, 2)))
    passed = torch.from_numpy(rng.binomial(events, efficiency(theta).numpy()))
    return Points(theta, passed.double(), torch.full((points,), float(events)))


def test_an_efficiency_is_learned_to_its_statistical_error() -> None:
    rate = LearnedRate.fit(counted(400, 1000, 1), TWO)
    goodness = rate.goodness
    assert goodness is not None
    assert goodness.degree in (2, 3)
    assert FALSE_ALARM < goodness.p_value < 1 - FALSE_ALARM
    theta = torch.from_numpy(np.random.default_rng(2).uniform([-1, 1], [1, 3], (500, 2)))
    values = dict(zip(("a", "b"), theta.unbind(-1), strict=True))
    relative = rate(values) / efficiency(theta) - 1

    # 320,000 events, six coefficients.
    assert float(relative.square().mean().sqrt()) < 3 * goodness.statistical < 0.02


def test_the_error_of_the_fit_is_that_of_repeated_simulations() -> None:
    at = {"a": torch.tensor(0.3), "b": torch.tensor(2.2)}
    rates = [LearnedRate.fit(counted(60, 300, s), TWO, degree=2) for s in range(60)]
    found = torch.stack([rate(at).log() for rate in rates])
    basis = legendre_products(torch.tensor([0.3, 2.2]), TWO, 2)
    share = efficiency(torch.tensor([0.3, 2.2]))
    error = ((basis @ rates[0].covariance @ basis).sqrt() * (1 - share)).item()

    assert FALSE_ALARM < stats.chi2.sf(59 * found.var().item() / error**2, 59) < 1 - FALSE_ALARM


def test_one_event_a_point_is_judged_in_groups() -> None:
    rate = LearnedRate.fit(counted(20_000, 1, 3), TWO, degree=2)
    assert rate.goodness is not None
    assert 10 < rate.goodness.ndf < 200
    assert rate.goodness.p_value > FALSE_ALARM


def test_a_degree_too_low_fails_its_test_and_says_by_how_much() -> None:
    rate = LearnedRate.fit(counted(400, 10_000, 4), TWO, degree=1)
    assert rate.goodness is not None
    assert rate.goodness.p_value < 1e-6
    assert 0.05 < rate.goodness.excess < 0.3
    assert "degree 1" in str(rate.goodness)


def test_a_cross_section_is_learned_from_values_with_errors() -> None:
    rng = np.random.default_rng(5)
    theta = torch.from_numpy(rng.uniform([-1, 1], [1, 3], (200, 2)))
    truth = 40 * torch.exp(0.5 * theta[:, 0] + 0.2 * theta[:, 1])
    points = Points(
        theta, truth * (1 + 0.01 * torch.from_numpy(rng.normal(size=200))), 0.01 * truth
    )
    rate = LearnedRate.fit(points, TWO, "cross-section")
    assert rate.goodness is not None
    assert rate.goodness.degree == 1
    assert rate.goodness.p_value > FALSE_ALARM
    relative = rate({"a": theta[:, 0], "b": theta[:, 1]}) / truth - 1
    assert float(relative.abs().max()) < 0.01


def test_an_efficiency_of_a_campaign_is_the_exact_one() -> None:
    """ee_mumu: the share of selected events against σε/σ, by quadrature."""
    chain = process("ee_mumu", energies=(89.0,))
    parameters = ParameterSet(
        [
            replace(p, prior=Uniform(0.15, 0.30) if p.name == "sin2_theta_w" else None)
            for p in chain.parameters
        ]
    )
    campaign = Campaign(chain, parameters, 60_000, seed=2, points=500, keep_all=True,
                        columns=["Dimuon_cos_theta"])  # fmt: skip
    points = selected_counts(campaign.simulate(0).events, parameters)
    assert len(points) == 66
    assert float(points.total.sum()) == 32_768
    rate = LearnedRate.fit(points, parameters)
    density = ElectronPositronDensity.of(chain)
    values = chain.parameters.values()
    (beams,) = density.beams.yields(values)
    found = rate({"sin2_theta_w": torch.tensor(0.2312).double()}).item()

    assert found == pytest.approx(float(density.rate(values) / beams), abs=5 / 32_768**0.5 * 0.5)


def test_a_morphed_rate_is_its_polynomial() -> None:
    points = Morphing.around([1.0, 2.0])
    c = points.points
    sigma = 3 + c[:, 0] + 0.5 * c[:, 0] * c[:, 1] + 2 * c[:, 1].square()
    rate = Product(MorphedRate(points, ("c", "d"), sigma, 10.0), "mu")
    values = {
        "c": torch.tensor([0.3, -2.0]),
        "d": torch.tensor([1.5, 0.1]),
        "mu": torch.tensor(2.0),
    }
    wanted = 20 * (3 + 0.3 + 0.5 * 0.45 + 4.5), 20 * (3 - 2 - 0.1 + 0.02)
    np.testing.assert_allclose(rate(values), wanted, rtol=1e-6)
    morphed = MorphedRate(points, ("c", "d"), sigma, 20.0)
    parts = torch.stack([morphed.of(i)(values) for i in range(6)])
    np.testing.assert_allclose(parts.sum(0), wanted, rtol=1e-6)
    assert bool((parts < 0).any())


def test_points_that_cannot_be_used_are_an_error() -> None:
    with pytest.raises(DataError, match="as many finite numbers"):
        Points(torch.zeros(3, 1), torch.zeros(2), torch.ones(3))
    with pytest.raises(DataError, match="without events"):
        Points(torch.zeros(3, 1), torch.zeros(3), torch.zeros(3))
    with pytest.raises(DataError, match="10 at least"):
        LearnedRate.fit(counted(5, 10, 1), TWO)
