"""What went wrong with blocks while they were simulated: a line for each attempt that failed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from hepgen.errors import FileError

LEDGER = "ledger.jsonl"


@dataclass(frozen=True)
class Attempt:
    """An attempt to simulate a block that failed.

    Arguments:
        block: Its number.
        attempt: Which attempt, from 1.
        reason: What happened to the worker, in words.
    """

    block: int
    attempt: int
    reason: str


def enter(folder: Path, attempt: Attempt) -> None:
    """Append a line to the ledger of a folder of blocks.

    Raises:
        FileError: It cannot be written.
    """
    line = json.dumps(asdict(attempt)) + "\n"
    try:
        with (folder / LEDGER).open("ab", buffering=0) as file:
            file.write(line.encode())
            os.fsync(file.fileno())
    except OSError as error:
        raise FileError(f"cannot write {folder / LEDGER}: {error.strerror or error}") from error


def entries(folder: Path) -> Iterator[Attempt]:
    """The lines of a ledger, in order; one that was cut short is left out."""
    try:
        lines = (folder / LEDGER).read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
            yield Attempt(int(entry["block"]), int(entry["attempt"]), str(entry["reason"]))
        except (ValueError, TypeError, KeyError):
            continue
