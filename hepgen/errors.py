"""Every error hepgen raises on purpose.

.. code-block:: text

    HepgenError
    ├── InputError             bad usage or bad input: exit code 2
    │   ├── WorkflowError      a workflow file or an entry of it
    │   ├── FileError          a file that is missing, truncated, or of another kind
    │   ├── DataError          values that cannot be used: NaN, an empty selection
    │   ├── ParameterError     a parameter that does not exist or is out of bounds
    │   ├── SurrogateError     a surrogate that cannot do what is asked
    │   ├── TrainingError      a training that cannot go on
    │   └── SamplingError      a posterior that cannot be sampled
    ├── SimulationError        a stage that failed: exit code 1
    └── ProcessError           a process of a training in several that is lost

A message says what is wrong, the value, what was expected, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class HepgenError(Exception):
    """Base of all errors that hepgen raises on purpose."""

    exit_code = 1


class InputError(HepgenError):
    """The user's input cannot be used."""

    exit_code = 2


class WorkflowError(InputError):
    """A workflow file, or an entry of it, is wrong."""


class FileError(InputError):
    """A file is missing, truncated, or not what it should be."""


class DataError(InputError):
    """The values in a data set cannot be used."""


class ParameterError(InputError):
    """A parameter does not exist or has a value outside its bounds."""


class SimulationError(HepgenError):
    """A stage of a chain failed."""


class TrainingError(InputError):
    """A training cannot go on, for its data or its settings.

    Arguments:
        words: What happened.
        curve: How it went until then, see :class:`hepgen.results.TrainingCurve`.
    """

    def __init__(self, words: str, curve: Any = None) -> None:
        super().__init__(words)
        self.curve = curve


class ProcessError(HepgenError):
    """A process of a training in several has ended, or does not see what the others see."""


class SurrogateError(InputError):
    """A surrogate cannot do what it is asked to."""


class SamplingError(InputError):
    """A posterior cannot be sampled: no number could be right."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says so; torch has no class of its own for that on a CPU.

    >>> out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    True
    """
    from_torch = isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    )
    return isinstance(error, MemoryError) or from_torch


def nearest(name: str, known: Iterable[str], most: int = 3) -> str:
    """Words that offer the nearest of the ``known`` names, ready to end a message.

    >>> nearest("bins", ["bin", "colour"])
    "did you mean 'bin'?"
    """
    names = sorted(set(known))
    lower = {n.lower(): n for n in names}
    close = [lower[n] for n in difflib.get_close_matches(name.lower(), lower, n=most)]
    if close:
        return "did you mean " + " or ".join(repr(n) for n in close) + "?"
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"known: {shown}" if names else "there are none"
