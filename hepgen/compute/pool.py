"""A pool of processes in which a worker that dies or hangs fails its own call, and no other."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from hepgen.compute.engine import Engine
from hepgen.compute.memory import keep_freed_memory
from hepgen.errors import SimulationError

_START_SECONDS = 120.0
"""A worker that is not ready by then hangs; it imports torch, which takes seconds."""


class WorkerDiedError(Exception):
    """A worker process ended before it answered.

    Arguments:
        exitcode: Of the process; −n where a signal n ended it.
    """

    def __init__(self, exitcode: int | None) -> None:
        super().__init__(exitcode)
        self.exitcode = exitcode


class WorkerLateError(Exception):
    """A worker process was ended, since it took too long; in words."""


class Pool(Engine):
    """Worker processes on this machine.

    Workers start afresh rather than by fork, which torch's threads do not survive, and each
    computes on one thread. One that ends, or that has not answered in time and is ended, is
    replaced; a pool of the standard library is broken as a whole then. When this process is
    killed its workers end after their block.

    Arguments:
        jobs: How many.
        timeout: Seconds that a call may take, the start of its worker not counted.
        import_path: A folder in which workers find modules, besides the usual ones.
    """

    def __init__(
        self, jobs: int, timeout: float | None = None, import_path: str | None = None
    ) -> None:
        self.jobs, self.timeout, self._import_path = jobs, timeout, import_path
        # A thread for each worker waits for its answers.
        self._threads = ThreadPoolExecutor(jobs, "hepgen-worker")
        self._own = threading.local()
        self._workers: list[_Worker] = []
        self._ended = threading.Event()

    @property
    def slots(self) -> int:
        """The number of workers."""
        return self.jobs

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a worker call ``fn``; its future may have one of the errors above."""
        return self._threads.submit(self._call, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers, after what is under way unless ``cancel_futures``."""
        if cancel_futures:
            self._ended.set()
            for worker in list(self._workers):
                worker.process.kill()
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            for worker in self._workers:
                worker.end()

    def _call(self, *call: Any) -> Any:
        if self._ended.is_set():
            raise CancelledError
        worker: _Worker | None = getattr(self._own, "worker", None)
        if worker is None or not worker.process.is_alive():
            worker = self._own.worker = _Worker(self._import_path)
            self._workers.append(worker)
        if self._ended.is_set():  # while this one was starting
            worker.process.kill()
        return worker.call(call, self.timeout)


class _Worker:
    """One process, and the pipe to it."""

    def __init__(self, import_path: str | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, import_path), daemon=True)
        self.process.start()
        theirs.close()
        self.started = False

    def call(self, call: tuple[Any, ...], timeout: float | None) -> Any:
        """The answer to (function, arguments, keywords).

        Raises:
            WorkerDiedError: The process ended.
            WorkerLateError: It took too long, to start or to answer, and was ended.
        """
        try:
            if not self.started:
                self._wait(_START_SECONDS, f"not ready within {_START_SECONDS:g} s of its start")
                self.started = _receive(self.pipe)
            _send(self.pipe, call)
            self._wait(timeout, "no answer within the time-out")
            done, answer = _receive(self.pipe)
        except (EOFError, ConnectionError) as error:
            self.process.join()
            raise WorkerDiedError(self.process.exitcode) from error
        if done:
            return answer
        raise answer

    def _wait(self, seconds: float | None, words: str) -> None:
        if not self.pipe.poll(seconds):
            self.process.kill()
            self.process.join()
            raise WorkerLateError(words)

    def end(self) -> None:
        """After the call under way."""
        self.pipe.close()
        self.process.join()


def _serve(pipe: Connection, import_path: str | None) -> None:
    """Answer calls until the other end of the pipe is closed."""
    # Ctrl-C reaches the whole process group; the parent decides what stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    start_worker(import_path)
    try:
        _send(pipe, True)
        while True:
            fn, args, kwargs = _receive(pipe)
            try:
                answer = (True, fn(*args, **kwargs))
            except Exception as error:
                answer = (False, _sendable(error))
            try:
                _send(pipe, answer)
            except (pickle.PicklingError, TypeError, AttributeError) as error:
                _send(pipe, (False, SimulationError(f"a result cannot be sent back: {error}")))
    except (EOFError, ConnectionError):
        return


def _send(pipe: Connection, what: Any) -> None:
    """By value: torch would have a connection share a file for each tensor, which stays open."""
    pipe.send_bytes(pickle.dumps(what, pickle.HIGHEST_PROTOCOL))


def _receive(pipe: Connection) -> Any:
    """What the process at the other end, which this program started, has sent."""
    return pickle.loads(pipe.recv_bytes())


def _sendable(error: Exception) -> Exception:
    """The exception with its traceback as a note, or its words where it cannot be copied."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        # Whether it can be sent, and made again from its arguments at the other end.
        pickle.dumps(error)
        copy.copy(error)
    except Exception:
        return SimulationError(f"{type(error).__name__}: {error}")
    return error


def start_worker(import_path: str | None) -> None:
    """What a process does before its first block."""
    keep_freed_memory()
    if import_path is not None and import_path not in sys.path:
        sys.path.insert(0, import_path)
    import torch

    torch.set_num_threads(1)
