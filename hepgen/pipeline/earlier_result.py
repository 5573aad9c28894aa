"""A result that is in a folder already: only its own measurement replaces it unasked."""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hepgen.config import to_toml
from hepgen.config.combination import Combination
from hepgen.config.workflow import Workflow
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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise FileError(
            f"{result} does not say what it is of: it is of an earlier version of hepgen, of "
            "something else, or damaged; choose another folder with -o, or give --force to "
            "replace it"
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
            **_settings(provenance["combination"], Combination),
            "workspaces": provenance["workspaces"],
            **{
                name: {
                    **_settings(one["workflow"], Workflow), _EVENTS: one[_EVENTS],
                    "inputs": one["inputs"],
                }
                for name, one in provenance["channels"].items()
            },
        }  # fmt: skip
    else:
        settings = _settings(provenance["workflow"], Workflow)
        method = provenance["request"]["method"] or settings.get("inference", {}).get("method")
        found = {
            **settings, "--method": method,
            _EVENTS: provenance["data"][_EVENTS], "inputs": provenance["inputs"],
        }  # fmt: skip
    return dict(_flat(found))


def _settings(text: str, kind: type[Workflow | Combination]) -> dict[str, Any]:
    """The entries of a workflow, but for those that say where something is, and not what.

    Those that an earlier version did not know have their defaults.
    """
    table = tomllib.loads(text)
    with contextlib.suppress(ValueError):
        table = tomllib.loads(to_toml(kind.model_validate(table)))
    table.pop("folder", None)
    table.get("data", {}).pop("file", None)
    for channel in table.get("channels", []):
        for name in ("data", "workflow", "pyhf"):
            channel.pop(name, None)
    return table


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The values in tables and lists, by their full names, as JSON."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _flat(one, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(one, Mapping | list) for one in value):
        for number, one in enumerate(value):
            yield from _flat(one, f"{name}[{number}]")
    else:
        yield name, json.dumps(value, sort_keys=True, default=str)


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
