"""The channels of a combination: the data of each, and its likelihood by its own workflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hepgen.compute import Workers
from hepgen.config import ChannelEntry, load_combination
from hepgen.config import Combination as CombinationFile
from hepgen.errors import FileError, WorkflowError
from hepgen.files import parse_json
from hepgen.inference.binned import BinnedLikelihood, BinnedSets
from hepgen.inference.binned_workspace import read_workspace
from hepgen.inference.combination import combine, union
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.joint import JointLikelihood, joined
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.parameters import ParameterSet
from hepgen.pipeline.data import DataRequest, Observed, read_observed, tensors
from hepgen.pipeline.likelihoods import likelihood_of, number_of
from hepgen.pipeline.monitor import Monitor, Silent
from hepgen.pipeline.session import Session


@dataclass
class Combination:
    """The file of a combination, ready to be worked on.

    Arguments:
        workflow: The validated file.
        source: Where it came from; relative paths in it start there.
        sessions: Of each channel with a workflow.
        workspaces: Of each channel that is a workspace: its content as JSON.
        workers: Who computes.
        monitor: Shows progress.
    """

    workflow: CombinationFile
    source: Path
    sessions: Mapping[str, Session]
    workspaces: Mapping[str, Mapping[str, Any]]
    workers: Workers = Workers()  # noqa: RUF009 (frozen)
    monitor: Monitor = field(default_factory=Silent)

    @classmethod
    def open(
        cls,
        path: Path | str,
        overrides: Sequence[str] = (),
        workers: Workers = Workers(),  # noqa: B008 (frozen)
        monitor: Monitor | None = None,
        device: str = "auto",
        allow_code: bool = False,
    ) -> Combination:
        """Read the file and those that it names, and check that their parameters agree.

        Arguments:
            path: The file of the combination.
            overrides: Entries of it, as ``key=value``.
            workers, monitor, device, allow_code: See :class:`hepgen.pipeline.session.Session`.

        Raises:
            WorkflowError, FileError: A file is not what it should be.
            ParameterError: Parameters of one name that are not the same.
        """
        path, told = Path(path), monitor or Silent()
        file = load_combination(path, overrides)
        sessions, workspaces = {}, {}
        for channel in file.channels:
            if channel.workflow is not None:
                where = near(path, channel.workflow)
                sessions[channel.name] = Session.open(
                    where, channel.overrides, workers, told, device, allow_code
                )
            else:
                workspaces[channel.name] = workspace(near(path, channel.pyhf or ""))
        found = cls(file, path, sessions, workspaces, workers, told)
        for name in found.sessions:
            found.method(name)
        _ = found.parameters
        return found

    @cached_property
    def channels(self) -> Mapping[str, ChannelEntry]:
        """The entries of the file, by name."""
        return {channel.name: channel for channel in self.workflow.channels}

    @cached_property
    def renamed(self) -> dict[str, dict[str, str]]:
        """New names of parameters, of each channel."""
        return {name: dict(channel.renamed) for name, channel in self.channels.items()}

    @cached_property
    def binned(self) -> dict[str, tuple[BinnedLikelihood, BinnedSets]]:
        """The likelihoods of the workspaces, with their data."""
        return {
            name: _read(self.channels[name], content) for name, content in self.workspaces.items()
        }

    @cached_property
    def parameters(self) -> ParameterSet:
        """Those of all channels; what is shared is there once."""
        own = {name: session.likelihood_parameters for name, session in self.sessions.items()}
        parts = {self.events_name: union(own, self.renamed)[0]} if own else {}
        parts |= {name: likelihood.parameters for name, (likelihood, _) in self.binned.items()}
        return joined(parts, self.renamed)[0]

    @property
    def likelihood_parameters(self) -> ParameterSet:
        """The same."""
        return self.parameters

    @property
    def events_name(self) -> str:
        """What the channels of events are called where counts are set beside them."""
        return ", ".join(self.sessions)

    @property
    def import_path(self) -> str | None:
        """Where workers find the modules of stages: of the first channel that has one."""
        paths = (session.import_path for session in self.sessions.values())
        return next((path for path in paths if path is not None), None)

    def method(self, name: str) -> str:
        """The estimator of a channel.

        Raises:
            WorkflowError: It has no likelihood, which is what a combination multiplies.
        """
        method = self.channels[name].method or self.sessions[name].workflow.inference.method
        if method == "npe":
            raise WorkflowError(
                f"channel {name!r}: {method!r} has no likelihood, and posteriors cannot be "
                "multiplied; give the channel a method that has one, e.g. method = 'nle'"
            )
        return str(method)

    def request(self, name: str) -> DataRequest:
        """Which data a channel has."""
        entry = self.channels[name]
        files = [near(self.source, text) for text in entry.data]
        return DataRequest(files, layout=entry.layout, cut=entry.cut, weights=entry.weights)


@dataclass(frozen=True)
class EventChannel:
    """A channel of events.

    Arguments:
        session: Its workflow.
        method: The estimator.
        observed: The data.
        x, weight: The same as tensors, ``(N, d)`` and ``(N,)``.
    """

    session: Session
    method: str
    observed: Observed
    x: Tensor
    weight: Tensor | None

    @classmethod
    def read(cls, combination: Combination, name: str) -> EventChannel:
        """The data of a channel, of which nothing is learned yet."""
        session = combination.sessions[name]
        observed = read_observed(session, combination.request(name))
        combination.monitor.say(
            f"{name}: {len(observed.events)} events selected from {', '.join(observed.sources)}"
        )
        x, weight = tensors(session, observed.events)
        return cls(session, combination.method(name), observed, x, weight)

    def likelihood(self) -> EventLikelihood:
        """Of this channel alone, trained first where that is needed."""
        return likelihood_of(self.session, number_of(self.x, self.weight), self.method)


@dataclass(frozen=True)
class Combined:
    """The likelihood of all channels, with one data set; and those of each alone.

    Arguments:
        likelihood, data: Of all.
        alone: Of each, by its name.
        events: Of all channels of events.
        renamed: New names of parameters, of each channel.
    """

    likelihood: Likelihood
    data: DataSets
    alone: Mapping[str, tuple[Likelihood, DataSets]]
    events: EventLikelihood | None
    renamed: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, combination: Combination, read: Mapping[str, EventChannel]) -> Combined:
        """Of channels whose data were read."""
        single = {name: channel.likelihood() for name, channel in read.items()}
        alone: dict[str, tuple[Likelihood, DataSets]] = {
            name: (single[name], single[name].encode([one.x], [one.weight]))
            for name, one in read.items()
        }
        alone |= combination.binned
        events, data = None, None
        if read:
            events = combine(single, {n: combination.renamed[n] for n in single})
            weights = {f"{n}/data": one.weight for n, one in read.items() if one.weight is not None}
            data = events.data({f"{n}/data": one.x for n, one in read.items()}, weights)
        if events is not None and data is not None and not combination.binned:
            return cls(events, data, alone, events, combination.renamed)
        joint = JointLikelihood(
            events, {n: one for n, (one, _) in combination.binned.items()}, combination.renamed,
            combination.events_name,
        )  # fmt: skip
        counts = {n: sets for n, (_, sets) in combination.binned.items()}
        return cls(joint, joint.data(data, counts), alone, events, combination.renamed)

    def own(self, theta: Tensor) -> dict[str, Tensor]:
        """θ in the terms of the likelihood of each channel, ``(*, D)`` to ``(*, D_c)``."""
        whole = self.likelihood
        parts = whole.own(theta) if isinstance(whole, JointLikelihood) else [theta]
        found: dict[str, Tensor] = {}
        if self.events is not None:
            at, names = parts[0], self.events.parameters.free_names
            for channel, (likelihood, _) in self.alone.items():
                if isinstance(likelihood, EventLikelihood):
                    renamed = self.renamed[channel]
                    own = [renamed.get(n, n) for n in likelihood.parameters.free_names]
                    found[channel] = at[..., [names.index(n) for n in own]]
        binned = [n for n, (one, _) in self.alone.items() if isinstance(one, BinnedLikelihood)]
        return found | dict(zip(binned, parts[len(parts) - len(binned) :], strict=True))


def near(source: Path, path: str) -> str:
    """A path in the file, seen from the current folder."""
    if "://" in path or Path(path.split(":")[0]).is_absolute():
        return path
    return str(source.parent / path)


def workspace(path: str) -> Mapping[str, Any]:
    """The content of a workspace of pyhf.

    Raises:
        FileError: There is none.
    """
    try:
        content = parse_json(Path(path).read_text("utf-8"))
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}; expected a workspace") from error
    except ValueError as error:
        raise FileError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or not {"channels", "measurements"} <= content.keys():
        raise FileError(
            f"{path} is no workspace of pyhf; expected channels, observations and measurements"
        )
    return content


def _read(entry: ChannelEntry, content: Mapping[str, Any]) -> tuple[BinnedLikelihood, BinnedSets]:
    try:
        likelihood, sets = read_workspace(content, entry.measurement)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise FileError(
            f"channel {entry.name!r}: {entry.pyhf} is no valid workspace of pyhf: {error!r}; "
            "`pyhf inspect` says what is wrong with it"
        ) from error
    # Its bounds are where a fit may look; its start is no prior, and nobody's default.
    own = [replace(p, default=_inside(p.default, p.prior)) for p in likelihood.parameters]
    likelihood.parameters = ParameterSet(own)
    return likelihood, sets


def _inside(value: float, prior: Any) -> float:
    return value if prior is None else min(max(value, prior.low), prior.high)


def columns(read: Mapping[str, EventChannel]) -> list[bytes]:
    """The data of all channels, as bytes that say whether they are the same."""
    return [
        torch.cat([one.x.double(), _ones(one)[:, None]], 1).numpy().tobytes()
        for one in read.values()
    ]


def _ones(one: EventChannel) -> Tensor:
    return torch.ones(len(one.x)).double() if one.weight is None else one.weight.double()
