"""What judges has not been learned from, whatever seeds a workflow gives."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from hepgen.pipeline import ratios, validate
from hepgen.pipeline.requests import simulation_campaign
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import BlockSource
from hepgen.pipeline.surrogates import surrogate_task
from hepgen.pipeline.training_data import (
    rate_campaign,
    reference_campaign,
    score_campaign,
    set_campaign,
    training_campaign,
)

TINY = Path(__file__).parent / "tiny.toml"
Make = Callable[[Session], BlockSource]
REFERENCE = {"theta_0": 0.0}
LEARNED: dict[str, Make] = {
    "events": training_campaign,
    "sets": set_campaign,
    "scores": score_campaign,
    "reference": lambda session: reference_campaign(session, REFERENCE),
    "rate": rate_campaign,
    "surrogate": lambda session: surrogate_task(session).campaign,
}
JUDGING: dict[str, Make] = {
    "calibration": validate._pseudo_campaign,
    "ratio": ratios._campaign,
    "ratio reference": lambda session: ratios._reference(session, "classifier"),
    "hepgen simulate": lambda session: simulation_campaign(session, events="1e4", theta=["prior"]),
    "hepgen simulate at a point": lambda session: simulation_campaign(
        session, events="1e4", theta=["default"]
    ),
}


def numbers(campaign: BlockSource) -> set[float]:
    """x and θ of its first block: in single precision few of two samples are equal."""
    events = campaign.simulate(0).events
    flat = [np.asarray(events[name]).tolist() for name in ("x_0", "theta_theta_0")]
    return {float(v) for column in flat for one in column for v in np.ravel(one)} - {0.0}


@pytest.mark.parametrize("seed", [1, 2])
def test_pseudo_data_are_not_those_of_the_training(seed: int) -> None:
    """With one seed for all, and with the seed of the sets for what judges."""
    session = Session.open(
        TINY,
        ["simulation.seed=1", "surrogate.seed=1", f"calibration.seed={seed}",
         f"validation.seed={seed}", "simulation.events_per_point=512", "calibration.events=32"],
    )  # fmt: skip
    learned = {name: numbers(make(session)) for name, make in LEARNED.items()}
    judging = {name: numbers(make(session)) for name, make in JUDGING.items()}
    for one, other in product(learned, judging):
        share = len(learned[one] & judging[other]) / min(len(learned[one]), len(judging[other]))
        assert share < 0.02, f"{other} has events of {one}"
