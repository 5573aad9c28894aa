"""The score of single events at one θ by a trained estimator, and what it is worth for a data set.

Both the Fisher information that ``hepgen infer`` states and the cost of binning are made of it.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.fisher import FisherInformation, event_scores
from hepgen.inference.sampler import FromChain
from hepgen.pipeline.likelihoods import density_of
from hepgen.pipeline.session import Session


def simulated_events(session: Session, theta: Tensor, events: int, seed: int) -> Tensor:
    """Selected events of the chain at θ, shape ``(events, d)``."""
    sampler = FromChain(session.chain, session.parameters, session.feature_names)
    values = session.parameters.values(theta[None])
    return sampler.draw(torch.tensor([events]), values, seed)


def estimator_scores(session: Session, method: str, x: Tensor, theta: Tensor) -> Tensor:
    """∇ log p(x | θ) by an estimator with a density of single events, shape ``(N, D)``."""
    model = cast(Any, density_of(session, method))
    return event_scores(model, x, theta.expand(len(x), -1))


def drawn_events(likelihood: EventLikelihood, theta: Tensor, events: int, seed: int) -> Tensor:
    """Events of the only channel of a likelihood at θ, variations included, ``(events, d)``."""
    ((sample,),) = (channel.samples for channel in likelihood.channels)
    assert sample.sampler is not None
    values = likelihood.parameters.values(theta[None])
    return sample.sampler.draw(torch.tensor([events]), values, seed)


def rate_slope(likelihood: EventLikelihood, theta: Tensor) -> Tensor | None:
    """∇ log λ of the only channel, shape ``(D,)``; none where the number does not count."""
    with torch.enable_grad():
        at = theta.double().detach().requires_grad_(True)
        rates = likelihood.rates(at)
        if not rates:
            return None
        ((rate,),) = (one.values() for one in rates.values())
        (slope,) = torch.autograd.grad(rate.log(), at)
    return slope


def for_data_set(
    likelihood: EventLikelihood, one: FisherInformation, theta: Tensor, events: float
) -> FisherInformation:
    """Of so many events, with what their number and the constraints say."""
    slope = rate_slope(likelihood, theta)
    if slope is not None:
        one = one.with_rate(slope)
    return one.data_set(events).constrained(likelihood.parameters)


def expected_error(information: FisherInformation, name: str) -> tuple[float, float]:
    """The error of a parameter, the others fitted along, and the standard error of that.

    Raises:
        DataError: Nothing is known of a direction of the others.
    """
    value, spread = information.profiled([name]).value(name)
    if value <= 0:
        return float("inf"), 0.0
    return value**-0.5, 0.5 * value**-1.5 * spread
