"""Negative weights where a density must be positive: refused with the reason, unless asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from hepgen.errors import DataError
from hepgen.features import Feature
from hepgen.inference.augmented import AugmentedEvents
from hepgen.inference.nle import NLE
from hepgen.inference.residual_ensemble import Candidate
from hepgen.inference.scandal import fit_scandal
from hepgen.inference.vector_nle import VectorNLE
from hepgen.nn.density_weights import check_density_weights
from hepgen.surrogates.surrogate import Surrogate
from tests.inference.gaussian_chain import FEATURES, PARAMETERS, pairs, signed

EVENTS = pairs(1000, seed=1)


BOTH: dict[str, Any] = {"features": FEATURES, "parameters": PARAMETERS, "epochs": 1}


def density(kind: Any, events: AugmentedEvents, **settings: Any) -> Any:
    return kind(events.x, events.theta, weight=events.weight, **BOTH, **settings)


def surrogate(events: AugmentedEvents, **settings: Any) -> Surrogate:
    return Surrogate.fit(
        events.x, events.theta, features=FEATURES, inputs=[Feature("theta_0")],
        weight=events.weight, epochs=1, options={"hidden": (8,), "layers": 1, "bins": 4},
        **settings,
    )  # fmt: skip


DENSITIES: dict[str, Callable[..., Any]] = {
    "nle": lambda e, **s: density(NLE.fit, e, components=2, hidden=(8,), **s),
    "vector nle": lambda e, **s: density(
        VectorNLE.fit, e, members=1, candidates=[Candidate(2, (8,), 1e-2)], **s
    ),
    "scandal": lambda e, **s: fit_scandal(e, components=2, hidden=(8,), **BOTH, **s),
    "surrogate": surrogate,
}


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_refuses_negative_weights_unless_they_are_asked_for(name: str) -> None:
    own = signed(EVENTS, seed=2).own
    assert own.weight is not None
    negative = int((own.weight < 0).sum())
    assert negative > 0
    message = rf"{negative} of {len(own)} event weights are negative.*a density must be positive"
    with pytest.raises(DataError, match=message):
        DENSITIES[name](own)
    assert DENSITIES[name](own, negative_weights=True) is not None
    assert DENSITIES[name](EVENTS.own) is not None


def test_the_message_says_what_the_events_are_worth() -> None:
    """900 of +1 and 100 of −1: 800²/1000 = 640."""
    weight = torch.ones(1000)
    weight[:100] = -1
    with pytest.raises(DataError, match="the 1000 events are worth 640"):
        check_density_weights(weight, negative_weights=False)
    check_density_weights(weight.abs(), negative_weights=False)
    check_density_weights(None, negative_weights=False)
