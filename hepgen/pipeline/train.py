"""Train: simulate what an estimator learns from, and let it learn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hepgen.compute import one_thread
from hepgen.errors import WorkflowError
from hepgen.inference.density import Density
from hepgen.inference.ensemble import shares
from hepgen.inference.ensemble_files import TrainedEnsemble
from hepgen.inference.held import Held
from hepgen.inference.posterior_ensemble import PosteriorEnsemble
from hepgen.nn import together
from hepgen.nn.train import Progress
from hepgen.pipeline.estimators import Estimator, Trained, estimator, require_scores
from hepgen.pipeline.model_folder import ModelFolder
from hepgen.pipeline.monitor import Update
from hepgen.pipeline.samples import require_density, sample_keys, sample_sessions, sample_sum
from hepgen.pipeline.session import Session
from hepgen.pipeline.surrogates import surrogate_task
from hepgen.pipeline.training_files import TrainingFiles
from hepgen.pipeline.training_samples import TrainingSample
from hepgen.store import digest
from hepgen.surrogates.families import FAMILIES

_NOT_FOR_TRAINING = {"members", "scheme", "reference"}
"""Entries of an estimator that are not arguments of its training."""


def training_key(session: Session, method: str) -> str:
    """What a trained estimator depends on."""
    session = session.for_training()
    if session.workflow.samples and not estimator(method).amortised:
        parts = sample_sessions(session).values()
        return digest([training_key(one, method) for one in parts], sample_keys(session))
    campaigns = estimator(method).campaigns(session)
    entry = getattr(session.workflow, method)
    features = [repr(feature) for feature in session.features]
    simulations = [(campaign.identity(), campaign.events) for campaign in campaigns]
    return digest(method, simulations, entry.model_dump(), features)


def learns_from_files(session: Session, method: str) -> bool:
    """Whether a training of this method, an estimator or a family, takes ``simulation.files``."""
    if method in FAMILIES:
        return surrogate_task(session).files is not None
    return any(isinstance(c, TrainingFiles) for c in estimator(method).campaigns(session))


def training_settings(session: Session, method: str) -> dict[str, Any]:
    """What a workflow says of a training."""
    entry = getattr(session.workflow, method)
    settings: dict[str, Any] = entry.model_dump(exclude_none=True, exclude=_NOT_FOR_TRAINING)
    return settings


@one_thread()
def trained(session: Session, method: str) -> Trained:
    """The estimator in the run folder, trained first where it is missing or out of date.

    Raises:
        InputError: There is no such method.
        WorkflowError: It learns from joint scores, and a free parameter has none.
    """
    if session.for_training() is not session:
        return _held(session, method)
    line = estimator(method)
    if session.workflow.samples and not line.amortised:
        return _summed(session, method)
    require_scores(session, method)
    members = getattr(getattr(session.workflow, method), "members", 1)
    if members > 1:
        return _ensemble(session, method, members)
    task = _Task(session, method)
    if not task.current:
        task.fit(_read(session, line))
    task.point()
    return line.load(task.path)


def _summed(session: Session, method: str) -> Trained:
    """The density of all samples, of that of each; of their members where each has some."""
    require_density(session, method)
    parts: dict[str, Any] = {n: trained(s, method) for n, s in sample_sessions(session).items()}
    ensembles = [one for one in parts.values() if isinstance(one, TrainedEnsemble)]
    if not ensembles:
        return sample_sum(session, parts)
    members = zip(*(one.members for one in ensembles), strict=True)
    summed = [sample_sum(session, dict(zip(parts, some, strict=True))) for some in members]
    return TrainedEnsemble(summed, scheme=ensembles[0].scheme)


def _held(session: Session, method: str) -> Trained:
    """One that is trained over all values of what is scanned, with that at its default."""
    scan, model = session.workflow.statements.scan, trained(session.for_training(), method)
    if scan is None or not isinstance(model, Density):
        raise WorkflowError(
            f"statements.scan: method {method!r} has no density of single events that could be "
            "held at a value; use --method nle, scandal or a ratio"
        )
    value = session.parameters[scan.parameter].default
    return Held(model, scan.parameter, value)


def _ensemble(session: Session, method: str, members: int) -> Trained:
    """The ensemble in the run folder; members that are finished are not trained again."""
    line, whole = estimator(method), _Task(session, method)
    kind: Any = PosteriorEnsemble if line.amortised else TrainedEnsemble
    if whole.current:
        whole.point()
        kept: Trained = kind.load(whole.path, line.load)
        return kept
    entry, found = getattr(session.workflow, method), list[Any]()
    sample: TrainingSample = _read(session, line)
    parts = shares(len(sample), members, entry.scheme, entry.seed)
    for number, (index, factor) in enumerate(parts, start=1):
        task = _Task(session, method, number)
        if not task.current:
            task.fit(sample.share(index, factor, session.folder.path))
        found.append(line.load(task.path))
    ensemble: Trained = kind(found, scheme=entry.scheme)
    whole.keep(ensemble, members)
    whole.point()
    return ensemble


def _read(session: Session, line: Estimator) -> Any:
    """What it learns from: simulated by the leader of those that train, read by the others."""
    with together.after_the_leader():
        return line.sample(session)


@dataclass(frozen=True)
class _Task:
    """One network to train: that of a method, or a member of an ensemble.

    Arguments:
        session: The workflow.
        method: The estimator.
        member: Its number, from 1; 0 where it is no member.
    """

    session: Session
    method: str
    member: int = 0

    @property
    def folder(self) -> ModelFolder:
        """Its files."""
        part = f"member-{self.member}" if self.member else ""
        return ModelFolder(self.session.folder, f"models/{self.method}", self._key, part)

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.folder.path

    @property
    def current(self) -> bool:
        """Whether it is there and up to date."""
        return self.folder.current

    def point(self) -> None:
        """Have the name of the method lead to it."""
        self.folder.point(self.session.monitor.say)

    def fit(self, sample: Any) -> None:
        """Train it and keep it."""
        entry = getattr(self.session.workflow, self.method)
        options = training_settings(self.session, self.method)
        # Members differ in their start, too.
        options["seed"] = entry.seed * 1000 + self.member if self.member else entry.seed
        checkpoint = self.session.folder / f"checkpoints/{self._name}-{self._key[:8]}"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        title = f"train {self.method.upper()}" + (f" {self.member}" if self.member else "")
        with self.session.monitor.task(title, 1.0) as update:
            settings = {
                "features": self.session.features, "parameters": self.session.parameters,
                "checkpoint": checkpoint, "progress": reporter(update),
                "device": self.session.device, **options,
            }  # fmt: skip
            model = estimator(self.method).fit(sample, settings)
        self.keep(model)

    def keep(self, model: Trained, members: int = 0) -> None:
        """Save it, with that number of members, and note that it is done."""
        places = ["", *(f"member-{m}/" for m in range(1, members + 1))]
        files = [f"{p}{name}" for p in places for name in ("model.json", "weights.safetensors")]
        with together.by_the_leader() as leads:
            if leads:
                with self.folder.renewed(files, {"seconds": model.curve.seconds}):
                    model.save(self.path)

    @property
    def _name(self) -> str:
        return self.method + (f"-{self.member}" if self.member else "")

    @property
    def _key(self) -> str:
        return training_key(self.session, self.method)


def reporter(update: Update) -> Callable[[Progress], None]:
    """What shows the progress of a training as that of a task."""
    started = time.monotonic()

    def report(progress: Progress) -> None:
        # The share of the time, which the training knows better than the count of epochs.
        elapsed = time.monotonic() - started
        done = elapsed / max(elapsed + progress.seconds_left, 1e-9)
        words = f"epoch {progress.epoch}/{progress.epochs} loss {progress.train:.4f}"
        update(min(done, 1.0), f"{progress.part} {words}".strip())

    return report
