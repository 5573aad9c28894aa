"""What is in the blocks of a folder, without opening each: a cache that the blocks rebuild."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict
from pathlib import Path

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
    known = {n: f for n, f in _lines(folder / MANIFEST).items() if sizes.get(n) == f.bytes}
    for number in sizes.keys() - known.keys():
        known[number] = facts_of(block_path(folder, number))
        note(folder, number, known[number])
    return dict(sorted(known.items()))


def note(folder: Path, number: int, facts: BlockFacts) -> None:
    """Append the line of a block."""
    line = json.dumps({"block": number, **asdict(facts)}) + "\n"
    # A cache: on a full disk or in a folder that may only be read, blocks are enough.
    with contextlib.suppress(OSError):
        handle = os.open(folder / MANIFEST, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)


def _sizes(folder: Path) -> dict[int, int]:
    """The size of the file of every block."""
    with os.scandir(folder) as entries:
        named = ((_NAME.fullmatch(entry.name), entry) for entry in entries)
        return {int(name[1]): entry.stat().st_size for name, entry in named if name}


def _lines(path: Path) -> dict[int, BlockFacts]:
    """What the manifest says; the last line of a block is the one that counts."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return {}
    known: dict[int, BlockFacts] = {}
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            entry = json.loads(line)
            number = int(entry.pop("block"))
            known[number] = BlockFacts(**entry)
    return known
