"""Calls over the workers of a session, in order: pseudo-experiments, draws of a calibration."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from hepgen.compute import Engine, in_order, one_thread
from hepgen.inference.statistics.toys import Map
from hepgen.pipeline.analysis import Analysis

_WORTH_WORKERS = 10.0
"""Seconds of work for which it pays to start processes."""


@contextmanager
def spread(session: Analysis, tell: Callable[[str], None] = lambda _: None) -> Iterator[Map]:
    """A ``map`` over the workers of a session, that tells in words how many calls are done.

    Calls are made here until one shows that those that are left take long: then workers start,
    and stay until the context ends. Each call is on one thread, here or there, so that what it
    returns does not depend on who made it.
    """
    workers, path = session.workers, session.import_path
    with ExitStack() as stack:
        engine: Engine | None = None

        def over(fn: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
            nonlocal engine
            left, call = deque(items), _OnOneThread(fn)
            total, done = len(left), 0
            while left and engine is None:
                start = time.monotonic()
                result = call(left.popleft())
                seconds = (time.monotonic() - start) * len(left)
                yield result
                tell(f"{(done := done + 1)} of {total} calls")
                if seconds > _WORTH_WORKERS:
                    engine = stack.enter_context(workers.engine(import_path=path))
            if engine is not None:
                say, ahead = session.monitor.say, engine.ahead
                for result in in_order(engine, call, left, ahead, workers.attempts, say):
                    yield result
                    tell(f"{(done := done + 1)} of {total} calls")

        yield over


@dataclass(frozen=True)
class _OnOneThread:
    fn: Callable[[Any], Any]

    def __call__(self, item: Any) -> Any:
        with one_thread():
            return self.fn(item)
