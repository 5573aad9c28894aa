"""A binned model as a likelihood of hepgen: the twin of what pyhf makes of the workspace.

All statements of :mod:`hepgen.inference.statistics` hold of it, in the units of the parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hepgen.inference.binned import (
    BinFactors,
    BinnedChannel,
    BinnedLikelihood,
    BinnedSample,
    BinnedSets,
    Modifier,
    Values,
)
from hepgen.inference.exchange.binned_model import (
    BinnedChannel,
    BinnedModel,
    Entry,
    Template,
    split,
)
from hepgen.inference.interpolation import difference, factor
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform


@dataclass(frozen=True)
class ScaledFactor(Modifier):
    """A sample is multiplied by the value of a parameter, (θ − centre)/unit."""

    name: str
    entry: Entry

    @property
    def names(self) -> tuple[str, ...]:
        """One."""
        return (self.name,)

    def factor(self, values: Values) -> Tensor:
        """The value."""
        return written(values, self.name, self.entry)


@dataclass(frozen=True)
class SmoothNormSys(Modifier):
    """A normalisation, interpolated by pyhf's ``code4``."""

    name: str
    entry: Entry
    low: float
    high: float

    @property
    def names(self) -> tuple[str, ...]:
        """One."""
        return (self.name,)

    def factor(self, values: Values) -> Tensor:
        """Exponential beyond ±1σ, a polynomial between."""
        low, high = (torch.tensor(v, dtype=torch.float64) for v in (self.low, self.high))
        return factor(written(values, self.name, self.entry), high, low, "code4")


@dataclass(frozen=True)
class SmoothHistoSys(Modifier):
    """A shape, interpolated by pyhf's ``code4p``."""

    name: str
    entry: Entry
    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """One."""
        return (self.name,)

    def shift(self, values: Values, nominal: Tensor) -> Tensor:
        """Linear beyond ±1σ, a polynomial between."""
        low, high = (torch.tensor(v, dtype=torch.float64) - nominal for v in (self.low, self.high))
        return difference(written(values, self.name, self.entry), high, low)


def template_likelihood(model: BinnedModel) -> tuple[BinnedLikelihood, BinnedSets]:
    """The likelihood of a binned model, and its data.

    The statistics of the simulation are parameters ``staterror_CHANNEL_BIN``, as in pyhf.
    """
    used = {
        name
        for channel in model.channels
        for t in channel.templates.values()
        for name in (*t.factors, *t.variations)
    } | {n for n, e in model.entries.items() if e.kind == "luminosity"}
    free = [_parameter(model.parameters[n], e) for n, e in model.entries.items() if n in used]
    statistics = [p for channel in model.channels for p in _gammas(channel)]
    channels = [_channel(channel, model) for channel in model.channels]
    likelihood = BinnedLikelihood(channels, ParameterSet([*free, *statistics]))
    return likelihood, likelihood.observed(torch.cat([c.data for c in model.channels]))


def written(values: Values, name: str, entry: Entry) -> Tensor:
    """The value of a parameter as it is written, shape ``(*, 1)``."""
    return ((values[name] - entry.centre) / entry.unit)[..., None]


def _parameter(parameter: Parameter, entry: Entry) -> Parameter:
    if entry.error:
        centre = entry.physical(entry.start)
        prior: Normal | Uniform = Normal(centre, entry.unit * entry.error)
    else:
        prior = Uniform(entry.physical(entry.low), entry.physical(entry.high))
    return replace(parameter, prior=prior, default=entry.physical(entry.start))


def _gammas(channel: BinnedChannel) -> list[Parameter]:
    relative = channel.statistics()
    if relative is None:
        return []
    return [
        Parameter(f"staterror_{channel.name}_{b}", 1.0, prior=Normal(1.0, error))
        for b, error in enumerate(relative.tolist())
        if error > 0
    ]


def _channel(channel: BinnedChannel, model: BinnedModel) -> BinnedChannel:
    relative = channel.statistics()
    gammas = None if relative is None else BinFactors(
        tuple(
            f"staterror_{channel.name}_{b}" if error > 0 else None
            for b, error in enumerate(relative.tolist())
        )
    )  # fmt: skip
    return BinnedChannel(
        channel.name,
        tuple(
            BinnedSample(name, tuple(t.nominal.tolist()), _modifiers(t, model, gammas))
            for name, t in channel.templates.items()
        ),
    )


def _modifiers(
    template: Template, model: BinnedModel, gammas: BinFactors | None
) -> tuple[Modifier, ...]:
    entries = model.entries
    found: list[Modifier] = [ScaledFactor(name, entries[name]) for name in template.factors]
    found += [ScaledFactor(n, e) for n, e in entries.items() if e.kind == "luminosity"]
    for name, variation in template.variations.items():
        norm, shape = split(template.nominal, variation)
        if norm is not None:
            found.append(SmoothNormSys(name, entries[name], *norm))
        if shape is not None:
            low, high = (tuple(t.tolist()) for t in (shape.low, shape.high))
            found.append(SmoothHistoSys(name, entries[name], low, high))
    if template.variance is not None and gammas is not None:
        found.append(gammas)
    return tuple(found)
