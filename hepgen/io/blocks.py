"""A folder of simulated blocks: each written once, whole, and found again after any stop."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hepgen.errors import FileError
from hepgen.events import Events
from hepgen.files import parse_json, write_atomically
from hepgen.io.block_file import (
    BlockFacts,
    StoredBlock,
    check,
    decode,
    encode,
    facts_in,
    facts_of,
    identity_digest,
    identity_of,
    identity_text,
)
from hepgen.io.ledger import LEDGER
from hepgen.io.manifest import MANIFEST, block_path, catalogue, note, noted, numbers
from hepgen.io.plan import PLAN, Plan, read_plan, write_plan

IDENTITY = "campaign.json"
BEACON = ".beacon-"
"""The name of a file begins with it by which workers elsewhere see that they share the disk."""
SUFFIX = ".blocks"
"""The name of a folder of blocks ends with it, where a user gives one."""


class BlockStore:
    """Blocks of one campaign in one folder.

    Several processes may write to it, on one machine or on many that share the folder.

    Arguments:
        folder: Made where it does not exist.
        identity: What the events depend on (configuration, seed, versions). A folder that
            holds blocks of another campaign is refused; one without blocks is taken over.

    Raises:
        FileError: The folder holds another campaign.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"cannot make the folder {folder}: {error.strerror}") from error
        self.identity = identity
        self._digest = identity_digest(identity)
        _claim(folder, identity, take_over=self.empty)

    @classmethod
    def open(cls, folder: Path) -> BlockStore:
        """The blocks in a folder, whatever campaign they are of.

        Raises:
            FileError: There are none, or nothing in the folder says of which campaign.
        """
        return cls(folder, _identity(folder))

    def difference(self, other: Mapping[str, Any]) -> str:
        """Which entries of another campaign's identity differ from those of this one."""
        return _differing(self.identity, other)

    @property
    def empty(self) -> bool:
        """Whether it has no block yet."""
        return not any(self.folder.glob("block-*.safetensors"))

    def __contains__(self, number: int) -> bool:
        return block_path(self.folder, number).exists()

    def write(
        self, number: int, events: Events, generated: int, selected: int, **notes: Any
    ) -> None:
        """Store one block with plain ``notes``, atomically.

        Raises:
            FileError: It cannot be written, or another campaign has taken the folder over.
        """
        block = StoredBlock(events, generated, selected, notes)
        self.put(number, encode(block, self.identity, number))

    def put(self, number: int, content: bytes) -> None:
        """Store one block that :func:`hepgen.io.block_file.encode` has made, atomically.

        Raises:
            FileError: It cannot be written, or another campaign has taken the folder over.
        """
        put(self.folder, self.identity, number, content)

    def read(self, number: int) -> StoredBlock:
        """One block.

        Raises:
            FileError: It is missing or damaged, or belongs to another campaign.
        """
        block = decode(block_path(self.folder, number), number)
        if block.campaign not in ("", self._digest):
            raise FileError(self._foreign(number))
        return block

    def catalogue(self) -> dict[int, BlockFacts]:
        """The facts of every block that is there, by number, in order.

        Raises:
            FileError: A block is damaged, or belongs to another campaign.
        """
        known = catalogue(self.folder)
        for number, facts in known.items():
            if facts.campaign in ("", self._digest):
                continue
            # The manifest may be that of a campaign from which this one has taken the folder over.
            known[number] = facts_of(block_path(self.folder, number), number)
            if known[number].campaign not in ("", self._digest):
                raise FileError(self._foreign(number))
        return known

    def _foreign(self, number: int) -> str:
        path = block_path(self.folder, number)
        theirs = identity_of(path) or {}
        return (
            f"{path} is a block of another campaign ({_differing(theirs, self.identity)}); move it "
            "to a folder of its own: two campaigns in one folder cannot be told apart"
        )

    def generated(self, number: int) -> int:
        """How many events were generated for one block; 0 where it is missing.

        Raises:
            FileError: It is damaged.
        """
        return facts_of(block_path(self.folder, number), number).generated if number in self else 0

    def verify(self) -> list[str]:
        """What is wrong with the blocks, in words; empty where nothing is.

        Every block is read and compared with its checksum, and with that in the manifest.
        """
        known = noted(self.folder)
        wrong = [fault for n in numbers(self.folder) for fault in self._faults(n, known.get(n))]
        try:
            read_plan(self.folder, self._digest)
        except FileError as error:
            wrong.append(str(error))
        return wrong

    def _faults(self, number: int, known: BlockFacts | None) -> Iterator[str]:
        path = block_path(self.folder, number)
        try:
            check(path)
            facts = facts_of(path, number)
        except FileError as error:
            yield str(error)
            return
        if facts.campaign not in ("", self._digest):
            yield self._foreign(number)
        elif known not in (None, facts):
            yield (
                f"{self.folder / MANIFEST} says of block {number} what is not in the block; remove "
                "it: it is made again from the blocks"
            )

    def read_all(self, numbers: Sequence[int]) -> Iterator[StoredBlock]:
        """The blocks in order, one at a time."""
        for number in numbers:
            yield self.read(number)

    @property
    def plan(self) -> Plan | None:
        """What it is meant to hold; None where nobody has said so, or not in words that count."""
        with contextlib.suppress(FileError):
            return read_plan(self.folder, self._digest)
        return None

    def intend(self, plan: Plan) -> None:
        """Note what it is meant to hold, unless that is less than before."""
        known = self._plan_to_keep
        if known is None or (plan.events >= known.events and plan != known):
            write_plan(self.folder, plan, self._digest)

    @property
    def _plan_to_keep(self) -> Plan | None:
        """The plan, but where nothing came of it; other shards may yet fill what is empty."""
        known = self.plan
        return None if known is not None and known.shards == 1 and self.empty else known

    def exceeds(self, plan: Plan) -> bool:
        """Whether it holds, or is meant to hold, more of its campaign than a plan.

        Raises:
            FileError: A block is damaged, or belongs to another campaign.
        """
        known = self._plan_to_keep
        return (known is not None and known.events > plan.events) or any(
            n >= plan.blocks or facts.generated > plan.generated(n)
            for n, facts in self.catalogue().items()
        )

    def remove(self) -> None:
        """Delete the blocks and, where nothing else is in it, the folder."""
        # Also what a process that was killed while it wrote has left.
        left = (".block-*", f".{IDENTITY}.*", f".{PLAN}.*", f"{BEACON}*")
        for pattern in ("block-*.safetensors", *left):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)
        for name in (MANIFEST, LEDGER, PLAN, IDENTITY):
            (self.folder / name).unlink(missing_ok=True)
        # A link, to a larger disk for one, is the user's own.
        if not self.folder.is_symlink() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def other_campaign(folder: Path, identity: Mapping[str, Any]) -> bool:
    """Whether a folder holds blocks of another campaign.

    Raises:
        FileError: Nothing in it says of which.
    """
    has_blocks = any(folder.glob("block-*.safetensors"))
    return has_blocks and identity_digest(_identity(folder)) != identity_digest(identity)


def output_folder(folder: Path, identity: Mapping[str, Any], plan: Plan, force: bool) -> BlockStore:
    """A folder that a user named for the blocks of a plan: one that is appended to, or a new one.

    Arguments:
        folder: Made where it does not exist.
        identity: Of the campaign.
        plan: What it is to hold.
        force: Remove what is there, if it is of another campaign, or more of this one.

    Raises:
        FileError: It holds another campaign, or more of this one.
    """
    if force and folder.exists() and other_campaign(folder, identity):
        BlockStore.open(folder).remove()
    store = BlockStore(folder, identity)
    if store.exceeds(plan):
        if not force:
            raise FileError(
                f"{folder} holds, or is meant to hold, more of this campaign than {plan.events} "
                "events, which a shorter one would take away; ask for as many as before, choose "
                "another output, or give --force to start again"
            )
        store.remove()
        store = BlockStore(folder, identity)
    store.intend(plan)
    return store


def put(folder: Path, identity: Mapping[str, Any], number: int, content: bytes) -> None:
    """Write an encoded block into the folder of a store, from any process that sees it.

    Raises:
        FileError: It cannot be written, or the folder is that of another campaign.
    """
    _claim(folder, identity)
    path = block_path(folder, number)
    write_atomically(path, content)
    note(folder, number, facts_in(content, len(content)))


def _claim(folder: Path, identity: Mapping[str, Any], take_over: bool = False) -> None:
    """Write down whose blocks these are; refuse a folder of another campaign's."""
    known = folder / IDENTITY
    if known.exists() and _says(known, identity):
        return
    if known.exists() and not take_over:
        raise FileError(
            f"{folder} holds blocks of another campaign ({_difference(known, identity)}); "
            "choose another output, or give --force or remove that folder to start again"
        )
    write_atomically(known, identity_text(identity).encode())


def _says(known: Path, identity: Mapping[str, Any]) -> bool:
    """Whether a file says the same, perhaps in other words.

    Raises:
        FileError: It is there, and cannot be read.
    """
    content, text = _bytes(known), identity_text(identity)
    with contextlib.suppress(ValueError, TypeError):
        return content == text.encode() or identity_text(parse_json(content)) == text
    return False


def _bytes(path: Path) -> bytes:
    """What is in a small file; nothing where there is none.

    Raises:
        FileError: It is there, and cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise FileError(
            f"cannot read {path}: {error.strerror or error}; check its permissions"
        ) from error


def _identity(folder: Path) -> dict[str, Any]:
    """Of the campaign in a folder: as it was noted, or as the first readable block says."""
    if not folder.is_dir():
        raise FileError(f"no folder {folder}; expected one with the blocks of a campaign")
    with contextlib.suppress(ValueError):
        return _table(_bytes(folder / IDENTITY))
    for path in sorted(folder.glob("block-*.safetensors")):
        with contextlib.suppress(FileError):
            known = identity_of(path)
            if known is not None:
                (folder / IDENTITY).unlink(missing_ok=True)
                return known
    raise FileError(
        f"{folder} has no {IDENTITY}, and no block that says of which campaign it is; expected a "
        f"folder that `hepgen simulate … -o NAME{SUFFIX}` has made"
    )


def _table(content: bytes) -> dict[str, Any]:
    entries = parse_json(content)
    if not isinstance(entries, dict):
        raise ValueError("it is no table")
    return entries


def _difference(known: Path, identity: Mapping[str, Any]) -> str:
    """Which entries differ, in words."""
    try:
        before = _table(_bytes(known))
    except ValueError:
        return f"{known} cannot be read"
    return _differing(before, identity)


def _differing(before: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    now = json.loads(json.dumps(identity))
    keys = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
    shown = [f"{k}: {_short(before.get(k))} there, {_short(now.get(k))} here" for k in keys[:3]]
    return "; ".join(shown)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "…"
