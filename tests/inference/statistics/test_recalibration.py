"""Posteriors that are exact, too narrow and too wide, and what makes them cover."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.likelihood import DataSets
from hepgen.inference.statistics.coverage import coverage_maps
from hepgen.inference.statistics.neyman import Neyman
from hepgen.inference.statistics.recalibration import (
    CentralCredibility,
    ConformalLevels,
    central_credibility,
    highest_density_credibility,
)
from tests.inference.statistics.bounded import BoundedMean, Values, toys


def credibilities(width: float, number: int = 4000) -> NDArray[np.float64]:
    """Of posteriors N(x, width) for x ~ N(θ, 1), at the truth."""
    pull = np.random.default_rng(2).standard_normal(number) / width
    return np.asarray(np.abs(2 * ndtr(pull) - 1))


@pytest.mark.parametrize(("width", "raw"), [(1.0, 0.6827), (0.5, 0.3829), (2.0, 0.9545)])
def test_conformal_levels_tell_and_repair(width: float, raw: float) -> None:
    levels = ConformalLevels.fit(credibilities(width))
    (found,) = levels.report([0.6827])
    # Four standard errors: 1 in 16,000.
    assert found.coverage == pytest.approx(raw, abs=4 * found.error)
    # In closed form the interval of ±1 that covers has the credibility 2Φ(1/width) − 1.
    exact = 2 * ndtr(1 / width) - 1
    slope = 2 * np.exp(-0.5 / width**2) / np.sqrt(2 * np.pi) / width
    assert found.credibility == pytest.approx(exact, abs=4 * slope * found.uncertainty / 0.484)


def test_too_few_pseudo_data_promise_nothing() -> None:
    assert ConformalLevels.fit(np.linspace(0, 0.5, 30)).at(0.99) == 1.0
    with pytest.raises(DataError, match="20 pseudo-data"):
        ConformalLevels.fit([0.5])
    with pytest.raises(DataError, match="not in"):
        ConformalLevels.fit(np.linspace(0, 2, 50))


def test_credibilities_of_draws_are_those_of_the_distribution() -> None:
    draws = torch.randn(3, 20_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    value = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)
    exact = [0.0, 0.6827, 0.9545]
    assert central_credibility(draws, value[:, None])[:, 0].tolist() == pytest.approx(
        exact, abs=0.02
    )
    density = highest_density_credibility(-draws.square(), -value.square())
    assert density.tolist() == pytest.approx(exact, abs=0.02)


def test_neyman_repairs_at_each_parameter() -> None:
    """A posterior that is right on average: too narrow below 4, too wide above."""
    model = BoundedMean()

    def draws(sets: DataSets) -> Tensor:
        assert isinstance(sets, Values)
        generator = torch.Generator().manual_seed(3)
        noise = torch.randn(len(sets), 100, generator=generator, dtype=torch.float64)
        width = torch.where(sets.x < 4, 0.5, 2.0)
        return sets.x[:, None] + width[:, None] * noise

    statistic = CentralCredibility(draws, model.parameters, ("mu",))
    built = Neyman.fit(statistic, model.generate, toys(8000, 2), seed=4, members=1)
    at = torch.tensor([[2.0], [6.0]], dtype=torch.float64)
    repaired, _ = coverage_maps(built, model.generate, at, toys=2000, seed=8)
    assert repaired.coverage == pytest.approx(0.6827, abs=0.06)
    own = at.expand(2, 1)
    raw = [
        float((statistic(model.generate(one.expand(3000, -1), 5), one.expand(3000, 1, 1)).statistic
               <= 0.6827).double().mean())
        for one in own
    ]  # fmt: skip
    assert raw[0] < 0.5 < 0.85 < raw[1]
