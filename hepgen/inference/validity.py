"""Whether to trust a likelihood with a data set: its density, weights, and flat directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.channel import Channel
from hepgen.inference.event_data import ChannelData, EventData
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.laplace import derivatives
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.parameters import ParameterSet, Prior
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
    Intervals from it are too short by the root of their ratio.

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
                f"{one.effective[worst].item():.4g}; where that is less, an interval is too short "
                f"by {max(value, 1e-12) ** -0.5:.3g}",
            )
        )  # fmt: skip
    return checks


@dataclass(frozen=True)
class FlatDirection:
    """A combination of parameters that neither the data nor a constraint fixes.

    Arguments:
        components: Of the unit vector, in units of the widths of the priors, by name.
        curvature: −∂² log L along it, in the same units: 1 where the data say as much as a prior
            of that width.
    """

    components: dict[str, float]
    curvature: float

    def __str__(self) -> str:
        large = {n: c for n, c in self.components.items() if abs(c) > 0.1}
        terms = " ".join(f"{c:+.2f}·{n}" for n, c in large.items())
        alone = len(large) == 1
        what = f"{next(iter(large))!r}" if alone else f"the combination {terms}"
        return (
            f"nothing fixes {what} (curvature {self.curvature:.2g} in units of the prior's width): "
            f"give {'it' if alone else 'one of its parameters'} a constraint, data that depend on "
            "it, or fix it"
        )


def flat_directions(
    likelihood: Likelihood, data: DataSets, theta: Tensor, threshold: float = 0.1
) -> list[FlatDirection]:
    """The directions along which log L of one data set does not fall, from the flattest.

    They are the eigenvectors of −∂² log L at θ, with the parameters in units of the standard
    deviations of their priors, whose eigenvalue is below ``threshold``. A constraint adds one.
    Where log L rises along one by 1 or more over such a width, its maximum is elsewhere, and it is
    no flat direction.

    Arguments:
        theta: The best fit, or a point inside of the bounds where that is at one, shape ``(D,)``.
    """
    width = torch.tensor([_width(p) for p in likelihood.parameters.priors], dtype=torch.float64)

    def height(t: Tensor) -> Tensor:
        return likelihood.log_likelihoods(data, t * width)

    score, hessian = derivatives(height, (theta.double() / width)[None])
    if not bool(torch.isfinite(hessian).all()):
        raise DataError(
            f"log L has no second derivative at {_words(likelihood.parameters, theta)}; is it "
            "−∞ there? See check_positive"
        )
    values, vectors = torch.linalg.eigh(-hessian[0])
    names = likelihood.parameters.free_names
    return [
        FlatDirection(dict(zip(names, _signed(vector).tolist(), strict=True)), float(value))
        for value, vector in zip(values, vectors.mT, strict=True)
        if value < threshold and abs(float(score[0] @ vector)) < 1
    ]


def check_identified(likelihood: Likelihood, data: DataSets, theta: Tensor) -> None:
    """Refuse a fit with a flat direction, and name it.

    Raises:
        ParameterError: There is one.
    """
    found = flat_directions(likelihood, data, theta)
    if found:
        raise ParameterError("; ".join(map(str, found)))


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


def _width(prior: Prior) -> float:
    low, high = prior.reach
    deviation = getattr(prior, "std", None)
    return float(deviation) if deviation is not None else (high - low) / 12**0.5


def _signed(vector: Tensor) -> Tensor:
    """With its largest component positive."""
    largest = vector[vector.abs().argmax()]
    return vector * torch.sign(largest)


def _words(parameters: ParameterSet, theta: Tensor) -> str:
    pairs = zip(parameters.free_names, theta.reshape(-1).tolist(), strict=True)
    return ", ".join(f"{name} = {value:.6g}" for name, value in pairs)


def _shares(channel: Channel, numbers: Sequence[float] | Tensor) -> str:
    pairs = zip(channel.samples, numbers, strict=True)
    return ", ".join(f"{sample.name} {float(number):.4g}" for sample, number in pairs)
