"""What a likelihood refuses, and the names it gives to what is wrong."""

from __future__ import annotations

import math

import pytest
import torch

from hepgen.errors import DataError, ParameterError
from hepgen.inference.channel import Channel, Sample
from hepgen.inference.density import ClosedForm
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.rate import Product
from hepgen.inference.validity import (
    check_identified,
    check_positive,
    check_support,
    effective_events,
    flat_directions,
    imbalance,
)
from hepgen.parameters import Parameter, ParameterSet, Uniform
from tests.inference.bump import BACKGROUND_DENSITY, MU, SCALE, SLOPE, bump

FLAT = ClosedForm(ParameterSet([]), ("x",), lambda x, _: torch.zeros_like(x[..., 0]))
WAVE = ClosedForm(
    ParameterSet([]), ("x",), lambda x, _: torch.log1p(torch.cos(2 * math.pi * x[..., 0]))
)
HALF = ClosedForm(
    ParameterSet([]), ("x",), lambda x, _: torch.where(x[..., 0] < 0.5, math.log(2), -torch.inf)
)
X = torch.tensor([[0.1], [0.5], [0.9]])


def test_a_negative_density_is_named_with_its_event() -> None:
    kappa = ParameterSet([Parameter("kappa", 0.0, prior=Uniform(-3.0, 3.0))])
    samples = (
        Sample("flat", FLAT, Product(10.0, lambda v: 1 - v["kappa"])),
        Sample("wave", WAVE, Product(10.0, "kappa")),
    )
    model = EventLikelihood(kappa, [Channel("c", samples)])
    data = model.data({"c": X})

    check_positive(model, data, torch.tensor([0.5]))
    with pytest.raises(DataError, match=r"event 1 at x = \[0\.5\].*flat -5, wave 0 \(1 such"):
        check_positive(model, data, torch.tensor([1.5]))
    minus = EventLikelihood(kappa, [Channel("c", (Sample("s", FLAT, Product(5.0, "kappa")),))])
    with pytest.raises(DataError, match="expects -10 events at kappa = -2"):
        check_positive(minus, data, torch.tensor([-2.0]))


def test_an_event_outside_of_the_support_is_named() -> None:
    mu = ParameterSet([MU])
    model = EventLikelihood(mu, [Channel("c", (Sample("s", HALF, Product(5.0, "mu")),))])
    check_support(model, model.data({"c": X[:1]}))
    with pytest.raises(DataError, match=r"event 1 at x = \[0\.5\] \(2 such events\)"):
        check_support(model, model.data({"c": X}))


def test_weighted_events_are_worth_less() -> None:
    model = bump()
    (even,) = effective_events(model, model.data({"all": X}))
    (uneven,) = effective_events(
        model, model.data({"all": X}, {"all": torch.tensor([3.0, 1.0, -1.0])})
    )

    assert (even.passed, even.value) == (True, 1.0)
    # (Σw)²/Σw² = 9/11 of Σw = 3.
    assert not uneven.passed
    assert uneven.value == pytest.approx(9 / 11 / 3)


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


def test_the_maximum_of_asimov_data_is_where_it_should_be() -> None:
    model, truth = bump(), torch.tensor([1.3, 1.7, 0.4], dtype=torch.float64)
    data = model.asimov(truth)
    assert imbalance(model, data, truth) < 1e-9
    beside = truth + torch.tensor([0.1, 0.0, 0.0])
    assert 0.1 < imbalance(model, data, beside) < 1
