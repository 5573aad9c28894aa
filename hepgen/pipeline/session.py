"""Session: the objects that one workflow file describes, and the folder it works in."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from hepgen.compute import Workers
from hepgen.config import ESTIMATORS, ParameterEntry, Workflow, load, to_toml
from hepgen.errors import WorkflowError, nearest
from hepgen.features import Feature, Kind
from hepgen.inference.truncation import Region, truncated
from hepgen.nn.device import choose
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform, prior_from_dict
from hepgen.pipeline.chains import builtin, chain_of, permit
from hepgen.pipeline.monitor import Monitor, Silent
from hepgen.pipeline.stages import with_stages
from hepgen.pipeline.surrogates import with_surrogate
from hepgen.simulators.augment import no_score
from hepgen.simulators.chain import Chain
from hepgen.store import RunFolder, versions


@dataclass
class Session:
    """A workflow, ready to be worked on.

    Arguments:
        workflow: The validated file.
        source: Where it came from; relative paths in it start there.
        workers: Who simulates.
        monitor: Shows progress.
        device: Where networks are trained: ``auto``, ``cpu``, ``cuda``.
        allow_code: Whether ``[[stages]]`` of the workflow may be imported, which runs their code,
            and settings of Pythia may load code.
        trains: Whether the parameter of ``statements.scan`` is free, see :meth:`for_training`.
        region: The ranges to which uniform priors are truncated, see :meth:`narrowed`.
        earlier: The sessions of the rounds before.
    """

    workflow: Workflow
    source: Path
    workers: Workers = Workers()  # noqa: RUF009 (frozen)
    monitor: Monitor = field(default_factory=Silent)
    device: str = "auto"
    allow_code: bool = False
    trains: bool = False
    region: Region = field(default_factory=dict)
    earlier: tuple[Session, ...] = ()

    @classmethod
    def open(
        cls,
        path: Path | str,
        overrides: Sequence[str] = (),
        workers: Workers = Workers(),  # noqa: B008 (frozen)
        monitor: Monitor | None = None,
        device: str = "auto",
        allow_code: bool = False,
        jobs: int | None = None,
    ) -> Session:
        """Read a workflow file and check that it makes sense.

        Arguments:
            path: The workflow file.
            overrides: ``key=value`` with a dotted key, as ``--set`` takes them.
            workers, monitor, device, allow_code: See :class:`Session`.
            jobs: Deprecated: give ``workers=Workers(jobs)``.

        Raises:
            WorkflowError: It does not.
        """
        choose(device)
        if jobs is not None:
            words = "Session.open(jobs=…) is deprecated; give workers=Workers(jobs)"
            warnings.warn(words, DeprecationWarning, stacklevel=2)
            workers = Workers(jobs)
        path = Path(path)
        workflow = load(path, overrides)
        session = cls(workflow, path, workers, monitor or Silent(), device, allow_code)
        _ = session.chain, session.likelihood_parameters, session.features, session.control
        return session

    @cached_property
    def folder(self) -> RunFolder:
        """The run folder, made on first use; that of a later round is in it."""
        path = Path(self.workflow.folder or f"runs/{self.workflow.name}")
        return RunFolder(path / f"round-{self.round}" if self.earlier else path)

    @property
    def round(self) -> int:
        """The number of the round, from 1."""
        return 1 + len(self.earlier)

    def narrowed(self, region: Region) -> Session:
        """The session of the next round: with its priors truncated to a region."""
        earlier = (*self.earlier, self)
        return dataclasses.replace(self, region=dict(region), earlier=earlier)

    @cached_property
    def chain(self) -> Chain:
        """The simulator: the process, with the events of a file and with stages of the user's."""
        chain = self.simulator
        for path in self.workflow.surrogates:
            chain = with_surrogate(chain, Path(self.near(path)))
        return chain

    @cached_property
    def simulator(self) -> Chain:
        """The chain without surrogates."""
        chain = chain_of(self.workflow, self.source)
        if not self.workflow.stages:
            return permit(chain, self.allow_code)
        if not self.allow_code:
            raise WorkflowError(
                f"{self.source}: its [[stages]] run code, "
                f"{', '.join(repr(s.where) for s in self.workflow.stages)}; if you trust it, allow "
                "that with --allow-code (in Python: Session.open(…, allow_code=True))"
            )
        chain = with_stages(chain, self.workflow.stages, self.source.parent)
        return permit(chain, self.allow_code)

    @property
    def import_path(self) -> str | None:
        """A folder in which workers find the modules of its stages."""
        return self.chain.import_path

    @cached_property
    def parameters(self) -> ParameterSet:
        """The chain's parameters, with what the workflow says of them."""
        known = self.chain.parameters
        for name, entry in self.workflow.parameters.items():
            if name not in known and not (self._replaced(name) and entry == ParameterEntry()):
                raise WorkflowError(self._no_parameter(name))
        found = [self._parameter(p) for p in known]
        scan = self.workflow.statements.scan
        if scan is not None:
            own = [p.name for p in found]
            if scan.parameter not in own:
                raise WorkflowError(
                    f"statements.scan: no parameter {scan.parameter!r}; "
                    f"{nearest(scan.parameter, own)}"
                )
            found = [self._scanned(p) if p.name == scan.parameter else p for p in found]
        return ParameterSet(found)

    def for_training(self) -> Session:
        """The session in which what is scanned is free: estimators learn all its values."""
        if self.workflow.statements.scan is None or self.trains:
            return self
        return self._training

    @cached_property
    def _training(self) -> Session:
        return dataclasses.replace(self, trains=True)

    def _scanned(self, parameter: Parameter) -> Parameter:
        """Free over its prior, or else over the values, for a training; held at its default."""
        scan = self.workflow.statements.scan
        values = scan.values if scan is not None else []
        prior = parameter.prior or Uniform(min(values), max(values))
        default = _inside(parameter.default, prior.low, prior.high)
        free = dataclasses.replace(parameter, prior=prior, default=default, role="nuisance")
        for value in values:
            parameter.check(value)
            free.check_prior(value)
        return free if self.trains else dataclasses.replace(free, prior=None)

    @cached_property
    def nuisances(self) -> ParameterSet:
        """Those that no stage has, of the ``[[variations]]``."""
        entries = self.workflow.variations
        for name in (entry.name for entry in entries):
            if name in self.chain.parameters:
                raise WorkflowError(
                    f"variation {name!r}: the chain {self.chain.name!r} has a parameter of this "
                    f"name: give that a prior, [parameters.{name}], or the variation another name"
                )
        pull = Normal(0.0, 1.0)
        return ParameterSet([Parameter(e.name, 0.0, prior=pull, label=e.label) for e in entries])

    @cached_property
    def likelihood_parameters(self) -> ParameterSet:
        """The chain's parameters, then those of the variations."""
        return ParameterSet([*self.parameters, *self.nuisances])

    def _replaced(self, name: str) -> bool:
        """Whether a parameter is one of a stage in whose place a foreign generator stands."""
        foreign = self.workflow.chain.get("generator", "builtin") != "builtin"
        return foreign and name in builtin(self.workflow).parameters

    def _no_parameter(self, name: str) -> str:
        if self._replaced(name):
            generator = self.workflow.chain["generator"]
            return (
                f"parameters.{name}: with generator = {generator!r} no stage of the chain "
                f"{self.chain.name!r} has this parameter: it is one of a built-in stage that the "
                f"generator replaces; remove it (--set parameters.{name}={{}}), or use "
                'generator = "builtin"'
            )
        return (
            f"parameters.{name}: the chain {self.chain.name!r} has no such parameter; "
            f"{nearest(name, self.chain.parameters.names)}"
        )

    def _parameter(self, parameter: Parameter) -> Parameter:
        entry = self.workflow.parameters.get(parameter.name)
        if entry is None:
            return dataclasses.replace(parameter, role="nuisance", prior=None)
        changes = entry.model_dump(exclude_none=True, exclude={"prior"})
        prior = truncated(parameter, self.region) or prior_from_dict(entry.prior)
        role = entry.role or "nuisance"
        if prior is not None and (entry.default is None or parameter.name in self.region):
            default = parameter.default if entry.default is None else entry.default
            changes["default"] = _inside(default, prior.low, prior.high)
        changed = dataclasses.replace(parameter, **(changes | {"prior": prior, "role": role}))
        changed.check_prior(changed.default)
        return changed

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """The columns that enter the likelihood."""
        return tuple(
            self._feature(entry.name, entry.kind, low=entry.low, high=entry.high)
            for entry in self.workflow.features
        )

    @cached_property
    def control(self) -> tuple[Feature, ...]:
        """The columns that are plotted beside."""
        return tuple(self._feature(name) for name in self.workflow.control)

    def _feature(
        self,
        name: str,
        kind: Kind = "continuous",
        low: float | None = None,
        high: float | None = None,
    ) -> Feature:
        if name not in self.chain.observables:
            raise WorkflowError(
                f"feature {name!r} is no observable of {self.chain.name!r}; "
                f"{nearest(name, self.chain.observables)}"
            )
        unit, label = self.chain.observables[name]
        bounds = {k: v for k, v in (("low", low), ("high", high)) if v is not None}
        return Feature(name, unit, label, **bounds, kind=kind)

    def augmented(self, held: Mapping[str, float]) -> tuple[str, ...]:
        """The parameters whose joint score ``--augment`` keeps.

        Arguments:
            held: The values of the parameters that do not vary.

        Raises:
            WorkflowError: A parameter that is named has no score, or none has.
        """
        without = self.without_score(held)
        possible = [name for name in self.chain.parameters.names if name not in without]
        for name in self.workflow.augment.parameters or ():
            if reason := without.get(self.parameters[name].name):
                raise WorkflowError(
                    f"augment.parameters: {reason}, so it has no score; there are scores for "
                    f"{', '.join(possible) or 'no parameter'}"
                )
        if not possible:
            raise WorkflowError(
                "--augment: no parameter has a score "
                f"({'; '.join(without.values())}); "
                "simulate without --augment, or use stages whose density is known"
            )
        return tuple(self.workflow.augment.parameters or possible)

    def without_score(self, held: Mapping[str, float]) -> dict[str, str]:
        """Why each parameter that has no joint score has none, in words, by name."""
        reasons = {}
        for name in self.chain.parameters.names:
            value = torch.tensor(held[name], dtype=torch.float64) if name in held else None
            reasons[name] = no_score(self.chain, name, value)
        return {name: reason for name, reason in reasons.items() if reason}

    def other_points(self, held: Mapping[str, float]) -> dict[str, dict[str, float]]:
        """The parameter points to which ``--augment`` keeps the joint log-ratio."""
        without = self.without_score(held)
        for point, values in self.workflow.augment.points.items():
            for name, value in values.items():
                self.parameters[name].check(value)
                if reason := without.get(name):
                    raise WorkflowError(
                        f"augment.points.{point}: {reason}, so there is no ratio between two of "
                        "its values; simulate there"
                    )
        return {name: dict(values) for name, values in self.workflow.augment.points.items()}

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the columns that enter the likelihood.

        Raises:
            WorkflowError: The workflow names none: it can be simulated only.
        """
        if not self.features:
            raise WorkflowError(
                f"workflow {self.workflow.name!r} has no [[features]], so there is nothing to "
                "infer from; name columns that enter the likelihood, e.g. "
                f"{', '.join(list(self.chain.observables)[:3])}; `hepgen simulate` needs none"
            )
        return tuple(feature.name for feature in self.features)

    def near(self, path: str) -> str:
        """A path in the workflow file, seen from the current folder."""
        if "://" in path or Path(path.split(":")[0]).is_absolute():
            return path
        return str(self.source.parent / path)

    @property
    def inputs(self) -> list[Path]:
        """The files that are read: the workflow, its events, its data, the code of its stages."""
        _, colon, events = str(self.workflow.chain.get("generator", "")).partition(":")
        named = [events if colon else None, self.workflow.data.file]
        named += [f for v in self.workflow.variations for f in (v.nominal, v.up, v.down)]
        code = [inspect.getsourcefile(type(stage)) for stage in self.chain.stages]
        return [
            self.source,
            *(Path(self.near(path)) for path in named if path),
            *(Path(self.near(path)) / "model.json" for path in self.workflow.surrogates),
            *(Path(file) for file in code if file),
        ]

    def provenance(self, **more: Any) -> dict[str, Any]:
        """What made an output: configuration, versions, seeds."""
        simulation = self.workflow.simulation
        seeds: dict[str, int] = {
            "simulation": simulation.seed,
            **{str(name): getattr(self.workflow, name).seed for name in ESTIMATORS},
            "surrogate": self.workflow.surrogate.seed,
            "inference": self.workflow.inference.seed,
            "calibration": self.workflow.calibration.seed,
        }
        return {"versions": versions(), "seeds": seeds, "workflow": to_toml(self.workflow), **more}


def _inside(value: float, low: float, high: float) -> float:
    """The value, or the middle of the range where it lies outside."""
    return value if low <= value <= high else 0.5 * (low + high)
