"""Engines: order, a bounded look-ahead, and errors that arrive."""

from __future__ import annotations

import itertools
import math
import operator
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgen.compute import InProcess, cores, executor, in_order, one_thread
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
def pool() -> Iterator[Executor]:
    with executor(2) as engine:
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


def test_order_is_kept_by_processes(pool: Executor) -> None:
    assert list(in_order(pool, operator.neg, range(20), ahead=4)) == [-i for i in range(20)]


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


def test_an_exception_of_a_worker_surfaces(pool: Executor) -> None:
    with pytest.raises(ValueError, match="math domain"):
        list(in_order(pool, math.sqrt, [4.0, -1.0], ahead=2))
    assert pool.submit(abs, -1).result() == 1


def test_ctrl_c_is_not_kept_in_a_future() -> None:
    def interrupted(_: int) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InProcess().submit(interrupted, 1)


def test_a_killed_worker_is_a_simulation_error() -> None:
    with executor(2) as engine, pytest.raises(SimulationError, match="kept: run the same command"):
        list(in_order(engine, os._exit, [9, 9, 9], ahead=2))


@pytest.mark.parametrize("jobs", [0, -3])
def test_no_workers_are_refused(jobs: int) -> None:
    with pytest.raises(InputError, match=rf"jobs = {jobs}: expected at least 1"):
        executor(jobs)


def test_one_worker_is_this_process() -> None:
    with executor(1) as engine:
        assert engine.submit(os.getpid).result() == os.getpid()


def test_more_workers_are_other_processes_of_one_thread_that_ctrl_c_leaves(pool: Executor) -> None:
    assert isinstance(pool, ProcessPoolExecutor)
    assert pool.submit(os.getpid).result() != os.getpid()
    assert pool.submit(torch.get_num_threads).result() == 1
    assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN


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
