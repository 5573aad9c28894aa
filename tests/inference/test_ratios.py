"""Ratio estimators against the closed form: values, scores, signed weights, disk, bad input.

Bounds are twice what was measured or more, at fixed seeds.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hepgen.errors import DataError, FileError, ParameterError
from hepgen.inference.alices import ALICES
from hepgen.inference.augmented import AugmentedEvents
from hepgen.inference.fisher import event_scores
from hepgen.inference.nle import NLE
from hepgen.inference.nre import NRE, ParametrisedClassifier
from hepgen.inference.rascal import RASCAL
from hepgen.inference.ratio import Ratio
from hepgen.inference.scandal import fit_scandal
from hepgen.inference.training_options import TrainingOptions
from hepgen.parameters import ParameterSet
from tests.inference.gaussian_chain import (
    CHAIN,
    FEATURES,
    MODEL,
    PARAMETERS,
    REFERENCE,
    pairs,
    signed,
)  # fmt: skip

TRAINING: TrainingOptions = {
    "epochs": 12, "batch_size": 256, "patience": None, "max_learning_rate": 1e-2,
}  # fmt: skip
SETTINGS: dict[str, Any] = {
    "features": FEATURES, "parameters": PARAMETERS, "hidden": (20, 20), **TRAINING,
}  # fmt: skip
HIDDEN = ParameterSet(
    [dataclasses.replace(p, default=6.0) if p.name == "noise_scale" else p for p in PARAMETERS]
)
GRID = torch.linspace(-1.2, 1.2, 5, dtype=torch.float64)[:, None]


def nre(loss: str) -> Callable[[AugmentedEvents], Ratio]:
    def fit(events: AugmentedEvents) -> Ratio:
        own = events.own
        return NRE.fit(own.x, own.theta, weight=own.weight, loss=loss, **SETTINGS)  # type: ignore[arg-type]

    return fit


def classifier(events: AugmentedEvents) -> Ratio:
    assert events.at_theta is not None
    own, other = events.own, events[~events.at_theta]
    return ParametrisedClassifier.fit(
        own.x, own.theta, other.x, REFERENCE, weight=own.weight, weight_reference=other.weight,
        **SETTINGS,
    )  # fmt: skip


def alice(events: AugmentedEvents) -> Ratio:
    return ALICES.fit(events, alpha=0.0, **SETTINGS)


#: With the largest rms error of the score of an event, whose own rms is 0.87.
ESTIMATORS: dict[str, tuple[Callable[[AugmentedEvents], Any], float]] = {
    "nre, binary": (nre("binary"), 0.5),
    "nre, contrastive": (nre("contrastive"), 0.5),
    "classifier": (classifier, 0.5),
    "alice": (alice, 0.4),
    "rascal": (lambda events: RASCAL.fit(events, **SETTINGS), 0.4),
    "alices": (lambda events: ALICES.fit(events, **SETTINGS), 0.25),
    "scandal": (lambda events: fit_scandal(events, negative_weights=True, **SETTINGS), 0.25),
}


@cache
def sample(weighted: bool = False) -> AugmentedEvents:
    events = pairs(10_000, seed=1)
    return signed(events, seed=2) if weighted else events


@cache
def trained(name: str, weighted: bool) -> Any:
    return ESTIMATORS[name][0](sample(weighted))


CASES = [(name, False) for name in ESTIMATORS] + [
    (name, True) for name in ("nre, contrastive", "classifier", "alices", "scandal")
]


@pytest.mark.parametrize(("name", "weighted"), CASES)
def test_the_ratio_and_its_slope_are_those_of_the_closed_form(name: str, weighted: bool) -> None:
    """The signed sample is of the same density, with 5/3 of the events and their noise."""
    estimator, bound = trained(name, weighted), ESTIMATORS[name][1] * (1.5 if weighted else 1)
    test = pairs(2000, seed=9).own
    sets = estimator.encode(list(test.x[:, None]), [None] * len(test))
    at, reference = test.theta[:, None], REFERENCE.expand(len(test), 1, 1)
    with torch.no_grad():
        found = estimator.log_likelihoods(sets, at) - estimator.log_likelihoods(sets, reference)
    exact = MODEL.log_prob(test.x, test.theta) - MODEL.log_prob(test.x, REFERENCE)
    ratio = (found[:, 0] - exact).square().mean().sqrt()
    difference = (
        event_scores(estimator, test.x, test.theta) - MODEL.score(test.x, test.theta)[:, :1]
    )
    score = difference.square().mean().sqrt()
    assert ratio < bound, f"rms of log r {ratio:.3f}, of the score {score:.3f}"
    assert score < bound, f"rms of log r {ratio:.3f}, of the score {score:.3f}"


def test_a_ratio_to_a_reference_is_one_there() -> None:
    x = pairs(100, seed=3).x
    for name in ("classifier", "rascal", "alices"):
        found = trained(name, False).log_prob(x, REFERENCE[None])
        assert found.detach().abs().max() < 1e-5


def moving(events: AugmentedEvents) -> AugmentedEvents:
    """Weights 1 + θ/2 of the events of θ, which say nothing of x."""
    own = torch.ones(len(events)).double() if events.at_theta is None else events.at_theta.double()
    return dataclasses.replace(events, weight=1 + own * events.theta[:, 0] / 2)


WEIGHTS: dict[str, Callable[[AugmentedEvents], AugmentedEvents]] = {
    "none": lambda events: events, "signed": lambda events: signed(events, seed=2),
    "moving": moving,
}  # fmt: skip


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", ["nre, binary", "nre, contrastive", "classifier", "rascal"])
def test_the_mean_over_the_denominator_is_one(name: str, weights: str) -> None:
    """A training alone leaves it off by up to 6 %, and by E[w | θ].

    What is a function of θ alone counts N times in the likelihood of N events.
    """
    few = AugmentedEvents.pairs(CHAIN, HIDDEN, FEATURES, REFERENCE, 2000, seed=107)
    events = WEIGHTS[weights](few)
    ratio = ESTIMATORS[name][0](events)
    assert events.at_theta is not None
    there = events.own if name.startswith("nre") else events[~events.at_theta]
    w = torch.ones(len(there)).double() if there.weight is None else there.weight
    with torch.no_grad():
        mean = w @ ratio.log_prob(there.x, GRID).exp() / w.sum()
    torch.testing.assert_close(mean, torch.ones(len(GRID)).double(), rtol=0, atol=0.01)


def test_the_joint_score_helps_a_density() -> None:
    """SCANDAL beside NLE, all else the same: the score's error falls by a quarter at least."""
    own, test = sample().own[:1500], pairs(2000, seed=9).own
    settings = {**SETTINGS, "epochs": 40}
    exact = MODEL.score(test.x, test.theta)[:, :1]
    without = NLE.fit(own.x, own.theta, **settings)
    with_score = fit_scandal(own, **settings)
    errors = [
        (event_scores(one, test.x, test.theta) - exact).square().mean().sqrt().item()
        for one in (with_score, without)
    ]
    assert errors[0] < 0.75 * errors[1]


def test_weights_of_a_mean_that_is_not_positive_are_refused() -> None:
    for fit in (nre("binary"), classifier):
        with pytest.raises(DataError, match="mean of the event weights falls to"):
            fit(dataclasses.replace(sample(), weight=sample().theta[:, 0] + 0.4))


@pytest.mark.parametrize("name", ["nre, binary", "classifier", "rascal", "alices"])
def test_round_trip_on_disk(name: str, tmp_path: Path) -> None:
    estimator = trained(name, False)
    estimator.save(tmp_path / "m")
    loaded = type(estimator).load(tmp_path / "m")
    x = pairs(50, seed=3).x
    torch.testing.assert_close(loaded.log_prob(x, GRID), estimator.log_prob(x, GRID))
    assert loaded.curve == estimator.curve
    entry = json.loads((tmp_path / "m" / "model.json").read_text())
    assert entry["kind"] == estimator.kind
    other = RASCAL if estimator.kind != "rascal" else NRE
    with pytest.raises(FileError, match="of kind"):
        other.load(tmp_path / "m")


def test_a_fit_is_a_function_of_its_seed() -> None:
    events, settings = pairs(600, seed=1), {**SETTINGS, "epochs": 1}
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = (ALICES.fit(events, **settings, seed=s) for s in (4, 4, 5))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.log_prob(events.x, GRID), same.log_prob(events.x, GRID))
    assert not torch.equal(one.log_prob(events.x, GRID), other.log_prob(events.x, GRID))


def test_what_cannot_be_used_is_refused() -> None:
    events = pairs(200, seed=1)
    own = events.own
    with pytest.raises(DataError, match="expected one of binary, contrastive"):
        NRE.fit(own.x, own.theta, contrasts=0, **SETTINGS)
    with pytest.raises(DataError, match="all of one kind"):
        ALICES.fit(dataclasses.replace(own, at_theta=None), **SETTINGS)
    with pytest.raises(DataError, match="no joint ratio to a reference"):
        RASCAL.fit(dataclasses.replace(events, log_ratio=None), **SETTINGS)
    with pytest.raises(DataError, match=r"scores of shape .* simulate with"):
        fit_scandal(dataclasses.replace(own, score=own.score[:, :0], theta=own.theta), **SETTINGS)
    constant = dataclasses.replace(own, score=torch.ones_like(own.score))
    with pytest.raises(DataError, match="nothing in the chain depends on it"):
        fit_scandal(constant, **SETTINGS)
    broken = torch.full_like(own.score, np.nan)
    with pytest.raises(DataError, match="'theta_0' is NaN or infinite in"):
        fit_scandal(dataclasses.replace(own, score=broken), **SETTINGS)
    with pytest.raises(ParameterError, match="outside its prior"):
        NRE.fit(own.x, own.theta + 3, **SETTINGS)
    weight = torch.where(torch.as_tensor(events.at_theta), 1.0, -1.0).double()
    with pytest.raises(DataError, match="weights sum to"):
        ALICES.fit(dataclasses.replace(events, weight=weight), **SETTINGS)
