"""Events of zmumu through a Dask cluster of one and of two workers, in the same run.

    python tests/benchmarks/cluster.py [--events 2e6] [--block-size 65536] [--blocks 10000]

Workers have one thread each. First the chain alone, in this process on one thread; then the same
events by one worker and by two, into folders, with the memory of each worker on the way; then the
time to the first block of a campaign of many; then a worker that is killed while it works. The long
form is ``--events 2e7``. What else runs on the machine is in the numbers: the load is printed.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributed

from hepgen.compute import Workers, completed, one_thread
from hepgen.io.blocks import BlockStore
from hepgen.pipeline.monitor import Silent, Update
from hepgen.pipeline.requests import simulation_campaign
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import _NumberedBlock, run_campaign
from hepgen.simulators.campaign import Campaign

WORKFLOW = Path(__file__).parents[2] / "workflows" / "zmumu.toml"


def main() -> None:
    """Print each number beside what is asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", default="2e6")
    parser.add_argument("--block-size", type=int)
    parser.add_argument("--blocks", type=int, default=10_000, help="of the campaign of many")
    chosen = parser.parse_args()
    size = [f"simulation.block_size={chosen.block_size}"] if chosen.block_size else []
    session = Session.open(WORKFLOW, size)
    campaign = simulation_campaign(session, events=chosen.events, theta=["prior"])
    print(f"{campaign.events} events in {campaign.blocks} blocks; load {os.getloadavg()[0]:.1f} on "
          f"{len(os.sched_getaffinity(0))} cores", flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as place, cluster(1) as one, cluster(2) as two:
        bare = chain_alone(campaign)
        seconds = [through(campaign, Path(place) / str(n), c) for n, c in enumerate((one, two))]
        overhead = seconds[0] / bare - 1
        print(f"store, checksum and engine beyond the chain: asked < 0.10, measured "
              f"{overhead:.3f} ({bare:.1f} s alone, {seconds[0]:.1f} s by one worker)")  # fmt: skip
        print(f"two workers over one: asked >= 1.8, measured {seconds[0] / seconds[1]:.2f}")
        many = simulation_campaign(
            session, events=str(chosen.blocks * campaign.block_size), theta=["prior"]
        )
        first_block(many, Path(place) / "many", two)
        killed(campaign, Path(place) / "killed", two)


@contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """A cluster whose workers have simulated nothing."""
    with distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as made:
        yield made


def pids(made: Any) -> list[int]:
    """The processes of the workers."""
    return [nanny.pid for nanny in made.workers.values()]


def chain_alone(campaign: Campaign) -> float:
    """Seconds that the chain takes for all blocks, without what only the first costs."""
    with one_thread():
        campaign.simulate(0)
        started = time.perf_counter()
        for number in range(campaign.blocks):
            campaign.simulate(number)
        return time.perf_counter() - started


class Memory(Silent):
    """Looks at the resident memory of processes as a task goes on.

    Arguments:
        processes: Their numbers.
    """

    def __init__(self, processes: list[int]) -> None:
        self.processes = processes
        self.seen: list[tuple[float, list[float]]] = []

    @contextmanager
    def task(self, title: str, total: float, unit: str = "") -> Iterator[Update]:
        """A task, at each of whose steps somebody looks."""
        del title, unit

        def update(done: float, words: str = "") -> None:
            del words
            self.seen.append((done / total, [resident(pid) for pid in self.processes]))

        yield update

    def at(self, part: float) -> str:
        """What was seen nearest to a part of the task."""
        _, sizes = min(self.seen, key=lambda seen: abs(seen[0] - part))
        return ", ".join(f"{size:.0f}" for size in sizes)


def resident(pid: int) -> float:
    """The resident memory of a process, MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def through(campaign: Campaign, folder: Path, made: Any) -> float:
    """Seconds that the workers of a cluster take for the campaign."""
    workers = Workers(dask=made.scheduler_address)
    warm = BlockStore(folder.with_name(f"{folder.name}-warm"), campaign.identity())
    processes = pids(made)
    with workers.engine() as engine:  # what only the first block of each costs
        call = _NumberedBlock(campaign, warm.folder)
        list(completed(engine, call, range(min(2 * len(processes), campaign.blocks))))
    memory, store = Memory(processes), BlockStore(folder, campaign.identity())
    started, busy = time.perf_counter(), time.process_time()
    run_campaign(campaign, store, workers=workers, monitor=memory)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    print(f"{len(processes)} workers: {seconds:.1f} s, {campaign.events / seconds:.0f} events/s; "
          f"resident at the start / middle / end: {memory.at(0)} / {memory.at(0.5)} / "
          f"{memory.at(1)} MiB, asked flat and < 1024; client and scheduler "
          f"{1e3 * busy / campaign.blocks:.1f} ms of CPU a block", flush=True)  # fmt: skip
    return seconds


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
