r"""Likelihoods of different kinds as one: events of a learned density beside counts in bins.

.. math:: L(\theta) = L_1(\theta)\, L_2(a + b\,\theta) \cdots

with the constraint of a parameter that they share counted once. A parameter whose constraint is a
standard normal distribution is a pull, α, as those of a HistFactory workspace are: where it shares
its name with one that is constrained to m ± s, that one is m + sα.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.binned import BinnedLikelihood, BinnedSets
from hepgen.inference.combination import at_odds, check_renamed
from hepgen.inference.event_data import EventData
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform
from hepgen.simulators.chain import stream

_PULL = Normal(0.0, 1.0)


@dataclass(frozen=True)
class Placement:
    """A part's free parameters, as functions of those of the whole: offset + factor·θ.

    Arguments:
        names: Which of the whole each of the D is.
        offset, factor: D numbers each.
        elsewhere: The part's own names of those whose constraint another part has.
    """

    names: tuple[str, ...]
    offset: tuple[float, ...]
    factor: tuple[float, ...]
    elsewhere: frozenset[str]


@dataclass(frozen=True)
class JointSets:
    """S data sets of every part."""

    parts: tuple[DataSets, ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, part: slice | Tensor) -> JointSets:
        return JointSets(tuple(one[part] for one in self.parts))


class JointLikelihood(Likelihood):
    """The product of a likelihood of events with binned ones, over the union of parameters.

    Arguments:
        events: The likelihood whose parameters come first; ``None`` for counts alone.
        binned: Others, by a name of each.
        renamed: By these names, what a parameter is called in the whole. The name of a modifier
            with a parameter for each bin stands for all of these.
        name: Of the first in errors.

    Raises:
        ParameterError: A parameter that two parts share, and that is not the same in both.

    >>> from hepgen.inference.binned import correlated_background
    >>> one = correlated_background([12, 11], [50, 52], [45, 57], [55, 47])
    >>> both = JointLikelihood(None, {"a": one, "b": one}, {"b": {"mu": "mu_b"}})
    >>> both.parameters.free_names
    ('mu', 'alpha', 'mu_b')
    """

    def __init__(
        self,
        events: EventLikelihood | None,
        binned: Mapping[str, BinnedLikelihood],
        renamed: Mapping[str, Mapping[str, str]] | None = None,
        name: str = "events",
    ) -> None:
        own: dict[str, Likelihood] = {} if events is None else {name: events}
        own |= binned
        parameters = {part: likelihood.parameters for part, likelihood in own.items()}
        self.parameters, places = joined(parameters, renamed)
        for part, one in binned.items():
            _check_counted_apart(part, one, places)
        self.binned = {
            n: BinnedLikelihood(one.channels, one.parameters, one.poisson, places[n].elsewhere)
            for n, one in binned.items()
        }
        self.parts = (*(() if events is None else (events,)), *self.binned.values())
        self._places = tuple(places.values())
        names = self.parameters.free_names
        self._columns = [
            torch.tensor([names.index(n) for n in place.names], dtype=torch.long)
            for place in self._places
        ]

    def data(self, events: EventData | None, counts: Mapping[str, BinnedSets]) -> JointSets:
        """One data set of all parts.

        Raises:
            DataError: A part is missing, or unknown.
        """
        odd = sorted(set(counts) ^ set(self.binned))
        if odd or (events is None) != (len(self.parts) == len(self.binned)):
            raise DataError(
                f"counts of {', '.join(counts) or 'nothing'}; expected those of "
                f"{', '.join(self.binned)}, and events where there is a likelihood of them"
            )
        binned = [likelihood.observed(counts[n].counts) for n, likelihood in self.binned.items()]
        return JointSets((*([] if events is None else [events]), *binned))

    def constraints(self, sets: JointSets) -> dict[str, tuple[float, float]]:
        """The centre and the width of the constraint of each parameter, in the first data set."""
        found: dict[str, tuple[float, float]] = {}
        for part, place, own in zip(self.parts, self._places, sets.parts, strict=True):
            known = part.constraints(own)
            there = zip(part.parameters.free_names, place.names, place.offset, place.factor,
                        strict=True)  # fmt: skip
            found |= {
                name: ((known[old][0] - offset) / factor, known[old][1] / abs(factor))
                for old, name, offset, factor in there
                if old in known
            }
        return found

    def log_likelihoods(self, sets: DataSets, theta: Tensor) -> Tensor:
        """The sum over the parts, shape ``(S, K)``; see the contract."""
        if not isinstance(sets, JointSets):
            raise DataError(
                f"data of the kind {type(sets).__name__}; expected what JointLikelihood.data made"
            )
        pairs = zip(self.parts, sets.parts, self.own(theta), strict=True)
        return torch.stack([part.log_likelihoods(own, at) for part, own, at in pairs]).sum(0)

    def generate(self, theta: Tensor, seed: int) -> JointSets:
        """Pseudo-data of every part, each from random numbers of its own; see the contract."""
        pairs = zip(self.parts, self.own(theta), strict=True)
        return JointSets(
            tuple(p.generate(at, stream(seed, f"part {i}", 0)) for i, (p, at) in enumerate(pairs))
        )

    def asimov(self, theta: Tensor) -> JointSets:
        """See the contract."""
        pairs = zip(self.parts, self.own(theta), strict=True)
        return JointSets(tuple(part.asimov(at) for part, at in pairs))

    def own(self, theta: Tensor) -> list[Tensor]:
        """θ of each part, ``(*, D)`` to ``(*, D_p)``: of the events, then of the binned ones."""
        return [
            torch.tensor(place.offset, dtype=torch.float64)
            + torch.tensor(place.factor, dtype=torch.float64) * theta.double()[..., columns]
            for place, columns in zip(self._places, self._columns, strict=True)
        ]


def joined(
    parts: Mapping[str, ParameterSet], renamed: Mapping[str, Mapping[str, str]] | None = None
) -> tuple[ParameterSet, dict[str, Placement]]:
    """The parameters of a joint likelihood, and where those of each part are among them.

    A shared parameter has the unit, the range and the role that it has in the first part. Where it
    has no constraint, this range must be within that of every other part: there it only says where
    a fit may look.

    Raises:
        ParameterError: See :class:`JointLikelihood`.
    """
    whole: dict[str, Parameter] = {}
    owner: dict[str, str] = {}
    places = {}
    for part, parameters in parts.items():
        names = _new_names(part, parameters, (renamed or {}).get(part, {}))
        rows: list[tuple[str, float, float]] = []
        elsewhere = set()
        for parameter in parameters:
            name = names.get(parameter.name, parameter.name)
            one = whole.setdefault(name, replace(parameter, name=name))
            first = owner.setdefault(name, part)
            offset, factor = _map(one, parameter, (first, part))
            if parameter.free:
                rows.append((name, offset, factor))
            if first != part and isinstance(parameter.prior, Normal):
                elsewhere.add(parameter.name)
        places[part] = Placement(
            tuple(row[0] for row in rows), tuple(row[1] for row in rows),
            tuple(row[2] for row in rows), frozenset(elsewhere),
        )  # fmt: skip
    return ParameterSet(list(whole.values())), places


def _map(one: Parameter, other: Parameter, parts: tuple[str, str]) -> tuple[float, float]:
    """a and b of other = a + b·one."""
    mine, its = one.prior, other.prior
    if isinstance(mine, Normal) and isinstance(its, Normal) and _PULL in (mine, its):
        slope = its.std / mine.std
        return its.mean - slope * mine.mean, slope
    within = (
        isinstance(mine, Uniform) and isinstance(its, Uniform)
        and its.low <= mine.low and mine.high <= its.high
    )  # fmt: skip
    if mine != its and not within:
        raise ParameterError(at_odds(one.name, "prior", (mine, its), parts))
    return 0.0, 1.0


def _new_names(
    part: str, parameters: ParameterSet, renamed: Mapping[str, str]
) -> dict[str, str]:  # fmt: skip
    """New names, also of the parameters ``name[bin]`` of a modifier."""
    names = parameters.names
    groups = {name: name.partition("[")[0] for name in names if name.endswith("]")}
    check_renamed(part, renamed, [*names, *dict.fromkeys(groups.values())])
    bins = {
        name: renamed[group] + name[len(group) :]
        for name, group in groups.items()
        if group in renamed
    }
    return {**bins, **renamed}


def _check_counted_apart(
    part: str, likelihood: BinnedLikelihood, places: Mapping[str, Placement]
) -> None:
    """Refuse parameters of bins, with auxiliary counts of their own, that two parts share."""
    names = dict(zip(likelihood.parameters.free_names, places[part].names, strict=True))
    others = {n for other, place in places.items() if other != part for n in place.names}
    for name in likelihood.poisson:
        if names[name] in others:
            group = name.partition("[")[0]
            raise ParameterError(
                f"parameter {names[name]!r} of a bin is in {part!r} and in another workspace, "
                "each with its own auxiliary count; a count cannot be shared: rename one of the "
                f"two (renamed = {{ {group} = … }})"
            )
