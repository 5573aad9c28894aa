"""Regions: what they hold of known posteriors, and where they end."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import norm

from hepgen import Normal, Parameter, ParameterSet, Uniform
from hepgen.inference.truncation import OUTSIDE, at_edges, inside, region_of, truncated

PARAMETERS = ParameterSet(
    [Parameter("a", 0.0, prior=Uniform(-50.0, 50.0)), Parameter("b", 0.0, prior=Normal(0.0, 1.0)),
     Parameter("c", 0.5, prior=Uniform(0.0, 1.0))]
)  # fmt: skip


def posterior(draws: int, seed: int) -> torch.Tensor:
    """a Gaussian, b and c as the prior has them."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(draws, 2, generator=generator, dtype=torch.float64)
    flat = torch.rand(draws, 1, generator=generator, dtype=torch.float64)
    return torch.cat([3.0 + 0.2 * z[:, :1], z[:, 1:], flat], dim=1)


@pytest.mark.parametrize("seed", range(20))
def test_a_region_holds_all_but_what_it_says_of_a_gaussian(seed: int) -> None:
    """With 2000 draws the end is known to 3 % (one standard error of a quantile at 1 %): four of
    these move the mass outside by a factor of 11 at most, once in 16,000 edges."""
    region = region_of(PARAMETERS, posterior(2000, seed))
    assert set(region) == {"a", "c"}
    low, high = (float(edge - 3.0) / 0.2 for edge in region["a"])
    assert norm.cdf(low) + norm.sf(high) < 11 * OUTSIDE / 3
    assert max(-low, high) < 6


def test_what_nothing_is_known_of_keeps_its_prior() -> None:
    low, high = region_of(PARAMETERS, posterior(2000, 1))["c"]
    assert 0.0 <= low < 1e-4
    assert 1 - 1e-4 < high <= 1.0


def test_no_draw_is_left_outside() -> None:
    """Of tails that are much longer than Gaussian ones, too."""
    theta = posterior(2000, 3)
    u = torch.rand(2000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    theta[:, 0] = torch.tan(torch.pi * (u - 0.5)).clamp(-49.0, 49.0)
    region = region_of(PARAMETERS, theta)
    cut = ParameterSet(
        [Parameter(p.name, 0.5, prior=truncated(p, region) or p.prior) for p in PARAMETERS]
    )
    assert bool(inside(cut, theta).all())
    assert not bool(inside(cut, theta + torch.tensor([0.0, 0.0, 1.0])).any())


def test_what_is_wrong_by_its_pulls_is_wider_by_them() -> None:
    theta = posterior(2000, 5)
    low, high = region_of(PARAMETERS, theta)["a"]
    wider = region_of(PARAMETERS, theta, torch.tensor([3.0, 1.0, 1.0]))["a"]
    middle = theta[:, 0].median().item()
    assert wider[0] - middle == pytest.approx(3 * (low - middle), rel=0.02)
    assert wider[1] - middle == pytest.approx(3 * (high - middle), rel=0.02)


def test_draws_at_an_edge_are_counted_where_it_cuts() -> None:
    theta = posterior(4000, 4)
    shares = at_edges(PARAMETERS, {"a": (2.0, 4.0), "c": (0.0, 1.0)}, theta)
    assert shares["a"] < 1e-3
    assert shares["c"] == 0.0  # the prior's own ends
    # A cut at 1 σ: of what is inside, a share of Φ(1) − Φ(0.725) over Φ(1) is at it.
    kept = theta[theta[:, 0] < 3.2]
    share = at_edges(PARAMETERS, {"a": (2.1, 3.2)}, kept)["a"]
    expected = (norm.cdf(1) - norm.cdf(1 - 0.05 * 5.5)) / norm.cdf(1)
    assert share == pytest.approx(expected, abs=4 * (expected / len(kept)) ** 0.5)
