"""What is in a folder of blocks: how much of the campaign, how sound, and what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hepgen.io.block_file import BlockFacts
from hepgen.io.blocks import BlockStore
from hepgen.io.ledger import entries
from hepgen.io.plan import Plan
from hepgen.pipeline.missing import Missing

MOST = 100
"""Missing blocks, or shards of them, that are named to machines."""
FEW = 8
"""The same for people."""


def summary(store: BlockStore) -> dict[str, Any]:
    """Facts of a folder of blocks, for machines; :func:`words` puts them for people.

    Raises:
        FileError: A block is damaged, or of another campaign.
    """
    known, plan = store.catalogue(), store.plan
    expected = plan.blocks if plan is not None else max(known, default=-1) + 1
    there = whole(known, plan) if plan is not None else known.keys()
    missing = Missing(there, expected, plan.shards if plan else 1)
    attempts = list(entries(store.folder))
    return {
        "path": str(store.folder),
        "process": store.identity.get("process"),
        "seed": store.identity.get("seed"),
        "hepgen": store.identity.get("hepgen"),
        "blocks": len(there),
        "expectedBlocks": expected,
        "missingBlockCount": missing.count,
        "missingBlocks": missing.first(MOST),
        "missingShards": missing.first_shards(MOST) if plan else [],
        "events": sum(facts.rows for facts in known.values()),
        "genEventCount": sum(facts.generated for facts in known.values()),
        "selectedEventCount": sum(facts.selected for facts in known.values()),
        "failedEventCount": sum(facts.failed for facts in known.values()),
        "bytes": sum(facts.bytes for facts in known.values()),
        "withoutChecksum": sum(not facts.checksum for facts in known.values()),
        "mixedVersions": mixed_versions(known.values()),
        "lostAttempts": [{"block": a.block, "reason": a.reason} for a in attempts],
    }


def whole(known: Mapping[int, BlockFacts], plan: Plan) -> set[int]:
    """The blocks of a plan that are as long as it says: a shorter campaign has cut its last."""
    return {
        n for n, facts in known.items()
        if n < plan.blocks and facts.generated == plan.generated(n)
    }  # fmt: skip


def mixed_versions(blocks: Iterable[BlockFacts]) -> list[str]:
    """Which versions of a package several blocks were made with, in words.

    Nothing is said of a block in which no versions were noted, as before there were any.

    >>> blocks = [BlockFacts(1, 1, 1, 1, versions=v) for v in ("a 1, b 2", "a 1, b 3", "a 1, b 3")]
    >>> mixed_versions(blocks)
    ['b 2 in 1 block, 3 in 2 blocks']
    """
    several = Counter(block.versions for block in blocks if block.versions)
    noted = [(dict(_pair(one) for one in text.split(", ")), n) for text, n in several.items()]
    found = []
    for name in dict.fromkeys(name for versions, _ in noted for name in versions):
        counts: Counter[str] = Counter()
        for versions, n in noted:
            counts[versions.get(name, "missing")] += n
        if len(counts) > 1:
            each = (f"{v} in {n} block{'s' if n > 1 else ''}" for v, n in sorted(counts.items()))
            found.append(f"{name} {', '.join(each)}")
    return found


def mixture(mixed: Sequence[str]) -> str:
    """What is said of such blocks."""
    return (
        f"warning: blocks of several versions, {'; '.join(mixed)}; they may make other events of a "
        "seed: to have them all alike, simulate again with one"
    )


def _pair(text: str) -> tuple[str, str]:
    name, _, version = text.partition(" ")
    return name, version


def words(facts: dict[str, Any]) -> str:
    """The facts as a person reads them."""
    lines = [
        f"{facts['path']}: blocks of {facts['process']!r}, seed {facts['seed']}, "
        f"by hepgen {facts['hepgen']}",
        f"  {facts['blocks']} of {facts['expectedBlocks']} blocks, {facts['bytes'] / 1e6:.1f} MB",
        f"  {facts['genEventCount']} events generated, {facts['selectedEventCount']} selected, "
        f"{facts['events']} kept",
    ]
    if facts["failedEventCount"]:
        lines.append(
            f"  {facts['failedEventCount']} events failed in a stage; `hepgen merge` writes which, "
            "and why, into the file"
        )
    if facts["missingBlocks"]:
        which = ", ".join(facts["missingShards"][:FEW]) or "some"
        more = ", …" if len(facts["missingShards"]) > FEW else ""
        lines.append(f"  missing: {facts['missingBlockCount']} blocks, of shards {which}{more}")
    if facts["mixedVersions"]:
        lines.append(f"  {mixture(facts['mixedVersions'])}")
    if facts["lostAttempts"]:
        last = facts["lostAttempts"][-1]
        lines.append(
            f"  {len(facts['lostAttempts'])} attempts were lost, the last of block "
            f"{last['block']}: {last['reason']}"
        )
    return "\n".join(lines)


def verify(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Facts, and what is wrong with the blocks, in words: damage, strangers, gaps.

    Raises:
        FileError: It is no folder of blocks.
    """
    store = BlockStore.open(folder)
    wrong = store.verify()
    facts: dict[str, Any] = {"path": str(folder)} if wrong else summary(store)
    if facts.get("missingBlocks"):
        wrong.append(
            f"{facts['missingBlockCount']} of {facts['expectedBlocks']} blocks are missing; "
            "simulate again what is missing, with the same command"
        )
    return facts | {"wrong": wrong}, wrong
