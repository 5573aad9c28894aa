"""What is in the blocks of a folder, without opening each: a cache that the blocks rebuild."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict
from pathlib import Path

from hepgen.files import append_line, parse_json
from hepgen.io.block_file import BlockFacts, facts_of

MANIFEST = "manifest.jsonl"
_NAME = re.compile(r"block-(\d{7,})\.safetensors")


def block_path(folder: Path, number: int) -> Path:
    """The file of a block."""
    return folder / f"block-{number:07d}.safetensors"


def catalogue(folder: Path) -> dict[int, BlockFacts]:
    """The facts of every block in a folder, in order.

    The manifest is a line of JSON for each block, appended by whoever writes one. A line counts
    where a file of its size is there; of every other block the header is read, and its line
    appended. So the manifest may be lost, cut short or behind, and nothing else with it.

    Raises:
        FileError: A block that the manifest does not know is damaged.
    """
    sizes = _sizes(folder)
    known = _trusted(folder, sizes)
    for number in sizes.keys() - known.keys():
        known[number] = facts_of(block_path(folder, number), number)
        note(folder, number, known[number])
    return dict(sorted(known.items()))


def noted(folder: Path) -> dict[int, BlockFacts]:
    """What the manifest says of the blocks that are there, as :func:`catalogue` believes it."""
    return _trusted(folder, _sizes(folder))


def numbers(folder: Path) -> list[int]:
    """The blocks that are there, in order."""
    return sorted(_sizes(folder))


def note(folder: Path, number: int, facts: BlockFacts) -> None:
    """Append the line of a block."""
    # A cache: on a full disk or in a folder that may only be read, blocks are enough.
    with contextlib.suppress(OSError):
        append_line(folder / MANIFEST, json.dumps({"block": number, **asdict(facts)}))


def _sizes(folder: Path) -> dict[int, int]:
    """The size of the file of every block."""
    with os.scandir(folder) as entries:
        named = ((_NAME.fullmatch(entry.name), entry) for entry in entries)
        return {int(name[1]): entry.stat().st_size for name, entry in named if name}


def _trusted(folder: Path, sizes: dict[int, int]) -> dict[int, BlockFacts]:
    return {n: f for n, f in _lines(folder / MANIFEST).items() if sizes.get(n) == f.bytes}


def _lines(path: Path) -> dict[int, BlockFacts]:
    """What the manifest says; the last line of a block is the one that counts."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return {}
    known: dict[int, BlockFacts] = {}
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, AttributeError, LookupError):
            number, facts = _entry(line)
            known[number] = facts
    return known


def _entry(line: bytes) -> tuple[int, BlockFacts]:
    """The block that a line is about, and what it says.

    Raises:
        ValueError: It is not what :func:`note` writes; TypeError and others likewise.
    """
    entry = parse_json(line)
    number = entry.pop("block")
    counts = (number, *(entry[name] for name in ("generated", "selected", "rows", "bytes")))
    counts += (entry["failed"],)  # a line that does not say so is made again from the block
    texts = tuple(entry.get(name, "") for name in ("checksum", "campaign", "versions"))
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError(f"counts {counts}; expected whole numbers")
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"digests and versions {texts}; expected text")
    return number, BlockFacts(**entry)
