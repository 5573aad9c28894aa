"""A result that is in a folder already: made again by its own measurement, else left alone."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hepgen.errors import FileError
from hepgen.files import parse_json


def refuse_other(output: Path, name: str, data: Sequence[str], overwrite: bool) -> None:
    """Refuse to replace the result of another measurement, before anything is computed.

    Arguments:
        output: The folder.
        name: Of the workflow.
        data: The files that are read.
        overwrite: Replace whatever is there.

    Raises:
        FileError: A result of another workflow, or of other data, is there.
    """
    known = _measurement(output / "result.json")
    if overwrite or known in (None, (name, tuple(data))):
        return
    theirs, files = known
    raise FileError(
        f"{output} holds the result of {theirs!r} from {', '.join(files)}, and this is of {name!r} "
        f"from {', '.join(data)}; choose another folder with -o, or give --force to replace it"
    )


def _measurement(result: Path) -> tuple[str, tuple[str, ...]] | None:
    """The name and the data of a result; None where there is none that can be read."""
    try:
        made: Mapping[str, Any] = parse_json(result.read_text("utf-8"))["provenance"]
        if "channels" in made:
            files = [name for one in made["channels"].values() for name in one["data"]]
            return str(tomllib.loads(made["combination"])["name"]), tuple(map(str, files))
        return str(tomllib.loads(made["workflow"])["name"]), tuple(map(str, made["data"]["files"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
