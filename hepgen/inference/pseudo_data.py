r"""Pseudo-data of a channel: toys that fluctuate, and the Asimov sample that does not.

The events of a channel are a Poisson process of intensity Σ_s λ_s p_s(x). Those of its positive
samples are drawn, each from its own, and where a sample is negative every event is kept with the
probability

.. math:: \frac{\sum_s \lambda_s p_s(x)}{\sum_{s: \lambda_s > 0} \lambda_s p_s(x)}

which makes the process the wanted one, without an approximation (Lewis and Shedler, Naval Research
Logistics Quarterly 26 (1979) 403).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.channel import Channel, signed_sum
from hepgen.inference.event_data import ChannelData, stacked
from hepgen.inference.sampler import Sampler, generator_of
from hepgen.parameters import ParameterSet
from hepgen.simulators.chain import stream

_ROWS = 2**15
_ROUNDS = 100


@torch.no_grad()
def toy_events(
    channel: Channel, values: Mapping[str, Tensor], sets: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Events ``(S, N, d)`` and weights ``(S, N)`` of pseudo-data sets.

    Arguments:
        channel: With a sampler of each sample.
        values: The parameters of the likelihood by name, shape ``(S,)`` or ``()`` each.
        sets: S.
        seed: The result is a function of it.

    Raises:
        ParameterError: A sample without a sampler, or a channel without a number of events.
        DataError: A density that is negative in all, at an event that was drawn.
    """
    rates = channel.rates(values, (sets,))
    if channel.counts:
        counts = torch.poisson(rates.clamp_min(0), generator_of(seed, channel.name)).long()
        x, owner = _drawn(channel, values, rates, counts, seed, 0)
    else:
        x, owner = _fixed_number(channel, values, rates, seed)
    return stacked([x], [torch.ones(len(x), dtype=torch.float64)], [owner], sets)


def asimov_data(channel: Channel, parameters: ParameterSet, theta: Tensor) -> ChannelData:
    r"""Weighted events that stand for λp at θ, shape ``(D,)``, as one set.

    A sample of M events has a sum of weights and a score that are off by their statistical error.
    Both are put right by the smallest change of weights, w → w(1 + c·g) with g the ones and the
    derivatives of ln λp of each event, so that log L has its maximum at θ as for M → ∞.

    Raises:
        DataError: The expected number of events, or the density of one of them, is not positive.
    """
    x, weight = _expected_events(channel, parameters.values(theta.double()))
    data = channel.prepare(x[None], weight[None])
    gradients = _gradients(channel, parameters, theta, data)
    wanted = _wanted(channel, parameters, theta)
    weight = data.weight[0]
    scale = (weight.abs() @ gradients.square()).sqrt().clamp_min(1e-300)
    g = gradients / scale
    matrix = (g * weight[:, None]).mT @ g
    c = torch.linalg.pinv(matrix, hermitian=True, rtol=1e-12) @ (wanted / scale - weight @ g)
    return replace(data, weight=(weight * (1 + g @ c))[None])


@torch.no_grad()
def _expected_events(channel: Channel, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Events ``(M, d)`` with weights ``(M,)``, those of each sample of sum λ_s."""
    rates = channel.rates(values, ())
    total = rates.sum()
    if not total > 0:
        raise DataError(f"channel {channel.name!r} expects {total.item():g} events; expected > 0")
    if not channel.counts:
        rates = rates * _number(channel) / total
    here = channel.local(values)
    parts = [
        (x, rate * weight)
        for sample, rate in zip(channel.samples, rates, strict=True)
        if rate != 0
        for x, weight in [_sampler(channel, sample.name, sample.sampler).expected(here)]
    ]
    return torch.cat([x for x, _ in parts]), torch.cat([w for _, w in parts])


def _gradients(
    channel: Channel, parameters: ParameterSet, theta: Tensor, data: ChannelData
) -> Tensor:
    """1 and ∇ ln Σ_s λ_s p_s of each event, shape ``(M, 1 + D)``."""
    rows = []
    for part in data.split(_ROWS):
        n = part.weight.shape[1]
        each = ChannelData(
            part.events[0][:, None],
            part.weight[0][:, None],
            tuple(one[0][:, None] for one in part.prepared),
            part.squares.expand(n),
        )
        at = theta.double().expand(n, 1, -1).clone().requires_grad_(True)
        values = parameters.values(at)
        height = channel.log_density(each, channel.points(values, (n, 1)),
                                     channel.rates(values, (n, 1)))[:, 0, 0]  # fmt: skip
        wrong = torch.isneginf(height) & (part.weight[0] != 0)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise DataError(
                f"channel {channel.name!r}: the sum of its samples is not positive at x = "
                f"{part.events[0, row].tolist()} ({int(wrong.sum())} of {n} events); no data can "
                "be distributed so: look at the parameters, and at samples with a negative rate"
            )
        rows.append(_derivative(torch.where(wrong, 0.0, height).sum(), at)[:, 0])
    gradients = torch.cat(rows)
    return torch.cat([torch.ones_like(gradients[:, :1]), gradients], dim=-1)


def _wanted(channel: Channel, parameters: ParameterSet, theta: Tensor) -> Tensor:
    """What Σ w and Σ w ∇ ln λp are on average, shape ``(1 + D,)``."""
    at = theta.double().clone().requires_grad_(True)
    total = channel.rates(parameters.values(at), ()).sum()
    slope = _derivative(total, at)
    number = total.detach() if channel.counts else torch.tensor(_number(channel)).double()
    return torch.cat([number[None], slope * number / total.detach()])


def _derivative(value: Tensor, at: Tensor) -> Tensor:
    """∂value/∂at, zeros where it does not depend on it."""
    if not value.requires_grad:
        return torch.zeros_like(at)
    (found,) = torch.autograd.grad(value, at, allow_unused=True)
    return torch.zeros_like(at) if found is None else found


def _drawn(
    channel: Channel,
    values: Mapping[str, Tensor],
    rates: Tensor,
    counts: Tensor,
    seed: int,
    block: int,
) -> tuple[Tensor, Tensor]:
    """Events ``(M, d)`` and the number of the set of each, for counts ``(samples, S)``."""
    here, sets = channel.local(values), torch.arange(counts.shape[-1])
    events, owners = [], []
    for sample, number in zip(channel.samples, counts, strict=True):
        if not bool(number.any()):
            continue
        own = stream(seed, f"{channel.name}/{sample.name}", block)
        events.append(_sampler(channel, sample.name, sample.sampler).draw(number, here, own))
        owners.append(sets.repeat_interleave(number))
    if not events:
        return torch.zeros(0, _width(channel, here), dtype=torch.float64), sets[:0]
    x, owner = torch.cat(events), torch.cat(owners)
    if bool((rates < 0).any()):
        u = torch.rand(len(x), generator=generator_of(seed, f"{channel.name}/thin/{block}"))
        kept = u < _kept(channel, values, rates, x, owner)
        return x[kept], owner[kept]
    return x, owner


def _kept(
    channel: Channel, values: Mapping[str, Tensor], rates: Tensor, x: Tensor, owner: Tensor
) -> Tensor:
    """The probability with which an event of the positive samples stays, shape ``(M,)``."""
    points = channel.points(values, rates.shape[1:])
    chances = []
    for part, sets in zip(torch.split(x, _ROWS), torch.split(owner, _ROWS), strict=True):
        data = channel.prepare(part[:, None], torch.ones(len(part), 1, dtype=torch.float64))
        terms = channel.terms(data, [p[sets][:, None] for p in points])
        factors = rates[:, sets, None]
        (total, top), (positive, first) = (
            signed_sum(terms, rate) for rate in (factors, factors.clamp_min(0))
        )
        chance = (total / positive * (top - first).exp())[:, 0, 0]
        if bool((chance < 0).any()):
            row = int(chance.argmin())
            raise DataError(
                f"channel {channel.name!r}: the sum of its samples is negative at x = "
                f"{part[row].tolist()} ({int((chance < 0).sum())} of {len(part)} events drawn); "
                "no data can be distributed so: look at the parameters, and at the samples with "
                "a negative rate"
            )
        chances.append(chance)
    return torch.cat(chances)


def _fixed_number(
    channel: Channel, values: Mapping[str, Tensor], rates: Tensor, seed: int
) -> tuple[Tensor, Tensor]:
    """The same number of events in each set."""
    number, sets = round(_number(channel)), rates.shape[-1]
    parts: list[tuple[Tensor, Tensor]] = []
    shares = rates.clamp_min(0).mT
    missing = torch.full((sets,), number)
    for block in range(_ROUNDS):
        generator = generator_of(seed, f"{channel.name}/number/{block}")
        most = int(missing.max())
        which = torch.multinomial(shares, most, replacement=True, generator=generator)
        counts = torch.stack([(which == s).sum(-1) for s in range(shares.shape[1])])
        x, owner = _drawn(channel, values, rates, counts, seed, block)
        order = torch.randperm(len(x), generator=generator)
        parts.append(_first(x[order], owner[order], missing))
        missing = missing - torch.bincount(parts[-1][1], minlength=sets)
        if not bool(missing.any()):
            return torch.cat([x for x, _ in parts]), torch.cat([o for _, o in parts])
    raise DataError(
        f"channel {channel.name!r}: {int(missing.max())} of {number} events are missing after "
        f"{_ROUNDS} rounds; negative samples leave too little"
    )


def _first(x: Tensor, owner: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The first ``wanted`` events of each set."""
    order = torch.argsort(owner, stable=True)
    x, owner = x[order], owner[order]
    counts = torch.bincount(owner, minlength=len(wanted))
    place = torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]
    kept = place < wanted[owner]
    return x[kept], owner[kept]


def _number(channel: Channel) -> float:
    if channel.events is None:
        raise ParameterError(
            f"channel {channel.name!r} has no expected number of events; give Channel.events, "
            "the number in each pseudo-data set, or a rate"
        )
    return channel.events


def _sampler(channel: Channel, sample: str, sampler: Sampler | None) -> Sampler:
    if sampler is None:
        raise ParameterError(
            f"sample {sample!r} of channel {channel.name!r} has no sampler, so there are no "
            "pseudo-data of it; give Sample.sampler, see hepgen.inference.sampler"
        )
    return sampler


def _width(channel: Channel, here: Mapping[str, Tensor]) -> int:
    """How many columns the events have."""
    sample = channel.samples[0]
    one = {name: value.reshape(-1)[:1] for name, value in here.items()}
    drawn = _sampler(channel, sample.name, sample.sampler).draw(torch.ones(1).long(), one, 0)
    return drawn.shape[-1]
