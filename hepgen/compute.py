"""Engines: where blocks are computed, all behind ``concurrent.futures.Executor``."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from hepgen.errors import InputError, SimulationError

Item = TypeVar("Item")
Result = TypeVar("Result")


class InProcess(Executor):
    """Runs every call at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn`` now; the future is done when this returns."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def executor(jobs: int, import_path: str | None = None) -> Executor:
    """An engine with ``jobs`` workers: this process for one, a process pool for more.

    Arguments:
        jobs: How many.
        import_path: A folder in which workers find modules, besides the usual ones.

    Workers start afresh rather than by fork, which torch's threads do not survive, and
    each computes on one thread.
    """
    if jobs < 1:
        raise InputError(f"jobs = {jobs}: expected at least 1")
    if jobs == 1:
        return InProcess()
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_start_worker, initargs=(import_path,)
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread inside, and as it was outside.

    The networks are small: a second thread gains little, and on a machine that others use
    too it waits for the first most of the time.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _start_worker(import_path: str | None) -> None:
    if import_path is not None:
        sys.path.insert(0, import_path)
    # Ctrl-C reaches the whole process group; the parent decides what stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)


def in_order(
    engine: Executor, fn: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """fn(item) for each item, in order, with at most ``ahead`` calls under way.

    Memory stays flat however many items there are.

    >>> list(in_order(InProcess(), abs, [-1, 2, -3], ahead=2))
    [1, 2, 3]
    """
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(engine.submit(fn, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise SimulationError(
            "a worker process ended unexpectedly (out of memory, or killed); what is finished "
            "is kept: run the same command again, with fewer --jobs if memory was short"
        ) from error
    finally:
        for future in waiting:
            future.cancel()
