"""A Gaussian peak on a falling spectrum, in closed form: the model of several tests."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from hepgen.inference.channel import Channel, Sample
from hepgen.inference.density import ClosedForm
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.rate import Product
from hepgen.inference.sampler import Inverse
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform

CENTRE, WIDTH = 0.5, 0.04
SIGNAL, BACKGROUND = 30.0, 400.0
UNCERTAINTY = 0.1

MU = Parameter("mu", 1.0, role="interest", prior=Uniform(0.0, 5.0))
SLOPE = Parameter("slope", 1.5, prior=Uniform(0.5, 3.0))
SCALE = Parameter("scale", 0.0, prior=Normal(0.0, 1.0))


def peak(x: Tensor, values: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG001
    z = (x[..., 0] - CENTRE) / WIDTH
    return -0.5 * z.square() - math.log(WIDTH * math.sqrt(2 * math.pi))


def falling(x: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    a = values["slope"]
    return a.log() - a * x[..., 0] - torch.log1p(-torch.exp(-a))


def scale(values: Mapping[str, Tensor]) -> Tensor:
    return torch.exp(UNCERTAINTY * values["scale"])


SIGNAL_DENSITY = ClosedForm(ParameterSet([]), ("x",), peak)
BACKGROUND_DENSITY = ClosedForm(ParameterSet([SLOPE]), ("x",), falling)


def bump(*, extended: bool = True, signal: float = SIGNAL) -> EventLikelihood:
    """μ signal events on a background of unknown slope, known to 10 % in its rate."""
    samples = (
        Sample("signal", SIGNAL_DENSITY, Product(signal, "mu"), Inverse(SIGNAL_DENSITY, 0.0, 1.0)),
        Sample(
            "background", BACKGROUND_DENSITY, Product(BACKGROUND, scale),
            Inverse(BACKGROUND_DENSITY, 0.0, 1.0),
        ),
    )  # fmt: skip
    channel = Channel("all", samples, extended=extended, events=int(signal + BACKGROUND))
    return EventLikelihood(ParameterSet([MU, SLOPE, SCALE]), [channel])
