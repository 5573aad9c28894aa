"""Data: from a user's file to the events that enter the likelihood."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hepgen.config import LayoutEntry
from hepgen.errors import DataError, FileError, InputError, nearest
from hepgen.events import WEIGHT, Events
from hepgen.io.description import FileDescription, describe
from hepgen.io.expressions import Expression
from hepgen.io.reader import read
from hepgen.io.sources import Source, resolve
from hepgen.pipeline.session import Session


@dataclass(frozen=True)
class DataRequest:
    """What a user asks of a data file; the workflow has the rest.

    Arguments:
        files: As on the command line; by default the file of the workflow.
        tree: Where the files do not name one.
        layout: The name of a layout in the workflow; by default the first that fits.
        branches: Columns as ``column=expression``, which win over the layout's.
        cut: A further cut, over the file's branches.
        weights: An expression for signed event weights.
        drop_invalid: Drop events with NaN or infinite values instead of refusing them.
        entry_stop: Read at most so many entries, of all files together.
    """

    files: Sequence[str] = ()
    tree: str | None = None
    layout: str | None = None
    branches: Sequence[str] = ()
    cut: str | None = None
    weights: str | None = None
    drop_invalid: bool = False
    entry_stop: int | None = None


@dataclass(frozen=True)
class Observed:
    """The selected events of a data file, and how many were left at each step."""

    events: Events
    selection: Mapping[str, int]
    sources: Sequence[str] = field(default_factory=tuple)
    layout: str = ""


def read_observed(session: Session, request: DataRequest) -> Observed:
    """Read, reconstruct and select the events of a data file.

    Raises:
        FileError: A file cannot be read, or fits no layout.
        DataError: Nothing is selected, or values cannot be used.
    """
    sources = resolve(_files(session, request), request.tree)
    layout = choose_layout(session, sources[0], request)
    sources = [Source(s.path, s.tree or layout.tree) for s in sources]
    reader = read(
        sources, layout.columns,
        cut=_both(layout.cut, request.cut), weight=request.weights or layout.weight,
        drop_invalid=request.drop_invalid, one_per=layout.one_per, keep=layout.keep,
        entry_stop=request.entry_stop,
    )  # fmt: skip
    parts = list(_selected(session, reader))
    events = Events.concatenate(parts)
    selection = reader.cutflow.to_dict() | {"selected": len(events)}
    if len(events) < 2:
        raise DataError(
            f"{len(events)} events of {', '.join(map(str, sources))} pass the selection "
            f"({_words(selection)}); expected at least two; check the cut and the units (GeV)"
        )
    return Observed(events, selection, tuple(map(str, sources)), layout.name)


def tensors(session: Session, events: Events) -> tuple[Tensor, Tensor | None]:
    """The features ``(N, d)``, and the weights ``(N,)`` where there are any."""
    x = torch.from_numpy(events.flat(session.feature_names))
    return x, torch.from_numpy(events.weight) if WEIGHT in events else None


def _selected(session: Session, reader: Any) -> Any:
    wanted = [f.name for f in (*session.features, *session.control)]
    for events in reader:
        measured = session.chain.measured
        if measured and all(name in events for name in measured):
            events = session.chain.reconstruct(events)
            if "selected" in events:
                events = events.select(np.asarray(events["selected"]))
        present = [name for name in wanted if name in events]
        missing = set(session.feature_names) - set(present)
        if missing:
            raise DataError(
                f"the layout gives no column {sorted(missing)}; expected {', '.join(measured)} "
                "or the features themselves: map them with --branches or in the workflow"
            )
        extra = ["genWeight"] if "genWeight" in events else []
        yield Events(events.columns[present + extra], events.provenance)


def choose_layout(session: Session, source: Source, request: DataRequest) -> LayoutEntry:
    """The layout whose branches the file has, with the user's own columns.

    Raises:
        FileError: None fits; says which branches are missing for the nearest.
    """
    layouts = session.workflow.data.layouts
    own = dict(_assignment(text) for text in _split(request.branches))
    if request.layout is not None:
        named = {layout.name: layout for layout in layouts}
        if request.layout not in named:
            raise InputError(f"--layout {request.layout!r}; {nearest(request.layout, named)}")
        layouts = [named[request.layout]]
    candidates = [layout.model_copy(update={"columns": layout.columns | own}) for layout in layouts]
    if own and request.layout is None:
        # Columns that are enough by themselves need no layout; others complete one.
        enough = any(
            own.keys() >= set(n) for n in (session.chain.measured, session.feature_names) if n
        )
        alone = LayoutEntry(name="--branches", columns=own)
        candidates.insert(0 if enough else len(candidates), alone)
    file = describe(source)
    missing = []
    for layout in candidates:
        branches = _branches(file, source.tree or layout.tree)
        lacking = _names(layout) - branches
        if not lacking:
            return layout
        missing.append((len(lacking) / len(_names(layout)), layout.name, lacking, branches))
    if request.layout is None and not own:
        branches = _branches(file, source.tree)
        for names in (session.feature_names, session.chain.measured):
            if names and set(names) <= branches:
                return _by_name(session, names, branches)
    if not missing:
        absent = ", ".join(sorted(set(session.feature_names) - _branches(file, source.tree)))
        raise FileError(
            f"{source} has no branch {absent}, and the workflow no [[data.layouts]] that says what "
            "it is made of; expected one, or --branches"
        )
    raise FileError(_no_layout(source, missing))


def _by_name(session: Session, names: Sequence[str], branches: set[str]) -> LayoutEntry:
    """What a simulation of the same workflow has written: every column under its own name."""
    there = [n for n in (f.name for f in session.control) if n in branches]
    return LayoutEntry(
        name="columns by name", columns={n: n for n in (*names, *there)},
        weight=WEIGHT if WEIGHT in branches else None,
        cut="selected" if "selected" in branches else None,
    )  # fmt: skip


def _branches(file: FileDescription, tree: str | None) -> set[str]:
    """The branches of the tree that is meant, or of all trees."""
    return {b for t in file.trees if tree in (None, t.name) for b in t.branches}


def _no_layout(source: Source, missing: list[tuple[float, str, set[str], set[str]]]) -> str:
    _, name, lacking, branches = min(missing, key=lambda m: m[0])
    worst = sorted(lacking)[0]
    return (
        f"{source} fits no layout of the workflow; nearest is {name!r}, for which it lacks "
        f"{', '.join(sorted(lacking))} ({worst!r}: {nearest(worst, branches)}); map its branches "
        "with --branches 'Muon_pt=…' or a [[data.layouts]] in the workflow"
    )


def _names(layout: LayoutEntry) -> set[str]:
    texts: list[str] = [*layout.one_per]
    for entry in (layout.cut, layout.weight, layout.keep, *layout.columns.values()):
        texts += entry if isinstance(entry, list) else [entry] if entry else []
    return {name for text in texts for name in Expression(text).names}


def _split(branches: Sequence[str]) -> list[str]:
    """``a=x`` entries; one argument may hold several, with semicolons between."""
    return [part.strip() for text in branches for part in text.split(";") if part.strip()]


def _assignment(text: str) -> tuple[str, str | list[str]]:
    column, separator, expression = text.partition("=")
    if not separator or expression.startswith("="):
        raise InputError(
            f"--branches {text!r}: expected column=expression, e.g. 'Muon_pt=mu_pt' or "
            "'Muon_pt=[pt1, pt2]'"
        )
    expression = expression.strip()
    if expression.startswith("[") and expression.endswith("]"):
        return column.strip(), _entries(expression[1:-1])
    return column.strip(), expression


def _entries(text: str) -> list[str]:
    """The entries of a list, parted by the commas that stand outside of brackets.

    >>> _entries("hypot(px1, py1), pt2")
    ['hypot(px1, py1)', 'pt2']
    """
    depth, entries = 0, [""]
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            entries.append("")
        else:
            entries[-1] += letter
    return [entry.strip() for entry in entries]


def _both(first: str | None, second: str | None) -> str | None:
    if first and second:
        return f"({first}) and ({second})"
    return first or second


def _files(session: Session, request: DataRequest) -> Sequence[str]:
    if request.files:
        return [find(text) for text in request.files]
    if session.workflow.data.file is None:
        raise InputError("no data: name a ROOT file, or set data.file in the workflow")
    return [session.near(session.workflow.data.file)]


def find(text: str) -> str:
    """A file as named; else in ``HEPGEN_TESTDATA``, ``../shared/data``, scikit-hep-testdata."""
    path, _, tree = text.partition(":")
    if "://" in text or "*" in text or "," in text or Path(text).exists() or Path(path).exists():
        return text
    for folder in (os.environ.get("HEPGEN_TESTDATA"), "../shared/data"):
        if folder and (Path(folder) / Path(path).name).exists():
            return str(Path(folder) / Path(path).name) + (f":{tree}" if tree else "")
    packaged = _testdata(Path(path).name)
    return (packaged + (f":{tree}" if tree else "")) if packaged else text


def _testdata(name: str) -> str | None:
    if util.find_spec("skhep_testdata") is None:
        return None
    import skhep_testdata

    try:
        return str(skhep_testdata.data_path(name))
    except (RuntimeError, OSError, ValueError):
        return None


def _words(selection: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in selection.items())


__all__ = [
    "DataRequest",
    "FileError",
    "Observed",
    "choose_layout",
    "find",
    "read_observed",
    "tensors",
]
