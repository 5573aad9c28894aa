"""Merge: the blocks of shards, from one folder or many, into one folder or one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hepgen.errors import FileError, InputError
from hepgen.files import refuse_special
from hepgen.io.block_file import StoredBlock, check, identity_digest
from hepgen.io.blocks import SUFFIX, BlockStore, output_folder
from hepgen.io.formats import format_of
from hepgen.io.manifest import block_path
from hepgen.io.plan import Plan
from hepgen.pipeline.assemble import write_blocks
from hepgen.pipeline.blocks import FEW, mixed_versions, summary, whole
from hepgen.pipeline.missing import Missing
from hepgen.pipeline.monitor import Monitor


@dataclass(frozen=True)
class Parts:
    """The blocks of one campaign in several folders, each block in one of them.

    Arguments:
        homes: Block number → the folder it is in, from 0 to the last without a gap.
        plan: Of the campaign.
    """

    homes: dict[int, BlockStore]
    plan: Plan

    @classmethod
    def of(cls, folders: Sequence[Path]) -> Parts:
        """The blocks in some folders.

        Raises:
            FileError: One is no folder of blocks, they are of several campaigns, a block is in
                two of them, or one is missing.
        """
        stores = [BlockStore.open(folder) for folder in folders]
        if not stores:
            raise InputError("nothing to merge; expected folders of blocks")
        _same_campaign(stores)
        homes = _homes(stores)
        plan = _plan(stores, homes)
        _complete(stores, plan)
        return cls({number: homes[number] for number in range(plan.blocks)}, plan)

    @property
    def mixed_versions(self) -> list[str]:
        """See :func:`hepgen.pipeline.blocks.mixed_versions`."""
        known = (store.catalogue() for store in set(self.homes.values()))
        return mixed_versions(facts for one in known for facts in one.values())

    def read(self) -> Iterator[tuple[int, StoredBlock]]:
        """The blocks in order, one at a time."""
        for number, store in self.homes.items():
            yield number, store.read(number)


def merge(
    folders: Sequence[Path],
    output: Path,
    *,
    format: str | None = None,
    overwrite: bool = False,
    monitor: Monitor,
) -> dict[str, Any]:
    """Merge folders of blocks.

    Arguments:
        folders: Those of the shards.
        output: A file, or another folder, whose name ends in ``.blocks``.
        format: Of :data:`hepgen.io.formats.FORMATS`; by default as the name ends.
        overwrite: Replace an output that is there.
        monitor: Shows progress.

    Returns:
        What is in the output.

    Blocks made with several versions of a package are merged, and both are named, in what is
    returned and in the provenance of a file.

    Raises:
        FileError: See :meth:`Parts.of`; or the output exists and may not be replaced.
    """
    parts = Parts.of(folders)
    if output.suffix == SUFFIX:
        return _into_folder(parts, output, overwrite, monitor)
    format_of(output, format)
    if output.exists() and not overwrite:
        raise FileError(f"{output} exists; choose another output, or give --force to replace it")
    refuse_special(output)
    seed = int(parts.homes[0].identity["seed"])
    mixed = {"mixedVersions": versions} if (versions := parts.mixed_versions) else {}
    plan = replace(parts.plan, provenance={**parts.plan.provenance, **mixed})
    facts = write_blocks(
        parts.read(), len(parts.homes), output, plan, seed=seed, format=format,
        overwrite=overwrite, monitor=monitor,
    )  # fmt: skip
    return facts | mixed


def _into_folder(parts: Parts, output: Path, overwrite: bool, monitor: Monitor) -> dict[str, Any]:
    inside = any(home.folder.resolve() == output.resolve() for home in parts.homes.values())
    store = output_folder(output, parts.homes[0].identity, parts.plan, overwrite and not inside)
    with monitor.task(f"merge into {output.name}", len(parts.homes), "blocks") as update:
        for done, (number, home) in enumerate(parts.homes.items(), start=1):
            if home.folder.resolve() != output.resolve():
                home.read(number)  # which checks it
                content = block_path(home.folder, number).read_bytes()
                if not _has(store, number, parts.plan, content, overwrite):
                    store.put(number, content)
            update(done)
    return summary(store)


def _has(store: BlockStore, number: int, plan: Plan, content: bytes, overwrite: bool) -> bool:
    """Whether a block is there already, to the byte.

    Raises:
        FileError: Another is, which may not be replaced: it is sound, and whole.
    """
    path = block_path(store.folder, number)
    if not path.exists() or path.read_bytes() == content:
        return path.exists()
    if not overwrite and _is_sound(path) and store.generated(number) >= plan.generated(number):
        raise FileError(
            f"{path} is another block than number {number} of what is merged, of other versions "
            "perhaps; choose another output, or give --force to replace it"
        )
    return False


def _is_sound(path: Path) -> bool:
    try:
        check(path)
    except FileError:
        return False
    return True


def _same_campaign(stores: Sequence[BlockStore]) -> None:
    first = stores[0]
    for other in stores[1:]:
        if identity_digest(other.identity) != identity_digest(first.identity):
            raise FileError(
                f"{first.folder} and {other.folder} hold blocks of two campaigns "
                f"({other.difference(first.identity)}, by {first.folder}); merge those of one"
            )


def _homes(stores: Sequence[BlockStore]) -> dict[int, BlockStore]:
    homes: dict[int, BlockStore] = {}
    for store in stores:
        for number in store.catalogue():
            if number in homes:
                raise FileError(
                    f"shards overlap: block {number} is in {homes[number].folder} and in "
                    f"{store.folder}; name each folder once, and of two with the same shard one"
                )
            homes[number] = store
    return homes


def _plan(stores: Sequence[BlockStore], homes: dict[int, BlockStore]) -> Plan:
    """What the folders are meant to hold; where none says so, what is there."""
    if not homes:
        raise FileError(f"{stores[0].folder} has no blocks; simulate them first")
    plans = [plan for plan in (store.plan for store in stores) if plan is not None]
    if plans:
        return max(plans, key=lambda plan: plan.events)
    last = max(homes)
    size = int(stores[0].identity["block_size"])
    return Plan(last * size + homes[last].generated(last), size, varies=True)


def _complete(stores: Sequence[BlockStore], plan: Plan) -> None:
    """Refuse a gap, and a last block that an earlier, shorter campaign cut."""
    known = {n: facts for store in stores for n, facts in store.catalogue().items()}
    missing = Missing(whole(known, plan), plan.blocks, plan.shards)
    if not missing.count:
        return
    shown = ", ".join(map(str, missing.first(FEW))) + (", …" if missing.count > FEW else "")
    shards = ", ".join(missing.first_shards(FEW))
    raise FileError(
        f"{missing.count} of {plan.blocks} blocks are missing: {shown}; "
        + (f"they are of --shard {shards}: " if plan.shards > 1 else "")
        + "run the command that simulates them again, it makes only what is missing"
    )
