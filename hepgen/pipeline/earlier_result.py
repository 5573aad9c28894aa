"""A result that is in a folder already: only its own measurement replaces it unasked."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hepgen.errors import FileError
from hepgen.files import is_unfinished, parse_json

RESULT = "result.json"
"""Written last: it says that the other files of a result are there."""

_EVENTS = "sha256"
"""Where the digest of the events is in the provenance."""

_SHOWN = 3


def refuse_other(
    output: Path, provenance: Mapping[str, Any], names: Sequence[str], overwrite: bool
) -> None:
    """Refuse to replace what is not an earlier result of the same measurement.

    It is the same where the events are, wherever they were read from, and the workflow and the
    method; versions of hepgen and others may differ.

    Arguments:
        output: The folder.
        provenance: Of the new result.
        names: Of the files that it writes, beside ``result.json``.
        overwrite: Replace whatever is there.

    Raises:
        FileError: With what differs.
    """
    if overwrite:
        return
    result = output / RESULT
    if not result.exists():
        foreign = [name for name in names if (output / name).exists()]
        if foreign and not is_unfinished(output):
            raise FileError(
                f"{output} has {', '.join(foreign)}, and no {RESULT} that says of what; "
                "choose another folder with -o, or give --force to replace them"
            )
        return
    try:
        there = _measured(parse_json(result.read_text("utf-8"))["provenance"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise FileError(
            f"{result} is no result of this version of hepgen, or it is damaged; choose another "
            "folder with -o, or give --force to replace it"
        ) from None
    if words := _differing(there, _measured(provenance)):
        raise FileError(
            f"{output} holds another result ({words}); choose another folder with -o, or give "
            "--force to replace it"
        )


def _measured(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Entry → value, as JSON, of all that says what a result is of."""
    if "combination" in provenance:
        found = {
            **_settings(provenance["combination"]), "workspaces": provenance["workspaces"],
            **{
                name: {**_settings(one["workflow"]), _EVENTS: one[_EVENTS]}
                for name, one in provenance["channels"].items()
            },
        }  # fmt: skip
    else:
        method = provenance["request"]["method"]
        data = {_EVENTS: provenance["data"][_EVENTS]}
        found = {**_settings(provenance["workflow"]), **data, "--method": method}
    return dict(_flat(found))


def _settings(text: str) -> dict[str, Any]:
    """The entries of a workflow, but for those that say where something is, and not what."""
    table = tomllib.loads(text)
    table.pop("folder", None)
    table.get("data", {}).pop("file", None)
    return table


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", json.dumps(value, sort_keys=True, default=str)


def _differing(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """The entries that differ, in words; a digest is not shown."""
    names = sorted(n for n in there.keys() | here.keys() if there.get(n) != here.get(n))
    words = [
        "of other events" if name.endswith(_EVENTS)
        else f"{name}: {_short(there.get(name))} there, {_short(here.get(name))} here"
        for name in names
    ]  # fmt: skip
    more = f"; and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return "; ".join(words[:_SHOWN]) + more


def _short(value: str | None) -> str:
    text = "none" if value is None else value
    return text if len(text) <= 40 else text[:37] + "…"
