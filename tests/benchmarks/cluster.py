"""Events of zmumu through a Dask cluster of one and of two workers, in the same run.

    python tests/benchmarks/cluster.py [--events 2e6] [--block-size 65536] [--rounds 10]

Workers have one thread each, in the clusters that ``--dask local`` starts. In each of some rounds
a part of the campaign is simulated by the chain alone, in this process on one thread; then by one
worker and by two, into folders that grow from round to round, so that a machine that is faster at
times is so for all three. The memory of each worker is looked at on the way. Then the time to the
first block of a campaign of ``--blocks``, and a worker that is killed while it works. The long form
is ``--events 2e7``. What else runs on the machine is in the numbers: the load is printed.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from hepgen.compute import Workers, completed, one_thread
from hepgen.compute.dask import local_cluster
from hepgen.io.blocks import BlockStore
from hepgen.pipeline.monitor import Silent, Update
from hepgen.pipeline.requests import simulation_campaign
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import _NumberedBlock, run_campaign
from hepgen.simulators.campaign import Campaign

_LOOK_SECONDS = 0.2
WORKFLOW = Path(__file__).parents[2] / "workflows" / "zmumu.toml"


def main() -> None:
    """Print each number beside what is asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", default="2e6")
    parser.add_argument("--block-size", type=int)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--blocks", type=int, default=10_000, help="of the campaign of many")
    chosen = parser.parse_args()
    size = [f"simulation.block_size={chosen.block_size}"] if chosen.block_size else []
    session = Session.open(WORKFLOW, size)
    campaign = simulation_campaign(session, events=chosen.events, theta=["prior"])
    print(f"{campaign.events} events in {campaign.blocks} blocks; load {os.getloadavg()[0]:.1f} on "
          f"{len(os.sched_getaffinity(0))} cores", flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        compared(campaign, Path(place), chosen.rounds)
        many = simulation_campaign(
            session, events=str(chosen.blocks * campaign.block_size), theta=["prior"]
        )
        with local_cluster(2) as two:
            first_block(many, Path(place) / "many", two)
            killed(campaign, Path(place) / "killed", two)


def compared(campaign: Campaign, place: Path, rounds: int) -> None:
    """The chain alone, one worker and two, in turn."""
    seconds = []
    with local_cluster(1) as one, local_cluster(2) as two:
        runs = [Run(campaign, place / str(len(made.workers)), made) for made in (one, two)]
        for blocks in parts(campaign.blocks, rounds):
            taken = (chain_alone(campaign, blocks), *(run.through(blocks) for run in runs))
            seconds.append(taken)
            print("round {}: {:.1f} s alone, {:.1f} s by one worker, {:.1f} s by two; overhead "
                  "{:.3f}, ratio {:.2f}".format(len(seconds), *taken, taken[1] / taken[0] - 1,
                                                taken[1] / taken[2]), flush=True)  # fmt: skip
        for run in runs:
            print(run.memory.words(), flush=True)
    alone, by_one, by_two = (sum(column) for column in zip(*seconds, strict=True))
    print(f"{campaign.events / by_one:.0f} events/s by one worker, {campaign.events / by_two:.0f} "
          f"by two; client and scheduler {1e3 * runs[0].busy / campaign.blocks:.1f} and "
          f"{1e3 * runs[1].busy / campaign.blocks:.1f} ms of CPU a block")  # fmt: skip
    print(
        f"store, checksum and engine beyond the chain: asked < 0.10, measured "
        f"{by_one / alone - 1:.3f} ({alone:.1f} s alone, {by_one:.1f} s by one worker)"
    )
    print(f"two workers over one: asked >= 1.8, measured {by_one / by_two:.2f}", flush=True)


def parts(blocks: int, rounds: int) -> list[range]:
    """All blocks, in so many ranges."""
    edges = [blocks * n // rounds for n in range(rounds + 1)]
    return [range(low, high) for low, high in pairwise(edges) if high > low]


def pids(made: Any) -> list[int]:
    """The processes of the workers."""
    return [nanny.pid for nanny in made.workers.values()]


def chain_alone(campaign: Campaign, blocks: range) -> float:
    """Seconds that the chain takes for some blocks, without what only the first costs."""
    with one_thread():
        campaign.simulate(blocks[0])
        started = time.perf_counter()
        for number in blocks:
            campaign.simulate(number)
        return time.perf_counter() - started


class Memory(Silent):
    """Looks at the resident memory of processes as a task goes on.

    Arguments:
        processes: Their numbers.
    """

    def __init__(self, processes: list[int]) -> None:
        self.processes = processes
        self.seen: list[list[float]] = []
        self.looked = -math.inf

    @contextmanager
    def task(self, title: str, total: float, unit: str = "") -> Iterator[Update]:
        """A task, at each of whose steps somebody looks."""
        del title, total, unit

        def update(done: float, words: str = "") -> None:
            del done, words
            if time.monotonic() > self.looked + _LOOK_SECONDS:
                self.looked = time.monotonic()
                self.seen.append([resident(pid) for pid in self.processes])

        yield update

    def words(self) -> str:
        """What was seen at the start, in the middle, and at the end."""
        at = [
            ", ".join(f"{size:.0f}" for size in self.seen[n]) for n in (0, len(self.seen) // 2, -1)
        ]
        return (f"{len(self.processes)} workers: resident at the start / middle / end "
                f"{' / '.join(at)} MiB, asked flat and < 1024")  # fmt: skip


def resident(pid: int) -> float:
    """The resident memory of a process, MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


class Run:
    """A campaign that the workers of a cluster simulate, part by part.

    Arguments:
        campaign: What to simulate.
        folder: Where the blocks go.
        made: The cluster; what only the first block of each worker costs is spent here.
    """

    def __init__(self, campaign: Campaign, folder: Path, made: Any) -> None:
        self.campaign, self.store = campaign, BlockStore(folder, campaign.identity())
        self.workers = Workers(dask=made.scheduler_address)
        self.memory, self.busy = Memory(pids(made)), 0.0
        warm = BlockStore(folder.with_name(f"{folder.name}-warm"), campaign.identity())
        with self.workers.engine() as engine:
            call = _NumberedBlock(campaign, warm.folder)
            first = range(min(2 * len(made.workers), campaign.blocks))
            list(completed(engine, call, first))

    def through(self, blocks: range) -> float:
        """Seconds that they take for some blocks."""
        started, busy = time.perf_counter(), time.process_time()
        run_campaign(
            self.campaign, self.store, workers=self.workers, monitor=self.memory, blocks=blocks
        )
        self.busy += time.process_time() - busy
        return time.perf_counter() - started


def first_block(campaign: Campaign, folder: Path, made: Any) -> None:
    """From the submission of a campaign of many blocks until the first is in its folder."""
    store = BlockStore(folder, campaign.identity())
    started = time.perf_counter()
    with Workers(dask=made.scheduler_address).engine() as engine:
        done = completed(engine, _NumberedBlock(campaign, store.folder), range(campaign.blocks))
        next(done)
        seconds = time.perf_counter() - started
        print(f"first event of {campaign.blocks} blocks: asked <= 5, measured {seconds:.2f} s",
              flush=True)  # fmt: skip


@dataclass(frozen=True)
class Counted:
    """A call that leaves a file for each time it is begun.

    Arguments:
        call: The call.
        folder: Where the files are left.
    """

    call: _NumberedBlock
    folder: Path

    def __call__(self, number: int) -> bytes | None:
        os.close(tempfile.mkstemp(dir=self.folder, prefix=f"{number}-")[0])
        return self.call(number)


def killed(campaign: Campaign, folder: Path, made: Any) -> None:
    """How many blocks have to be made again because a worker is killed at a third of the way."""
    store, begun = BlockStore(folder, campaign.identity()), folder.with_name("begun")
    begun.mkdir()
    losses: list[str] = []
    with Workers(dask=made.scheduler_address).engine() as engine:
        call = Counted(_NumberedBlock(campaign, store.folder), begun)
        results = completed(
            engine, call, range(campaign.blocks), lost=lambda *what: losses.append(what[2])
        )
        for done, _ in enumerate(results, 1):
            if done == max(campaign.blocks // 3, 1):
                os.kill(pids(made)[0], signal.SIGKILL)
    again = len(list(begun.iterdir())) - campaign.blocks
    sound = len(store.catalogue()) == campaign.blocks and not store.verify()
    print(f"kill -9 of a worker: asked <= 1 block lost, measured {again} begun again, "
          f"{len(losses)} noted; all {campaign.blocks} there and sound: {sound}")  # fmt: skip


if __name__ == "__main__":
    main()
