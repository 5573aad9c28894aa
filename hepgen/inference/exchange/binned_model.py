r"""A binned model by templates: what pyhf and HS3 can say of an analysis.

.. math:: \lambda_{cb}(\theta) = \ell \sum_s \prod_{p \in s} k_p \;\Big[T_{sb}
          + \sum_j \big(\text{shape}_j\big)_{sb}\Big] \prod_j \text{norm}_{js}

for channels c, bins b and samples s. A parameter of the analysis enters in one of four ways:

- a *strength*: a sample is proportional to it. Exact.
- the *luminosity*: all samples are. Exact, and constrained.
- a *constrained* nuisance parameter, with a normal prior: templates at its mean and at ±1σ, of
  which the ratio of the totals is a normalisation and the rest a shape. Between and beyond them
  pyhf interpolates, and the effects of several are multiplied: an approximation.
- a *linear* parameter, any other that is free: the template
  ½[λ(θ₀ + s) − λ(θ₀ − s)], of either sign, times δ = (θ − θ₀)/s. pyhf knows no free parameter
  that moves a shape in any other way. It is as good as θ is near to θ₀; see
  :attr:`BinnedModel.curvature`, and expand again around the estimate where that is not small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.exchange.counts import Counts, Filler
from hepgen.parameters import Normal, Parameter, ParameterSet

Kind = Literal["strength", "luminosity", "constrained", "linear"]


@dataclass(frozen=True)
class Sample:
    """A process that is expected in a channel.

    Arguments:
        filler: Its counts, see :mod:`hepgen.inference.exchange.counts`.
        strength: The parameter that it is proportional to; the filler gives it at one.
    """

    filler: Filler
    strength: str = ""


@dataclass(frozen=True)
class Channel:
    """The bins of one observable, with the samples that are expected in them.

    Arguments:
        name: Of the channel.
        edges: Shape ``(B + 1,)``, increasing.
        samples: By name.
        data: Counts, shape ``(B,)``; by default those expected.
        observable: The column.
    """

    name: str
    edges: Tensor
    samples: Mapping[str, Sample]
    data: Tensor | None = None
    observable: str = "x"

    def __post_init__(self) -> None:
        bins = len(self.edges) - 1
        if bins < 1 or not bool((self.edges.diff() > 0).all()):
            raise DataError(f"channel {self.name!r}: expected two edges or more, increasing")
        if self.data is not None and self.data.shape != (bins,):
            raise DataError(
                f"channel {self.name!r}: data of shape {tuple(self.data.shape)}; expected the "
                f"counts of {bins} bins"
            )


@dataclass(frozen=True)
class Entry:
    """How a parameter of the analysis is written: θ = centre + unit·value.

    Arguments:
        kind: See the module.
        centre, unit: In the unit of the parameter.
        start, low, high: Of the value.
        error: The standard deviation of its constraint, in units of the value; 0 where it is free.
    """

    kind: Kind
    centre: float
    unit: float
    start: float
    low: float
    high: float
    error: float = 0.0

    def physical(self, value: float) -> float:
        """θ of a value."""
        return self.centre + self.unit * value

    def written(self, theta: float) -> float:
        """The value of a θ."""
        return (theta - self.centre) / self.unit


@dataclass(frozen=True)
class Variation:
    """A template with a constrained parameter one standard deviation down and up, ``(B,)``."""

    low: Tensor
    high: Tensor


@dataclass(frozen=True)
class Template:
    """A sample as counts.

    Arguments:
        nominal: Shape ``(B,)``; of either sign for a linear parameter.
        factors: The parameters, strengths and linear ones, that it is multiplied with.
        variations: By constrained parameter.
        variance: Of the nominal, from the finite simulation, shape ``(B,)``.
    """

    nominal: Tensor
    factors: tuple[str, ...] = ()
    variations: Mapping[str, Variation] = field(default_factory=dict)
    variance: Tensor | None = None


@dataclass(frozen=True)
class BinnedChannel:
    """A channel as counts: templates by name, and data of shape ``(B,)``."""

    name: str
    observable: str
    edges: Tensor
    templates: Mapping[str, Template]
    data: Tensor


@dataclass(frozen=True)
class BinnedModel:
    """Templates of all channels, and how the parameters are written.

    Arguments:
        channels: Each with its own name.
        entries: By parameter.
        poi: The parameter of interest.
        curvature: Of each linear parameter, how far the exact counts at θ₀ ± s are from the
            linear ones, as √χ² of the data's statistics: small beside 1 is good enough for a fit
            that ends within s.
    """

    channels: tuple[BinnedChannel, ...]
    entries: Mapping[str, Entry]
    poi: str
    curvature: Mapping[str, float]


def binned_model(
    channels: Sequence[Channel],
    parameters: ParameterSet,
    poi: str,
    *,
    point: Mapping[str, float] | None = None,
    steps: Mapping[str, float] | None = None,
    luminosity: str = "",
) -> BinnedModel:
    """Fill the templates of an analysis.

    Arguments:
        channels: With their samples.
        parameters: The free ones enter; those with a normal prior are constrained by it.
        poi: The parameter of interest, a free one.
        point: θ₀, and the strengths of the expected data; by default the parameters' defaults.
        steps: s of linear parameters, in their units; a twentieth of the prior's range else.
        luminosity: The parameter that every sample is proportional to.

    Raises:
        ParameterError: A parameter that is not free, or does not act as it is said to.
        DataError: A template that is empty or negative.
    """
    plan = _Plan.of(channels, parameters, point or {}, steps or {}, luminosity)
    if poi not in plan.entries:
        raise ParameterError(
            f"parameter of interest {poi!r} is not free; free are {', '.join(plan.entries)}"
        )
    filled = tuple(_fill(channel, plan) for channel in channels)
    curvature = {
        name: math.sqrt(sum(plan.bend(channel, name) for channel in channels))
        for name in plan.named("linear")
    }
    return BinnedModel(filled, plan.entries, poi, curvature)


def expected(model: BinnedModel, channel: BinnedChannel, values: Mapping[str, float]) -> Tensor:
    """λ of each bin at values of strengths, linear parameters and luminosity; nuisances at 0."""
    light = [values[n] for n, e in model.entries.items() if e.kind == "luminosity"]
    total = torch.zeros_like(channel.data)
    for template in channel.templates.values():
        total = total + template.nominal * math.prod(values[name] for name in template.factors)
    return total * math.prod(light)


@dataclass(frozen=True)
class _Plan:
    """Where the templates have to be filled."""

    parameters: ParameterSet
    theta: Tensor
    entries: Mapping[str, Entry]

    @classmethod
    def of(
        cls, channels: Sequence[Channel], parameters: ParameterSet, point: Mapping[str, float],
        steps: Mapping[str, float], luminosity: str,
    ) -> _Plan:  # fmt: skip
        strengths = {s.strength for c in channels for s in c.samples.values()} - {""}
        for name in (*strengths, *point, *steps, *filter(None, [luminosity])):
            if name not in parameters.free_names:
                raise ParameterError(
                    f"parameter {name!r} is not free; free are {', '.join(parameters.free_names)}"
                )
        entries = {
            p.name: _entry(p, p.name in strengths, p.name == luminosity, point, steps)
            for p in parameters.free
        }
        # Nuisance parameters are expanded around the means of their constraints.
        theta = torch.tensor(
            [
                e.centre
                if e.kind in ("constrained", "linear")
                else point.get(n, parameters[n].default)
                for n, e in entries.items()
            ],
            dtype=torch.float64,
        )  # fmt: skip
        for i, (name, entry) in enumerate(entries.items()):
            if entry.kind == "luminosity":
                theta[i] = parameters[name].prior.mean  # type: ignore[union-attr]
        return cls(parameters, theta, entries)

    def named(self, kind: Kind) -> list[str]:
        return [name for name, entry in self.entries.items() if entry.kind == kind]

    def start(self) -> dict[str, float]:
        return {name: entry.start for name, entry in self.entries.items()}

    def moved(self, shift: Mapping[str, float]) -> Tensor:
        """θ₀ with some parameters moved by so many units."""
        theta = self.theta.clone()
        for i, (name, entry) in enumerate(self.entries.items()):
            theta[i] += shift.get(name, 0.0) * entry.unit
        return theta

    def points(self) -> dict[tuple[str, int, str, int], Tensor]:
        """Each linear parameter at −1, 0, 1 times each constrained one at −1, 0, 1."""
        lines = [("", 0), *product(self.named("linear"), (-1, 1))]
        columns = [("", 0), *product(self.named("constrained"), (-1, 1))]
        return {
            (line, i, column, j): self.moved({line: i, column: j})
            for (line, i), (column, j) in product(lines, columns)
        }

    def bend(self, channel: Channel, name: str) -> float:
        """Σ (½[λ(θ₀ + s) + λ(θ₀ − s)] − λ₀)²/λ₀."""
        here = torch.stack([self.moved({name: i}) for i in (0, 1, -1)])
        total = torch.zeros(3, len(channel.edges) - 1, dtype=torch.float64)
        for sample in channel.samples.values():
            strength = self.entries[sample.strength].start if sample.strength else 1.0
            total = total + strength * sample.filler(here, channel.edges).mean
        off = 0.5 * (total[1] + total[2]) - total[0]
        return float((off.square() / total[0]).sum())


def _entry(
    parameter: Parameter, strength: bool, luminosity: bool, point: Mapping[str, float],
    steps: Mapping[str, float],
) -> Entry:  # fmt: skip
    prior, value = parameter.prior, point.get(parameter.name, parameter.default)
    if prior is None:
        raise ParameterError(f"parameter {parameter.name!r} is not free")
    if luminosity:
        if not isinstance(prior, Normal):
            raise ParameterError(
                f"luminosity {parameter.name!r} with the prior {prior}; expected a normal one"
            )
        return Entry("luminosity", 0.0, prior.mean, 1.0, 0.0, 10.0, error=prior.std / prior.mean)
    if strength:
        if isinstance(prior, Normal):
            raise ParameterError(
                f"strength {parameter.name!r} with the prior {prior}; pyhf has no constraint of a "
                "normfactor: give it a uniform one"
            )
        return Entry("strength", 0.0, 1.0, value, prior.low, prior.high)
    if isinstance(prior, Normal):
        return Entry("constrained", prior.mean, prior.std, 0.0, -5.0, 5.0, error=1.0)
    step = steps.get(parameter.name, 0.05 * (prior.high - prior.low))
    low, high = (prior.low - value) / step, (prior.high - value) / step
    if not low <= -1 < 1 <= high:
        raise ParameterError(
            f"parameter {parameter.name!r} at {value:g} ± {step:g} leaves its prior "
            f"[{prior.low:g}, {prior.high:g}]; give another point, or a smaller step"
        )
    return Entry("linear", value, step, 0.0, low, high)


def _fill(channel: Channel, plan: _Plan) -> BinnedChannel:
    points = plan.points()
    theta = torch.stack(list(points.values()))
    templates: dict[str, Template] = {}
    for name, sample in channel.samples.items():
        counts = sample.filler(theta, channel.edges)
        _check(channel, name, counts)
        _check_luminosity(channel, name, sample, plan, counts.mean[0])
        at = dict(zip(points, counts.mean, strict=True))
        factors = (sample.strength,) if sample.strength else ()
        nominal = _varied({key[2:]: at[key] for key in at if key[0] == ""}, plan, factors)
        templates[name] = replace(nominal, variance=counts.variance)
        for line in plan.named("linear"):
            half = {
                key: 0.5 * (at[line, 1, *key] - at[line, -1, *key]) for key in {k[2:] for k in at}
            }
            if bool((half["", 0].abs() > 1e-9 * at["", 0, "", 0].abs()).any()):
                templates[f"{name}_{line}"] = _varied(half, plan, (*factors, line))
    empty = torch.zeros(len(channel.edges) - 1, dtype=torch.float64)
    filled = BinnedChannel(
        channel.name, channel.observable, channel.edges.double(), templates,
        empty if channel.data is None else channel.data.double(),
    )  # fmt: skip
    if channel.data is None:
        model = BinnedModel((), plan.entries, "", {})
        return replace(filled, data=expected(model, filled, plan.start()))
    return filled


def _varied(
    at: Mapping[tuple[str, int], Tensor], plan: _Plan, factors: tuple[str, ...]
) -> Template:
    nominal = at["", 0]
    variations = {
        name: Variation(at[name, -1], at[name, 1])
        for name in plan.named("constrained")
        # Of a parameter that does not act there would be a flat direction and nothing else.
        if not torch.allclose(torch.stack([at[name, -1], at[name, 1]]), nominal, rtol=1e-9, atol=0)
    }
    return Template(nominal, factors, variations)


def _check(channel: Channel, name: str, counts: Counts) -> None:
    bad = ~(torch.isfinite(counts.mean) & (counts.mean >= 0))
    if bool(bad.any()):
        point, bin_ = (int(i) for i in bad.nonzero()[0])
        raise DataError(
            f"channel {channel.name!r}, sample {name!r}: {counts.mean[point, bin_].item():g} "
            f"events are expected in bin {bin_}; expected a number that is not negative"
        )
    if not bool((counts.mean.sum(-1) > 0).all()):
        raise DataError(f"channel {channel.name!r}: sample {name!r} is empty")


def _check_luminosity(
    channel: Channel, name: str, sample: Sample, plan: _Plan, nominal: Tensor
) -> None:
    for light in plan.named("luminosity"):
        entry = plan.entries[light]
        more = sample.filler(plan.moved({light: entry.error})[None], channel.edges).mean[0]
        if not torch.allclose(more, nominal * (1 + entry.error), rtol=1e-6, atol=0):
            raise ParameterError(
                f"channel {channel.name!r}: sample {name!r} is not proportional to {light!r}; "
                "leave it out of luminosity=, and it becomes a nuisance parameter like others"
            )
