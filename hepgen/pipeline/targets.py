"""The columns that stages take and give, which a surrogate in their place has to take and give."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hepgen.errors import WorkflowError, nearest
from hepgen.features import Feature
from hepgen.simulators.chain import Chain
from hepgen.simulators.stage import Stage
from hepgen.surrogates.target import Column, Target, related

if TYPE_CHECKING:
    from hepgen.pipeline.session import Session

_PROBE = 256
"""Events that show the shapes and kinds of columns."""


def stages_in_a_row(chain: Chain, names: Sequence[str]) -> tuple[int, int]:
    """The numbers of the first stage and of the one after the last.

    Raises:
        WorkflowError: There is no such stage, or they are not in a row.
    """
    known = [stage.name for stage in chain.stages]
    for name in names:
        if name not in known:
            raise WorkflowError(
                f"surrogate.replace: no stage {name!r} in the chain {chain.name!r}; "
                f"{nearest(name, known)}"
            )
    first = known.index(names[0])
    if known[first : first + len(names)] != list(names):
        raise WorkflowError(
            f"surrogate.replace = {list(names)}: expected stages in a row, of {known}"
        )
    return first, first + len(names)


def target_of_stages(session: Session, chain: Chain, first: int, last: int) -> Target:
    """The columns that enter and leave the stages from ``first`` to before ``last``.

    Raises:
        WorkflowError: An output or a variable is no column of theirs, or one has a varying number
            of objects.
    """
    entry = session.workflow.surrogate
    replaced = chain.stages[first:last]
    given = {column for stage in replaced for column in stage.provides}
    needs = {column for stage in replaced for column in stage.requires} - given
    relations = {
        name: variable.model_dump(exclude_none=True) for name, variable in entry.variables.items()
    }
    # What a variable is relative to has to be known, even where no stage asks for it.
    needs |= {v[r] for v in relations.values() for r in ("ratio", "difference") if r in v}
    outputs = list(entry.outputs or _outputs(session, chain, last, given))
    for name in (*outputs, *relations):
        if name not in given | needs:
            raise WorkflowError(
                f"surrogate: the stages {[s.name for s in replaced]} neither take nor give a "
                f"column {name!r}; {nearest(name, given | needs)}"
            )
    state = Chain(chain.stages[:last]).simulate(
        {p.name: torch.tensor(p.default, dtype=torch.float64) for p in chain.parameters},
        _PROBE, seed=0,
    ).state  # fmt: skip
    parameters = {p.name: p for stage in replaced for p in stage.parameters}
    free = [name for name in session.parameters.free_names if name in parameters]
    fixed = {n: session.parameters[n].default for n in parameters if n not in free}
    # What is not selected has no meaning where the selection is among the outputs.
    among = state["selected"] if "selected" in outputs else None
    given_out = related([_column(n, state, replaced, among) for n in outputs], relations)
    return Target(
        tuple(stage.name for stage in replaced),
        tuple(related([_column(n, state, replaced) for n in sorted(needs)], _angles(relations))),
        tuple(_if_selected(given_out, session.features)),
        tuple(free),
        fixed,
    )


def _outputs(session: Session, chain: Chain, last: int, given: set[str]) -> list[str]:
    needed = {column for stage in chain.stages[last:] for column in stage.requires} & given
    if last == len(chain.stages):
        wanted = [*(f.name for f in session.features), *session.workflow.control]
        needed |= {*wanted, "selected", "weight"} & given
    return sorted(needed)


def _if_selected(columns: Sequence[Column], features: Sequence[Feature]) -> list[Column]:
    """Where the selection is among the outputs, the others are those of selected events."""
    if all(column.name != "selected" for column in columns):
        return list(columns)
    windows = {f.name: (f.low, f.high) for f in features if f.kind != "discrete"}
    return [
        dataclasses.replace(c, if_selected=True, window=windows.get(c.name, c.window))
        if c.dtype == "float"
        else c
        for c in columns
    ]


def _angles(relations: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of an input only whether it is an angle matters."""
    return {n: {"kind": "circular"} for n, w in relations.items() if w.get("kind") == "circular"}


def _column(
    name: str,
    state: Mapping[str, Tensor],
    replaced: Sequence[Stage],
    among: Tensor | None = None,
) -> Column:
    counter = "n" + name.split("_")[0]
    if state[name].dim() == 3 and counter in state:
        raise WorkflowError(
            f"surrogate.replace = {[s.name for s in replaced]}: column {name!r} has a varying "
            "number of objects, and a surrogate gives events of one size; replace the stages up "
            "to where they are summarised, e.g. up to the reconstruction"
        )
    return Column.like(name, state[name], among)
