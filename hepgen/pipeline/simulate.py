"""Simulate: the blocks of a campaign, through an engine, into a store or a file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hepgen.compute import Workers, completed, versions_of_events
from hepgen.errors import FileError, InputError
from hepgen.files import refuse_inputs, refuse_special
from hepgen.io.block_file import StoredBlock, encode, identity_digest
from hepgen.io.blocks import BEACON, SUFFIX, BlockStore, other_campaign, output_folder, put
from hepgen.io.formats import format_of
from hepgen.io.ledger import Attempt, enter
from hepgen.io.plan import Plan
from hepgen.pipeline.assemble import wants_images, write_blocks, written
from hepgen.pipeline.blocks import summary
from hepgen.pipeline.monitor import Monitor
from hepgen.simulators.campaign import Block, Campaign
from hepgen.simulators.chain import Chain

UNFINISHED = ".partial"
"""Blocks of a file that is not complete are in a folder of its name and this: one that nobody can
ask for, so that a user's own blocks are never taken for them."""

MOST_BLOCKS = 10_000_000
"""Each is a file of a folder, and has a line in a list of what is missing."""

WORTH_A_WORKER = 1_000_000
"""Events for which it pays to start another process."""


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
    """The call that a worker makes: simulate a block and write it, where it sees the folder.

    So that many workers are not held up by one process that writes, and events do not travel.

    Arguments:
        campaign: What to simulate.
        folder: Of the store.
        beacon: A file in the folder that only who shares the disk can see; None where that is
            sure.
    """

    campaign: BlockSource
    folder: Path
    beacon: str | None = None

    def __call__(self, number: int) -> bytes | None:
        content = encode(stored(self.campaign.simulate(number)), self.campaign.identity(), number)
        if self.beacon is not None and not (self.folder / self.beacon).exists():
            return content
        put(self.folder, self.campaign.identity(), number, content)
        return None


def stored(block: Block) -> StoredBlock:
    """A block as it is kept, with plain notes."""
    notes = {
        "sum_weights": block.sum_weights,
        "failures": [asdict(failure) for failure in block.failures],
        "generator": dict(block.notes),
        "versions": versions_of_events(),
    }
    return StoredBlock(block.events, block.generated, block.selected, notes)


def run_campaign(
    campaign: BlockSource,
    store: BlockStore,
    *,
    workers: Workers = Workers(),  # noqa: B008 (frozen)
    monitor: Monitor,
    blocks: range | None = None,
    title: str = "simulate",
) -> None:
    """Simulate the blocks that the store does not have yet.

    Finished blocks are kept whatever happens; another call goes on from them. Blocks whose
    worker died or hung are simulated again, and noted in the ledger of the store.

    Raises:
        SimulationError: A stage failed, or blocks were lost again and again.
    """
    _check_blocks(campaign)
    wanted = blocks if blocks is not None else range(campaign.blocks)
    there = store.catalogue()
    # The last block of a shorter campaign is not yet the same block of a longer one.
    missing = [n for n in wanted if n not in there or there[n].generated != campaign.generated(n)]
    if not missing:
        return

    def lost(number: int, attempt: int, reason: str) -> None:
        enter(store.folder, Attempt(number, attempt, reason))
        monitor.say(f"block {number}, attempt {attempt}: {reason}")

    done = (len(wanted) - len(missing)) * campaign.block_size
    with (
        monitor.task(title, len(wanted) * campaign.block_size, "events") as update,
        workers.engine(_worth(campaign, len(missing)), campaign.chain.import_path) as engine,
        _beacon(store.folder, engine.shares_disk) as beacon,
    ):
        update(done)
        call = _NumberedBlock(campaign, store.folder.resolve(), beacon)
        for number, content in completed(
            engine, call, missing, workers.attempts, lost, monitor.say
        ):
            if content is not None:
                store.put(number, content)
            done += campaign.block_size
            update(done)


def _check_blocks(campaign: BlockSource) -> None:
    if campaign.blocks > MOST_BLOCKS:
        raise InputError(
            f"{campaign.events:g} events in blocks of {campaign.block_size} are "
            f"{campaign.blocks:g} blocks; expected at most {MOST_BLOCKS:g}: ask for fewer events, "
            "or for larger blocks (simulation.block_size)"
        )


def _worth(campaign: BlockSource, blocks: int) -> int:
    """How many processes are worth starting."""
    # A worker takes seconds to start, in which this process simulates a million events.
    own = [stage.worth_a_worker for stage in campaign.chain.stages]
    worth = min([WORTH_A_WORKER, *(events for events in own if events is not None)])
    return max(1, blocks * campaign.block_size // worth)


@contextmanager
def _beacon(folder: Path, sure: bool) -> Iterator[str | None]:
    """A file by which workers elsewhere find out whether they share the disk."""
    if sure:
        yield None
        return
    with tempfile.NamedTemporaryFile(dir=folder, prefix=BEACON) as file:
        yield Path(file.name).name


def shard_blocks(campaign: Campaign, shard: str | None) -> range:
    """The blocks of one shard: ``3/100`` is the third of a hundred, counted from 1.

    Blocks are dealt out in turn, so that all shards together are the whole campaign.

    Raises:
        InputError: It is not of that form.
    """
    _check_blocks(campaign)
    blocks = shard_range(campaign.blocks, shard)
    if shard is not None and int(shard.partition("/")[2]) > campaign.blocks:
        raise InputError(
            f"--shard {shard!r}: {campaign.events} events are {campaign.blocks} blocks; expected "
            "at most as many shards, or a smaller simulation.block_size"
        )
    return blocks


def shard_range(blocks: int, shard: str | None) -> range:
    """The same for a number of blocks; empty where there are more shards than blocks.

    >>> list(shard_range(8, "3/3"))
    [2, 5]

    Raises:
        InputError: It is not of the form ``i/n``.
    """
    if shard is None:
        return range(blocks)
    part, _, whole = shard.partition("/")
    if not (part.isdecimal() and whole.isdecimal() and 1 <= int(part) <= int(whole)):
        raise InputError(f"--shard {shard!r}: expected i/n with 1 <= i <= n, e.g. 3/100")
    return range(int(part) - 1, blocks, int(whole))


def simulate_to_file(
    campaign: Campaign,
    output: Path,
    *,
    provenance: dict[str, Any],
    workers: Workers = Workers(),  # noqa: B008 (frozen)
    monitor: Monitor,
    shard: str | None = None,
    format: str | None = None,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> dict[str, Any]:
    """Simulate a campaign, or one shard of it, into one file.

    Of a process with a calorimeter, a name that ends in ``.hdf5`` or ``.h5`` asks for its images,
    in the layout of the CaloChallenge, unless a format is given.

    Blocks are first stored beside the output, so that a stopped simulation goes on where it
    was, and are removed when the file is complete.

    Arguments:
        campaign: What to simulate.
        output: The file to make.
        provenance: What is noted in it.
        workers: Who simulates.
        monitor: Shows progress.
        shard: ``i/n``: only the i-th of n parts.
        format: Of :data:`hepgen.io.formats.FORMATS`; by default as the name ends.
        overwrite: Replace a regular file that is there.
        inputs: Files that are read, and so are never replaced.

    Returns:
        What normalises the events: the row of the tree ``Runs``.

    Raises:
        FileError: The output exists and may not be replaced, or cannot be written.
        InputError: There is no such format; or more than images is asked for, in a file of them.
    """
    if wants_images(output, campaign.chain.image, format):
        _check_images(campaign, output)
    else:
        format_of(output, format)
    content, folder = _content(campaign, shard), output.with_name(output.name + UNFINISHED)
    if output.exists() and not overwrite:
        if (known := _left(campaign, folder, output, content)) is not None:
            return known
        raise FileError(f"{output} exists; choose another output, or give --force to replace it")
    refuse_special(output)
    refuse_inputs(output, inputs)
    blocks = shard_blocks(campaign, shard)
    store = _unfinished(folder, campaign, plan_of(campaign, shard, provenance), overwrite)
    try:
        run_campaign(campaign, store, workers=workers, monitor=monitor, blocks=blocks)
    finally:
        # What failed before its first block has nothing to go on from.
        if store.empty:
            store.remove()
    runs = write_blocks(
        ((number, store.read(number)) for number in blocks), len(blocks),
        output, plan_of(campaign, shard, provenance), seed=campaign.seed,
        image=campaign.chain.image, format=format, overwrite=overwrite, monitor=monitor,
        content=content,
    )  # fmt: skip
    store.remove()
    return runs


def _unfinished(folder: Path, campaign: Campaign, plan: Plan, overwrite: bool) -> BlockStore:
    """The blocks of a file that is not complete yet.

    Raises:
        FileError: They are of another campaign, or more of this one, and may not be removed.
    """
    if overwrite and folder.is_dir() and other_campaign(folder, campaign.identity()):
        BlockStore.open(folder).remove()
    store = BlockStore(folder, campaign.identity())
    if not overwrite and store.exceeds(plan):
        raise FileError(
            f"{folder} has the blocks of an unfinished simulation of more than {plan.events} "
            "events; ask for as many as before to go on, choose another output, or give --force"
        )
    return store


def _content(campaign: Campaign, shard: str | None) -> str:
    """What tells a file of this campaign from one of another, or of another part of it."""
    return identity_digest(
        {"campaign": campaign.identity(), "events": campaign.events, "shard": shard}
    )


def _left(campaign: Campaign, folder: Path, output: Path, content: str) -> dict[str, Any] | None:
    """Facts of the file, where a process was killed between it and the removal of its blocks.

    The removal is finished. None where the file is of something else, or nothing is left.
    """
    if not folder.is_dir() or (known := written(output, content)) is None:
        return None
    if any(folder.iterdir()) and other_campaign(folder, campaign.identity()):
        return None
    BlockStore(folder, campaign.identity()).remove()
    return known


def simulate_to_blocks(
    campaign: Campaign,
    output: Path,
    *,
    provenance: dict[str, Any],
    workers: Workers = Workers(),  # noqa: B008 (frozen)
    monitor: Monitor,
    shard: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Simulate a campaign, or one shard of it, into a folder of blocks that stays.

    A folder that holds a part of this campaign already goes on from there; several processes,
    each with a shard of its own, may fill one folder. :func:`hepgen.pipeline.merge.merge` makes
    one file of it.

    Arguments:
        campaign: What to simulate.
        output: The folder, whose name ends in ``.blocks``.
        provenance: What is noted in it.
        workers: Who simulates.
        monitor: Shows progress.
        shard: ``i/n``: only the i-th of n parts.
        overwrite: Remove the blocks of another campaign that are there, or more of this one.

    Returns:
        What is in the folder: see :func:`hepgen.pipeline.blocks.summary`.

    Raises:
        FileError: The folder holds another campaign, or more of this one, or cannot be written.
    """
    blocks = shard_blocks(campaign, shard)
    if output.exists() and not output.is_dir():
        raise FileError(f"{output} is a file; a name that ends in {SUFFIX} is a folder of blocks")
    plan = plan_of(campaign, shard, provenance)
    store = output_folder(output, campaign.identity(), plan, overwrite)
    run_campaign(campaign, store, workers=workers, monitor=monitor, blocks=blocks)
    store.intend(plan)  # a shorter one may have begun before the first block was there
    return summary(store)


def plan_of(campaign: BlockSource, shard: str | None, provenance: dict[str, Any]) -> Plan:
    """What a folder, or a file, of this campaign holds in the end."""
    shards = int(shard.partition("/")[2]) if shard else 1
    known = known_cross_section(campaign) if isinstance(campaign, Campaign) else None
    varies = not isinstance(campaign, Campaign) or campaign.varies
    return Plan(campaign.events, campaign.block_size, shards, varies, known, provenance)


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
    if campaign.latents or campaign.scores or campaign.ratios:
        raise InputError(
            f"{output}: a file of images holds nothing but energies and showers; write latents, "
            "scores and ratios (--latents, --augment) to a name that ends in .root, or with "
            "--format hdf5"
        )


def known_cross_section(campaign: Campaign) -> float | None:
    """σ in pb at the point of the campaign; None where it varies or no stage knows it."""
    if campaign.varies:
        return None
    values = campaign.parameters.values(None, **campaign.fixed)
    known = (stage.cross_section(values) for stage in campaign.chain.stages)
    return next((float(value) for value in known if value is not None), None)
