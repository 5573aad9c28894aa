"""What the options of a family may be, wherever one has them: checked before anything is built."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hepgen.errors import SurrogateError

_WHOLE = {
    "layers": 1, "levels": 1, "bins": 2, "components": 1, "steps": 1, "training_steps": 1,
    "likelihood_steps": 2, "importance": 1, "samples": 1, "width": 1, "latent": 0, "blocks": 0,
    "warm_up": 0, "probes": 0,
}  # fmt: skip
"""The least of a whole number."""
_REAL = {
    "tail": (0.0, math.inf), "tolerance": (0.0, math.inf), "beta": (0.0, math.inf),
    "free_bits": (0.0, math.inf), "kinetic": (0.0, math.inf), "stiffness": (0.0, math.inf),
    "drop": (0.0, 1.0), "eta": (0.0, 1.0),
}  # fmt: skip
"""The least and the largest of a number."""


def check_options(title: str, options: Mapping[str, Any]) -> None:
    """Refuse a number that no family can use.

    Arguments:
        title: Of the family, in words.
        options: As :class:`hepgen.surrogates.families.Family` takes them; names that are not
            known here are its matter.

    Raises:
        SurrogateError: One is out of its range; it is named, with what was expected.

    >>> check_options("diffusion", {"steps": 2.5})
    Traceback (most recent call last):
    hepgen.errors.SurrogateError: options of the diffusion: steps = 2.5; expected a whole number, \
1 at least
    """
    for name, value in options.items():
        expected = _expected(name, value)
        if expected:
            raise SurrogateError(f"options of the {title}: {name} = {value!r}; expected {expected}")


def _expected(name: str, value: Any) -> str:
    """What a value should have been; empty where it is that."""
    if name in _WHOLE and not _is_whole(value, _WHOLE[name]):
        return f"a whole number, {_WHOLE[name]} at least"
    if name in _REAL:
        low, high = _REAL[name]
        if not (_is_number(value) and low <= value <= high and math.isfinite(value)):
            return f"a number from {low:g}" + (f" to {high:g}" if high < math.inf else "")
    if name == "hidden":
        widths = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if not all(_is_whole(width, 1) for width in widths):
            return "a width, or one of each layer, whole numbers, 1 at least"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
