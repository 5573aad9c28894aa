"""Wiring: what the stages of a chain say of themselves, and whether they fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hepgen.errors import SimulationError
from hepgen.parameters import Parameter
from hepgen.simulators.stage import Stage


def check_wiring(stages: Sequence[Stage]) -> None:
    """Refuse stages that do not fit together.

    Raises:
        SimulationError: A name is there twice, a column that is needed is not there or is provided
            twice, or what a stage says of itself has not the form that it must have.
    """
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names):
        raise SimulationError(f"stages {names}: expected unique names")
    known: set[str] = set()
    for stage in stages:
        _check_words(stage)
        missing = set(stage.requires) - known
        if missing:
            raise SimulationError(
                f"stage {stage.name!r} needs {sorted(missing)}, which no stage before it "
                f"provides; there are {sorted(known)}"
            )
        twice = (known | {"event"}) & set(stage.provides)
        if twice:
            raise SimulationError(
                f"stage {stage.name!r} provides {sorted(twice)}, which a stage before it "
                "provides already; expected new columns"
            )
        known |= set(stage.provides)


def _check_words(stage: Stage) -> None:
    for what in ("requires", "provides"):
        given = getattr(stage, what)
        if not (_is_row(given) and all(isinstance(name, str) for name in given)):
            raise SimulationError(
                f'stage {stage.name!r}: {what} = {given!r}; expected names of columns, e.g. ("x",)'
            )
    if not (_is_row(stage.parameters) and all(isinstance(p, Parameter) for p in stage.parameters)):
        raise SimulationError(
            f"stage {stage.name!r}: parameters = {stage.parameters!r}; expected hepgen.Parameter, "
            'e.g. (Parameter("mu", 1.0, "GeV"),)'
        )
    _check_outputs(stage)


def _check_outputs(stage: Stage) -> None:
    outputs = stage.outputs
    if not (isinstance(outputs, Mapping) and all(_is_pair(words) for words in outputs.values())):
        raise SimulationError(
            f"stage {stage.name!r}: outputs = {outputs!r}; expected name = (unit, label), e.g. "
            '{"x": ("GeV", "$x$")}'
        )
    unknown = set(outputs) - set(stage.provides)
    if unknown:
        raise SimulationError(
            f"stage {stage.name!r}: outputs {sorted(unknown, key=str)} are none of the columns "
            f"that it provides, {sorted(stage.provides)}"
        )


def _is_row(given: object) -> bool:
    return isinstance(given, tuple | list)


def _is_pair(words: object) -> bool:
    if not isinstance(words, tuple | list):
        return False
    return len(words) == 2 and all(isinstance(word, str) for word in words)
