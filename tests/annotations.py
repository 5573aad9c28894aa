"""Every annotation of the package is checked at run time, while tests run.

jaxtyping's hook puts a decorator on each function and class of the package when it is imported.
Its own binds the arguments of every call, to compare shapes across them, and checks them twice.
No annotation of the package has a shape: beartype alone makes the same checks, in less time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype

_CONF = BeartypeConf(is_pep484_tower=True, violation_type=TypeError)
_check: Callable[[Any], Any] = beartype(conf=_CONF)


def check_annotations_of(package: str) -> None:
    """Check each call of its functions, and each dataclass that is made, from now on.

    It must not be imported yet.
    """
    jaxtyping.jaxtyped = lambda **_: checked  # type: ignore[assignment]
    jaxtyping.install_import_hook(package, None)


def checked(thing: Any) -> Any:
    """A function, or a dataclass with its ``__init__``, that checks what it is given."""
    if isinstance(thing, type):
        if dataclasses.is_dataclass(thing) and not hasattr(thing.__init__, "__wrapped__"):
            thing.__init__ = checked(thing.__init__)  # type: ignore[method-assign]
        return thing
    written = thing.__annotations__
    thing.__annotations__ = {name: _resolved(thing, name) for name in written}
    checking = _check(thing)
    thing.__annotations__ = checking.__annotations__ = written
    return checking


def _resolved(function: Any, name: str) -> Any:
    """What an annotation means; anything, where that is not known yet when it is imported."""

    def alone() -> None: ...

    alone.__annotations__[name] = function.__annotations__[name]
    try:
        return get_type_hints(alone, function.__globals__, include_extras=True)[name]
    except Exception:
        return Any
