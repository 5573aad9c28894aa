"""Sample: events of a surrogate into a ROOT file, or its images into HDF5, a block at a time.

A block has 16,384 events, or 256 images, and a seed of its own, so the file is the same for any
number of workers, and a longer sample begins with the events of a shorter one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.compute import Engine, Workers, in_order, one_thread
from hepgen.errors import FileError, InputError, SimulationError
from hepgen.events import EXTRAPOLATED, THETA, Events
from hepgen.files import refuse_inputs, refuse_special
from hepgen.io.formats import event_writer, format_of
from hepgen.pipeline.assemble import wants_images
from hepgen.pipeline.contexts import Contexts, FileContexts, as_matrix, point
from hepgen.pipeline.load import finished
from hepgen.pipeline.monitor import Monitor
from hepgen.pipeline.requests import count
from hepgen.pipeline.worker_model import WorkerModel
from hepgen.simulators.chain import stream
from hepgen.store import versions
from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.surrogate import Surrogate

BLOCK = 16_384
"""Events of a block. The events depend on it: it is not for tuning."""
IMAGE_BLOCK = 256
"""Images of a block, which are made whole; as :data:`BLOCK`."""
_WORTH_WORKERS = 10.0
"""Seconds of work for which it pays to start processes."""


@dataclass(frozen=True)
class _Item:
    """The work of one block.

    Arguments:
        number: Of the block.
        given: The columns that go with its events.
    """

    number: int
    given: Events


@dataclass(frozen=True)
class _SampledBlock:
    """The call that a worker makes; the model is read once in each.

    Arguments:
        model: The surrogate.
        columns: The columns that are the context.
        seed: Of the whole sample.
    """

    model: WorkerModel
    columns: Sequence[str]
    seed: int

    def __call__(self, item: _Item) -> Events | None:
        """The events; None on a worker that does not see the model, and has to be sent it."""
        surrogate = self.model.load()
        if surrogate is None:
            return None
        extrapolate = self.model.extrapolate
        context = torch.from_numpy(as_matrix(item.given, self.columns))
        # A block is sampled whole, since rounding depends on how many rows are multiplied.
        if not extrapolate:
            surrogate.domain.check(context)
        rows = context[torch.arange(block_size(surrogate)).clamp(max=len(context) - 1)]
        seed = stream(self.seed, "surrogate", item.number)
        with one_thread():
            columns = _columns(surrogate, rows, len(context), seed)
        given = {_free(name, columns): item.given[name] for name in item.given.fields}
        outside = surrogate.domain.outside(context).numpy() if extrapolate else None
        marked = {EXTRAPOLATED: outside} if outside is not None else {}
        if isinstance(surrogate, ImageSurrogate):
            # By these names the writers of images know them, whatever they are called in a file.
            given |= {THETA + n: context[:, i].numpy() for i, n in enumerate(surrogate.names)}
        return Events.from_columns(columns | given | marked)


def block_size(surrogate: Surrogate | ImageSurrogate) -> int:
    """How many events, or images, are made at once."""
    return IMAGE_BLOCK if isinstance(surrogate, ImageSurrogate) else BLOCK


def _columns(
    surrogate: Surrogate | ImageSurrogate, context: Tensor, events: int, seed: int
) -> dict[str, Any]:
    """The first so many events at the contexts."""
    if isinstance(surrogate, ImageSurrogate):
        images = surrogate.sample(1, context, seed)[0, :events]
        _refuse_non_finite({"Cell_energy": images.numpy()})
        made = surrogate.events(context[:events], images)
        return {name: made[name] for name in made.fields if not name.startswith(THETA)}
    x = surrogate.sample(1, context, seed)[0, :events].numpy()
    columns = dict(zip(surrogate.features.names, x.T, strict=True))
    _refuse_non_finite(columns)
    return columns


def sample_to_file(
    folder: Path,
    output: Path,
    *,
    events: str | None = None,
    theta: Sequence[str] = (),
    theta_from: str | None = None,
    seed: int = 0,
    extrapolate: bool = False,
    format: str | None = None,
    overwrite: bool = False,
    workers: Workers = Workers(),  # noqa: B008 (frozen)
    monitor: Monitor,
) -> dict[str, Any]:
    """Write events of the surrogate in ``folder`` to ``output``.

    A name that ends in ``.hdf5`` or ``.h5`` asks a surrogate of images for the layout of the
    CaloChallenge, in which ``extrapolated`` is a dataset, unless a format is given.

    The tree ``Events`` has the surrogate's columns, θ as ``theta_*`` (or as the columns of
    ``theta_from`` are called), ``genWeight``, and with ``extrapolate`` the truth value
    ``extrapolated``; ``Runs`` has what normalises them, and where they come from.

    Arguments:
        folder: Of the model.
        output: The file to make.
        events: How many, e.g. ``1e6``; with ``theta_from`` all of its rows by default.
        theta: ``name=value`` entries.
        theta_from: A file with a θ for each event, e.g. ``sim.root:Events``, instead.
        seed: Of the sample.
        extrapolate: Let contexts outside the range of the training through, and mark them.
        format: Of :data:`hepgen.io.formats.FORMATS`; by default as the name ends.
        overwrite: Replace a file that is there.
        workers: Who samples.
        monitor: Shows progress.

    Returns:
        The row of the tree ``Runs``.

    Raises:
        FileError: The model cannot be used, or the output not be written.
        InputError: θ is missing, or given twice.
        SurrogateError: θ is outside the range of the training.
    """
    if output.exists() and not overwrite:
        raise FileError(f"{output} exists; choose another output, or give --force to replace it")
    refuse_special(output)
    folder = folder.expanduser()
    surrogate = finished(folder)
    if not wants_images(output, _shape(surrogate), format):
        format_of(output, format)
    contexts = _contexts(surrogate, events, theta, theta_from)
    if isinstance(contexts, FileContexts):
        refuse_inputs(output, contexts.inputs)
    call = _SampledBlock(WorkerModel.of(folder, extrapolate), contexts.columns(), seed)
    writer = _writer(surrogate, output, format, overwrite)
    return _write(call, contexts, surrogate, output, writer, workers, monitor)


def _contexts(
    surrogate: Surrogate | ImageSurrogate,
    events: str | None,
    theta: Sequence[str],
    theta_from: str | None,
) -> Contexts:
    number = None if events is None else count(events)
    if theta_from is not None:
        if theta:
            raise InputError("--theta and --theta-from contradict each other; expected one of them")
        return FileContexts(surrogate.domain.names, theta_from, number)
    if number is None:
        raise InputError("how many events? Give -n, e.g. -n 1e6, or --theta-from FILE.root")
    return point(surrogate.domain.names, theta, number)


def _write(
    call: _SampledBlock,
    contexts: Contexts,
    surrogate: Surrogate | ImageSurrogate,
    output: Path,
    writer: AbstractContextManager[Any],
    workers: Workers,
    monitor: Monitor,
) -> dict[str, Any]:
    written, outside, total = 0, 0, 0.0
    with (
        writer as sink,
        monitor.task("sample", contexts.events, "events") as update,
    ):
        for block in _blocks(call, contexts, surrogate, workers, monitor):
            sink.write(block)
            written += len(block)
            total += float(block.weight.sum())
            outside += int(np.sum(block[EXTRAPOLATED])) if EXTRAPOLATED in block else 0
            update(written)
        runs = {
            "genEventCount": written, "genEventSumw": total, "selectedEventCount": written,
            "extrapolatedEventCount": outside, "seed": call.seed,
        }  # fmt: skip
        sink.metadata(runs | {"provenance": _provenance(call, contexts, surrogate)})
    return runs | {"events": written, "output": str(output)}


def _shape(surrogate: Surrogate | ImageSurrogate) -> tuple[int, ...] | None:
    """Of the images that it makes, if any."""
    return surrogate.code.shape if isinstance(surrogate, ImageSurrogate) else None


def _writer(
    surrogate: Surrogate | ImageSurrogate, output: Path, format: str | None, overwrite: bool
) -> Any:
    """What writes the file that the name asks for."""
    shape = _shape(surrogate)
    if shape is not None and wants_images(output, shape, format):
        from hepgen.io.hdf5 import ImageWriter

        return ImageWriter(output, shape, overwrite=overwrite)
    return event_writer(output, format=format, overwrite=overwrite)


def _blocks(
    call: _SampledBlock,
    contexts: Contexts,
    surrogate: Surrogate | ImageSurrogate,
    workers: Workers,
    monitor: Monitor,
) -> Iterator[Events]:
    """The sampled blocks in order; the first, made here, shows whether workers pay."""
    size = block_size(surrogate)
    items = (_Item(number, given) for number, given in enumerate(contexts.blocks(size)))
    first = next(items, None)
    if first is None:
        return
    start = time.monotonic()
    block = call(first)
    assert block is not None
    seconds = (time.monotonic() - start) * (math.ceil(contexts.events / size) - 1)
    yield block
    with workers.engine(None if seconds > _WORTH_WORKERS else 1) as engine:
        asked, given = tee(items)
        made = in_order(engine, call, given, engine.ahead, workers.attempts, monitor.say)
        for item, events in zip(asked, made, strict=True):
            yield _with_model(call, item, engine, workers) if events is None else events


def _with_model(call: _SampledBlock, item: _Item, engine: Engine, workers: Workers) -> Events:
    """A block by a worker that is sent the model, which it keeps for the next."""
    sent = replace(call, model=call.model.with_files())
    (events,) = in_order(engine, sent, [item], ahead=1, attempts=workers.attempts)
    assert events is not None
    return events


def _provenance(
    call: _SampledBlock, contexts: Contexts, surrogate: Surrogate | ImageSurrogate
) -> dict[str, Any]:
    return {
        "versions": versions(),
        "surrogate": {
            "model": call.model.folder.name, "method": surrogate.method,
            "density": str(surrogate.quality), "manifest": surrogate.manifest,
        },
        "contexts": contexts.identity(),
        "seeds": {"sample": call.seed, "block_size": block_size(surrogate)},
        "extrapolate": call.model.extrapolate,
    }  # fmt: skip


def _free(name: str, columns: dict[str, Any]) -> str:
    """A name for a column of the context that no column of the events has."""
    return f"{THETA}{name}" if name in columns else name


def _refuse_non_finite(columns: dict[str, NDArray[np.float64]]) -> None:
    for name, column in columns.items():
        wrong = int(np.count_nonzero(~np.isfinite(column)))
        if wrong:
            raise SimulationError(
                f"the surrogate gives {wrong} of {len(column)} values of {name!r} that are NaN or "
                "infinite; it was trained badly, or extrapolates too far"
            )


__all__ = ["BLOCK", "EXTRAPOLATED", "sample_to_file"]
