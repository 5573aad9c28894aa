"""The score test: closed forms, and that bounds do not matter to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hepgen.inference.binned import uncorrelated_background
from hepgen.inference.statistics.score_test import score_test


def test_of_gaussian_data_it_is_the_best_fit_in_its_errors(line: Any) -> None:
    """log L is a parabola: the score test, the likelihood ratio and μ̂/σ are one."""
    sigma = line.covariance[0, 0].sqrt().item()
    data = line.generate(line.truth(2.0).expand(5, -1), 3)
    best = line.best(data)[:, 0]
    found = score_test(line, data, "mu")
    assert found.tolist() == pytest.approx((best / sigma).tolist(), rel=1e-5)
    there = score_test(line, data, "mu", 1.0)
    assert there.tolist() == pytest.approx(((best - 1.0) / sigma).tolist(), rel=1e-5)


@pytest.mark.parametrize("low", [-5.0, 0.0])
def test_a_bound_at_the_value_changes_nothing(low: float) -> None:
    """Of a deficit, too, that a fit would not follow below zero."""
    model = uncorrelated_background([10], [100], [1e-3], low=low)
    for n in (70.0, 130.0):
        z = score_test(model, model.observed([n]), "mu", start=torch.tensor([0.0, 1.0]))
        assert z.item() == pytest.approx((n - 100) / n**0.5, rel=1e-3)
