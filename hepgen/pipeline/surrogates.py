"""Surrogates of a workflow: what one stands for, its training, and its place in a chain."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hepgen.compute import one_thread
from hepgen.config import to_toml
from hepgen.config.surrogate import SurrogateEntry
from hepgen.errors import WorkflowError
from hepgen.events import Events
from hepgen.features import Feature
from hepgen.judgement import SurrogateJudgement
from hepgen.nn import together
from hepgen.parameters import Parameter
from hepgen.pipeline.gather import gather
from hepgen.pipeline.load import finished, load_surrogate
from hepgen.pipeline.model_folder import ModelFolder, behind
from hepgen.pipeline.seeds import training_seed
from hepgen.pipeline.targets import stages_in_a_row, target_of_stages
from hepgen.pipeline.training_files import TrainingFiles
from hepgen.results import Check
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain
from hepgen.store import digest
from hepgen.surrogates.families import check_distilled, family
from hepgen.surrogates.hybrid import hybrid
from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.surrogate import Domain, Surrogate
from hepgen.surrogates.target import TargetColumns

if TYPE_CHECKING:
    from hepgen.pipeline.closure import Reference
    from hepgen.pipeline.session import Session

_ONE_OF = 10
"""Of so many rows of files, one is not trained on."""
_NEAR_THE_END = 0.01
"""Of the width of a prior, within which events of files reach an end of it."""
_JUDGING = {"method", "test_events", "closure_sets", "closure_events", "template_events"}
"""Entries of ``[surrogate]`` that a trained one does not depend on."""


def with_surrogate(chain: Chain, folder: Path) -> Chain:
    """The chain with the surrogate in ``folder`` in the place of its stages."""
    folder = behind(folder)
    surrogate = finished(folder)
    sha256 = hashlib.sha256((folder / "model.json").read_bytes()).hexdigest()
    return hybrid(chain, surrogate, sha256)


@one_thread()
def trained_surrogate(session: Session, method: str | None = None) -> Surrogate | ImageSurrogate:
    """The surrogate in the run folder, trained first where it is missing or out of date.

    Arguments:
        session: Its ``[surrogate]`` says what it stands for.
        method: The family; by default the workflow's.
    """
    from hepgen.pipeline.images import ImageTask, image_settings

    method = method or session.workflow.surrogate.method
    teacher = family(method).teacher
    task = surrogate_task(session)
    entry = session.workflow.surrogate
    idle = _JUDGING | (set() if teacher else {"distilled_steps"})
    settings = entry.model_dump(exclude=idle)
    if isinstance(task, ImageTask):
        settings |= image_settings(session, task, method)
    columns = [repr(feature) for feature in (*task.features, *task.inputs)]
    key = digest(
        method, task.source.identity(), task.source.events, settings, task.manifest, columns
    )
    kept = ModelFolder(session.folder, f"models/{method}", key)
    parts = ("", "energies/", "cells/") if isinstance(task, ImageTask) else ("",)
    files = [part + name for part in parts for name in ("model.json", "weights.safetensors")]
    if not kept.current:
        checkpoint = session.folder / f"checkpoints/{method}-{key[:8]}"
        surrogate = _fit(session, task, method, checkpoint)
        with together.by_the_leader() as leads:
            if leads:
                with kept.renewed(files, {"seconds": surrogate.curve.seconds}):
                    surrogate.save(kept.path)
    kept.point(session.monitor.say)
    return load_surrogate(kept.path)


@dataclass(frozen=True)
class SurrogateTask:
    """What a surrogate is trained on: a campaign, and which of its columns are what.

    Arguments:
        campaign: Of the chain up to the last stage that is replaced.
        x, c: The columns of the events and of the context, but for the parameters.
        features, inputs: What they are; the parameters come last in ``inputs``.
        parameters: The names of those that vary.
        manifest: What the surrogate stands for.
        files: Of events to train on, instead of the campaign's.
    """

    campaign: Campaign
    x: tuple[str, ...]
    c: tuple[str, ...]
    features: tuple[Feature, ...]
    inputs: tuple[Feature, ...]
    parameters: tuple[str, ...]
    manifest: Mapping[str, Any]
    files: TrainingFiles | None = None

    @property
    def source(self) -> Campaign | TrainingFiles:
        """Where the events of the training come from."""
        return self.files or self.campaign

    def rows(self, events: Events) -> NDArray[np.float64]:
        """x of a block of events, shape ``(B, d)``."""
        return events.flat(self.x)

    def domain(self, context: Tensor) -> Domain:
        """The range of the columns in a sample, and of the parameters that of their prior.

        Of a prior without ends it is the range in which draws are to be expected, see
        :attr:`hepgen.parameters.Prior.reach`: every sample ends somewhere, and later ones go on.
        Events of files may be of a part of the prior only: where they do not reach to within 1 %
        of both of its ends, the range is theirs.
        """
        sample = Domain.from_sample([f.name for f in self.inputs], context)
        low, high = list(sample.low), list(sample.high)
        for place, name in enumerate(self.parameters, start=len(self.c)):
            prior = self.campaign.parameters[name].prior
            if prior is None or not np.isfinite(prior.reach).all():
                continue
            ends, near = prior.reach, _NEAR_THE_END * (prior.reach[1] - prior.reach[0])
            if self.files is None or (low[place] < ends[0] + near and high[place] > ends[1] - near):
                low[place], high[place] = ends
        return Domain(sample.names, tuple(low), tuple(high))


def surrogate_task(session: Session) -> SurrogateTask:
    """What the ``[surrogate]`` of a workflow asks for."""
    from hepgen.pipeline.images import image_task

    if session.workflow.surrogate.image:
        return image_task(session)
    if session.workflow.surrogate.replace is None:
        return whole_chain(session, session.feature_names)
    return _stages(session, session.workflow.surrogate.replace)


def surrogate_events(
    session: Session, task: SurrogateTask, *, held_out: bool = False
) -> tuple[Tensor, Tensor]:
    """x, shape ``(N, d)``, and the context, shape ``(N, C)``, simulated where they are missing.

    Of events of files every tenth is held out: those, or the others.
    """
    from hepgen.pipeline.training_data import simulated

    title = "simulate events to train on"
    blocks: Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]] = (
        (task.rows(e), np.concatenate([e.flat(task.c), e.theta(task.parameters)], -1))
        for e in simulated(session, task.source, "surrogate", title)
    )
    if task.files is not None:
        blocks = _part(blocks, held_out)
    with together.after_the_leader():
        x, context = gather(blocks, task.source.events, session.folder.path)
    return x, context


def _part(
    blocks: Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]], held_out: bool
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Every tenth row, or the others."""
    first = 0
    for x, context in blocks:
        last = np.arange(first, first + len(x)) % _ONE_OF == _ONE_OF - 1
        first += len(x)
        yield x[last == held_out], context[last == held_out]


def whole_chain(session: Session, names: Sequence[str]) -> SurrogateTask:
    """Of the selected events of the whole chain, the columns ``names`` given the parameters."""
    entry = session.workflow.surrogate
    for key in ("outputs", "variables"):
        if getattr(entry, key):
            raise WorkflowError(
                f"surrogate.{key} is of stages that are replaced, and surrogate.replace is not "
                f"given: expected both, or neither (a surrogate of the whole chain has the "
                "[[features]])"
            )
    free = session.parameters.free
    campaign = Campaign(
        session.chain, session.parameters, entry.events, training_seed(entry.seed),
        points=entry.events_per_point, block_size=session.workflow.simulation.block_size,
        columns=names,
    )  # fmt: skip
    files = TrainingFiles.of(session, names)
    manifest = _manifest(session, session.chain) | {"selected": True}
    if files is not None:
        manifest |= {"held_out": f"one of {_ONE_OF} rows of the files"}
    return SurrogateTask(
        campaign, tuple(names), (), session.features, tuple(map(_parameter, free)),
        session.parameters.free_names, manifest, files,
    )  # fmt: skip


def _stages(session: Session, names: Sequence[str]) -> SurrogateTask:
    entry, chain = session.workflow.surrogate, session.simulator
    first, last = stages_in_a_row(chain, names)
    target = target_of_stages(session, chain, first, last)
    stage = TargetColumns(target)
    front = Chain(
        [*chain.stages[:last], stage], dict.fromkeys(stage.provides, ("", "")), chain.name,
        chain.options | {"target": target.to_dict()}, import_path=chain.import_path,
    )  # fmt: skip
    campaign = Campaign(
        front, session.parameters, entry.events, training_seed(entry.seed),
        points=entry.events_per_point, block_size=session.workflow.simulation.block_size,
        columns=stage.provides, keep_all=True,
    )  # fmt: skip
    features = [
        column.feature(name, *chain.observables.get(column.name, ("", "")))
        for column in target.outputs
        for name in column.names
    ]
    columns = target.context_names[: len(stage.c)]
    inputs = [Feature(name) for name in columns]
    inputs += [_parameter(session.parameters[name]) for name in target.parameters]
    manifest = _manifest(session, chain) | {"target": target.to_dict()}
    return SurrogateTask(
        campaign, stage.x, stage.c, tuple(features), tuple(inputs), target.parameters, manifest
    )


def _parameter(parameter: Parameter) -> Feature:
    return Feature(parameter.name, parameter.unit, parameter.label)


def _manifest(session: Session, chain: Chain) -> dict[str, Any]:
    held = {p.name: p.default for p in session.parameters if p.prior is None}
    return {
        "process": chain.name,
        "chain": dict(session.workflow.chain),
        "held": held,
        "workflow": session.workflow.name,
        "seed": session.workflow.surrogate.seed,
    }


def _fit(
    session: Session, task: SurrogateTask, method: str, checkpoint: Path
) -> Surrogate | ImageSurrogate:
    from hepgen.pipeline.images import ImageTask, distil_images, fit_images
    from hepgen.pipeline.train import reporter

    entry = session.workflow.surrogate
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    if family(method).teacher and not isinstance(task, ImageTask):
        check_distilled(task.features)
    teacher = trained_surrogate(session, family(method).teacher) if family(method).teacher else None
    if isinstance(task, ImageTask):
        if isinstance(teacher, ImageSurrogate):
            return distil_images(session, task, teacher, checkpoint)
        return fit_images(session, task, method, checkpoint)
    if isinstance(teacher, Surrogate):
        return _distilled(session, task, teacher, checkpoint)
    x, context = surrogate_events(session, task)
    with session.monitor.task(f"train {method}", 1.0) as update:
        return Surrogate.fit(
            x, context, features=task.features, inputs=task.inputs, method=method,
            options=entry.options, domain=task.domain(context), seed=entry.seed,
            checkpoint=checkpoint, progress=reporter(update), device=session.device,
            manifest=task.manifest, rescue=session.folder / f"models/{method}-unfinished",
            **training_settings(entry),
        )  # fmt: skip


def training_settings(entry: SurrogateEntry) -> dict[str, Any]:
    """What the workflow says of the training; the rest is the family's."""
    names = {"epochs", "batch_size", "max_learning_rate", "time_budget"}
    return entry.model_dump(include=names, exclude_none=True)


def _distilled(
    session: Session, task: SurrogateTask, teacher: Surrogate, checkpoint: Path
) -> Surrogate:
    from hepgen.pipeline.train import reporter
    from hepgen.surrogates.diffusion.distillation import distil

    entry = session.workflow.surrogate
    _, context = surrogate_events(session, task)
    with session.monitor.task("distil", 1.0) as update:
        return distil(
            teacher, entry.distilled_steps, context=context, seed=entry.seed,
            device=session.device, progress=reporter(update), checkpoint=checkpoint,
            rescue=session.folder / "models/distilled-unfinished", **training_settings(entry),
        )  # fmt: skip


def _test_events(session: Session, task: SurrogateTask) -> tuple[Tensor, Tensor]:
    """Of the chain with the next seed; of files, which may be another generator's, held out."""
    entry = session.workflow.surrogate
    if task.files is not None:
        x, context = surrogate_events(session, task, held_out=True)
        return x[: entry.test_events], context[: entry.test_events]
    other = dataclasses.replace(task.campaign, events=entry.test_events, seed=entry.seed + 1)
    return surrogate_events(session, dataclasses.replace(task, campaign=other))


def validate_surrogate(
    session: Session,
    method: str | None = None,
    *,
    known: SurrogateJudgement | None = None,
    against: Sequence[Reference] | None = None,
) -> tuple[SurrogateJudgement, list[Check], Path]:
    """Judge the surrogate of a workflow, trained first where that is needed, on other events.

    Arguments:
        session: Its ``[surrogate]`` says what it stands for, and ``[checks]`` what it has to pass.
        method: The family; by default the workflow's.
        known: What was found of another family here: the null is the same.
        against: The simulator's side of the closure, where it is there already.

    Returns:
        What was measured, the checks, and the page that shows them.
    """
    from hepgen.pipeline.closure import closures
    from hepgen.pipeline.images import NO_CLOSURE
    from hepgen.pipeline.judge import judge_surrogate

    entry, checks = session.workflow.surrogate, session.workflow.checks
    method = method or entry.method
    surrogate, task = trained_surrogate(session, method), surrogate_task(session)
    x, context = _test_events(session, task)
    # An input beyond the largest of the training sample is nobody's fault, and refused.
    inside = ~surrogate.domain.outside(context)
    folder = Path(str(session.folder / f"validation/{method}"))
    with session.monitor.task(f"posteriors with {method}", 1.0):
        closed, why = (
            ((), NO_CLOSURE)
            if isinstance(surrogate, ImageSurrogate)
            else closures(session, surrogate, against)
        )
    with session.monitor.task(f"judge {method}", 1.0):
        judgement, found = judge_surrogate(
            surrogate, x[inside], context[inside], folder, c2st=checks.c2st,
            p_value=checks.p_value, closure=closed, no_closure=why,
            closure_shift=checks.closure_shift, closure_width=checks.closure_width, known=known,
            title=session.workflow.title or session.workflow.name,
            configuration=to_toml(session.workflow), seed=entry.seed,
        )  # fmt: skip
    return judgement, found, folder / "report.html"
