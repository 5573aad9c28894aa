"""What a long step tells whoever is waiting for it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable


@runtime_checkable
class Update(Protocol):
    """Report how much of a task is done, and a few words on how it goes."""

    def __call__(self, done: float, words: str = "") -> None:
        """Report."""


@runtime_checkable
class Monitor(Protocol):
    """Shows the progress of tasks."""

    def task(self, title: str, total: float, unit: str = "") -> AbstractContextManager[Update]:
        """A task of ``total`` units; inside the context, call what it gives."""

    def say(self, words: str) -> None:
        """One line."""


class Silent:
    """A monitor that shows nothing.

    >>> with Silent().task("simulate", 10) as update:
    ...     update(5)
    """

    def task(self, title: str, total: float, unit: str = "") -> AbstractContextManager[Update]:  # noqa: ARG002
        """A task that nobody watches."""
        return nullcontext(_nothing)

    def say(self, words: str) -> None:
        """Nothing."""


def _nothing(done: float, words: str = "") -> None:
    """Report to nobody."""
