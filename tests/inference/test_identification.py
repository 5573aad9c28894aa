"""Directions that nothing fixes, where it is known whether anything does.

The noise of a learned density is a wave that depends on θ, of events that do not. Rates are of 80
seeds: a flat direction is missed in about 1/100 of them, and one of which the data know a quarter
of what was learned is called flat in 1/200. More than four of the former fail for other seeds with
a probability of 0.2 %, more than three of the latter with one of 0.1 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from hepgen.errors import ParameterError
from hepgen.inference.channel import Channel, Sample
from hepgen.inference.density import ClosedForm
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.identification import (
    check_identified,
    flat_directions,
    sets_needed,
    simulated_curvature,
)
from hepgen.inference.rate import Product
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform
from tests.inference.bump import BACKGROUND_DENSITY, MU, SCALE, SLOPE, bump

FLAT = ClosedForm(ParameterSet([]), ("x",), lambda x, _: torch.zeros_like(x[..., 0]))
THETA = Parameter("theta", 0.0, prior=Uniform(-1.0, 1.0))
EVENTS, HEIGHT, SEEDS = 200, 0.35, 80
#: Of N events with 1 + hθ cos 2πx at θ = 0: N h²/2, in units of the prior's variance, 1/3.
CURVATURE = EVENTS * HEIGHT**2 / 2 / 3


def wave(x: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    return torch.log1p(HEIGHT * values["theta"] * torch.cos(2 * math.pi * x[..., 0]))


class Simulator:
    """Events of a wave of some height, by rejection."""

    def __init__(self, height: float) -> None:
        self.height = height

    def draw(self, counts: Tensor, values: Mapping[str, Tensor], seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        total = int(counts.sum())
        theta = values["theta"].expand(len(counts)).repeat_interleave(counts)
        events = torch.zeros(total, 1, dtype=torch.float64)
        for value in sorted(set(theta.tolist())):
            x, u = torch.rand(2, 4 * total + 1000, generator=generator, dtype=torch.float64)
            kept = x[u < (1 + self.height * value * torch.cos(2 * math.pi * x)) / 2]
            own = theta == value
            events[own, 0] = kept[: int(own.sum())]
        return events

    def expected(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        x = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
        return x[:, None], (1 + self.height * values["theta"] * torch.cos(2 * math.pi * x)) / 1000


def learned(height: float, prior: Uniform | Normal | None = None) -> EventLikelihood:
    """A density with a wave, of a simulator with another."""
    theta = ParameterSet([Parameter("theta", 0.0, prior=prior or Uniform(-1.0, 1.0))])
    density = ClosedForm(theta, ("x",), wave)
    sample = Sample("events", density, None, Simulator(height))
    return EventLikelihood(theta, [Channel("c", (sample,), extended=False, events=EVENTS)])


def named(model: EventLikelihood, height: float, seed: int) -> bool:
    """Whether the parameter is called flat, with data of θ = 0."""
    x = Simulator(height).draw(torch.tensor([EVENTS]), {"theta": torch.zeros(1)}, 1000 + seed)
    data = model.encode([x], [None])
    at = torch.zeros(1, dtype=torch.float64)
    return bool(flat_directions(model, data, at, seed=seed, events=EVENTS))


def test_what_a_learned_density_makes_up_is_named() -> None:
    model = learned(0.0)
    data = model.encode([torch.linspace(0, 1, EVENTS).double()[:, None]], [None])
    # By its curvature alone the parameter is fixed.
    at = torch.zeros(1, dtype=torch.float64)
    assert flat_directions(model, data, at) == []
    (found,) = flat_directions(model, data, at, seed=1, events=EVENTS)
    assert found.curvature == pytest.approx(CURVATURE, rel=0.05)
    assert found.simulated is not None
    assert abs(found.simulated) < 4 * found.error
    assert "nothing fixes 'theta' (curvature 4" in str(found)
    assert "of which pseudo-data confirm" in str(found)
    missed = sum(not named(model, 0.0, seed) for seed in range(SEEDS))
    assert missed <= 4


def test_a_likelihood_that_pseudo_data_contradict_is_called_wrong() -> None:
    """Not flat: a constraint would hide that the network has learned the opposite."""
    model = learned(-1.0)
    data = model.encode([torch.linspace(0, 1, EVENTS).double()[:, None]], [None])
    (found,) = flat_directions(
        model, data, torch.zeros(1, dtype=torch.float64), seed=1, events=EVENTS
    )
    assert found.misled
    assert "the learned likelihood is wrong along 'theta' (curvature 4" in str(found)
    assert "train it on more events" in str(found)
    assert "constraint" not in str(found)


def test_what_the_data_fix_is_not_named() -> None:
    assert CURVATURE > 4
    # What pseudo-data confirm is proportional to the height of the simulator's wave.
    assert sum(named(learned(HEIGHT / 4), HEIGHT / 4, seed) for seed in range(SEEDS)) <= 3
    assert not any(named(learned(HEIGHT), HEIGHT, seed) for seed in range(20))


def test_simulated_curvature_is_that_of_the_likelihood() -> None:
    model = learned(HEIGHT)
    width = torch.tensor([3**-0.5], dtype=torch.float64)
    at = torch.zeros(1, dtype=torch.float64)
    runs = [
        simulated_curvature(model, at, width, CURVATURE, seed=seed, events=EVENTS)
        for seed in range(40)
    ]
    found = torch.tensor([one for one, _, _ in runs])
    errors = torch.tensor([error for _, error, _ in runs])
    # To 4 standard errors of the mean, and a twentieth for a curvature that is not constant.
    assert float(found.mean()) == pytest.approx(
        CURVATURE, abs=4 * float(found.std()) / 40**0.5 + 0.05 * CURVATURE
    )
    assert float(found.std()) == pytest.approx(float(errors.mean()), rel=0.45)


def test_a_constraint_needs_no_pseudo_data() -> None:
    # Its simulator cannot be asked, and is not.
    theta = ParameterSet([Parameter("theta", 0.0, prior=Normal(0.0, 0.5))])
    sample = Sample("events", ClosedForm(theta, ("x",), wave))
    model = EventLikelihood(theta, [Channel("c", (sample,), extended=False)])
    data = model.encode([torch.linspace(0, 1, EVENTS).double()[:, None]], [None])
    assert flat_directions(model, data, torch.zeros(1), seed=1) == []


def test_a_bound_shortens_the_distance() -> None:
    model = learned(HEIGHT)
    width = torch.tensor([3**-0.5], dtype=torch.float64)
    edge = torch.tensor([1.0], dtype=torch.float64)
    found, error, sets = simulated_curvature(model, edge, width, CURVATURE, seed=1, events=EVENTS)
    assert sets == sets_needed(CURVATURE, 1.0)
    assert math.isfinite(found)
    assert error > 0


def test_a_flat_direction_is_named() -> None:
    """A rate μ·e^(0.1 b) with nothing to fix b: only their product is known."""
    free = Parameter("b", 0.0, prior=Uniform(-3.0, 3.0))
    scale = Product(100.0, "mu", lambda v: torch.exp(0.5 * v["b"]))
    model = EventLikelihood(ParameterSet([MU, free]), [Channel("c", (Sample("s", FLAT, scale),))])
    data = model.data({"c": torch.rand(100, 1)})
    at = torch.tensor([1.0, 0.0])
    (found,) = flat_directions(model, data, at)

    # dμ/μ = −db/2, in units of 5/√12 and 6/√12.
    ratio = found.components["mu"] / found.components["b"]
    assert ratio == pytest.approx(-0.5 * 6 / 5, rel=1e-6)
    assert abs(found.curvature) < 1e-6
    with pytest.raises(ParameterError, match=r"the combination .*·mu .*·b"):
        check_identified(model, data, at)

    held = EventLikelihood(
        ParameterSet([MU, free]), [Channel("c", (Sample("s", FLAT, Product(100.0, "mu")),))]
    )
    with pytest.raises(ParameterError, match="nothing fixes 'b'"):
        check_identified(held, held.data({"c": torch.rand(100, 1)}), at)


def test_a_constraint_or_data_fix_a_parameter() -> None:
    model = bump()
    truth = torch.tensor([1.0, 1.5, 0.0])
    assert flat_directions(model, model.asimov(truth), truth) == []
    # A slope of a background without events is not known.
    sample = Sample("none", BACKGROUND_DENSITY, Product(1e-9))
    empty = EventLikelihood(ParameterSet([SLOPE, SCALE]), [Channel("c", (sample,))])
    (found,) = flat_directions(empty, empty.data({"c": torch.zeros(0, 1)}), truth[1:])
    assert found.components["slope"] == pytest.approx(1)
