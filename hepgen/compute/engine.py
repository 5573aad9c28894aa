"""What every engine is: an executor that knows how many calls it takes at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any


class Engine(Executor):
    """An executor of blocks."""

    @property
    def slots(self) -> int:
        """How many calls run at a time; may change as workers come and go."""
        return 1

    @property
    def ahead(self) -> int:
        """How many calls are worth having under way: one runs, one waits for each slot."""
        # Looking ahead alone would only lose what is computed when it is stopped.
        return 2 * self.slots if self.slots > 1 else 1

    @property
    def shares_disk(self) -> bool:
        """Whether its workers surely see the disk of this process."""
        return True

    def watch(self) -> str | None:
        """Look after the workers while no call ends: what is wrong, in words, the first time.

        Raises:
            SimulationError: It has been wrong for too long.
        """
        return None

    def retried(self, future: Future[Any]) -> Sequence[str]:
        """Why a call that is done was lost before, each time in words, and was made again."""
        del future
        return ()


class InProcess(Engine):
    """Runs every call at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn`` now; the future is done when this returns."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
