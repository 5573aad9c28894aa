"""The table of families for the laws in ``test_surrogates``: one small setting of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, eq=False)
class FamilyCase:
    """One family, small enough for a test.

    Arguments:
        method: Its name in the table of families.
        options: Of the model.
        training: Settings of its training on 4000 events.
        density: The tolerance of ∫ p(u | c) du = 1 in two dimensions; ``None`` where the
            family has no density.
        agreement: The largest difference of mean and standard deviation from the truth, in
            units of the standard deviation, after that training.
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    density: float | None = 1e-3
    agreement: float = 0.15


FAST = {"batch_size": 250, "epochs": 15, "max_learning_rate": 1e-2, "patience": None}

SHORT = {"batch_size": 250, "epochs": 20, "max_learning_rate": 1e-2, "patience": None}

CASES = (
    FamilyCase("coupling", {"layers": 4, "hidden": [16]}, FAST),
    FamilyCase("flow", {"layers": 2, "hidden": [16], "bins": 4}, FAST),
    FamilyCase("autoregressive", {"layers": 2, "hidden": [16]}, FAST),
    FamilyCase("spline-autoregressive", {"layers": 2, "hidden": [16], "bins": 4}, FAST),
    FamilyCase("umnn", {"layers": 1, "hidden": [16]}, FAST),
    FamilyCase("mixture", {"components": 4, "hidden": [16, 16]}, FAST),
    FamilyCase(
        "cnf",
        {"width": 16, "blocks": 1, "training_steps": 2, "tolerance": 1e-4},
        {**FAST, "epochs": 10, "max_learning_rate": 2e-2},
    ),
    FamilyCase(
        "flow-matching", {"width": 32, "blocks": 1, "tolerance": 1e-3}, {**FAST, "epochs": 40}
    ),
    # A bound of K draws is the logarithm of an unbiased estimate, whose integral is 1 on average.
    FamilyCase("vae", {"hidden": [16], "samples": 50, "importance": 2}, FAST, density=2e-2),
    FamilyCase(
        "hvae",
        {"hidden": [16], "samples": 50, "posterior": "diagonal", "importance": 1},
        FAST,
        density=2e-2,
    ),
    FamilyCase("diffusion", {"hidden": 24, "blocks": 1, "steps": 8, "likelihood_steps": 6}, SHORT),
    FamilyCase("distilled", {"steps": 4}, SHORT, density=None),
)
