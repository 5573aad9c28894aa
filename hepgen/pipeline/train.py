"""Train: simulate what an estimator learns from, and let it learn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hepgen.compute import one_thread
from hepgen.inference.ensemble import shares
from hepgen.inference.ensemble_files import TrainedEnsemble
from hepgen.nn.train import Progress
from hepgen.pipeline.estimators import Trained, estimator, require_scores
from hepgen.pipeline.monitor import Update
from hepgen.pipeline.session import Session
from hepgen.pipeline.training_samples import TrainingSample
from hepgen.store import digest

_NOT_FOR_TRAINING = {"members", "scheme", "reference"}
"""Entries of an estimator that are not arguments of its training."""


def training_key(session: Session, method: str) -> str:
    """What a trained estimator depends on."""
    campaigns = estimator(method).campaigns(session)
    entry = getattr(session.workflow, method)
    features = [repr(feature) for feature in session.features]
    simulations = [(campaign.identity(), campaign.events) for campaign in campaigns]
    return digest(method, simulations, entry.model_dump(), features)


@one_thread()
def trained(session: Session, method: str) -> Trained:
    """The estimator in the run folder, trained first where it is missing or out of date.

    Raises:
        InputError: There is no such method.
        WorkflowError: It learns from joint scores, and a free parameter has none.
    """
    line = estimator(method)
    require_scores(session, method)
    members = getattr(getattr(session.workflow, method), "members", 1)
    if members > 1:
        return _ensemble(session, method, members)
    task = _Task(session, method)
    if not task.current:
        task.fit(line.sample(session))
    return line.load(task.path)


def _ensemble(session: Session, method: str, members: int) -> TrainedEnsemble:
    """The ensemble in the run folder; members that are finished are not trained again."""
    line, whole = estimator(method), _Task(session, method)
    if whole.current:
        return TrainedEnsemble.load(whole.path, line.load)
    entry, found = getattr(session.workflow, method), list[Trained]()
    sample: TrainingSample = line.sample(session)
    parts = shares(len(sample), members, entry.scheme, entry.seed)
    for number, (index, factor) in enumerate(parts, start=1):
        task = _Task(session, method, number)
        if not task.current:
            task.fit(sample.share(index, factor))
        found.append(line.load(task.path))
    ensemble = TrainedEnsemble(found, scheme=entry.scheme)
    ensemble.save(whole.path)
    whole.record(ensemble)
    return ensemble


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
    def place(self) -> str:
        """Its folder in the run folder."""
        return f"models/{self.method}" + (f"/member-{self.member}" if self.member else "")

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.session.folder / self.place

    @property
    def current(self) -> bool:
        """Whether it is there and up to date."""
        return self.session.folder.is_current(self._step, self._key)

    def fit(self, sample: Any) -> None:
        """Train it, save it and note that."""
        entry = getattr(self.session.workflow, self.method)
        options = entry.model_dump(exclude_none=True, exclude=_NOT_FOR_TRAINING)
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
        model.save(self.path)
        self.record(model)

    def record(self, model: Trained) -> None:
        """Note that it is done."""
        files = [f"{self.place}/{name}" for name in ("model.json", "weights.safetensors")]
        facts = {"seconds": model.curve.seconds}
        self.session.folder.record(self._step, self._key, files, facts)

    @property
    def _name(self) -> str:
        return self.method + (f"-{self.member}" if self.member else "")

    @property
    def _step(self) -> str:
        return f"train {self.method}" + (f", member {self.member}" if self.member else "")

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
