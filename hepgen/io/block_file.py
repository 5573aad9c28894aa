"""One block of events as one file: safetensors, and a checksum of all that is in it.

The header holds the facts of the block and, in full, the identity of its campaign, so that a
single file says where it belongs. The checksum is the SHA-256 of the whole file with zeros in
the place of the checksum.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hepgen.errors import FileError
from hepgen.events import Events

_CHECKSUM = re.compile(rb'"block":"\{\\"checksum\\": \\"([0-9a-f]{64})\\"')
_NONE = "0" * 64
_LONGEST_HEADER = 2**24
_WRONG = (OSError, SafetensorError, LookupError, ValueError, TypeError, AttributeError,
          OverflowError, RecursionError)  # fmt: skip
"""What is raised while bytes that are no block are taken for one."""


@dataclass(frozen=True)
class StoredBlock:
    """The kept events of one block, what normalises them, and what else was noted.

    Where it was read from a file, ``campaign`` is the digest of the identity that is in there;
    empty for a file from before there were any.
    """

    events: Events
    generated: int
    selected: int
    notes: Mapping[str, Any] = field(default_factory=dict)
    campaign: str = ""


@dataclass(frozen=True)
class BlockFacts:
    """What a block says of itself before its events are read.

    Arguments:
        generated: Events generated.
        selected: Events that passed the selection.
        rows: Events kept.
        bytes: The size of the file.
        checksum: SHA-256 of it; empty for a file from before there were any.
        campaign: The digest of its campaign's identity; empty likewise.
        versions: Of what made it, such as ``torch 2.4.1, numpy 2.1.0``; empty where nobody noted.
        failed: Events that a stage could not make, which the block's notes name one by one.
    """

    generated: int
    selected: int
    rows: int
    bytes: int
    checksum: str = ""
    campaign: str = ""
    versions: str = ""
    failed: int = 0


def identity_digest(identity: Mapping[str, Any]) -> str:
    """What tells two campaigns apart.

    >>> identity_digest({"seed": 7, "process": "zmumu"})[:8]
    '6cb97e90'
    """
    return hashlib.sha256(identity_text(identity).encode()).hexdigest()


def identity_text(identity: Mapping[str, Any]) -> str:
    """An identity as JSON, whatever the order of its entries."""
    return _indented(json.dumps(identity, sort_keys=True))


@functools.lru_cache(maxsize=16)
def _indented(text: str) -> str:
    """JSON for people to read: ten times slower to write, and asked for at every block."""
    return json.dumps(json.loads(text), indent=1)


def encode(block: StoredBlock, identity: Mapping[str, Any], number: int) -> bytes:
    """The file of a block.

    Arguments:
        block: Its events and facts; notes must be plain values.
        identity: Of its campaign.
        number: Of the block in it.
    """
    form, length, buffers = ak.to_buffers(ak.to_packed(block.events.columns))
    arrays = {name: np.ascontiguousarray(buffer) for name, buffer in buffers.items()}
    # One entry: the order of several is not always the same.
    facts = {
        "checksum": _NONE, "campaign": json.loads(identity_text(identity)), "number": number,
        "form": form.to_json(), "length": length,
        "generated": block.generated, "selected": block.selected, "notes": dict(block.notes),
    }  # fmt: skip
    content = save(arrays, {"block": json.dumps(facts)})
    at = _checksum_place(content)
    if at is None:
        raise ValueError("the header has no place for a checksum")
    view = memoryview(content)
    return b"".join([view[:at], _checksum(content, at).encode(), view[at + 64 :]])


def decode(path: Path, number: int) -> StoredBlock:
    """The block in a file, checked.

    Raises:
        FileError: It is missing, truncated, changed, no block, or one of another number.
    """
    content = _content(path)
    try:
        facts = _facts(content)
        _check_number(path, facts, number)
        buffers = load(content)
        columns = ak.from_buffers(facts["form"], facts["length"], buffers)
        if wrong := ak.validity_error(columns):
            raise ValueError(wrong)
        return StoredBlock(
            Events(columns), facts["generated"], facts["selected"], facts.get("notes", {}),
            _campaign(facts),
        )  # fmt: skip
    except _WRONG as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def check(path: Path) -> None:
    """Compare a file with its checksum.

    Raises:
        FileError: It is missing, truncated, or changed.
    """
    _content(path)


def facts_of(path: Path, number: int) -> BlockFacts:
    """What a block says of itself; only the header is read.

    Raises:
        FileError: It is missing or truncated, no block, or one of another number.
    """
    try:
        header, size = _header(path)
        _check_number(path, _facts(header), number)
        return facts_in(header, size)
    except _WRONG as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def facts_in(header: bytes, size: int) -> BlockFacts:
    """What the first bytes of a block say, at least up to the end of its header.

    Arguments:
        header: Those bytes, or all of them.
        size: Of the whole file.

    Raises:
        ValueError: It is no block; LookupError and others likewise.
    """
    facts = _facts(header)
    return BlockFacts(
        int(facts["generated"]), int(facts["selected"]), int(facts["length"]), size,
        str(facts.get("checksum", "")), _campaign(facts), _versions(facts),
        len(facts.get("notes", {}).get("failures", ())),
    )  # fmt: skip


def identity_of(path: Path) -> dict[str, Any] | None:
    """The identity of the campaign that a block belongs to, where the block says it.

    Raises:
        FileError: It is missing or truncated, or no block.
    """
    try:
        known = _facts(_header(path)[0]).get("campaign")
        return None if known is None else dict(known)
    except _WRONG as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _content(path: Path) -> bytes:
    """All of a file, whose checksum is right."""
    try:
        content = path.read_bytes()
        facts = _facts(content)
    except _WRONG as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    known, at = facts.get("checksum"), _checksum_place(content)
    # Blocks from before there were checksums do not say of which campaign they are, either.
    if known is None and "campaign" in facts:
        raise _damaged(path, "it has no checksum: it was changed after it was written")
    if known is not None and (at is None or _checksum(content, at) != known):
        raise _damaged(path, "its checksum is another: it was changed after it was written")
    return content


def _header(path: Path) -> tuple[bytes, int]:
    """The first bytes of a file, up to the end of its header, and the size of all of it."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise ValueError("it is shorter than its header says")
        file.seek(0)
        header = file.read(8 + length)
    entries = json.loads(header[8:])
    ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    if 8 + length + max(ends, default=0) != size:
        raise ValueError(f"it has {size} bytes, and another number by its header")
    return header, size


def _facts(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= min(len(content) - 8, _LONGEST_HEADER):
        raise ValueError("it is shorter than its header says")
    return dict(json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["block"]))


def _check_number(path: Path, facts: Mapping[str, Any], number: int) -> None:
    """Refuse a block under the name of another, whose events would count twice."""
    # Blocks from before they were numbered do not say it.
    known = facts.get("number", number)
    if known != number:
        raise FileError(
            f"{path} is block {known} of its campaign, not {number}: it was copied or renamed; "
            "remove it and run again: what is missing is simulated"
        )


def _campaign(facts: Mapping[str, Any]) -> str:
    known = facts.get("campaign")
    return "" if known is None else identity_digest(known)


def _versions(facts: Mapping[str, Any]) -> str:
    known = facts.get("notes", {}).get("versions", {})
    return ", ".join(f"{name} {version}" for name, version in known.items())


def _checksum_place(content: bytes) -> int | None:
    length = int.from_bytes(content[:8], "little")
    found = _CHECKSUM.search(content, 8, min(8 + length, len(content)))
    return found.start(1) if found else None


def _checksum(content: bytes, at: int) -> str:
    view = memoryview(content)
    digest = hashlib.sha256(view[:at])
    digest.update(_NONE.encode())
    digest.update(view[at + 64 :])
    return digest.hexdigest()


def _damaged(path: Path, reason: str) -> FileError:
    return FileError(
        f"block {path} cannot be read ({reason}); remove it and run again: it will be simulated "
        "anew, with the same events"
    )
