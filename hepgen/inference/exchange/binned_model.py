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

It is filled and written, and has no likelihood of its own: what is written is read as a
:class:`hepgen.inference.binned.BinnedLikelihood`, by
:meth:`hepgen.inference.exchange.pyhf_workspace.PyhfWorkspace.likelihood`.
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
class Expected:
    """Events of one kind that are expected in a region.

    Arguments:
        filler: Its counts, see :mod:`hepgen.inference.exchange.counts`.
        strength: The parameter that it is proportional to; the filler gives it at one.
    """

    filler: Filler
    strength: str = ""


@dataclass(frozen=True)
class Region:
    """The bins of one observable, with what is expected in them.

    Arguments:
        name: That of the channel in pyhf.
        edges: Shape ``(B + 1,)``, increasing.
        samples: By name.
        data: Counts, shape ``(B,)``; by default those expected.
        observable: The column.
    """

    name: str
    edges: Tensor
    samples: Mapping[str, Expected]
    data: Tensor | None = None
    observable: str = "x"

    def __post_init__(self) -> None:
        bins = len(self.edges) - 1
        if bins < 1 or not bool((self.edges.diff() > 0).all()):
            raise DataError(f"region {self.name!r}: expected two edges or more, increasing")
        if self.data is not None and self.data.shape != (bins,):
            raise DataError(
                f"region {self.name!r}: data of shape {tuple(self.data.shape)}; expected the "
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
        label: How a plot writes the parameter.
    """

    kind: Kind
    centre: float
    unit: float
    start: float
    low: float
    high: float
    error: float = 0.0
    label: str = ""

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
class FilledRegion:
    """A region as counts: templates by name, and data of shape ``(B,)``."""

    name: str
    observable: str
    edges: Tensor
    templates: Mapping[str, Template]
    data: Tensor

    def statistics(self) -> Tensor | None:
        """The relative error of all simulated templates in each bin, ``(B,)``; zero if empty.

        (Barlow and Beeston, Comput. Phys. Commun. 77 (1993) 219, in the form of one parameter a
        bin.)
        """
        found = [(t.nominal, t.variance) for t in self.templates.values() if t.variance is not None]
        if not found:
            return None
        nominal = torch.stack([n for n, _ in found]).sum(0)
        error = torch.stack([v for _, v in found]).sum(0).sqrt()
        return torch.where(nominal > 0, error / nominal, 0.0)


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
        parameters: Those that were given.
    """

    channels: tuple[FilledRegion, ...]
    entries: Mapping[str, Entry]
    poi: str
    curvature: Mapping[str, float]
    parameters: ParameterSet


def binned_model(
    regions: Sequence[Region],
    parameters: ParameterSet,
    poi: str,
    *,
    point: Mapping[str, float] | None = None,
    steps: Mapping[str, float] | None = None,
    luminosity: str = "",
) -> BinnedModel:
    """Fill the templates of an analysis.

    Arguments:
        regions: Each with its own name.
        parameters: The free ones enter; those with a normal prior are constrained by it.
        poi: The parameter of interest, a free one.
        point: θ₀, and the strengths of the expected data; by default the parameters' defaults.
        steps: s of linear parameters, in their units; a twentieth of the prior's range else.
        luminosity: The parameter that every sample is proportional to.

    Raises:
        ParameterError: A parameter that is not free, or does not act as it is said to.
        DataError: A template that is empty or negative.
    """
    plan = _Plan.of(regions, parameters, point or {}, steps or {}, luminosity)
    if poi not in plan.entries:
        raise ParameterError(
            f"parameter of interest {poi!r} is not free; free are {', '.join(plan.entries)}"
        )
    filled = tuple(_fill(region, plan) for region in regions)
    curvature = {
        name: math.sqrt(sum(plan.bend(region, name) for region in regions))
        for name in plan.named("linear")
    }
    return BinnedModel(filled, plan.entries, poi, curvature, parameters)


def expected(channel: FilledRegion, entries: Mapping[str, Entry]) -> Tensor:
    """λ of each bin where every parameter starts."""
    total = torch.zeros_like(channel.data)
    for template in channel.templates.values():
        factors = (entries[name].start for name in template.factors)
        total = total + template.nominal * math.prod(factors)
    return total


def split(
    nominal: Tensor, variation: Variation
) -> tuple[tuple[float, float] | None, Variation | None]:
    """A variation as a normalisation, low and high, and a shape of the nominal's total.

    Of a template that is not positive everywhere, the whole is a shape.
    """
    if not bool((nominal >= 0).all()):
        return None, variation
    low, high = ((t.sum() / nominal.sum()).item() for t in (variation.low, variation.high))
    norm = None if max(abs(low - 1), abs(high - 1)) < 1e-9 else (low, high)
    shape = Variation(variation.low / low, variation.high / high)
    flat = torch.allclose(torch.stack([shape.low, shape.high]), nominal, rtol=1e-9, atol=0)
    return norm, None if flat else shape


@dataclass(frozen=True)
class _Plan:
    """Where the templates have to be filled."""

    parameters: ParameterSet
    theta: Tensor
    entries: Mapping[str, Entry]

    @classmethod
    def of(
        cls, regions: Sequence[Region], parameters: ParameterSet, point: Mapping[str, float],
        steps: Mapping[str, float], luminosity: str,
    ) -> _Plan:  # fmt: skip
        strengths = {s.strength for r in regions for s in r.samples.values()} - {""}
        for name in (*strengths, *point, *steps, *filter(None, [luminosity])):
            if name not in parameters.free_names:
                raise ParameterError(
                    f"parameter {name!r} is not free; free are {', '.join(parameters.free_names)}"
                )
        entries = {
            p.name: replace(
                _entry(p, p.name in strengths, p.name == luminosity, point, steps), label=p.label
            )
            for p in parameters.free
        }
        # Nuisance parameters are expanded around the means of their constraints.
        theta = torch.tensor(
            [
                e.centre if e.kind in ("constrained", "linear") else point.get(n, e.start)
                for n, e in entries.items()
            ],
            dtype=torch.float64,
        )
        for i, (name, entry) in enumerate(entries.items()):
            if entry.kind == "luminosity":
                theta[i] = parameters[name].prior.mean  # type: ignore[union-attr]
        return cls(parameters, theta, entries)

    def named(self, kind: Kind) -> list[str]:
        return [name for name, entry in self.entries.items() if entry.kind == kind]

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

    def bend(self, region: Region, name: str) -> float:
        """Σ (½[λ(θ₀ + s) + λ(θ₀ − s)] − λ₀)²/λ₀."""
        here = torch.stack([self.moved({name: i}) for i in (0, 1, -1)])
        total = torch.zeros(3, len(region.edges) - 1, dtype=torch.float64)
        for sample in region.samples.values():
            strength = self.entries[sample.strength].start if sample.strength else 1.0
            total = total + strength * sample.filler(here, region.edges).mean
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


def _fill(region: Region, plan: _Plan) -> FilledRegion:
    points = plan.points()
    theta = torch.stack(list(points.values()))
    templates: dict[str, Template] = {}
    for name, sample in region.samples.items():
        counts = sample.filler(theta, region.edges)
        _check(region, name, counts)
        _check_luminosity(region, name, sample, plan, counts.mean[0])
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
    empty = torch.zeros(len(region.edges) - 1, dtype=torch.float64)
    filled = FilledRegion(region.name, region.observable, region.edges.double(), templates, empty)
    asimov = expected(filled, plan.entries)
    _check_filled(filled, asimov)
    return replace(filled, data=asimov if region.data is None else region.data.double())


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


def _check_filled(channel: FilledRegion, total: Tensor) -> None:
    # A bin that no event reached expects nothing, and one event in it excludes the model.
    if bool((total <= 0).any()):
        b = int((total <= 0).nonzero()[0])
        low, high = channel.edges[b : b + 2].tolist()
        raise DataError(
            f"region {channel.name!r}: nothing is expected in bin {b}, [{low:g}, {high:g}); merge "
            "bins, or simulate more events"
        )


def _check(region: Region, name: str, counts: Counts) -> None:
    bad = ~(torch.isfinite(counts.mean) & (counts.mean >= 0))
    if bool(bad.any()):
        point, bin_ = (int(i) for i in bad.nonzero()[0])
        raise DataError(
            f"region {region.name!r}, sample {name!r}: {counts.mean[point, bin_].item():g} events "
            f"in bin {bin_}; expected a number that is not negative"
        )
    if not bool((counts.mean.sum(-1) > 0).all()):
        raise DataError(f"region {region.name!r}: sample {name!r} is empty")


def _check_luminosity(
    region: Region, name: str, sample: Expected, plan: _Plan, nominal: Tensor
) -> None:
    for light in plan.named("luminosity"):
        entry = plan.entries[light]
        more = sample.filler(plan.moved({light: entry.error})[None], region.edges).mean[0]
        if not torch.allclose(more, nominal * (1 + entry.error), rtol=1e-6, atol=0):
            raise ParameterError(
                f"region {region.name!r}: sample {name!r} is not proportional to {light!r}; "
                "leave it out of luminosity=, and it becomes a nuisance parameter like others"
            )
