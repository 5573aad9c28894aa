"""What is shown of progress, and where."""

from __future__ import annotations

import io
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgen.pipeline import progress
from hepgen.pipeline.monitor import Monitor, Silent
from hepgen.pipeline.progress import Bars, Lines, monitor


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_quiet_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    quiet = monitor(quiet=True)
    assert isinstance(quiet, Silent)
    quiet.say("words")
    with quiet.task("simulate", 10, "events") as update:
        update(5, "half")
    assert capfd.readouterr() == ("", "")


def test_bars_are_for_terminals_and_lines_for_files(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(monitor(), Lines)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert isinstance(monitor(), Bars)
    assert isinstance(monitor(quiet=True), Silent)


def test_a_short_task_is_one_line_at_its_end(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    with Lines().task("simulate", 100, "events") as update:
        for done in range(100):
            clock.now += 0.1
            update(done)
        assert capsys.readouterr() == ("", "")
    assert capsys.readouterr() == ("", "hepgen: simulate: done in 10.0 s\n")


def test_a_long_task_is_a_line_now_and_then_with_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    with Lines().task("simulate", 1_000_000, "events") as update:
        for minute in range(0, 60, 5):
            clock.now = 1000.0 + minute
            update(10_000.0 * minute, "fine")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "hepgen: simulate: 15 %, 10k events/s, fine, 85 s left"
    assert len(lines) == 4  # at 15, 30 and 45 s, and at the end
    assert lines[-1] == "hepgen: simulate: done in 55.0 s"


def test_what_was_done_before_is_not_counted_in_the_rate(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    with Lines().task("simulate", 1000, "events") as update:
        update(500)
        clock.now += 20
        update(600)
    line = capsys.readouterr().err.splitlines()[0]
    assert "5.0 events/s" in line
    assert line.endswith("80 s left")


def test_a_task_that_fails_is_not_called_done(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        with Lines().task("simulate", 10):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "done" not in capsys.readouterr().err


@pytest.mark.parametrize("shown", [Lines(), Bars()], ids=["lines", "bars"])
def test_nothing_goes_to_standard_output(
    capsys: pytest.CaptureFixture[str], shown: Monitor
) -> None:
    shown.say("a sentence with [brackets]")
    with shown.task("train", 2.0) as update:
        update(1.0, "epoch 1")
        update(2.0)
    out, err = capsys.readouterr()
    assert out == ""
    assert "a sentence with [brackets]" in err
    assert "train" in err


@settings(deadline=None, derandomize=True)
@given(st.floats(0, 9.99e11))
def test_a_number_is_short_and_right(number: float) -> None:
    text = progress._short(number)
    assert len(text) <= 4
    factor = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1], 1.0)
    assert float(text.rstrip("kMG")) * factor == pytest.approx(number, rel=0.051, abs=0.051)
