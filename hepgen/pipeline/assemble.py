"""Assemble: blocks, in order, into one file that has what normalises them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hepgen.errors import FileError
from hepgen.io.block_file import StoredBlock
from hepgen.io.plan import Plan
from hepgen.pipeline.monitor import Monitor

IMAGE_SUFFIXES = (".hdf5", ".h5")
_CONTENT, _EVENTS = "content", "events"
_RUNS = ("genEventCount", "genEventSumw", "selectedEventCount", "efficiency", "crossSection_pb",
         "seed", "failedEventCount", "outsideEventCount")  # fmt: skip


def write_blocks(
    blocks: Iterable[tuple[int, StoredBlock]],
    count: int,
    output: Path,
    plan: Plan,
    *,
    seed: int,
    image: tuple[int, ...] | None = None,
    format: str | None = None,
    overwrite: bool = False,
    monitor: Monitor,
    content: str = "",
) -> dict[str, Any]:
    """Write blocks into one file.

    Arguments:
        blocks: Their numbers and events, in order.
        count: How many there are.
        output: The file; where there are images, ``.hdf5`` and ``.h5`` ask for these.
        plan: Of their campaign: its provenance and cross-section.
        seed: Of their campaign.
        image: The shape of the images that the events have, if any.
        format: Of :data:`hepgen.io.formats.FORMATS`; by default as the name ends.
        overwrite: Replace a file that is there.
        monitor: Shows progress.
        content: What tells the file from others, see :func:`written`.

    Returns:
        What normalises the events: the row of the tree ``Runs``.
    """
    generated = selected = kept = 0
    total_weight = 0.0
    failures: list[dict[str, Any]] = []
    notes: list[tuple[int, dict[str, Any]]] = []
    with (
        _writer(output, image, format, overwrite) as writer,
        monitor.task(f"write {output.name}", count, "blocks") as update,
    ):
        for done, (number, block) in enumerate(blocks, start=1):
            writer.write(block.events)
            generated += block.generated
            selected += block.selected
            kept += len(block.events)
            total_weight += block.notes["sum_weights"]
            failures += [{"block": number} | one for one in block.notes["failures"]]
            notes.append((block.generated, block.notes["generator"]))
            update(done)
        runs = {
            "genEventCount": generated,
            "genEventSumw": total_weight,
            "selectedEventCount": selected,
            "efficiency": selected / max(generated, 1),
            "crossSection_pb": _cross_section(plan, notes),
            "seed": seed,
            "failedEventCount": len(failures),
            "outsideEventCount": outside(note for _, note in notes),
        }
        names = {k: v for k, v in (notes[0][1] if notes else {}).items() if isinstance(v, list)}
        if content:
            writer.metadata({_CONTENT: content, _EVENTS: kept})
        writer.metadata(
            runs | {"provenance": plan.provenance, "failures": failures, "weightNames": names}
        )
    return runs | {"events": kept, "output": str(output)}


def written(output: Path, content: str) -> dict[str, Any] | None:
    """What :func:`write_blocks` returned for a file that is there; None where it is another."""
    with contextlib.suppress(FileError):
        known = _metadata(output)
        if known.get(_CONTENT) == content:
            # JSON has no NaN, which stands for a cross-section that is not known.
            runs = {n: float("nan") if known.get(n) is None else known[n] for n in _RUNS}
            return runs | {"events": known[_EVENTS], "output": str(output)}
    return None


def _metadata(path: Path) -> dict[str, Any]:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        from hepgen.io.hdf5.images import ImageReader, holds_images

        if holds_images(path):
            return dict(ImageReader(path).metadata)
    from hepgen.io.formats import read_metadata

    return read_metadata(path)


def wants_images(output: Path, image: tuple[int, ...] | None, format: str | None) -> bool:
    """Whether the images of events are asked for, and not their columns."""
    return image is not None and format is None and output.suffix.lower() in IMAGE_SUFFIXES


def outside(notes: Iterable[Mapping[str, Any]]) -> int:
    """How many events had inputs at the edge of what a surrogate in the chain has seen.

    >>> outside([{"shower_outside": 2}, {}, {"shower_outside": 1}])
    3
    """
    return sum(n for note in notes for name, n in note.items() if name.endswith("_outside"))


def _writer(
    output: Path, image: tuple[int, ...] | None, format: str | None, overwrite: bool
) -> Any:
    """What writes the file that the name asks for."""
    if image is not None and wants_images(output, image, format):
        from hepgen.io.hdf5 import ImageWriter

        return ImageWriter(output, image, overwrite=overwrite)
    from hepgen.io.formats import event_writer

    return event_writer(output, format=format, overwrite=overwrite)


def _cross_section(plan: Plan, notes: Sequence[tuple[int, Mapping[str, Any]]]) -> float:
    """σ in pb at the point of the campaign; NaN where it varies or no stage knows it.

    What a generator measured in each block is averaged over the events.
    """
    if plan.varies:
        return float("nan")
    measured = [
        (n, float(note["cross_section_pb"])) for n, note in notes if "cross_section_pb" in note
    ]
    if measured:
        return sum(n * value for n, value in measured) / sum(n for n, _ in measured)
    return float("nan") if plan.cross_section_pb is None else plan.cross_section_pb
