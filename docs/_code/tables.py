"""Tables of the reference pages, read from the code: ``%run ../_code/tables.py``."""

from __future__ import annotations

import inspect
import math
import re
import types
import typing

from IPython.display import Markdown
from pydantic_core import PydanticUndefined

import hepgen
from hepgen import config
from hepgen.simulators.augment import no_score
from hepgen.simulators.processes.registry import PROCESSES

shown = []
described = []


def type_name(kind):
    """A type as a physicist would write it."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(a) for a in args if a is not type(None))
    if origin is typing.Literal:
        return " or ".join(f'`"{a}"`' for a in args)
    if origin is typing.Annotated:
        return type_name(args[0])
    if origin is tuple:
        return f"{len(args)} × {type_name(args[0])}"
    if origin is list:
        return (
            "list"
            if inspect.isclass(args[0]) and issubclass(args[0], config.Section)
            else (f"list of {type_name(args[0])}")
        )
    if origin is dict or kind is dict:
        return "table"
    names = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
    return names.get(kind, "table" if inspect.isclass(kind) else str(kind))


def toml(value):
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, str):
        return f'`"{value}"`' if value else ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (tuple, list)):
        return (
            f"`[{', '.join(f'{v:_}' if isinstance(v, int) else str(v) for v in value)}]`"
            if value
            else ""
        )
    if isinstance(value, int):
        return f"`{value:_}`"
    return f"`{value}`" if isinstance(value, float) else ""


def cell(text):
    return re.sub(r"(--[a-z]+)", r"`\1`", str(text).replace("|", "\\|"))


def limits(field):
    words = [f"> {m.gt}" for m in field.metadata if getattr(m, "gt", None) is not None]
    return f" ({', '.join(words)})" if words else ""


def table(section, skip=(), fit=None):
    """The keys of a section; where the file has no default, that of the function ``fit``."""
    shown.append(section)
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    below = inspect.signature(fit).parameters if fit else {}
    for name, field in section.model_fields.items():
        if name in skip:
            continue
        assert field.description, f"{section.__name__}.{name} has no description"
        default = "required" if field.is_required() else toml(field.default)
        if (section, name) == (config.Workflow, "name"):
            default = "name of the file"  # filled in when a file is read
        if field.default is None and name in below:
            default = toml(below[name].default)
        kind = type_name(field.annotation) + cell(limits(field))
        rows.append(f"| `{field.alias or name}` | {kind} | {default} | {cell(field.description)} |")
    return Markdown("\n".join(rows))


def options(function):
    """The options of a process, from its signature and docstring."""
    text = inspect.getdoc(function).split("Arguments:")[1]
    meanings = dict(re.findall(r"^    (\w+): (.*?)(?=^    \w+:|\Z)", text, re.M | re.S))
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "source":  # opened by hepgen
            continue
        meaning = " ".join(meanings.get(name, "").split())
        rows.append(f"| `{name}` | {toml(parameter.default)} | {cell(meaning)} |")
    return Markdown("\n".join(rows))


def parameters(chain):
    """The parameters of a chain, by stage."""
    rows = ["| parameter | default | unit | range | stage |", "|---|---|---|---|---|"]
    seen = set()
    for stage in chain.stages:
        for p in stage.parameters:
            if p.name in seen:
                continue
            seen.add(p.name)
            low, high = (f"{v:g}" if math.isfinite(v) else "∞" for v in (p.low, p.high))
            note = ", no score" if no_score(chain, p.name) else ""
            rows.append(
                f"| `{p.name}` | {p.default:g} | {p.unit} | {low} to {high}{note} | {stage.name} |"
            )
    return rows


def observables(chain):
    """The columns of a chain's files."""
    rows = ["| observable | unit | label |", "|---|---|---|"]
    rows += [f"| `{n}` | {unit} | {label} |" for n, (unit, label) in chain.observables.items()]
    return rows


def describe(name):
    """Options, parameters and observables of a process."""
    described.append(name)
    chain = hepgen.process(name)
    parts = [options(PROCESSES[name]).data.splitlines(), parameters(chain), observables(chain)]
    return Markdown("\n\n".join("\n".join(part) for part in parts))
