"""Images: the surrogate of a workflow's calorimeter images, trained and drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.events import Events
from hepgen.images import CELL_ENERGY, CELL_INDEX, dense_images
from hepgen.pipeline.monitor import Update
from hepgen.pipeline.surrogates import (
    SurrogateTask,
    surrogate_events,
    training_settings,
    whole_chain,
)
from hepgen.simulators.calorimeter.reconstruction import CalorimeterReconstruction
from hepgen.surrogates.images.families import ENERGIES, image_options, image_training
from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.target import Column, Target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hepgen.pipeline.session import Session

INCIDENT = "energy"
"""The parameter that is the energy of the particle, as in the layout of the CaloChallenge."""
NO_CLOSURE = (
    "No closure: what a surrogate of images knows of its density is at best a bound, from which no "
    "posterior is made."
)
_SHOWN = 4
"""Showers on the sheet of each, simulation and surrogate."""


@dataclasses.dataclass(frozen=True)
class ImageTask(SurrogateTask):
    """What a surrogate of images is trained on: as its base, with images as the events.

    Arguments:
        shape: Of an image: layers, cells in η, cells in φ.
        step: Of the converter, GeV; 0 if energies are not in counts.
    """

    shape: tuple[int, int, int] = (0, 0, 0)
    step: float = 0.0

    def rows(self, events: Events) -> Any:
        """Images in GeV, shape ``(N, voxels)``."""
        images = dense_images(events, int(np.prod(self.shape)))
        # A file may hold single precision, which is not enough for the rounding to counts.
        return np.rint(images / self.step) * self.step if self.step else images


def image_task(session: Session) -> ImageTask:
    """Images given the parameters that vary, the energy of the particle first.

    Raises:
        WorkflowError: The process makes no images, or the energy of the particle does not vary.
    """
    chain, free = session.chain, session.parameters.free_names
    if chain.image is None:
        raise WorkflowError(f"surrogate.image = true: the process {chain.name!r} makes no images")
    if session.workflow.surrogate.replace or session.workflow.surrogate.outputs:
        raise WorkflowError(
            "surrogate.image = true stands for the whole chain and gives images; expected neither "
            "surrogate.replace nor surrogate.outputs beside it"
        )
    if INCIDENT not in free:
        raise WorkflowError(
            f"surrogate.image = true: the parameter {INCIDENT!r} does not vary, and the energies "
            f"of the layers are learned relative to it; give [parameters.{INCIDENT}] a prior"
        )
    task = whole_chain(session, (CELL_INDEX, CELL_ENERGY))
    order = sorted(range(len(free)), key=lambda i: free[i] != INCIDENT)
    names = tuple(free[i] for i in order)
    layers, eta, phi = chain.image
    return ImageTask(
        task.campaign, task.x, (), (), tuple(task.inputs[i] for i in order), names,
        {**task.manifest, "image": [layers, eta, phi], **_target(session, names)},
        task.files, (layers, eta, phi), float(chain.options.get("adc_step", 0.0)),
    )  # fmt: skip


def _target(session: Session, parameters: tuple[str, ...]) -> dict[str, Any]:
    """The stages that an image stands for, where it can: all before the one that reads the cells.

    That one takes a reading for signals, of which it makes the same reading: counts are whole, and
    above the threshold. Images of selected events are not those of all.
    """
    chain = session.chain
    reads = next(i for i, s in enumerate(chain.stages) if CELL_ENERGY in s.provides)
    reader, replaced = chain.stages[reads], chain.stages[:reads]
    selected = any("selected" in stage.provides for stage in chain.stages)
    if selected or not isinstance(reader, CalorimeterReconstruction):
        return {}
    own = {p.name for stage in replaced for p in stage.parameters}
    signal = Column(reader.requires[0], reader.geometry.voxels)
    target = Target(
        tuple(stage.name for stage in replaced), (), (signal,), parameters,
        {n: session.parameters[n].default for n in sorted(own - set(parameters))}, (reader.name,),
    )  # fmt: skip
    return {"target": target.to_dict()}


def image_settings(session: Session, task: ImageTask, method: str) -> dict[str, Any]:
    """Options and training of a family: those that suit images, and what the workflow says."""
    given = training_settings(session.workflow.surrogate)
    options = {**image_options(method, task.shape), **session.workflow.surrogate.options}
    return {"options": options, **image_training(method), **given}


def fit_images(session: Session, task: ImageTask, method: str, checkpoint: Path) -> ImageSurrogate:
    """A surrogate of images of the family ``method``, which learns from images."""
    from hepgen.pipeline.train import reporter

    images, particles = surrogate_events(session, task)
    seed = session.workflow.surrogate.seed

    def common(update: Update, name: str) -> dict[str, Any]:
        return {
            "progress": reporter(update), "device": session.device,
            "checkpoint": checkpoint.with_name(f"{checkpoint.name}{name}"),
            "rescue": session.folder / f"models/{method}-unfinished",
        }  # fmt: skip

    with session.monitor.task(f"train {method}", 1.0) as update:
        return ImageSurrogate.fit(
            images, particles, inputs=task.inputs, shape=task.shape, step=task.step,
            method=method, seed=seed, manifest=task.manifest,
            energies={**ENERGIES, **_shorter(session), **common(update, "-energies"),
                      "domain": task.domain(particles)},
            **common(update, ""), **image_settings(session, task, method),
        )  # fmt: skip


def distil_images(
    session: Session, task: ImageTask, teacher: ImageSurrogate, checkpoint: Path
) -> ImageSurrogate:
    """A surrogate of few evaluations of the network, from one of many."""
    from hepgen.pipeline.train import reporter

    entry = session.workflow.surrogate
    _, particles = surrogate_events(session, task)
    inside = particles[~teacher.domain.outside(particles)]
    settings = image_settings(session, task, "distilled")
    with session.monitor.task("distil", 1.0) as update:
        return teacher.distilled(
            entry.distilled_steps, particles=inside, events=min(len(inside) // 10, 4000),
            seed=entry.seed, device=session.device, progress=reporter(update),
            checkpoint=checkpoint, rescue=session.folder / "models/distilled-unfinished",
            **{name: value for name, value in settings.items() if name != "options"},
        )  # fmt: skip


def image_figures(
    surrogate: ImageSurrogate, images: Tensor, particles: Tensor, seed: int = 0
) -> dict[str, Figure]:
    """Mean energies of the layers, and a shower summed over its layers beside a surrogate's.

    Arguments:
        surrogate: The surrogate.
        images, particles: Of the simulation, shapes ``(N, voxels)`` and ``(N, C)``.
        seed: Of the surrogate's images.
    """
    return dict(_figures(surrogate, images, particles, seed))


def _figures(
    surrogate: ImageSurrogate, images: Tensor, particles: Tensor, seed: int
) -> Iterator[tuple[str, Figure]]:
    from hepgen import plots

    made = surrogate.sample(1, particles, seed)[0]
    shape = surrogate.code.shape
    both = [x.reshape(-1, *shape) for x in (images, made)]
    layers = [x.sum((2, 3)).numpy() for x in both]
    yield "Layers", plots.plot_layers(layers[0], layers[1], label="Mean energy of a layer")
    shown = torch.stack([x[:_SHOWN].sum(1).flatten(1) for x in both])
    yield "Showers", plots.plot_sheet(
        (1000 * shown).clamp(min=1.0).log10().numpy(), shape=(shape[1], shape[2]),
        rows=("Simulation", "Surrogate"), title="log(E/MeV), all layers",
    )  # fmt: skip


def _shorter(session: Session) -> Mapping[str, Any]:
    """The energies have a sixth of the time that the workflow gives to the cells."""
    given = session.workflow.surrogate.time_budget
    return {} if given is None else {"time_budget": given / 6}
