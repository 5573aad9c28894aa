"""A folder of simulated blocks: each written once, whole, and found again after any stop."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hepgen.errors import FileError
from hepgen.events import Events
from hepgen.files import write_atomically

IDENTITY = "campaign.json"


@dataclass(frozen=True)
class StoredBlock:
    """The kept events of one block, what normalises them, and what else was noted."""

    events: Events
    generated: int
    selected: int
    notes: Mapping[str, Any] = field(default_factory=dict)


class BlockStore:
    """Blocks of one campaign in one folder.

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
        self._claim(take_over=self.empty)

    def _claim(self, take_over: bool = False) -> None:
        """Write down whose blocks these are; refuse a folder of another campaign's."""
        known = self.folder / IDENTITY
        text = json.dumps(self.identity, sort_keys=True, indent=1).encode()
        if known.exists() and known.read_bytes() == text:
            return
        if known.exists() and not take_over:
            raise FileError(
                f"{self.folder} holds blocks of another campaign "
                f"({_difference(known, self.identity)}); "
                "choose another output, or remove that folder to start again"
            )
        write_atomically(known, text)

    @property
    def empty(self) -> bool:
        """Whether it has no block yet."""
        return not any(self.folder.glob("block-*.safetensors"))

    def _path(self, number: int) -> Path:
        return self.folder / f"block-{number:07d}.safetensors"

    def __contains__(self, number: int) -> bool:
        return self._path(number).exists()

    def write(
        self, number: int, events: Events, generated: int, selected: int, **notes: Any
    ) -> None:
        """Store one block with plain ``notes``, atomically.

        Raises:
            FileError: It cannot be written, or another campaign has taken the folder over.
        """
        self._claim()
        form, length, buffers = ak.to_buffers(ak.to_packed(events.columns))
        arrays = {name: np.ascontiguousarray(buffer) for name, buffer in buffers.items()}
        facts = {"form": form.to_json(), "length": length}
        facts |= {"generated": generated, "selected": selected, "notes": notes}
        write_atomically(self._path(number), save(arrays, {"block": json.dumps(facts)}))

    def read(self, number: int) -> StoredBlock:
        """One block.

        Raises:
            FileError: It is missing or damaged.
        """
        path = self._path(number)
        with _reading(path), safe_open(path, framework="numpy") as stored:
            facts = json.loads(stored.metadata()["block"])
            buffers = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            columns = ak.from_buffers(facts["form"], facts["length"], buffers)
            return StoredBlock(
                Events(columns), facts["generated"], facts["selected"], facts.get("notes", {})
            )

    def generated(self, number: int) -> int:
        """How many events were generated for one block; 0 where it is missing.

        Raises:
            FileError: It is damaged.
        """
        if number not in self:
            return 0
        path = self._path(number)
        with _reading(path), safe_open(path, framework="numpy") as stored:
            return int(json.loads(stored.metadata()["block"])["generated"])

    def read_all(self, numbers: range) -> Iterator[StoredBlock]:
        """The blocks in order, one at a time."""
        for number in numbers:
            yield self.read(number)

    def remove(self) -> None:
        """Delete the blocks and, where nothing else is in it, the folder."""
        # Also what a process that was killed while it wrote has left.
        for pattern in ("block-*.safetensors", ".block-*", f".{IDENTITY}.*"):
            for path in self.folder.glob(pattern):
                path.unlink()
        (self.folder / IDENTITY).unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise FileError(
            f"block {path} cannot be read ({type(error).__name__}: {error}); remove it and "
            "run again: it will be simulated anew, with the same events"
        ) from error


def _difference(known: Path, identity: Mapping[str, Any]) -> str:
    """Which entries differ, in words."""
    try:
        before = json.loads(known.read_text())
    except ValueError:
        return f"{known} cannot be read"
    now = json.loads(json.dumps(identity))
    keys = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
    shown = [f"{k}: {_short(before.get(k))} there, {_short(now.get(k))} here" for k in keys[:3]]
    return "; ".join(shown)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "…"
