"""Laws of surrogates of mixed variables, over several families.

Statistical laws are held to p > 10⁻⁴ at fixed seeds: for the whole file, another choice of seeds
would fail with a probability below 0.2 %.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import Tensor

from hepgen.surrogates.surrogate import Surrogate
from tests.contracts.families import FamilyCase
from tests.contracts.mixed import CASES, FEATURES, INPUTS, events, log_prob

FALSE_ALARM = 1e-4
C = torch.tensor([2.0], dtype=torch.float64)

every_family = pytest.mark.parametrize("case", CASES, ids=lambda case: case.method)


@cache
def trained(case: FamilyCase) -> Surrogate:
    x, c = events(6000)
    return Surrogate.fit(
        x, c, features=FEATURES, inputs=INPUTS, method=case.method, options=case.options,
        device="cpu", **case.training,
    )  # fmt: skip


def rows(count: Tensor, phi: Tensor, energy: Tensor) -> Tensor:
    zero = 0.0 * (count + phi + energy)
    return torch.stack([count + zero, phi + zero, energy + zero], -1).reshape(-1, 3).double()


COUNTS = torch.arange(13.0)[:, None, None]
NONE = torch.zeros(1, 1, 1)


def azimuths(n: int) -> Tensor:
    """Midpoints of n bins of the circle, along the second axis."""
    return (torch.arange(n) + 0.5)[None, :, None] * math.tau / n - math.pi


@every_family
def test_the_density_is_near_the_truth(case: FamilyCase) -> None:
    """Their mean difference is the divergence of one from the other."""
    x, c = events(4000, seed=2)
    difference = log_prob(x, c) - trained(case).log_prob(x, c)
    assert abs(difference.mean()) < case.agreement


@every_family
def test_sum_and_integral_are_one(case: FamilyCase) -> None:
    """Σ over counts and over zero or not, ∫ dφ dE; the zeros' part is a bound of small width."""
    surrogate, phi = trained(case), azimuths(40)
    # E = e^s, dE = E ds.
    s = torch.linspace(-14, 5, 160, dtype=torch.float64)[None, None]
    some = surrogate.log_prob(rows(COUNTS, phi, s.exp()), C).exp().reshape(13, 40, 160)
    none = surrogate.log_prob(rows(COUNTS, phi, NONE), C).exp()
    width = math.tau / 40
    total = (some * s.exp()).sum() * width * (s[0, 0, 1] - s[0, 0, 0]) + none.sum() * width
    assert abs(total - 1) < 0.02


@every_family
def test_counts_and_zeros_are_drawn_with_their_probability(case: FamilyCase) -> None:
    surrogate = trained(case)
    x = surrogate.sample(20_000, C, seed=3)
    few = torch.arange(6.0)[:, None, None]
    phi = azimuths(200)
    none = surrogate.log_density(rows(few, phi, NONE), C)
    expected = none.value.exp().reshape(6, 200).sum(-1) * math.tau / 200
    found = torch.tensor([((x[:, 0] == k) & (x[:, 2] == 0)).sum() for k in range(6)])
    # What of a bound is missing on average, as an uncertainty of the expectation.
    sigma = (20_000 * expected * (1 - expected)).sqrt() + 0.02 * 20_000 * expected
    assert float(((found - 20_000 * expected) / sigma).abs().max()) < stats.norm.isf(
        FALSE_ALARM / 12
    )


@every_family
def test_an_azimuth_is_drawn_with_its_density(case: FamilyCase) -> None:
    """Given a count and an energy the histogram of φ follows the density: importance weights."""
    surrogate = trained(case)
    x, density = surrogate.sample_and_log_prob(6000, C, seed=4)
    some = x[:, 2] > 0
    moved = x[some].clone()
    moved[:, 1] = torch.remainder(moved[:, 1] + 0.3 + math.pi, math.tau) - math.pi
    ratio = (surrogate.log_prob(moved, C) - density.value[some]).exp()
    # E[p(φ + 0.3)/p(φ)] = 1 over the circle, whatever p is.
    pull = (ratio.mean() - 1) / (ratio.std() / math.sqrt(len(ratio)))
    assert abs(float(pull)) < stats.norm.isf(FALSE_ALARM / 2)


@every_family
def test_an_azimuth_has_no_seam(case: FamilyCase) -> None:
    """φ and φ + 2π are one, and the density is continuous at ±π and where windings set in."""
    surrogate = trained(case)
    phi = torch.linspace(-3, 3, 13)[None, :, None].double()
    x = rows(COUNTS[:5], phi, torch.ones(1, 1, 1))
    turned = x + torch.tensor([0.0, math.tau, 0.0])
    torch.testing.assert_close(
        surrogate.log_prob(x, C), surrogate.log_prob(turned, C), rtol=0, atol=1e-4
    )
    for place in (-math.pi, -math.pi / 2, math.pi / 2, math.pi):
        sides = [
            surrogate.log_prob(
                rows(COUNTS[:5], torch.full((1, 1, 1), place + step), torch.ones(1, 1, 1)), C
            )
            for step in (-1e-4, 1e-4)
        ]
        torch.testing.assert_close(sides[0].exp(), sides[1].exp(), rtol=2e-2, atol=1e-4)


@every_family
def test_events_are_possible_ones(case: FamilyCase) -> None:
    surrogate = trained(case)
    x = surrogate.sample(2000, C, seed=1)
    surrogate.features.check(x)
    assert bool((x[:, 1].abs() <= math.pi).all())
    assert 0.3 < float((x[:, 2] == 0).double().mean()) < 0.5
    assert torch.equal(x, surrogate.sample(2000, C, seed=1))


@every_family
def test_what_is_loaded_is_what_was_saved(case: FamilyCase, tmp_path: Path) -> None:
    surrogate = trained(case)
    surrogate.save(tmp_path)
    loaded = Surrogate.load(tmp_path)
    x = surrogate.sample(20, C)
    assert torch.equal(x, loaded.sample(20, C))
    assert torch.equal(surrogate.log_prob(x, C), loaded.log_prob(x, C))
    assert loaded.quality == surrogate.quality


@every_family
def test_it_says_where_it_is_a_bound(case: FamilyCase) -> None:
    surrogate = trained(case)
    x, c = events(500, seed=5)
    density = surrogate.log_density(x, c)
    assert density.quality.kind == "bound"
    assert bool((density.error[x[:, 2] > 0] == 0).all())
    assert bool((density.error[x[:, 2] == 0] > 0).all())
