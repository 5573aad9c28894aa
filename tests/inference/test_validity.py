"""What a likelihood refuses, and the names it gives to what is wrong."""

from __future__ import annotations

import math

import pytest
import torch

from hepgen.errors import DataError
from hepgen.inference.channel import Channel, Sample
from hepgen.inference.density import ClosedForm
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.rate import Product
from hepgen.inference.validity import (
    check_positive,
    check_support,
    effective_events,
    imbalance,
)
from hepgen.parameters import Parameter, ParameterSet, Uniform
from tests.inference.bump import MU, bump

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


def test_a_scaled_down_simulation_is_worth_more_than_its_sum() -> None:
    model = bump()
    (many,) = effective_events(model, model.data({"all": X}, {"all": torch.full((3,), 0.1)}))
    assert (many.passed, many.warning) == (True, True)
    assert "too long, by 3.16" in many.meaning


def test_the_maximum_of_asimov_data_is_where_it_should_be() -> None:
    model, truth = bump(), torch.tensor([1.3, 1.7, 0.4], dtype=torch.float64)
    data = model.asimov(truth)
    assert imbalance(model, data, truth) < 1e-9
    beside = truth + torch.tensor([0.1, 0.0, 0.0])
    assert 0.1 < imbalance(model, data, beside) < 1
