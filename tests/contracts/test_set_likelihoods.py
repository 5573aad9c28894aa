"""Laws of whatever answers as the likelihood of event sets; a new estimator adds a line."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.alices import ALICES
from hepgen.inference.augmented import AugmentedEvents
from hepgen.inference.density import Density
from hepgen.inference.ensemble import Ensemble
from hepgen.inference.event_sets import SetLikelihood
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.nle import NLE
from hepgen.inference.nre import NRE, ParametrisedClassifier
from hepgen.inference.rascal import RASCAL
from hepgen.inference.sally import SALLY
from hepgen.inference.scandal import fit_scandal
from hepgen.inference.score_likelihood import ScoreHistogram, ScoreMean
from tests.inference.gaussian_chain import FEATURES, PARAMETERS, REFERENCE, pairs

SETTINGS: dict[str, Any] = {
    "features": FEATURES, "parameters": PARAMETERS, "hidden": (8, 8), "epochs": 2,
    "batch_size": 100, "max_learning_rate": 1e-2,
}  # fmt: skip


@cache
def sample() -> AugmentedEvents:
    return pairs(1200, seed=1)


def own() -> tuple[Tensor, Tensor]:
    return sample().own.x, sample().own.theta


@cache
def sally() -> SALLY:
    return SALLY.fit(sample().at_reference, **SETTINGS)


def nle(seed: int = 0) -> NLE:
    return NLE.fit(*own(), components=2, seed=seed, **SETTINGS)


LIKELIHOODS: dict[str, Callable[[], SetLikelihood]] = {
    "nle": nle,
    "nre, binary": lambda: NRE.fit(*own(), loss="binary", **SETTINGS),
    "nre, contrastive": lambda: NRE.fit(*own(), **SETTINGS),
    "classifier": lambda: ParametrisedClassifier.fit(
        *own(), sample().at_reference.x, REFERENCE, **SETTINGS
    ),
    "rascal": lambda: RASCAL.fit(sample(), **SETTINGS),
    "alices": lambda: ALICES.fit(sample(), **SETTINGS),
    "scandal": lambda: fit_scandal(sample(), components=2, **SETTINGS),
    "sally, local": lambda: sally().local(torch.ones(1, 1)),
    "sally, mean": lambda: ScoreMean.fit(sally(), *own()),
    "sally, histogram": lambda: ScoreHistogram.fit(sally(), *own(), bins=6),
    "ensemble of logarithms": lambda: Ensemble([nle(1), nle(2)]),
    "ensemble of densities": lambda: Ensemble([nle(1), nle(2)], average="density"),
}
NOT_A_SUM = {"sally, mean"}
"""Of the events: the central limit holds for a data set."""

NO_DENSITY = {"sally, mean", "sally, local", "ensemble of densities"}
"""Of single events; the last has one, which is not the sum of its members'."""

every_likelihood = pytest.mark.parametrize("name", LIKELIHOODS)
DATA = [sample().own.x[:40], sample().own.x[40:100]]
GRID = torch.linspace(-0.8, 0.8, 5, dtype=torch.float64)[:, None].expand(2, -1, -1)


@cache
def made(name: str) -> SetLikelihood:
    return LIKELIHOODS[name]()


def evaluated(name: str, x: list[Tensor], weight: list[Tensor | None]) -> Tensor:
    likelihood = made(name)
    with torch.no_grad():
        return likelihood.log_likelihoods(likelihood.encode(x, weight), GRID[: len(x)])


@every_likelihood
def test_shapes_and_padding(name: str) -> None:
    assert isinstance(made(name), SetLikelihood)
    together = evaluated(name, DATA, [None, None])
    assert together.shape == (2, 5)
    assert together.dtype == torch.float64
    alone = torch.cat([evaluated(name, [one], [None]) for one in DATA])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-4)
    sets = made(name).encode(DATA, [None, None])
    assert len(sets) == 2
    assert len(sets[1:]) == 1


@pytest.mark.parametrize("name", sorted(set(LIKELIHOODS) - NOT_A_SUM))
def test_it_is_a_sum_over_events(name: str) -> None:
    both = evaluated(name, [torch.cat(DATA)], [None])
    parts = evaluated(name, DATA, [None, None])
    torch.testing.assert_close(both[0], parts.sum(0), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", sorted(set(LIKELIHOODS) - NO_DENSITY))
def test_the_densities_of_its_events_are_its_terms(name: str) -> None:
    """In double precision, and up to a term without θ: what a channel is made of."""
    density = cast(Any, made(name)).double()
    assert isinstance(density, Density)
    prepared = density.prepare(DATA[0])[None]
    terms = density.log_densities(prepared, GRID[:1])
    assert terms.shape == (1, len(DATA[0]), 5)
    assert terms.dtype == torch.float64
    shift = terms.sum(1) - evaluated(name, DATA[:1], [None])
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift), rtol=1e-5, atol=1e-3)


@every_likelihood
def test_weights_are_signed(name: str) -> None:
    """An event of weight −1 takes away one of weight 1; order does not matter."""
    weight = torch.cat([torch.ones(60), torch.ones(40), -torch.ones(40)]).double()
    x = torch.cat([DATA[1], DATA[0], DATA[0]])
    order = torch.randperm(140, generator=torch.Generator().manual_seed(0))
    found = evaluated(name, [x[order]], [weight[order]])
    if name not in NOT_A_SUM:
        expected = evaluated(name, [DATA[1]], [None])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(found, evaluated(name, [x], [weight]), rtol=1e-4, atol=1e-2)


@every_likelihood
def test_it_has_two_derivatives(name: str) -> None:
    likelihood = made(name)
    at = GRID.clone().requires_grad_(True)
    total = likelihood.log_likelihoods(likelihood.encode(DATA, [None, None]), at).sum()
    (slope,) = torch.autograd.grad(total, at, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), at)
    step = 1e-2
    with torch.no_grad():
        sets = likelihood.encode(DATA, [None, None])
        up, down = (likelihood.log_likelihoods(sets, GRID + s) for s in (step, -step))
    torch.testing.assert_close(
        slope[..., 0].detach(), (up - down) / (2 * step), rtol=0.02, atol=0.2
    )
    assert bool(torch.isfinite(curvature).all())


@every_likelihood
def test_a_posterior_takes_it(name: str) -> None:
    (sample,) = LikelihoodPosterior(made(name)).draw_batched(100, DATA[1:])
    assert sample.theta.shape == (100, 1)
    assert bool((sample.theta.abs() <= 1.5).all())


@every_likelihood
def test_other_columns_are_refused(name: str) -> None:
    likelihood = made(name)
    with pytest.raises(DataError, match=r"expected \(N, 1\)"):
        likelihood.encode([torch.zeros(3, 2, dtype=torch.float64)], [None])
    sets = likelihood.encode(DATA[:1], [None])
    with pytest.raises(ParameterError, match="expected 1 columns: theta_0"):
        likelihood.log_likelihoods(sets, torch.zeros(1, 2, 2, dtype=torch.float64))
