"""Calls to an engine: in any order or in order, a bounded number ahead, lost ones made again."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from itertools import islice
from typing import Any, TypeVar

from hepgen.compute.engine import Engine
from hepgen.compute.pool import WorkerDiedError, WorkerLateError
from hepgen.errors import SimulationError

Item = TypeVar("Item")
Result = TypeVar("Result")
Lost = Callable[[Any, int, str], None]
"""What is told of a call that was lost with its worker: the item, which attempt, the reason."""
Say = Callable[[str], None]
"""What is told of the workers, in words."""

_WATCH_SECONDS = 5.0
"""How often somebody looks after the workers while no call ends."""


def completed(
    engine: Engine,
    fn: Callable[[Item], Result],
    items: Iterable[Item],
    attempts: int = 3,
    lost: Lost = lambda *_: None,
    say: Say = lambda _: None,
) -> Iterator[tuple[Item, Result]]:
    """(item, fn(item)) for each item, as they are done, with ``engine.ahead`` calls under way.

    A call whose worker dies or hangs is made again. One that is lost ``attempts`` times is
    given up; the others go on.

    Raises:
        SimulationError: At the end, calls were given up; or there have been no workers for long.

    >>> from hepgen.compute.engine import InProcess
    >>> list(completed(InProcess(), abs, [-1, 2]))
    [(-1, 1), (2, 2)]
    """
    left, given_up = iter(items), list[tuple[Item, int, str]]()
    running: dict[Future[Result], tuple[Item, int]] = {}
    try:
        while True:
            for item in islice(left, max(engine.ahead - len(running), 0)):
                running[engine.submit(fn, item)] = (item, 1)
            if not running:
                break
            for future in _done(engine, running, say):
                item, attempt = running.pop(future)
                for reason in engine.retried(future):
                    lost(item, attempt, reason)
                    attempt += 1
                try:
                    yield item, _answer(future)
                except _WorkerLostError as loss:
                    lost(item, attempt, str(loss))
                    if attempt < attempts:
                        running[engine.submit(fn, item)] = (item, attempt + 1)
                    else:
                        given_up.append((item, attempt, str(loss)))
    finally:
        for future in running:
            future.cancel()
    if given_up:
        raise SimulationError(_words(given_up))


def in_order(
    engine: Executor,
    fn: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
    attempts: int = 3,
    say: Say = lambda _: None,
) -> Iterator[Result]:
    """fn(item) for each item, in order, with at most ``ahead`` calls under way.

    Memory stays flat however many items there are. A call that is lost with its worker is
    made again, up to ``attempts`` times.

    Raises:
        SimulationError: A call was lost so often; or there have been no workers for long.

    >>> from hepgen.compute.engine import InProcess
    >>> list(in_order(InProcess(), abs, [-1, 2, -3], ahead=2))
    [1, 2, 3]
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()

    def first() -> Result:
        item, future = waiting.popleft()
        for attempt in range(1, attempts + 1):
            try:
                if isinstance(engine, Engine):
                    _done(engine, [future], say)
                return _answer(future)
            except _WorkerLostError as loss:
                if attempt == attempts:
                    raise SimulationError(
                        f"a call was lost {attempts} times ({loss}): run the same command again, "
                        "with fewer --jobs if memory was short, or with a longer --timeout"
                    ) from loss
                future = engine.submit(fn, item)
        raise AssertionError("attempts are at least 1")

    try:
        for item in items:
            waiting.append((item, engine.submit(fn, item)))
            if len(waiting) >= ahead:
                yield first()
        while waiting:
            yield first()
    except BrokenExecutor as error:
        raise SimulationError(f"a worker process ended unexpectedly; {_REMEDY}") from error
    finally:
        for _, future in waiting:
            future.cancel()


_REMEDY = (
    "what is finished is kept: run the same command again, with fewer --jobs if memory was short"
)


def _words(given_up: list[tuple[Any, int, str]]) -> str:
    shown = ", ".join(str(item) for item, *_ in given_up[:8])
    attempts = min(attempt for _, attempt, _ in given_up)
    more = f" and {len(given_up) - 8} more" if len(given_up) > 8 else ""
    return (
        f"{len(given_up)} blocks were lost {attempts} times each: {shown}{more} "
        f"({given_up[-1][2]}); {_REMEDY}, or with a longer --timeout if blocks are slow"
    )


class _WorkerLostError(Exception):
    """A worker died, or was ended because it hung; what it computed may be computed again."""


def _done(engine: Engine, running: Iterable[Future[Result]], say: Say) -> set[Future[Result]]:
    """Those that are done, of which there is one at least."""
    while not (done := wait(running, _WATCH_SECONDS, FIRST_COMPLETED).done):
        words = engine.watch()
        if words is not None:
            say(words)
    return done


def _answer(future: Future[Result]) -> Result:
    """The result of a call.

    Raises:
        _WorkerLostError: The call has no end of its own.
    """
    try:
        return future.result()
    except (Exception, CancelledError) as error:
        reason = _why_lost(error)
        if reason is None:
            raise
        raise _WorkerLostError(reason) from error


def _why_lost(error: BaseException) -> str | None:
    """What became of the worker, in words; None where the call itself failed."""
    if isinstance(error, WorkerDiedError):
        return f"its worker ended with the exit code {error.exitcode}"
    if isinstance(error, WorkerLateError):
        return f"{error}; its worker was ended"
    if isinstance(error, BrokenExecutor):
        return "its worker ended"
    if isinstance(error, CancelledError):
        return "the call was cancelled by the scheduler"
    scheduler = sys.modules.get("distributed.scheduler")
    if scheduler is not None and isinstance(error, scheduler.KilledWorker):
        return f"workers of the cluster ended, the last one {error.last_worker.address}"
    return None
