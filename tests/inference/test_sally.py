"""The local score, and likelihoods of its observables, against the closed form.

Bounds are about twice what was measured, at fixed seeds, or 4.5 σ where they are statistical.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError, FileError
from hepgen.inference.augmented import AugmentedEvents
from hepgen.inference.fisher import regression_information
from hepgen.inference.grid import grid_marginals
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.nle import NLE
from hepgen.inference.sally import SALLY, LocalLikelihood
from hepgen.inference.score_likelihood import ScoreHistogram, ScoreMean
from tests.inference.gaussian_chain import FEATURES, MODEL, PARAMETERS, REFERENCE, pairs, signed

SETTINGS: dict[str, Any] = {
    "features": FEATURES, "parameters": PARAMETERS, "hidden": (20, 20), "epochs": 12,
    "batch_size": 256, "patience": None, "max_learning_rate": 1e-2,
}  # fmt: skip
INFORMATION = MODEL.information()[:1, :1]


@cache
def sample() -> AugmentedEvents:
    return pairs(10_000, seed=1)


@cache
def sally(weighted: bool = False) -> SALLY:
    events = sample().at_reference
    return SALLY.fit(signed(events, seed=2) if weighted else events, **SETTINGS)


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "signed"])
def test_it_is_the_score_of_the_marginal_density(weighted: bool) -> None:
    test = pairs(4000, seed=9).at_reference
    exact = MODEL.score(test.x, REFERENCE)[:, :1]
    error = (sally(weighted).score(test.x) - exact).square().mean().sqrt()
    assert error < (0.15 if weighted else 0.1) * exact.std()


def test_its_information_is_that_of_x() -> None:
    """A lower limit within its error, and not by more than 3 %."""
    test = pairs(40_000, seed=9).at_reference
    found = regression_information(sally().score(test.x), test.score, PARAMETERS.free_names)
    value, error = found.value("theta_0")
    exact = INFORMATION.item()
    assert error < 0.05 * exact
    assert exact - 4.5 * error - 0.03 * exact < value < exact + 4.5 * error


def data(theta: float, size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    root = MODEL.marginal(torch.tensor([theta])).covariance_matrix[0, 0].sqrt()
    mean = MODEL.marginal(torch.tensor([theta])).mean
    return mean + root * torch.randn(size, 1, generator=generator, dtype=torch.float64)


def moments(likelihood: Any, x: Tensor) -> tuple[float, float]:
    (marginal,) = grid_marginals(LikelihoodPosterior(likelihood), x)
    return marginal.mean, marginal.std


@pytest.mark.parametrize("kind", ["local", "mean", "histogram"])
def test_posteriors_are_those_of_the_closed_form(kind: str) -> None:
    """x is linear in θ, so all three are right at a distance from the reference, too."""
    own = sample().own
    likelihood: Any
    if kind == "local":
        likelihood = sally().local(INFORMATION)
    elif kind == "mean":
        likelihood = ScoreMean.fit(sally(), own.x, own.theta)
    else:
        likelihood = ScoreHistogram.fit(sally(), own.x, own.theta)
    for theta, seed in ((0.2, 1), (0.6, 2)):
        x = data(theta, 200, seed)
        width = (200 * INFORMATION.item()) ** -0.5
        expected = 0.2 + float(MODEL.score(x, REFERENCE)[:, 0].mean() / INFORMATION)
        mean, std = moments(likelihood, x)
        assert abs(mean - expected) < 0.45 * width
        assert std == pytest.approx(width, rel=0.12)


def test_weights_count_as_events() -> None:
    own = sample().own
    x = data(0.4, 60, 1)
    grid = torch.linspace(-0.5, 1, 4, dtype=torch.float64)[None, :, None]
    for likelihood in (
        sally().local(INFORMATION), ScoreHistogram.fit(sally(), own.x, own.theta, bins=8),
    ):  # fmt: skip
        twice = likelihood.encode([torch.cat([x, x])], [None])
        weighted = likelihood.encode([x], [torch.full((60,), 2.0)])
        torch.testing.assert_close(
            likelihood.log_likelihoods(twice, grid), likelihood.log_likelihoods(weighted, grid)
        )


def test_observables_have_a_density() -> None:
    """Of an NLE, for those who want the likelihood of every event."""
    own = sample().own[:1000]
    t = sally().score(own.x)
    nle = NLE.fit(
        t, own.theta, features=sally().observables, parameters=PARAMETERS, components=2,
        hidden=(8, 8), epochs=1,
    )  # fmt: skip
    assert nle.features.names == ("optimal_theta_0",)


def test_round_trip_on_disk(tmp_path: Path) -> None:
    sally().save(tmp_path / "m")
    loaded = SALLY.load(tmp_path / "m")
    x = data(0.2, 50, 1)
    torch.testing.assert_close(loaded.score(x), sally().score(x))
    assert torch.equal(loaded.reference, REFERENCE)
    with pytest.raises(FileError, match="of kind 'sally'"):
        NLE.load(tmp_path / "m")


def test_what_cannot_be_used_is_refused() -> None:
    own = sample().own
    with pytest.raises(DataError, match=r"several values of 'theta_0'.*--theta default"):
        SALLY.fit(own, **SETTINGS)
    with pytest.raises(DataError, match="eigenvalue 0"):
        LocalLikelihood(sally(), torch.zeros(1, 1))
    with pytest.raises(DataError, match="ten times as many"):
        ScoreMean.fit(sally(), own.x[:30], own.theta[:30])
    negative = torch.where(own.x[:, 0] > 1, -1.0, 1.0).double()
    with pytest.raises(DataError, match="no positive sum of weights"):
        ScoreHistogram.fit(sally(), own.x, own.theta, weight=negative)
