"""Simulate: the blocks of a campaign, through an engine, into a store or a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hepgen.compute import executor, in_order
from hepgen.errors import FileError, InputError
from hepgen.files import refuse_inputs, refuse_special
from hepgen.io.blocks import BlockStore, StoredBlock
from hepgen.pipeline.monitor import Monitor
from hepgen.simulators.campaign import Block, Campaign
from hepgen.simulators.chain import Chain

WORTH_A_WORKER = 1_000_000
"""Events for which it pays to start another process."""

IMAGE_SUFFIXES = (".hdf5", ".h5")


@runtime_checkable
class BlockSource(Protocol):
    """What is simulated in blocks: a :class:`hepgen.simulators.campaign.Campaign`, or alike."""

    @property
    def chain(self) -> Chain:
        """The simulator."""

    @property
    def events(self) -> int:
        """How many to generate."""

    @property
    def block_size(self) -> int:
        """Events generated in a block."""

    @property
    def blocks(self) -> int:
        """The number of blocks."""

    def identity(self) -> dict[str, Any]:
        """What its events depend on, as plain values."""

    def generated(self, block: int) -> int:
        """How many events block number ``block`` generates."""

    def simulate(self, block: int) -> Block:
        """The events of block number ``block``."""


@dataclass(frozen=True)
class _NumberedBlock:
    """The call that a worker makes."""

    campaign: BlockSource

    def __call__(self, number: int) -> Block:
        return self.campaign.simulate(number)


def run_campaign(
    campaign: BlockSource,
    store: BlockStore,
    *,
    jobs: int,
    monitor: Monitor,
    blocks: range | None = None,
    title: str = "simulate",
) -> None:
    """Simulate the blocks that the store does not have yet.

    Finished blocks are kept whatever happens; another call goes on from them.
    """
    wanted = blocks if blocks is not None else range(campaign.blocks)
    # The last block of a shorter campaign is not yet the same block of a longer one.
    missing = [n for n in wanted if store.generated(n) != campaign.generated(n)]
    if not missing:
        return
    # A worker takes seconds to start, in which this process simulates a million events.
    own = [stage.worth_a_worker for stage in campaign.chain.stages]
    worth = min([WORTH_A_WORKER, *(events for events in own if events is not None)])
    jobs = min(jobs, max(1, len(missing) * campaign.block_size // worth))
    done = (len(wanted) - len(missing)) * campaign.block_size
    with (
        monitor.task(title, len(wanted) * campaign.block_size, "events") as update,
        executor(jobs, campaign.chain.import_path) as engine,
    ):
        update(done)
        # Looking ahead alone would only lose what is computed when it is stopped.
        ahead = 2 * jobs if jobs > 1 else 1
        results = in_order(engine, _NumberedBlock(campaign), missing, ahead)
        for number, block in zip(missing, results, strict=True):
            store.write(
                number, block.events, block.generated, block.selected,
                sum_weights=block.sum_weights, failures=[asdict(f) for f in block.failures],
                generator=dict(block.notes),
            )  # fmt: skip
            done += campaign.block_size
            update(done)


def shard_blocks(campaign: Campaign, shard: str | None) -> range:
    """The blocks of one shard: ``3/100`` is the third of a hundred, counted from 1.

    Blocks are dealt out in turn, so that all shards together are the whole campaign.

    Raises:
        InputError: It is not of that form.
    """
    if shard is None:
        return range(campaign.blocks)
    part, _, whole = shard.partition("/")
    if not (part.isdecimal() and whole.isdecimal() and 1 <= int(part) <= int(whole)):
        raise InputError(f"--shard {shard!r}: expected i/n with 1 <= i <= n, e.g. 3/100")
    if int(whole) > campaign.blocks:
        raise InputError(
            f"--shard {shard!r}: {campaign.events} events are {campaign.blocks} blocks; expected "
            "at most as many shards, or a smaller simulation.block_size"
        )
    return range(int(part) - 1, campaign.blocks, int(whole))


def simulate_to_root(
    campaign: Campaign,
    output: Path,
    *,
    provenance: dict[str, Any],
    jobs: int,
    monitor: Monitor,
    shard: str | None = None,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> dict[str, Any]:
    """Simulate a campaign, or one shard of it, into one ROOT file.

    A name that ends in ``.hdf5`` or ``.h5`` asks for the images of a calorimeter instead, in the
    layout of the CaloChallenge.

    Blocks are first stored beside the output, so that a stopped simulation goes on where it
    was, and are removed when the file is complete.

    Arguments:
        campaign: What to simulate.
        output: The file to make.
        provenance: What is noted in it.
        jobs: Worker processes.
        monitor: Shows progress.
        shard: ``i/n``: only the i-th of n parts.
        overwrite: Replace a regular file that is there.
        inputs: Files that are read, and so are never replaced.

    Returns:
        What normalises the events: the row of the tree ``Runs``.

    Raises:
        FileError: The output exists and may not be replaced, or cannot be written.
        InputError: Images are asked for, and there are none, or more than images.
    """
    if output.suffix.lower() in IMAGE_SUFFIXES:
        _check_images(campaign, output)
    if output.exists() and not overwrite:
        raise FileError(f"{output} exists; choose another output, or give --force to replace it")
    refuse_special(output)
    refuse_inputs(output, inputs)
    blocks = shard_blocks(campaign, shard)
    store = BlockStore(output.with_name(output.name + ".blocks"), campaign.identity())
    try:
        run_campaign(campaign, store, jobs=jobs, monitor=monitor, blocks=blocks)
    finally:
        # What failed before its first block has nothing to go on from.
        if store.empty:
            store.remove()
    runs = _write(campaign, store, output, blocks, provenance, monitor, overwrite)
    store.remove()
    return runs


def nothing_selected(campaign: Campaign) -> str:
    """Why a file may have no events, in words: which stage selects, with which options."""
    chain = campaign.chain
    stages = [stage.name for stage in chain.stages if "selected" in stage.provides]
    options = ", ".join(f"{k} = {v!r}" for k, v in chain.options.items() if k != "stages")
    return (
        f"no event is selected by the stage {', '.join(map(repr, stages))} of the chain "
        f"{chain.name!r} ({options or 'without options'}); loosen its selection, or generate more "
        "events (--all keeps those that are not selected)"
    )


def _check_images(campaign: Campaign, output: Path) -> None:
    """Refuse, before anything is simulated, what a file of images cannot hold."""
    if campaign.chain.image is None:
        raise InputError(
            f"{output}: {output.suffix} is for calorimeter images, and the process "
            f"{campaign.chain.name!r} makes none; give a name that ends in .root"
        )
    if campaign.latents or campaign.scores or campaign.ratios:
        raise InputError(
            f"{output}: a file of images holds nothing but energies and showers; write latents, "
            "scores and ratios (--latents, --augment) to a name that ends in .root"
        )


def _writer(campaign: Campaign, output: Path, overwrite: bool) -> Any:
    """What writes the file that the name asks for."""
    if output.suffix.lower() in IMAGE_SUFFIXES and campaign.chain.image is not None:
        from hepgen.io.hdf5 import ImageWriter

        return ImageWriter(output, campaign.chain.image, overwrite=overwrite)
    from hepgen.io.root import RootWriter

    return RootWriter(output, overwrite=overwrite)


def _write(
    campaign: Campaign,
    store: BlockStore,
    output: Path,
    blocks: range,
    provenance: dict[str, Any],
    monitor: Monitor,
    overwrite: bool,
) -> dict[str, Any]:
    generated = selected = kept = 0
    total_weight = 0.0
    failures: list[dict[str, Any]] = []
    notes: list[tuple[int, dict[str, Any]]] = []
    with (
        _writer(campaign, output, overwrite) as writer,
        monitor.task(f"write {output.name}", len(blocks), "blocks") as update,
    ):
        for done, (number, block) in enumerate(_blocks(store, blocks), start=1):
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
            "crossSection_pb": _cross_section(campaign, notes),
            "seed": campaign.seed,
            "failedEventCount": len(failures),
        }
        names = {k: v for k, v in (notes[0][1] if notes else {}).items() if isinstance(v, list)}
        writer.metadata(
            runs | {"provenance": provenance, "failures": failures, "weightNames": names}
        )
    return runs | {"events": kept, "output": str(output)}


def _blocks(store: BlockStore, blocks: range) -> Iterator[tuple[int, StoredBlock]]:
    for number in blocks:
        yield number, store.read(number)


def _cross_section(campaign: Campaign, notes: Sequence[tuple[int, Mapping[str, Any]]]) -> float:
    """σ in pb at the point of the campaign; NaN where it varies or no stage knows it.

    What a generator measured in each block is averaged over the events.
    """
    if campaign.varies:
        return float("nan")
    measured = [
        (n, float(note["cross_section_pb"])) for n, note in notes if "cross_section_pb" in note
    ]
    if measured:
        return sum(n * value for n, value in measured) / sum(n for n, _ in measured)
    values = campaign.parameters.values(None, **campaign.fixed)
    known = (stage.cross_section(values) for stage in campaign.chain.stages)
    return next((float(value) for value in known if value is not None), float("nan"))
