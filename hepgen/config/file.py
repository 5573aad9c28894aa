"""The file itself: TOML to a workflow and back, and what is wrong with it in words."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from hepgen.config.combination import ChannelEntry, Combination
from hepgen.config.data import DataEntry, LayoutEntry
from hepgen.config.estimators import (
    FieldEntry,
    JointRatioEntry,
    LikelihoodEntry,
    PosteriorEntry,
    RatioEntry,
    ReferenceEntry,
    ScoreDensityEntry,
    ScoreEntry,
)
from hepgen.config.exchange import ExchangeEntry
from hepgen.config.inference import InferenceEntry, SamplerEntry, ScanEntry, StatementsEntry
from hepgen.config.model import FeatureEntry, ParameterEntry, StageEntry
from hepgen.config.samples import SampleEntry
from hepgen.config.section import Section
from hepgen.config.simulation import AugmentEntry, SimulationEntry
from hepgen.config.surrogate import SurrogateEntry, VariableEntry
from hepgen.config.validation import (
    CalibrationEntry,
    ChecksEntry,
    StatisticEntry,
    ValidationEntry,
)
from hepgen.config.variations import VariationEntry
from hepgen.config.workflow import Workflow
from hepgen.errors import WorkflowError, nearest

Tables = Mapping[str, type[Section]]

_TABLES: Tables = {
    "parameters": ParameterEntry, "features": FeatureEntry, "layouts": LayoutEntry,
    "data": DataEntry, "simulation": SimulationEntry, "augment": AugmentEntry,
    "stages": StageEntry, "surrogate": SurrogateEntry,
    "variables": VariableEntry, "samples": SampleEntry, "variations": VariationEntry,
    "nle": LikelihoodEntry, "npe": PosteriorEntry, "fmpe": FieldEntry, "npse": FieldEntry,
    "nre": RatioEntry, "classifier": ReferenceEntry, "sally": ScoreEntry,
    "rascal": JointRatioEntry, "alices": JointRatioEntry, "scandal": ScoreDensityEntry,
    "inference": InferenceEntry, "statements": StatementsEntry, "scan": ScanEntry,
    "exchange": ExchangeEntry,
    "calibration": CalibrationEntry, "validation": ValidationEntry,
    "statistics": StatisticEntry, "checks": ChecksEntry,
}  # fmt: skip
_COMBINED: Tables = {
    "channels": ChannelEntry, "inference": SamplerEntry, "statements": StatementsEntry,
    "scan": ScanEntry, "checks": ChecksEntry,
}  # fmt: skip


def load(path: Path, overrides: Sequence[str] = ()) -> Workflow:
    """Read and validate a workflow file.

    Arguments:
        path: The TOML file.
        overrides: ``key=value`` with a dotted key, as given to ``--set``.

    Raises:
        WorkflowError: It does not exist, is not TOML, says something it cannot mean, or has its
            products written outside of the current folder, which only an override may.
    """
    content = _read(path, overrides)
    if "channels" in content and "process" not in content:
        raise WorkflowError(
            f"{path} has [[channels]]: it is the file of a combination; use `hepgen combine {path}`"
        )
    content.setdefault("name", path.stem)
    return parse(content, str(path))


def load_combination(path: Path, overrides: Sequence[str] = ()) -> Combination:
    """Read and validate the file of a combination; see :func:`load`."""
    content = _read(path, overrides)
    if "process" in content and "channels" not in content:
        raise WorkflowError(
            f"{path} has a process: it is the workflow of one channel; use `hepgen infer {path}`, "
            "or name it in the [[channels]] of another file"
        )
    content.setdefault("name", path.stem)
    return parse_combination(content, str(path))


def parse(content: Mapping[str, Any], source: str = "workflow") -> Workflow:
    """Validate the content of a workflow file.

    >>> parse({"name": "a", "process": "zmumu", "features": [{"name": "M"}], "controls": []})
    Traceback (most recent call last):
    hepgen.errors.WorkflowError: workflow: unknown key 'controls'; did you mean 'control'?
    """
    try:
        return Workflow.model_validate(content)
    except ValidationError as error:
        raise WorkflowError(_words(source, error, Workflow, _TABLES)) from None


def parse_combination(content: Mapping[str, Any], source: str = "combination") -> Combination:
    """Validate the content of the file of a combination; see :func:`parse`."""
    try:
        return Combination.model_validate(content)
    except ValidationError as error:
        raise WorkflowError(_words(source, error, Combination, _COMBINED)) from None


def to_toml(workflow: Workflow | Combination) -> str:
    """The file with its defaults filled in, as TOML that reads back the same."""
    content = workflow.model_dump(mode="json", exclude_none=True, by_alias=True)
    return tomli_w.dumps(content)


def _read(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The content of a file, with overrides."""
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise WorkflowError(f"no workflow file {path}; {nearest(path.name, near)}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkflowError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorkflowError(f"{path} is not valid TOML: {error}") from error
    except RecursionError as error:
        raise WorkflowError(f"{path} is nested too deep; expected a few levels") from error
    _stays_inside(content.get("folder"), path, overrides)
    for override in overrides:
        _override(content, override)
    return content


def _stays_inside(folder: Any, path: Path, overrides: Sequence[str]) -> None:
    """Refuse a file, which may be somebody else's, that would write anywhere on this disk.

    Links that are there are the user's own, and followed.
    """
    asked = any(override.partition("=")[0].strip() == "folder" for override in overrides)
    if asked or not isinstance(folder, str):
        return
    if Path(folder).is_absolute() or ".." in Path(folder).parts:
        raise WorkflowError(
            f"{path}: folder = {folder!r} leads out of the current folder, and a workflow file "
            "may write only inside; name a folder inside in the file, or ask for this one "
            f"yourself: --set folder={folder}"
        )


def _override(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise WorkflowError(f"--set {override!r}: expected key=value, e.g. simulation.seed=7")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = text
    *tables, last = key.strip().split(".")
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise WorkflowError(f"--set {override!r}: {table!r} is not a table")
    content[last] = value


def _words(source: object, error: ValidationError, file: type[Section], tables: Tables) -> str:
    """What is wrong with a file."""
    problems = dict[str, list[str]]()
    for entry in error.errors():
        what, hint = _problem(entry, file, tables)
        problems.setdefault(hint, []).append(what)
    return f"{source}: " + "; ".join(
        "; ".join([*some, *([hint] if hint else [])]) for hint, some in problems.items()
    )


def _problem(entry: Any, file: type[Section], tables: Tables) -> tuple[str, str]:
    """What is wrong, and a hint that others may share."""
    place = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        known = _keys(entry["loc"][:-1], file, tables)
        return f"unknown key {place!r}", nearest(str(entry["loc"][-1]), known)
    if entry["type"] == "missing":
        return f"missing key {place!r}", ""
    message = str(entry["msg"]).removeprefix("Value error, ")
    given = entry.get("input")
    value = "" if isinstance(given, dict) else f" = {given!r}"
    return f"{place}{value}: {message}" if place else message, ""


def _keys(place: tuple[int | str, ...], file: type[Section], tables: Tables) -> list[str]:
    """The keys known in one table of the file."""
    named = [str(part) for part in place if str(part) in tables]
    fields = (tables[named[-1]] if named else file).model_fields
    return [field.alias or name for name, field in fields.items()]
