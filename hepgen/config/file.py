"""The file itself: TOML to a workflow and back, and what is wrong with it in words."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from hepgen.config.data import DataEntry, LayoutEntry
from hepgen.config.estimators import (
    JointRatioEntry,
    LikelihoodEntry,
    PosteriorEntry,
    RatioEntry,
    ReferenceEntry,
    ScoreDensityEntry,
    ScoreEntry,
)
from hepgen.config.exchange import ExchangeEntry
from hepgen.config.inference import InferenceEntry, ScanEntry, StatementsEntry
from hepgen.config.model import FeatureEntry, ParameterEntry, StageEntry
from hepgen.config.section import Section
from hepgen.config.simulation import AugmentEntry, SimulationEntry
from hepgen.config.surrogate import SurrogateEntry, VariableEntry
from hepgen.config.validation import (
    CalibrationEntry,
    ChecksEntry,
    StatisticEntry,
    ValidationEntry,
)
from hepgen.config.workflow import Workflow
from hepgen.errors import WorkflowError, nearest


def load(path: Path, overrides: Sequence[str] = ()) -> Workflow:
    """Read and validate a workflow file.

    Arguments:
        path: The TOML file.
        overrides: ``key=value`` with a dotted key, as given to ``--set``.

    Raises:
        WorkflowError: It does not exist, is not TOML, or says something it cannot mean.
    """
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
    for override in overrides:
        _override(content, override)
    content.setdefault("name", path.stem)
    return parse(content, str(path))


def parse(content: Mapping[str, Any], source: str = "workflow") -> Workflow:
    """Validate the content of a workflow file.

    >>> parse({"name": "a", "process": "zmumu", "features": [{"name": "M"}], "controls": []})
    Traceback (most recent call last):
    hepgen.errors.WorkflowError: workflow: unknown key 'controls'; did you mean 'control'?
    """
    try:
        return Workflow.model_validate(content)
    except ValidationError as error:
        problems = [_problem(entry) for entry in error.errors()]
        raise WorkflowError(f"{source}: " + "; ".join(problems)) from None


def to_toml(workflow: Workflow) -> str:
    """The workflow with its defaults filled in, as TOML that reads back the same."""
    content = workflow.model_dump(mode="json", exclude_none=True, by_alias=True)
    return tomli_w.dumps(content)


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


def _problem(entry: Any) -> str:
    place = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        return f"unknown key {place!r}; {nearest(str(entry['loc'][-1]), _keys(entry['loc'][:-1]))}"
    if entry["type"] == "missing":
        return f"missing key {place!r}"
    message = str(entry["msg"]).removeprefix("Value error, ")
    given = entry.get("input")
    value = "" if isinstance(given, dict) else f" = {given!r}"
    return f"{place}{value}: {message}" if place else message


def _keys(place: tuple[int | str, ...]) -> list[str]:
    """The keys known in one table of the file."""
    tables: dict[str, type[Section]] = {
        "parameters": ParameterEntry, "features": FeatureEntry, "layouts": LayoutEntry,
        "data": DataEntry, "simulation": SimulationEntry, "augment": AugmentEntry,
        "stages": StageEntry, "surrogate": SurrogateEntry,
        "variables": VariableEntry, "nle": LikelihoodEntry, "npe": PosteriorEntry,
        "nre": RatioEntry, "classifier": ReferenceEntry, "sally": ScoreEntry,
        "rascal": JointRatioEntry, "alices": JointRatioEntry, "scandal": ScoreDensityEntry,
        "inference": InferenceEntry, "statements": StatementsEntry,
        "scan": ScanEntry, "exchange": ExchangeEntry,
        "calibration": CalibrationEntry, "validation": ValidationEntry,
        "statistics": StatisticEntry, "checks": ChecksEntry,
    }  # fmt: skip
    named = [str(part) for part in place if str(part) in tables]
    fields = (tables[named[-1]] if named else Workflow).model_fields
    return [field.alias or name for name, field in fields.items()]
