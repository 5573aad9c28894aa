"""The gaussian chain with one parameter and one observable.

x = θ + z + 0.5 ε up to known factors: everything is known in closed form.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from hepgen.features import Feature
from hepgen.inference.augmented import AugmentedEvents, concatenate
from hepgen.parameters import ParameterSet, Uniform
from hepgen.simulators.linear_gaussian import LinearGaussian
from hepgen.simulators.processes.registry import process

OPTIONS: dict[str, Any] = {"depth": 1, "dimension": 1, "parameters": 1}
CHAIN = process("gaussian", **OPTIONS)
MODEL = LinearGaussian.standard(**OPTIONS)
PARAMETERS = ParameterSet(
    [
        dataclasses.replace(p, prior=Uniform(-1.5, 1.5) if p.name == "theta_0" else None)
        for p in CHAIN.parameters
    ]
)
FEATURES = (Feature("x_0"),)
REFERENCE = torch.tensor([0.2], dtype=torch.float64)


def pairs(events: int, seed: int) -> AugmentedEvents:
    """Half of them of θ from the prior, half of the reference."""
    return AugmentedEvents.pairs(CHAIN, PARAMETERS, FEATURES, REFERENCE, events, seed=seed)


def signed(events: AugmentedEvents, seed: int) -> AugmentedEvents:
    """The same density by signed weights: a third of the events again, moved, and cancelled.

    What is added at a wrong x has the weight 1 once, and −1 once.
    """
    generator = torch.Generator().manual_seed(seed)
    some = torch.rand(len(events), generator=generator) < 1 / 3
    extra = events[some]
    moved = extra.x + torch.randn(extra.x.shape, generator=generator).double()
    extra = dataclasses.replace(extra, x=moved)
    ones = torch.ones(len(extra), dtype=torch.float64)
    parts = [
        dataclasses.replace(events, weight=torch.ones(len(events), dtype=torch.float64)),
        dataclasses.replace(extra, weight=ones),
        dataclasses.replace(extra, weight=-ones),
    ]
    return concatenate(parts)
