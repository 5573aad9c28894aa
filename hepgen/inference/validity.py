"""Whether to trust a likelihood with a data set: its density and its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.channel import Channel
from hepgen.inference.event_data import ChannelData, EventData
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.laplace import derivatives
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.parameters import ParameterSet
from hepgen.results import Check

_ROWS = 2**15
_TRIES = 16


def check_positive(likelihood: EventLikelihood, data: EventData, theta: Tensor) -> None:
    """Refuse a θ, shape ``(D,)``, at which a data set has no likelihood, and say why.

    Raises:
        DataError: An expected number of events or a density that is not positive: it names the
            channel, the event, and what each sample contributes.
    """
    values = likelihood.parameters.values(theta.double()[None, None])
    data = data[:1]
    for channel in likelihood.channels:
        rates = channel.rates(values, (1, 1))
        if channel.counts and not rates.sum() >= 0:
            raise DataError(
                f"channel {channel.name!r} expects {rates.sum().item():g} events at "
                f"{_words(likelihood.parameters, theta)}: {_shares(channel, rates[:, 0, 0])}; "
                "expected a positive number"
            )
        whole = data.channels[channel.name]
        found = _impossible(channel, whole, values, rates)
        if len(found):
            row = int(found[0])
            one = whole.rows(slice(row, row + 1))
            terms = channel.terms(one, channel.points(values, (1, 1)))[:, 0, 0, 0].exp()
            raise DataError(
                f"channel {channel.name!r}, event {row} at x = {one.events[0, 0].tolist()}: the "
                f"sum of its samples is not positive at {_words(likelihood.parameters, theta)}: "
                f"{_shares(channel, rates[:, 0, 0] * terms)} ({len(found)} such events of "
                f"{whole.weight.shape[1]}); a density must be positive: keep θ where it is, "
                "simulate more of the sample with a negative rate, or cut the region out"
            )


def check_support(likelihood: EventLikelihood, data: EventData, seed: int = 0) -> None:
    """Refuse a data set with an event that is possible nowhere in the prior.

    Raises:
        DataError: An event has no density at the default parameters and at several draws of the
            prior.
    """
    parameters = likelihood.parameters
    generator = torch.Generator().manual_seed(seed)
    defaults = torch.tensor([[p.default for p in parameters.free]], dtype=torch.float64)
    theta = torch.cat([defaults, parameters.prior().sample((_TRIES,), generator)])[None]
    values = parameters.values(theta)
    for channel in likelihood.channels:
        one = data.channels[channel.name][:1]
        rates = channel.rates(values, theta.shape[:2])
        found = _impossible(channel, one, values, rates)
        if len(found):
            row = int(found[0])
            raise DataError(
                f"channel {channel.name!r}, event {row} at x = {one.events[0, row].tolist()} "
                f"({len(found)} such events): its density is zero at all of {_TRIES + 1} points "
                "of the prior; it is outside of the support of every sample: apply the selection "
                "of the simulation to the data"
            )


def effective_events(
    likelihood: EventLikelihood, data: EventData, threshold: float = 0.9
) -> list[Check]:
    """Whether weighted events are worth what their weights sum to, for each channel.

    A log-likelihood Σ w ln p has the curvature of Σ w events, and fluctuates as (Σw)²/Σw² would.
    Where these are fewer, intervals from it are too short by the root of their ratio; where they
    are more, as of a simulation that is scaled down, too long, which is a warning.

    Arguments:
        data: One data set, or several of which the worst counts.
        threshold: The least (Σw)²/Σw² over Σw.
    """
    checks = []
    for channel in likelihood.channels:
        one = data.channels[channel.name]
        ratio = torch.where(one.total > 0, one.effective / one.total.clamp_min(1e-300), 1.0)
        worst = int(ratio.argmin())
        value = float(ratio[worst])
        checks.append(
            Check(
                f"effective events: {channel.name}", value >= threshold, value, threshold,
                f"{one.total[worst].item():.4g} weighted events are worth "
                f"{one.effective[worst].item():.4g}; where that is less, an interval is too short, "
                f"and where it is more, too long, by {_factor(value):.3g}",
                warning=value * threshold > 1,
            )
        )  # fmt: skip
    return checks


def _factor(ratio: float) -> float:
    return math.sqrt(max(ratio, 1 / max(ratio, 1e-24)))


def imbalance(likelihood: Likelihood, data: DataSets, theta: Tensor) -> float:
    """How far θ, shape ``(D,)``, is from the maximum of log L, in standard deviations: √(sᵀH⁻¹s).

    Of an Asimov data set it is zero up to rounding.
    """
    score, hessian = derivatives(
        lambda t: likelihood.log_likelihoods(data, t), theta.double()[None]
    )
    scale = (-hessian[0]).diagonal().abs().clamp_min(1e-300).rsqrt()
    s, h = score[0] * scale, -hessian[0] * scale * scale[:, None]
    return float((s @ torch.linalg.pinv(h, hermitian=True) @ s).clamp_min(0).sqrt())


@torch.no_grad()
def _impossible(
    channel: Channel, data: ChannelData, values: dict[str, Tensor], rates: Tensor
) -> Tensor:
    """The numbers of the events of the first set that have no density at any of K points."""
    points = channel.points(values, rates.shape[1:])
    parts = []
    rows = max(1, _ROWS // rates.shape[2])
    for part in data[:1].split(rows):
        height = channel.log_density(part, points, rates)[0]
        parts.append((height == -inf).all(-1) & (part.weight[0] != 0))
    return torch.cat(parts).nonzero()[:, 0] if parts else torch.zeros(0).long()


def _words(parameters: ParameterSet, theta: Tensor) -> str:
    pairs = zip(parameters.free_names, theta.reshape(-1).tolist(), strict=True)
    return ", ".join(f"{name} = {value:.6g}" for name, value in pairs)


def _shares(channel: Channel, numbers: Sequence[float] | Tensor) -> str:
    pairs = zip(channel.samples, numbers, strict=True)
    return ", ".join(f"{sample.name} {float(number):.4g}" for sample, number in pairs)
