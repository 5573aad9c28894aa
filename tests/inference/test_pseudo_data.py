"""Toys and Asimov data sets: moments, scores, and the place of the maximum.

Statistical tests are refused at p < 10⁻⁴, at fixed seeds.
"""

from __future__ import annotations

import math

import torch
from scipy import stats
from torch import Tensor

from tests.inference.bump import BACKGROUND, SIGNAL, UNCERTAINTY, bump

FALSE_ALARM = 1e-4
TRUTH = torch.tensor([1.3, 1.7, 0.4], dtype=torch.float64)
TOYS = 2000


def chance(z: float) -> float:
    return float(2 * stats.norm.sf(abs(z)))


def scores(extended: bool) -> tuple[Tensor, Tensor]:
    model = bump(extended=extended)
    data = model.generate(TRUTH.expand(TOYS, 3), seed=11)
    theta = TRUTH.expand(TOYS, 1, 3).clone().requires_grad_(True)
    (score,) = torch.autograd.grad(model.log_likelihoods(data, theta).sum(), theta)
    return score[:, 0], data.channels["all"].total


def test_the_number_of_events_is_poisson() -> None:
    model = bump()
    number = model.generate(TRUTH.expand(TOYS, 3), seed=11).channels["all"].total
    mean = SIGNAL * 1.3 + BACKGROUND * math.exp(UNCERTAINTY * 0.4)

    assert chance((number.mean().item() - mean) / math.sqrt(mean / TOYS)) > FALSE_ALARM
    ratio = float(number.var()) * (TOYS - 1) / mean
    assert FALSE_ALARM < stats.chi2.sf(ratio, TOYS - 1) < 1 - FALSE_ALARM


def test_the_mean_score_of_toys_is_zero() -> None:
    for extended in (True, False):
        score, _ = scores(extended)
        pulls = score.mean(0) / (score.std(0) / math.sqrt(TOYS))
        assert all(chance(z) > FALSE_ALARM / 6 for z in pulls.tolist())


def test_the_covariance_of_scores_is_the_information() -> None:
    """E[s sᵀ] = −E[∂s/∂θ], the second of them from the Asimov data set."""
    from hepgen.inference.laplace import derivatives

    model = bump()
    score, _ = scores(extended=True)
    data = model.asimov(TRUTH)
    _, hessian = derivatives(lambda t: model.log_likelihoods(data, t), TRUTH[None])
    found = torch.cov(score.mT)
    d = torch.sqrt(torch.diagonal(-hessian[0]))

    # The relative error of a covariance is √(2/n): 0.03.
    torch.testing.assert_close(
        found / d[:, None] / d, -hessian[0] / d[:, None] / d, atol=0.15, rtol=0
    )


def test_a_toy_is_a_function_of_the_seed() -> None:
    model = bump()
    one, again, other = (model.generate(TRUTH.expand(3, 3), seed=s) for s in (1, 1, 2))

    assert torch.equal(one.channels["all"].events, again.channels["all"].events)
    assert torch.equal(one.auxiliary, again.auxiliary)
    assert not torch.equal(one.auxiliary, other.auxiliary)
    assert not torch.equal(one.channels["all"].total, other.channels["all"].total)


def test_nothing_fluctuates_in_the_asimov_data() -> None:
    model = bump()
    data = model.asimov(TRUTH)
    theta = TRUTH[None, None].clone().requires_grad_(True)
    (score,) = torch.autograd.grad(model.log_likelihoods(data, theta).sum(), theta)

    expected = SIGNAL * 1.3 + BACKGROUND * math.exp(UNCERTAINTY * 0.4)
    assert abs(data.channels["all"].total.item() / expected - 1) < 1e-12
    assert data.auxiliary.tolist() == [[0.4]]
    assert float(score.abs().max()) < 1e-4


def test_shapes_alone_have_the_number_of_events_that_was_asked_for() -> None:
    data = bump(extended=False).generate(TRUTH.expand(5, 3), seed=1)
    assert data.channels["all"].total.tolist() == [SIGNAL + BACKGROUND] * 5
