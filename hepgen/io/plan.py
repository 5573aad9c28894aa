"""What a folder of blocks is meant to hold, in a file beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hepgen.errors import FileError
from hepgen.files import parse_json, write_atomically

PLAN = "plan.json"


@dataclass(frozen=True)
class Plan:
    """What a folder is meant to hold in the end.

    Arguments:
        events: Of the campaign.
        block_size: Events generated in a block; the last one generates what is left.
        shards: In how many parts the blocks are dealt out in turn.
        varies: Whether its parameter points differ.
        cross_section_pb: σ at its point, where that is one and known before.
        provenance: What made it, for the file that is made of the blocks.
    """

    events: int
    block_size: int
    shards: int = 1
    varies: bool = False
    cross_section_pb: float | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return -(-self.events // self.block_size)

    def generated(self, block: int) -> int:
        """How many events a block generates."""
        return min(self.block_size, self.events - block * self.block_size)


def read_plan(folder: Path, campaign: str) -> Plan | None:
    """The plan in a folder; None where there is none, or only that of another campaign.

    Arguments:
        folder: Of the blocks.
        campaign: The digest of their identity.

    Raises:
        FileError: It is damaged.
    """
    path = folder / PLAN
    try:
        entry = parse_json(path.read_bytes())
        return _plan(entry) if entry.pop("campaign", campaign) == campaign else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise FileError(
            f"{path} is damaged ({error}); remove it, and run the command that simulates again: "
            "finished blocks are kept"
        ) from error


def write_plan(folder: Path, plan: Plan, campaign: str) -> None:
    """Note a plan, and whose it is.

    Raises:
        FileError: It cannot be written.
    """
    entry = {"campaign": campaign, **asdict(plan)}
    write_atomically(folder / PLAN, json.dumps(entry).encode())


def _plan(entry: dict[str, Any]) -> Plan:
    """A plan as it was written.

    Raises:
        ValueError: An entry has another type, or no sense; TypeError where one is missing.
    """
    for name, least in (("events", 0), ("block_size", 1), ("shards", 1)):
        value = entry.get(name, least)
        if type(value) is not int or value < least:
            raise ValueError(f"{name} = {value!r}; expected a whole number from {least}")
    sigma = entry.get("cross_section_pb")
    if sigma is not None and not (isinstance(sigma, (int, float)) and math.isfinite(sigma)):
        raise ValueError(f"cross_section_pb = {sigma!r}; expected a number")
    if type(entry.get("varies", False)) is not bool:
        raise ValueError(f"varies = {entry['varies']!r}; expected true or false")
    if not isinstance(entry.get("provenance", {}), dict):
        raise ValueError("provenance is no table")
    return Plan(**entry)
