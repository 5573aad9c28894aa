"""A Dask cluster makes the same blocks, and what is wrong with it is named."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from hepgen.compute import Workers, completed
from hepgen.compute import dask as dask_engine
from hepgen.errors import InputError, SimulationError
from hepgen.io.blocks import BlockStore
from hepgen.pipeline import simulate
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import run_campaign
from hepgen.simulators.campaign import Campaign

distributed = pytest.importorskip("distributed", reason="pip install 'hepgen[dask]'")

SESSION = Session.open(Path(__file__).parent / "tiny.toml")
CAMPAIGN = Campaign(SESSION.chain, SESSION.parameters, 900, seed=7, points=16, block_size=128)

pytestmark = [
    pytest.mark.slow,
    # Dask leaves sockets and loops to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@contextmanager
def two_workers() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with two_workers() as cluster:
        yield cluster


@pytest.fixture
def doomed() -> Iterator[Any]:
    """A cluster for one test: Dask never restarts a worker that dies while it is starting."""
    with two_workers() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return blocks_in(run(tmp_path_factory.mktemp("whole"), Workers()))


def run(folder: Path, workers: Workers) -> Path:
    store = BlockStore(folder, CAMPAIGN.identity())
    run_campaign(CAMPAIGN, store, workers=workers, monitor=Silent())
    return folder


def blocks_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("block-*"))}


def test_the_blocks_are_those_of_one_process(
    cluster: Any, whole: dict[str, bytes], tmp_path: Path
) -> None:
    assert blocks_in(run(tmp_path, Workers(dask=cluster.scheduler_address))) == whole


def test_they_are_the_same_where_workers_do_not_see_the_disk(
    cluster: Any, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def unseen(folder: Path, sure: bool) -> Iterator[str]:
        assert folder == tmp_path
        assert not sure
        yield ".not-there"

    monkeypatch.setattr(simulate, "_beacon", unseen)
    assert blocks_in(run(tmp_path, Workers(dask=cluster.scheduler_address))) == whole


class Unpacked:
    """A call that says which of its copies was called."""

    def __call__(self, item: int) -> tuple[int, int, int]:
        return item, os.getpid(), id(self)


def test_a_worker_unpacks_a_campaign_once_and_another_one_anew(cluster: Any) -> None:
    with Workers(dask=cluster.scheduler_address).engine() as engine:
        first = [result for _, result in completed(engine, Unpacked(), range(12))]
        second = [result for _, result in completed(engine, Unpacked(), range(12))]
    assert sorted(item for item, *_ in first) == list(range(12))
    for results in (first, second):
        copies = {(pid, copy) for _, pid, copy in results}
        assert len(copies) == len({pid for _, pid, _ in results})


def dies_once(place: tuple[str, int]) -> int:
    folder, item = place
    mark = Path(folder) / str(item)
    if item == 2 and not mark.exists():
        mark.touch()
        time.sleep(0.5)  # until the scheduler knows what this worker did before
        os._exit(9)
    return item


def hangs_once(place: tuple[str, int]) -> int:
    folder, item = place
    mark = Path(folder) / str(item)
    if item == 2 and not mark.exists():
        mark.touch()
        time.sleep(600)
    return item


@pytest.mark.parametrize("fn", [dies_once, hangs_once])
def test_what_a_dead_or_hanging_worker_had_is_done_by_another(
    doomed: Any, tmp_path: Path, fn: Any
) -> None:
    items, lost = [(str(tmp_path), n) for n in range(6)], list[tuple[int, int, str]]()
    with Workers(dask=doomed.scheduler_address, timeout=3.0).engine() as engine:
        done = completed(
            engine, fn, items, lost=lambda item, attempt, why: lost.append((item[1], attempt, why))
        )
        assert sorted(result for _, result in done) == list(range(6))
    ((item, attempt, why),) = lost
    assert (item, attempt) == (2, 1)
    assert why.startswith("its worker tcp://")


def always_dies_at_0(item: int) -> int:
    if item == 0:
        time.sleep(0.5)  # until its nanny knows that it has started: it would not restart it
        os._exit(9)
    return item


def test_what_kills_every_worker_is_given_up_with_each_attempt_noted(doomed: Any) -> None:
    lost: list[tuple[int, int, str]] = []
    with Workers(dask=doomed.scheduler_address).engine() as engine:
        done = completed(engine, always_dies_at_0, range(3), lost=lambda *what: lost.append(what))
        with pytest.raises(SimulationError, match="1 blocks were lost 4 times each: 0 "):
            list(done)
    # As often as the scheduler gives a call to another worker before it is given up.
    assert [(item, attempt) for item, attempt, _ in lost if item == 0] == [
        (0, attempt) for attempt in range(1, 5)
    ]


def test_a_worker_of_several_threads_makes_the_same_blocks(
    whole: dict[str, bytes], tmp_path: Path
) -> None:
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=True, dashboard_address=":0", silence_logs=50
    ) as one:
        workers = Workers(dask=one.scheduler_address, timeout=60.0)
        assert blocks_in(run(tmp_path, workers)) == whole
        with workers.engine() as engine:
            assert engine.slots == 1


def sleeps(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pytest.mark.parametrize("own", [True, False])
def test_an_error_is_not_held_up_by_a_worker_that_hangs(doomed: Any, own: bool) -> None:
    address = "local" if own else doomed.scheduler_address
    seen: list[float] = []

    def interrupted() -> None:
        with Workers(2, dask=address).engine() as engine:
            assert next(completed(engine, sleeps, [600, 0, 0]))[1] == 0
            seen.append(time.monotonic())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - seen[0] < 60


def test_workers_that_have_all_gone_are_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hepgen.compute.calls._WATCH_SECONDS", 0.1)
    monkeypatch.setattr(dask_engine, "_ASK_SECONDS", 0.1)
    monkeypatch.setattr(dask_engine, "_ALONE_SECONDS", 0.5)
    told: list[str] = []
    words = r"had no workers for 0\.5 s; what is finished is kept"
    one = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")
    with one, Workers(dask=one.scheduler_address).engine() as engine:
        done = completed(engine, sleeps, [0.0, 60.0], say=told.append)
        next(done)
        one.scale(0)
        with pytest.raises(SimulationError, match=words):
            list(done)
    assert len(told) == 1
    assert "has no workers; waiting for some, up to 0.5 s" in told[0]


def test_workers_with_other_versions_are_refused(cluster: Any) -> None:
    workers = Workers(dask=cluster.scheduler_address)
    with workers.engine() as engine:
        assert isinstance(engine, dask_engine.Dask)
        engine._start = replace(engine._start, versions=(("torch", "0.1"),))
        with pytest.raises(InputError, match=r"worker on .* has torch .*, not 0\.1 as here"):
            list(completed(engine, abs, [1]))


def test_a_scheduler_without_workers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_engine, "_WORKER_SECONDS", 0.5)
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty:
        workers = Workers(dask=empty.scheduler_address)
        with pytest.raises(InputError, match=r"has had no worker.*full queue"), workers.engine():
            pass


def test_no_scheduler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_engine, "_CONNECT_SECONDS", 0.5)
    for address in ("tcp://127.0.0.1:1", "nonsense:8786"):
        with (
            pytest.raises(InputError, match=f"{address}.*no Dask scheduler answers"),
            Workers(dask=address).engine(),
        ):
            pass


@pytest.mark.parametrize(
    ("address", "words"),
    [("head", "it has no port"), ("", "it has no port"), ("tcp://head", "it has no port"),
     ("http://head:8786", "unknown address scheme 'http'"), ("ucx://head:8786", "ucx"),
     ("tls://localhost:1", "tls:// needs certificates")],
)  # fmt: skip
def test_an_address_that_cannot_be_one_is_refused_at_once(address: str, words: str) -> None:
    with pytest.raises(InputError, match=words), Workers(dask=address).engine():
        pass


def test_workers_without_hepgen_are_named(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would end at their first call: the function is in hepgen."""
    lacks = metadata.PackageNotFoundError("hepgen")
    asked = {"tcp://127.0.0.1:40001": lacks, "tcp://127.0.0.1:40002": "0.1.0"}
    monkeypatch.setattr(distributed.Client, "run", lambda *_, **__: asked)
    with (
        pytest.raises(InputError, match=r"not installed for 1 of 2 workers, tcp://127.0.0.1:40001"),
        Workers(dask=cluster.scheduler_address).engine(),
    ):
        pass


def test_a_generator_of_another_version_is_refused(cluster: Any) -> None:
    with Workers(dask=cluster.scheduler_address).engine() as engine:
        assert isinstance(engine, dask_engine.Dask)
        engine._start = replace(engine._start, versions=(("zuko", "0.1"), ("nothing", "1.0")))
        with pytest.raises(InputError, match=r"worker on .* has zuko .*, not 0\.1 as here"):
            list(completed(engine, abs, [1]))


class Ending(Silent):
    """Ends a cluster when so many events are there."""

    def __init__(self, cluster: Any, events: int) -> None:
        self.cluster, self.events = cluster, events

    @contextmanager
    def task(self, title: str, total: float, unit: str = "") -> Iterator[Any]:
        del title, total, unit

        def update(done: float, words: str = "") -> None:
            del words
            if done >= self.events and self.cluster is not None:
                self.cluster, ended = None, self.cluster
                ended.close()

        yield update


def test_a_campaign_goes_on_with_a_scheduler_that_was_started_again(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    first = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")
    store = BlockStore(tmp_path, CAMPAIGN.identity())
    workers = Workers(dask=first.scheduler_address)
    with pytest.raises(SimulationError, match="what is finished is kept: start it again"):
        run_campaign(CAMPAIGN, store, workers=workers, monitor=Ending(first, 300))
    kept = blocks_in(tmp_path)
    assert 2 < len(kept) < len(whole)
    with two_workers() as again:
        run(tmp_path, Workers(dask=again.scheduler_address))
    assert blocks_in(tmp_path) == whole
    assert kept.items() <= whole.items()


def test_a_scheduler_that_goes_is_said_to_have_gone() -> None:
    one = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")
    with Workers(dask=one.scheduler_address).engine() as engine:
        results = completed(engine, abs, range(100), attempts=2)
        next(results)
        one.close()
        with pytest.raises(SimulationError, match="what is finished is kept"):
            list(results)
