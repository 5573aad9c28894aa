"""What the store and the engine of a campaign cost beside the bare chain, and how they scale.

    python tests/benchmarks/store.py [--blocks 40] [--many 10000] [--dask]

All in one run, one process and one thread, as a worker has, in turns: the chain alone, what a
block costs to encode, with its checksum, and to write and flush to disk; then a folder of so many
blocks, opened; then, with ``--dask``, a campaign of 10⁸ events on a cluster of two workers, until
its first block is there.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hepgen.compute import Workers, completed
from hepgen.io.block_file import StoredBlock, decode, encode
from hepgen.io.blocks import BlockStore
from hepgen.io.manifest import MANIFEST, block_path
from hepgen.pipeline.requests import simulation_campaign
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import _NumberedBlock, stored
from hepgen.simulators.campaign import Block, Campaign

WORKFLOW = Path(__file__).parents[2] / "workflows" / "zmumu.toml"


def main() -> None:
    """Print each number beside what is asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--dask", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    session = Session.open(WORKFLOW)
    campaign = simulation_campaign(session, events="1e8", theta=["prior"])
    with tempfile.TemporaryDirectory() as place:
        store = BlockStore(Path(place) / "a.blocks", campaign.identity())
        overhead(campaign, store, chosen.blocks)
        many(store, chosen.many)
        if chosen.dask:
            first_block(campaign, Path(place) / "b.blocks")


def overhead(campaign: Campaign, store: BlockStore, blocks: int) -> None:
    """The parts of a block, medians over blocks."""
    campaign.simulate(0)  # what only the first costs
    parts: dict[str, list[float]] = {}

    def timed(name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        result = call(*arguments)
        parts.setdefault(name, []).append(time.perf_counter() - started)
        return result

    peaks = []
    for number in range(blocks):
        block = timed("chain", campaign.simulate, number)
        content = timed("encode", encoded, campaign, block, number)
        timed("write", store.put, number, content)
        timed("read", decode, block_path(store.folder, number), number)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    chain, encoding, writing, reading = (statistics.median(t) for t in parts.values())
    share = (encoding + writing) / chain
    print(f"chain {1e3 * chain:.1f} ms a block of {campaign.block_size} events and "
          f"{len(content) / 1e6:.1f} MB; encode with checksum {1e3 * encoding:.1f} ms, write and "
          f"flush {1e3 * writing:.1f} ms, read with checksum {1e3 * reading:.1f} ms")  # fmt: skip
    print(f"store over chain: asked < 0.10, measured {share:.3f}")
    print(f"largest resident set after 1 / {blocks} blocks: {peaks[0]:.0f} / {peaks[-1]:.0f} MiB, "
          "asked flat and < 1024")  # fmt: skip


def encoded(campaign: Campaign, block: Block, number: int) -> bytes:
    """What a worker does with a block before it is written."""
    return encode(stored(block), campaign.identity(), number)


def many(store: BlockStore, blocks: int) -> None:
    """A folder of many blocks: opened with its manifest, and without."""
    whole = store.read(0)
    small = StoredBlock(whole.events.select(slice(10)), 10, 10, whole.notes)
    for number in range(blocks):
        block_path(store.folder, number).write_bytes(encode(small, store.identity, number))
    (store.folder / MANIFEST).unlink()
    for words in ("rebuilt from the blocks", "from the manifest (asked < 1)"):
        started = time.perf_counter()
        assert len(BlockStore(store.folder, store.identity).catalogue()) == blocks
        print(f"catalogue of {blocks} blocks {words}: {time.perf_counter() - started:.2f} s")


def first_block(campaign: Campaign, folder: Path) -> None:
    """From the submission of a campaign until its first block is in the folder."""
    store = BlockStore(folder, campaign.identity())
    blocks = campaign.blocks
    with Workers(2, dask="local").engine() as engine:
        engine.submit(abs, 1).result()
        started = time.perf_counter()
        call = _NumberedBlock(campaign, store.folder)
        for _ in completed(engine, call, range(blocks)):
            print(f"first of {blocks} blocks on a cluster that runs: "
                  f"{time.perf_counter() - started:.2f} s, asked < 5")  # fmt: skip
            break


if __name__ == "__main__":
    main()
