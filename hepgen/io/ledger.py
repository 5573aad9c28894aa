"""What went wrong with blocks while they were simulated: a line for each attempt that failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from hepgen.errors import FileError
from hepgen.files import append_line, parse_json

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
    try:
        append_line(folder / LEDGER, json.dumps(asdict(attempt)), durable=True)
    except OSError as error:
        raise FileError(f"cannot write {folder / LEDGER}: {error.strerror or error}") from error


def entries(folder: Path) -> Iterator[Attempt]:
    """The lines of a ledger, in order; one that was cut short or damaged is left out."""
    try:
        lines = (folder / LEDGER).read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        try:
            entry = parse_json(line)
            attempt = Attempt(int(entry["block"]), int(entry["attempt"]), str(entry["reason"]))
        except (ValueError, TypeError, LookupError, OverflowError):
            continue
        yield attempt
