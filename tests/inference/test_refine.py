"""Refined posteriors of a linear Gaussian model: everything is known, the efficiency too."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hepgen.errors import SamplingError
from hepgen.inference.event_sets import EventSets
from hepgen.inference.refine import RefinedPosterior
from tests.inference.linear_gaussian import (
    OBSERVED,
    Exact,
    Proposal,
    log_evidence,
    posterior,
    simulations,
)

DRAWS = 4000


def efficiency(width: float) -> float:
    """(∫ p²/q)⁻¹ of Gaussians in two dimensions, q wider by a factor k: (2k² − 1)/k⁴."""
    return (2 * width**2 - 1) / width**4


@pytest.mark.parametrize("width", [1.0, 1.3, 2.0, 4.0])
def test_effective_samples_and_evidence_are_those_of_the_closed_form(width: float) -> None:
    """Ten data sets; the evidence within 4.5 of its errors: false alarm 1e-4 in all of them."""
    x, _ = simulations(10, 5)
    refiner = RefinedPosterior(Proposal(width), Exact())
    for k, one in enumerate(x):
        refined = refiner.refine(DRAWS, one[None], seed=k)
        assert refined.efficiency == pytest.approx(efficiency(width), rel=0.12)
        expected = math.sqrt((1 / efficiency(width) - 1) / DRAWS)
        assert refined.log_evidence_error == pytest.approx(expected, rel=0.2, abs=1e-6)
        allowed = 4.5 * refined.log_evidence_error + 1e-6
        assert refined.log_evidence == pytest.approx(log_evidence(one[None]), abs=allowed)


def test_the_stated_error_of_the_evidence_is_its_scatter() -> None:
    """Over 100 seeds; the standard deviation has an error of 7 %, five of them are allowed."""
    refiner, truth = RefinedPosterior(Proposal(1.5), Exact()), log_evidence(OBSERVED)
    found = [refiner.refine(400, OBSERVED, seed=1000 + s) for s in range(100)]
    pulls = torch.tensor([(one.log_evidence - truth) / one.log_evidence_error for one in found])
    assert pulls.std().item() == pytest.approx(1.0, abs=0.35)
    assert abs(pulls.mean().item()) < 0.45


@pytest.mark.parametrize(("width", "shift"), [(1.5, 0.0), (2.0, 1.0)])
def test_draws_are_those_of_the_posterior_whatever_the_proposal_was(
    width: float, shift: float
) -> None:
    """Mean and width within five standard errors of the effective draws."""
    refiner = RefinedPosterior(Proposal(width, shift), Exact())
    sample = refiner.draw(3000, OBSERVED, seed=3)
    right, n = posterior(OBSERVED), sample.effective_samples[0]
    assert sample.method == "refined"
    assert 1000 < n <= 3000
    std = right.covariance_matrix.diagonal().sqrt()
    assert ((sample.theta.mean(0) - right.mean).abs() < 5 * std / math.sqrt(n)).all()
    assert ((sample.theta.std(0) / std - 1).abs() < 5 / math.sqrt(2 * n)).all()


def test_its_density_is_normalised() -> None:
    """log p(θ | x) at points is that of the closed form, up to the error of the evidence."""
    refiner = RefinedPosterior(Proposal(1.5), Exact())
    theta = posterior(OBSERVED).sample((20,))
    found = refiner.log_prob(theta, OBSERVED)
    exact = posterior(OBSERVED).log_prob(theta)  # type: ignore[no-untyped-call]
    error = refiner.refine(4000, OBSERVED).log_evidence_error
    torch.testing.assert_close(found, exact, rtol=0, atol=4.5 * error)
    torch.testing.assert_close(found - found[0], exact - exact[0], rtol=0, atol=1e-9)


def test_a_wrong_proposal_is_refused() -> None:
    """6 σ off and narrow: a few draws have all the weight."""
    refiner = RefinedPosterior(Proposal(0.7, shift=6.0), Exact())
    with pytest.raises(
        SamplingError, match=r"4000 proposals are worth .* expected 40 at least"
    ) as few:
        refiner.refine(DRAWS, OBSERVED, seed=1)
    assert few.value.exit_code == 2
    with pytest.raises(SamplingError, match="misses a part of the posterior"):
        refiner.draw(1000, OBSERVED)


def test_a_likelihood_of_zero_is_refused() -> None:
    class Impossible(Exact):
        def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
            return super().log_likelihoods(sets, theta) - torch.inf

    with pytest.raises(SamplingError, match="zero at all 100 draws"):
        RefinedPosterior(Proposal(), Impossible()).refine(100, OBSERVED)
