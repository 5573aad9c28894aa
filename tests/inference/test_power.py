"""A power of a likelihood, and the slope that a wrong ratio is mended with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hepgen.diagnostics.ratio_calibration import slope
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.power import Power


def test_the_posterior_of_a_power_is_that_of_so_many_more_events(gaussian: Any) -> None:
    """Of N(μ, σ²): L^a has the precision 1 + a n/σ²; the mean and width within 5 % of 4000."""
    n, a = 50, 0.4
    x = gaussian.simulate(torch.full((n, 1), 0.7).double(), torch.Generator().manual_seed(1))
    precision = 1 + a * n / gaussian.sigma**2
    mean = a * x.sum().item() / gaussian.sigma**2 / precision
    draws = LikelihoodPosterior(Power(gaussian, a), method="importance").draw(4000, x, seed=1).theta
    assert abs(draws.mean().item() - mean) < 0.08 * precision**-0.5
    assert draws.std().item() == pytest.approx(precision**-0.5, rel=0.05)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_the_slope_undoes_a_factor(factor: float) -> None:
    """log r = 2x between N(1, 1) and N(−1, 1), times a factor; 20,000 events, five of its σ."""
    rng = np.random.default_rng(3)
    above, below = (factor * 2 * rng.normal(centre, 1, 20_000) for centre in (1.0, -1.0))
    assert slope(above, below) == pytest.approx(1 / factor, rel=0.06)
