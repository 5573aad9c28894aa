"""A workspace in the JSON format of pyhf as a likelihood of hepgen.

See https://scikit-hep.org/pyhf/likelihood.html for the format. Parameters of one value keep their
name; those of a bin are ``name[bin]``. What the measurement says of them counts: ``inits``,
``bounds`` of those without a normal constraint, ``fixed``, and ``auxdata``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hepgen.errors import DataError, nearest
from hepgen.inference.binned import (
    GAMMA_RANGE,
    BinFactors,
    BinnedChannel,
    BinnedLikelihood,
    BinnedSample,
    BinnedSets,
    Factor,
    HistoSys,
    Modifier,
    NormSys,
)
from hepgen.parameters import Normal, Parameter, ParameterSet, Role, Uniform

Spec = Mapping[str, Any]


def read_workspace(
    workspace: Spec, measurement: str | None = None
) -> tuple[BinnedLikelihood, BinnedSets]:
    """The likelihood of a workspace, and its observed data.

    Arguments:
        workspace: The parsed JSON.
        measurement: Its name; the first one where there is none.

    Raises:
        DataError: No such measurement, or a modifier of an unknown type.
    """
    names = [entry["name"] for entry in workspace["measurements"]]
    name = measurement or names[0]
    if name not in names:
        raise DataError(f"no measurement {name!r} in the workspace; {nearest(name, names)}")
    config = workspace["measurements"][names.index(name)]["config"]
    reader = _Reader(config, _first_bins(workspace["channels"]))
    channels = [reader.channel(spec) for spec in workspace["channels"]]
    likelihood = BinnedLikelihood(channels, ParameterSet(reader.ordered()), reader.poisson)
    observed = {entry["name"]: entry["data"] for entry in workspace["observations"]}
    counts = [float(n) for channel in channels for n in observed[channel.name]]
    return likelihood, likelihood.observed(torch.tensor(counts, dtype=torch.float64))


class _Reader:
    """Collects the parameters while it reads the channels.

    Arguments:
        config: Of the measurement.
        first: See :func:`_first_bins`.
    """

    def __init__(self, config: Spec, first: Mapping[tuple[str, str], int]) -> None:
        self.first = first
        self.poi = config.get("poi", "")
        self.config = {entry["name"]: entry for entry in config.get("parameters", [])}
        self.parameters: dict[str, Parameter] = {}
        self.poisson: dict[str, float] = {}

    def ordered(self) -> list[Parameter]:
        """The parameter of interest first."""
        return sorted(self.parameters.values(), key=lambda p: p.name != self.poi)

    def channel(self, spec: Spec) -> BinnedChannel:
        errors = _statistical_errors(spec)
        samples = tuple(
            BinnedSample(
                one["name"],
                tuple(map(float, one["data"])),
                tuple(self.modifier(m, one, errors, spec["name"]) for m in one["modifiers"]),
            )
            for one in spec["samples"]
        )
        return BinnedChannel(spec["name"], samples)

    def modifier(
        self, spec: Spec, sample: Spec, errors: Mapping[str, Sequence[float]], channel: str
    ) -> Modifier:
        kind, name, data = spec["type"], spec["name"], spec["data"]
        if kind == "normfactor":
            self.bounded(name, (0.0, 10.0))
            return Factor(name)
        if kind == "lumi":
            entry = self.config[name]
            self.constrained(name, entry["auxdata"][0], entry["sigmas"][0])
            return Factor(name)
        if kind == "normsys":
            self.constrained(name, 0.0, 1.0)
            return NormSys(name, float(data["lo"]), float(data["hi"]))
        if kind == "histosys":
            self.constrained(name, 0.0, 1.0)
            low, high = (tuple(map(float, data[key])) for key in ("lo_data", "hi_data"))
            return HistoSys(name, low, high)
        if kind == "shapesys":
            return BinFactors(
                tuple(
                    self.counted(name, b, n, u)
                    for b, (n, u) in enumerate(zip(sample["data"], data, strict=True))
                )
            )
        if kind == "staterror":
            return BinFactors(
                tuple(
                    self.constrained(name, 1.0, e, b) if e > 0 else None
                    for b, e in enumerate(errors[name], self.first[channel, name])
                )
            )
        if kind == "shapefactor":
            return BinFactors(
                tuple(self.bounded(name, (0.0, 10.0), b) for b in range(len(sample["data"])))
            )
        raise DataError(
            f"modifier {name!r} of sample {sample['name']!r} has the type {kind!r}; "
            + nearest(kind, ("normfactor", "lumi", "normsys", "histosys", "shapesys", "staterror",
                             "shapefactor"))
        )  # fmt: skip

    def bounded(self, name: str, limits: tuple[float, float], b: int | None = None) -> str:
        """A parameter with a range and no constraint; of a bin, if one is given."""
        low, high = map(float, self.said(name, "bounds", b, limits))
        return self.add(name, 1.0, Uniform(low, high), b)

    def constrained(self, name: str, mean: float, std: float, b: int | None = None) -> str:
        """A parameter with a Normal constraint, about what was measured."""
        mean = float(self.said(name, "auxdata", b, mean))
        return self.add(name, mean, Normal(mean, float(std)), b)

    def counted(self, name: str, b: int, nominal: float, uncertainty: float) -> str | None:
        """The factor of a bin with a Poisson constraint; none where it cannot be known."""
        if nominal <= 0 or uncertainty <= 0:
            return None
        for what in ("auxdata", "factors"):
            if self.said(name, what, b, None) is not None:
                raise DataError(
                    f"parameter {name!r} of the measurement has {what} of its own; expected those "
                    f"that its modifier shapesys gives: remove them, and change its data"
                )
        low, high = map(float, self.said(name, "bounds", b, GAMMA_RANGE))
        found = self.add(name, 1.0, Uniform(low, high), b)
        if self.parameters[found].free:
            self.poisson[found] = (nominal / uncertainty) ** 2
        return found

    def said(self, name: str, what: str, b: int | None, default: Any) -> Any:
        """What the measurement says of a parameter, or of one of its bins."""
        values = self.config.get(name, {}).get(what)
        return default if values is None else values[b or 0]

    def add(self, name: str, default: float, prior: Uniform | Normal, b: int | None = None) -> str:
        start = float(self.said(name, "inits", b, default))
        role: Role = "interest" if name == self.poi else "nuisance"
        own = name if b is None else f"{name}[{b}]"
        held = self.config.get(name, {}).get("fixed", False)
        self.parameters[own] = Parameter(own, start, role=role, prior=None if held else prior)
        return own


def _first_bins(channels: Sequence[Spec]) -> dict[tuple[str, str], int]:
    """Of each channel and ``staterror``, the number of its first bin.

    Those of one name in several channels are different parameters, numbered on in the order of the
    channels' names.
    """
    found: dict[tuple[str, str], int] = {}
    bins = Counter[str]()
    for channel in sorted(channels, key=lambda one: str(one["name"])):
        samples = channel["samples"]
        names = {m["name"] for s in samples for m in s["modifiers"] if m["type"] == "staterror"}
        for name in names:
            found[channel["name"], name] = bins[name]
            bins[name] += len(samples[0]["data"])
    return found


def _statistical_errors(channel: Spec) -> dict[str, list[float]]:
    """Of each ``staterror``, the relative error of each bin over the samples that share it."""
    found: dict[str, list[float]] = {}
    for name in {m["name"] for s in channel["samples"] for m in s["modifiers"]
                 if m["type"] == "staterror"}:  # fmt: skip
        pairs = [
            (s["data"], m["data"])
            for s in channel["samples"]
            for m in s["modifiers"]
            if m["type"] == "staterror" and m["name"] == name
        ]
        total = [sum(column) for column in zip(*(n for n, _ in pairs), strict=True)]
        error = [math.hypot(*column) for column in zip(*(e for _, e in pairs), strict=True)]
        found[name] = [e / n if n > 0 else 0.0 for e, n in zip(error, total, strict=True)]
    return found
