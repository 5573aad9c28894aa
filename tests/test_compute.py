"""Engines: order, a bounded look-ahead, and errors that arrive."""

from __future__ import annotations

import ctypes
import itertools
import math
import operator
import os
import resource
import signal
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgen.compute import Engine, InProcess, Workers, completed, cores, in_order, one_thread
from hepgen.compute import pool as pool_engine
from hepgen.compute.pool import Pool
from hepgen.errors import InputError, SimulationError


class Lazy(Executor):
    """Computes a call when its result is asked for, and counts the calls under way."""

    def __init__(self) -> None:
        self.under_way = 0
        self.most = 0
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        engine = self
        engine.under_way += 1
        engine.most = max(engine.most, engine.under_way)

        class Waiting(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:  # noqa: ARG002
                engine.under_way -= 1
                return fn(*args, **kwargs)

        future = Waiting()
        self.futures.append(future)
        return future


@pytest.fixture(scope="module")
def pool() -> Iterator[Engine]:
    with Workers(2).engine() as engine:
        yield engine


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(), max_size=30), st.integers(1, 8))
def test_order_is_kept_and_never_more_than_ahead_are_under_way(
    items: list[int], ahead: int
) -> None:
    engine = Lazy()
    assert list(in_order(engine, operator.neg, items, ahead)) == [-i for i in items]
    assert engine.most == min(ahead, len(items))
    assert engine.under_way == 0


def test_order_is_kept_where_calls_end_in_another() -> None:
    def work(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0.0)
        return number

    with ThreadPoolExecutor(4) as engine:
        assert list(in_order(engine, work, range(12), ahead=6)) == list(range(12))


def test_order_is_kept_by_processes(pool: Engine) -> None:
    assert list(in_order(pool, operator.neg, range(20), ahead=4)) == [-i for i in range(20)]


def negated(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    return [-tensor for tensor in tensors]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts the files that Linux lists")
def test_tensors_leave_no_files_open(pool: Engine) -> None:
    """As the usual limit of a process is 1024."""
    items = [[torch.full((2,), float(n + i)) for i in range(50)] for n in range(6)]
    files = Path("/proc/self/fd")
    before = len(list(files.iterdir()))
    results = list(in_order(pool, negated, items, ahead=3))
    assert len(list(files.iterdir())) < before + 20
    assert torch.equal(results[5][7], torch.full((2,), -12.0))


def test_items_are_taken_when_they_are_needed() -> None:
    results = in_order(Lazy(), abs, itertools.count(), ahead=3)
    assert list(itertools.islice(results, 5)) == [0, 1, 2, 3, 4]


def test_what_is_not_needed_any_more_is_cancelled() -> None:
    engine = Lazy()
    results = in_order(engine, abs, range(10), ahead=4)
    assert next(results) == 0
    assert isinstance(results, Generator)
    results.close()
    assert [future.cancelled() for future in engine.futures] == [False, True, True, True]


@pytest.mark.parametrize("ahead", [1, 3, 10])
def test_an_exception_of_a_call_surfaces_after_the_results_before_it(ahead: int) -> None:
    results = in_order(InProcess(), math.sqrt, [4.0, 9.0, -1.0, 16.0], ahead)
    assert [next(results), next(results)] == [2.0, 3.0]
    with pytest.raises(ValueError, match="math domain"):
        next(results)


def test_an_exception_of_a_worker_surfaces(pool: Engine) -> None:
    with pytest.raises(ValueError, match="math domain"):
        list(in_order(pool, math.sqrt, [4.0, -1.0], ahead=2))
    assert pool.submit(abs, -1).result() == 1


def asks_a_server(item: int) -> int:
    raise TimeoutError(f"no server answered {item}")


def test_a_time_out_of_the_call_itself_is_no_lost_worker(pool: Engine) -> None:
    """Made again three times, it would only take three times as long to fail."""
    told: list[str] = []
    with pytest.raises(TimeoutError, match="no server answered 1"):
        list(completed(pool, asks_a_server, [1], lost=lambda *one: told.append(str(one))))
    assert not told


def test_ctrl_c_is_not_kept_in_a_future() -> None:
    def interrupted(_: int) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InProcess().submit(interrupted, 1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"jobs": 0}, "jobs = 0: expected at least 1"), ({"jobs": -3}, "jobs = -3"),
     ({"timeout": 0.0}, "timeout = 0: expected a positive number"),
     ({"attempts": 0}, "attempts = 0: expected at least 1")],
)  # fmt: skip
def test_workers_that_make_no_sense_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Workers(**wrong)


def test_one_worker_is_this_process() -> None:
    with Workers().engine() as engine:
        assert engine.submit(os.getpid).result() == os.getpid()


def test_no_more_workers_start_than_are_worth_it() -> None:
    with Workers(8).engine(calls=1) as engine:
        assert isinstance(engine, InProcess)


def test_more_workers_are_other_processes_of_one_thread_that_ctrl_c_leaves(pool: Engine) -> None:
    assert pool.slots == 2
    assert pool.submit(os.getpid).result() != os.getpid()
    assert pool.submit(torch.get_num_threads).result() == 1
    assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN


# --- workers that die, and workers that hang ------------------------------------------


def dies_once(place: tuple[str, int]) -> int:
    """Killed, as by the system when memory runs out, at the first try for this item."""
    folder, item = place
    mark = Path(folder) / str(item)
    if item == 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def hangs_once(place: tuple[str, int]) -> int:
    folder, item = place
    mark = Path(folder) / str(item)
    if item == 2 and not mark.exists():
        mark.touch()
        time.sleep(600)
    return item


def always_dies_at_2(item: int) -> int:
    if item == 2:
        os._exit(9)
    return item


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fn", "timeout", "reason"),
    [(dies_once, 60.0, "exit code -9"), (hangs_once, 10.0, "no answer within the time-out")],
)
def test_what_a_dead_or_hanging_worker_had_is_done_by_another(
    tmp_path: Path, fn: Callable[[tuple[str, int]], int], timeout: float, reason: str
) -> None:
    """A busy machine takes seconds to start a worker again: others are not to be late for it."""
    lost: list[tuple[int, int, str]] = []
    with Workers(2, timeout=timeout).engine() as engine:
        engine.submit(abs, 1).result()
        done = completed(
            engine, fn, [(str(tmp_path), n) for n in range(6)],
            lost=lambda item, attempt, why: lost.append((item[1], attempt, why)),
        )  # fmt: skip
        assert sorted(result for _, result in done) == list(range(6))
    ((item, attempt, why),) = lost
    assert (item, attempt) == (2, 1)
    assert reason in why


@pytest.mark.slow
def test_what_kills_every_worker_is_given_up_and_named_and_the_rest_is_done() -> None:
    lost: list[tuple[int, int, str]] = []
    with Workers(2).engine() as engine:
        done = completed(engine, always_dies_at_2, range(5), 2, lambda *what: lost.append(what))
        found = [item for item, _ in itertools.islice(done, 4)]
        with pytest.raises(SimulationError, match=r"1 blocks were lost 2 times each: 2 .*code 9"):
            next(done)
    assert sorted(found) == [0, 1, 3, 4]
    assert [(item, attempt) for item, attempt, _ in lost] == [(2, 1), (2, 2)]


@pytest.mark.slow
def test_in_order_too_a_lost_call_is_made_again_and_then_given_up(tmp_path: Path) -> None:
    items = [(str(tmp_path), n) for n in range(5)]
    with Workers(2).engine() as engine:
        assert list(in_order(engine, dies_once, items, ahead=3)) == list(range(5))
        results = in_order(engine, always_dies_at_2, range(5), ahead=3, attempts=2)
        with pytest.raises(SimulationError, match=r"lost 2 times .*code 9.*--jobs"):
            list(results)


def hangs_at_0(item: int) -> int:
    if item == 0:
        time.sleep(600)
    return item


@pytest.mark.slow
def test_an_error_ends_what_hangs_and_is_not_held_up() -> None:
    seen: list[Any] = []

    def interrupted() -> None:
        with Workers(2).engine() as engine:
            assert next(completed(engine, hangs_at_0, range(3))) == (1, 1)
            assert isinstance(engine, Pool)
            seen.extend([time.monotonic(), *(worker.process for worker in engine._workers)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    started, *processes = seen
    for process in processes:
        # Not is_alive(): the pool's own thread may just have taken its exit code.
        assert wait([process.sentinel], 60)
    assert time.monotonic() - started < 60  # the call takes ten minutes


def test_a_worker_that_hangs_while_it_starts_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_engine, "_START_SECONDS", 0.01)
    with (
        pytest.raises(SimulationError, match=r"not ready within 0\.01 s of its start"),
        Workers(2).engine() as engine,
    ):
        list(completed(engine, abs, [-1], attempts=1))


class Deserted(InProcess):
    """Its calls have no end; the second look finds that it is no use."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        del fn, args, kwargs
        self.looks = 0
        return Future()

    def watch(self) -> str:
        self.looks += 1
        if self.looks == 2:
            raise SimulationError("no workers")
        return "waiting for workers"


@pytest.mark.parametrize("calls", [completed, partial(in_order, ahead=1)])
def test_who_waits_is_told_and_not_for_ever(
    calls: Callable[..., Iterator[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hepgen.compute.calls._WATCH_SECONDS", 0.01)
    told: list[str] = []
    with pytest.raises(SimulationError, match="no workers"):
        list(calls(Deserted(), abs, [1], say=told.append))
    assert told == ["waiting for workers"]


class Counting(InProcess):
    """Has three slots, and counts the calls that were submitted and are not yet looked at."""

    slots = 3


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(), max_size=30))
def test_all_are_completed_once_and_only_so_many_are_under_way(items: list[int]) -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for item in items:
            taken.append(item)
            yield item

    seen = 0
    for item, result in completed(Counting(), operator.neg, source()):
        assert result == -item
        seen += 1
        assert len(taken) <= seen + Counting().ahead
    assert seen == len(items)


def test_one_thread_is_for_the_inside_only() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="inside"), one_thread():
            raise ValueError("inside")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_the_cores_are_those_of_this_process() -> None:
    before = os.sched_getaffinity(0)
    assert cores() == len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def new_pages(arrays: int, megabytes: int) -> int:
    """How many pages the system maps while arrays are made and freed, after the first few."""
    size = megabytes * 2**17
    for _ in range(3):
        np.ones(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(arrays):
        np.ones(size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.fixture
def pool_of_misers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Started as Dask starts its workers: all that is freed goes back to the system."""
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    with Workers(2).engine() as engine:
        yield engine


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not the GNU C library")
def test_workers_keep_what_is_freed_whatever_they_inherit(
    pool_of_misers: Engine,
) -> None:
    pages = 8 * 2**20 // resource.getpagesize()
    assert pool_of_misers.submit(new_pages, 20, 8).result() < pages  # 20 of them without
