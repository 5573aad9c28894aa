"""The named chains, one module each."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from hepgen.errors import WorkflowError, nearest
from hepgen.simulators.chain import Chain
from hepgen.simulators.processes.calo_shower import calo_shower
from hepgen.simulators.processes.dijet_bump import dijet_bump
from hepgen.simulators.processes.dy_eft import dy_eft
from hepgen.simulators.processes.ee_jets import ee_jets
from hepgen.simulators.processes.ee_mumu import ee_mumu
from hepgen.simulators.processes.gaussian import gaussian
from hepgen.simulators.processes.zmumu import zmumu
from hepgen.simulators.recorded import EventSource

PROCESSES: dict[str, Callable[..., Chain]] = {
    "zmumu": zmumu,
    "dy_eft": dy_eft,
    "ee_mumu": ee_mumu,
    "ee_jets": ee_jets,
    "dijet_bump": dijet_bump,
    "calo_shower": calo_shower,
    "gaussian": gaussian,
}


def process(name: str, source: EventSource | None = None, /, **options: Any) -> Chain:
    """The chain called ``name``.

    Arguments:
        name: See :data:`PROCESSES`.
        source: The opened file that the option ``generator`` names, where it names one.
        options: Of the process.

    >>> process("zmumu").parameters.names[:3]
    ('m_z', 'gamma_z', 'sin2_theta_w')
    """
    if name not in PROCESSES:
        raise WorkflowError(f"no process {name!r}; {nearest(name, PROCESSES)}")
    known = dict(inspect.signature(PROCESSES[name]).parameters)
    takes_file = known.pop("source", None) is not None
    if source is not None and not takes_file:
        raise WorkflowError(f"process {name!r} takes no events from a file")
    for option, value in options.items():
        if option not in known:
            raise WorkflowError(f"process {name!r}: no option {option!r}; {nearest(option, known)}")
        if expected := _fault(value, known[option].default):
            raise WorkflowError(f"process {name!r}: {option} = {value!r}; expected {expected}")
    plain = {o: _plain(v, known[o].default) for o, v in options.items()}
    chain = PROCESSES[name](**plain, **({"source": source} if takes_file else {}))
    chain.options = options
    return chain


def _fault(value: Any, default: Any) -> str:
    """What was expected, where a value is not of the kind of the default; else nothing."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, str):
        return "" if isinstance(value, str) else "text"
    if isinstance(default, Mapping):
        return "" if isinstance(value, Mapping) else "a table"
    if isinstance(default, tuple) and len(default) != 2:
        numbers = isinstance(value, (list, tuple)) and len(value) > 0 and all(map(_number, value))
        return "" if numbers else "a list of numbers"
    if isinstance(default, tuple):
        pair = isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_number, value))
        return "" if pair and value[0] < value[1] else "two numbers, the smaller first"
    if isinstance(default, int):
        return "" if isinstance(value, int) and not isinstance(value, bool) else "a whole number"
    return "" if _number(value) else "a number"


def _plain(value: Any, default: Any) -> Any:
    """As annotated: a file has lists for tuples, and whole numbers where any will do."""
    if isinstance(value, (list, tuple)):
        return tuple(map(float, value))
    return float(value) if isinstance(default, float) else value


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
