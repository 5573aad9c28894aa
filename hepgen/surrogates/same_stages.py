"""Whether the stages that a surrogate was trained on are those of a chain with other options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from hepgen.errors import HepgenError
from hepgen.simulators.chain import Chain
from hepgen.simulators.processes.registry import PROCESSES, process

_PLAIN = (str, bytes, bool, int, float, complex, type(None), type)


def changed_options(chain: Chain, trained: Mapping[str, Any], stages: Sequence[str]) -> list[str]:
    """The options by which stages are others than in training, as ``name: then, now``.

    Both chains are made anew from their options, and the stages compared in all that they hold.
    An option of another stage may change: a surrogate is a conditional density.

    Arguments:
        chain: Of today.
        trained: The options of its process in training.
        stages: The names of those that the surrogate stands for.

    >>> chain = process("dijet_bump", pt_min=30.0)
    >>> changed_options(chain, {}, ["reconstruction"])
    ['pt_min: 60, 30']
    >>> changed_options(chain, {}, ["parton"])
    []
    """
    known = inspect.signature(PROCESSES[chain.name]).parameters if chain.name in PROCESSES else {}
    defaults = {name: parameter.default for name, parameter in known.items()}
    now, then = (
        {k: v for k, v in options.items() if k in known} for options in (chain.options, trained)
    )
    differ = [
        name for name in {**then, **now}
        if not _alike(then.get(name, defaults[name]), now.get(name, defaults[name]))
    ]  # fmt: skip
    if not differ or _same_stages(chain.name, then, now, stages):
        return []
    return [
        f"{name}: {_short(then.get(name, defaults[name]))}, {_short(now.get(name, defaults[name]))}"
        for name in sorted(differ)
    ]


def _same_stages(
    name: str, then: Mapping[str, Any], now: Mapping[str, Any], stages: Sequence[str]
) -> bool:
    try:
        before, after = process(name, **then), process(name, **now)
    except (HepgenError, ImportError):  # e.g. a generator that needs its file: nothing is known
        return False
    pairs = [
        ([s for s in before.stages if s.name == one], [s for s in after.stages if s.name == one])
        for one in stages
    ]
    return all(_alike(one, other) for one, other in pairs)


def _alike(one: Any, other: Any, depth: int = 8) -> bool:
    """Whether two values hold the same, down to numbers; of what is too deep, nothing is known."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(
            _alike(a, b, depth - 1) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other or (one != one and other != other)
    if type(one) is not type(other):
        return False
    if isinstance(one, _PLAIN) or one is other:
        return bool(one == other)
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_alike(one[k], other[k], depth - 1) for k in one)
    if callable(one) and hasattr(one, "__qualname__"):
        return bool(one.__qualname__ == other.__qualname__)
    return depth > 0 and hasattr(one, "__dict__") and _alike(vars(one), vars(other), depth - 1)


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
