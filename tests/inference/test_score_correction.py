"""A score corrected at the best fit, on a Gaussian whose learned mean is off by a known amount.

What is measured is held to 4 of its own standard errors at fixed seeds.
"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.event_sets import EventSets
from hepgen.inference.exact import ExactLikelihood
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.score_correction import MeanScore, ScoreCorrected
from hepgen.parameters import ParameterSet, Uniform
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity
from hepgen.simulators.processes.registry import process
from tests.inference.conftest import GaussianMean

SIGMA, OFFSET, SETS = 2.0, 0.05, 40


class Learned(GaussianMean):
    """q(x | μ) = N(μ + δ, σ²): estimates are low by δ."""

    def __init__(self, offset: float = OFFSET) -> None:
        super().__init__(SIGMA)
        self.offset = offset

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        return super().log_likelihoods(sets, theta + self.offset)


def simulated(at: float, events: int, seed: int) -> tuple[list[Tensor], Tensor]:
    """Sets at μ, and the sum of the exact score of each."""
    generator = torch.Generator().manual_seed(seed)
    x = at + SIGMA * torch.randn(SETS, events // SETS, 1, generator=generator, dtype=torch.float64)
    return list(x), (x - at).sum(1) / SIGMA**2


def measured(events: int, seed: int, at: float = 0.3, control: bool = False) -> MeanScore:
    sets, score = simulated(at, events, seed)
    theta = torch.tensor([at], dtype=torch.float64)
    return MeanScore.measure(Learned(), theta, sets, score if control else None)


def test_the_shift_is_that_of_the_learned_density() -> None:
    found = measured(40_000, 1)
    assert found.shift.item() == pytest.approx(-OFFSET, abs=4 * found.shift_error.item())
    # From 10,000 events.
    assert found.information.item() == pytest.approx(1 / SIGMA**2, rel=4 * math.sqrt(2 / 10_000))
    assert found.events == 40_000
    # 1/√(MA), of which the scatter of 40 sets knows a ninth.
    assert found.shift_error.item() == pytest.approx(SIGMA / math.sqrt(40_000), rel=0.45)


def test_the_quoted_error_is_the_scatter() -> None:
    found = [measured(1000, seed) for seed in range(40)]
    pulls = torch.tensor([(one.shift + OFFSET).item() / one.shift_error.item() for one in found])
    assert abs(pulls.mean().item()) < 4 / math.sqrt(40)
    assert pulls.std().item() == pytest.approx(1.0, abs=4 / math.sqrt(80))


def test_a_joint_score_that_knows_the_event_takes_the_error_off() -> None:
    # Here the two are equal up to a constant, so that nothing is left to scatter.
    found = measured(4000, 2, control=True)
    assert found.mean.item() == pytest.approx(-OFFSET / SIGMA**2, abs=1e-9)
    assert found.covariance.item() < 1e-18


def test_the_corrected_posterior_is_the_exact_one_with_the_error_of_the_correction() -> None:
    model, learned = GaussianMean(SIGMA), Learned()
    generator = torch.Generator().manual_seed(3)
    x = model.simulate(torch.full((10_000, 1), 0.4, dtype=torch.float64), generator)
    exact_mean, exact_width = model.posterior(x)
    raw = LikelihoodPosterior(learned).mode(x)
    assert (raw.item() - exact_mean) / exact_width == pytest.approx(-2.5, abs=0.01)
    for control in (True, False):
        score = measured(10_000, 4, raw.item(), control)
        corrected = ScoreCorrected(learned, score)
        gauss = LikelihoodPosterior(corrected).laplace(corrected.encode([x], [None]))
        width = math.hypot(exact_width, score.shift_error.item())
        # The variance of the score is that of 10,000 events, and θ is 2.5 widths away.
        unsure = 4 * math.sqrt(2 / 10_000)
        assert gauss.scale_tril.item() == pytest.approx(width, rel=unsure)
        assert gauss.mode.item() == pytest.approx(
            exact_mean, abs=4 * score.shift_error.item() + 2.5 * unsure * exact_width
        )
    assert width > 1.2 * exact_width


def test_weighted_events_count_by_their_weights() -> None:
    learned, score = Learned(), measured(4000, 5, control=True)
    corrected = ScoreCorrected(learned, score)
    x = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
    theta = torch.tensor([[[0.1], [0.5]]], dtype=torch.float64)
    twice = corrected.encode([torch.cat([x, x])], [None])
    weighted = corrected.encode([x], [torch.full((50,), 2.0, dtype=torch.float64)])
    expected = corrected.log_likelihoods(twice, theta)
    torch.testing.assert_close(corrected.log_likelihoods(weighted, theta), expected)


def test_several_data_sets_are_as_each_alone() -> None:
    corrected = ScoreCorrected(Learned(), measured(4000, 6))
    x = [torch.randn(n, 1, generator=torch.Generator().manual_seed(n)).double() for n in (3, 70)]
    theta = torch.randn(2, 4, 1, generator=torch.Generator().manual_seed(1)).double()
    both = corrected.log_likelihoods(corrected.encode(x, [None, None]), theta)
    for i, one in enumerate(x):
        alone = corrected.log_likelihoods(corrected.encode([one], [None]), theta[i : i + 1])
        torch.testing.assert_close(both[i : i + 1], alone)


def test_an_exact_likelihood_of_a_chain_has_no_shift() -> None:
    chain = process("ee_mumu", energies=[89.0])
    angle = dataclasses.replace(chain.parameters["sin2_theta_w"], prior=Uniform(0.18, 0.25))
    fixed = [dataclasses.replace(p, prior=None) for p in chain.parameters if p.name != angle.name]
    exact = ExactLikelihood(ElectronPositronDensity.of(chain), ParameterSet([angle, *fixed]))
    theta = torch.tensor([0.2312], dtype=torch.float64)
    found = MeanScore.simulate(exact, chain, ["Dimuon_cos_theta"], theta, 40_000, sets=40, seed=7)
    assert abs(found.shift.item()) < 4 * found.shift_error.item()
    # The joint score, of all events that were generated, takes a good part of the error off.
    plain = 1 / math.sqrt(found.events * found.information.item())
    assert found.shift_error.item() < 0.7 * plain


def test_few_sets_and_other_parameters_are_refused() -> None:
    sets, score = simulated(0.3, 4000, 8)
    theta = torch.tensor([0.3], dtype=torch.float64)
    with pytest.raises(DataError, match="19 sets of simulated events; expected at least 20"):
        MeanScore.measure(Learned(), theta, sets[:19])
    with pytest.raises(DataError, match="at least 25"):
        MeanScore.measure(Learned(), theta, sets[:24], score[:24])
    found = MeanScore.measure(Learned(), theta, sets)
    with pytest.raises(ParameterError, match="a value for each of mu"):
        ScoreCorrected(Learned(), dataclasses.replace(found, theta=torch.zeros(2)))
    with pytest.raises(ParameterError, match="near 'mu': no data can fix it"):
        ScoreCorrected(Learned(), dataclasses.replace(found, information=0 * found.information))
