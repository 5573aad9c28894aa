"""Posteriors that are exact, too narrow and too wide, and what makes them cover."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hepgen.inference.likelihood import DataSets
from hepgen.inference.statistics.coverage import coverage_maps
from hepgen.inference.statistics.credibility import (
    CentralCredibility,
    central_credibility,
    highest_density_credibility,
)
from hepgen.inference.statistics.neyman import Neyman
from tests.inference.statistics.bounded import BoundedMean, Values, toys


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
