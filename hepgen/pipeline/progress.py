"""Progress on standard error: bars in a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from hepgen.pipeline.monitor import Monitor, Silent, Update

LOG_SECONDS = 15.0


def monitor(quiet: bool = False) -> Monitor:
    """The monitor that suits where standard error goes."""
    if quiet:
        return Silent()
    return Bars() if sys.stderr.isatty() else Lines()


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        unit = task.fields.get("unit", "")
        if not unit or not task.speed:
            return Text("")
        return Text(f"{_short(task.speed)} {unit}/s", style="progress.data.speed")


class Bars:
    """A bar for each task, with its rate and the time left."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)

    def say(self, words: str) -> None:
        """One line."""
        self._console.print(words, markup=False, highlight=False)

    @contextmanager
    def task(self, title: str, total: float, unit: str = "") -> Iterator[Update]:
        """A task of ``total`` units, shown until the context ends."""
        columns = (
            TextColumn("{task.description}"), BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f}%"), _Rate(), TextColumn("{task.fields[words]}"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=self._console) as progress:
            handle = progress.add_task(title, total=total, unit=unit, words="")

            def update(done: float, words: str = "") -> None:
                progress.update(handle, completed=done, words=words)

            yield update


class Lines:
    """A line when a task begins and ends, and every fifteen seconds in between."""

    def say(self, words: str) -> None:
        """One line."""
        print(f"hepgen: {words}", file=sys.stderr, flush=True)

    @contextmanager
    def task(self, title: str, total: float, unit: str = "") -> Iterator[Update]:
        """A task of ``total`` units."""
        started = shown = time.monotonic()
        first: float | None = None

        def update(done: float, words: str = "") -> None:
            nonlocal shown, first
            first = done if first is None else first
            now = time.monotonic()
            if now - shown >= LOG_SECONDS:
                shown = now
                self.say(_line(title, done - first, total - first, unit, now - started, words))

        yield update
        self.say(f"{title}: done in {time.monotonic() - started:.1f} s")


def _line(title: str, done: float, total: float, unit: str, seconds: float, words: str) -> str:
    parts = [f"{title}: {100 * done / max(total, 1e-12):.0f} %"]
    if unit and done:
        parts.append(f"{_short(done / seconds)} {unit}/s")
    if words:
        parts.append(words)
    if done:
        parts.append(f"{seconds * (total - done) / done:.0f} s left")
    return ", ".join(parts)


def _short(number: float) -> str:
    """A number of at most four characters.

    >>> _short(123456), _short(2.5e6), _short(12.3)
    ('123k', '2.5M', '12')
    """
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # What would be rounded up to the next unit is written in it.
        if number >= 0.9995 * limit:
            return _digits(number / limit) + letter
    return _digits(number)


def _digits(number: float) -> str:
    return f"{number:.0f}" if number >= 9.95 else f"{number:.1f}"
