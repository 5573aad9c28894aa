"""What a column expression computes: arithmetic, logic and reductions on awkward arrays.

Values are arrays, flat ``(N,)`` or jagged ``(N, var)``, or Python scalars. Numbers are
computed in float64 and int64, so that unsigned counters do not wrap around below zero and
a float32 is compared as the double it stands for. A missing value (an element that is not
there) stays missing, and logic on it is Kleene's.

Every function raises TypeError or ValueError with the reason where its arguments do not
suit it; the caller knows where in the expression that was.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import awkward as ak
import numpy as np


def content_dtype(array: ak.Array) -> np.dtype[Any] | None:
    """The type of the numbers in an array, however nested; None for strings and records.

    >>> content_dtype(ak.Array([[1.5], []])), content_dtype(ak.Array(["GG"]))
    (dtype('float64'), None)
    """
    layout = array.layout
    while not layout.is_numpy:
        if layout.parameter("__array__") in ("string", "bytestring"):
            return None
        if layout.is_unknown:
            return np.dtype(np.float64)
        if not (layout.is_list or layout.is_option or layout.is_indexed):
            return None
        layout = layout.content
    dtype: np.dtype[Any] = layout.dtype
    return dtype


def may_miss(value: Any) -> bool:
    """Whether the type of ``value`` allows for missing values, at any depth.

    >>> may_miss(ak.Array([1.0, None])), may_miss(ak.Array([[1.0], []]))
    (True, False)
    """
    if not isinstance(value, ak.Array):
        return False
    layout = value.layout
    while layout.is_list or layout.is_option or layout.is_indexed:
        if layout.is_option:
            return True
        layout = layout.content
    return False


# --- numbers and truth values ---------------------------------------------------------


def number(value: Any) -> Any:
    """The value in float64 or int64."""
    if not isinstance(value, ak.Array):
        if isinstance(value, str):
            raise TypeError(f"the string {value!r} is not a number")
        return value
    dtype = content_dtype(value)
    if dtype is None:
        raise TypeError("strings and records are not numbers; compare strings with == or in")
    wide = np.float64 if dtype.kind == "f" else np.int64
    return value if dtype == wide else ak.values_astype(value, wide)


def truth(value: Any) -> Any:
    """The value as a truth value: a number is true where it is not zero."""
    if not isinstance(value, ak.Array):
        return bool(value)
    dtype = content_dtype(value)
    return value if dtype is not None and dtype.kind == "b" else number(value) != 0


def logical_not(value: Any) -> Any:
    """Not; missing stays missing."""
    return np.logical_not(truth(value))


def logical_and(left: Any, right: Any) -> Any:
    """Kleene's and: false where one side is false, missing where that is not decided.

    >>> logical_and(ak.Array([True, None, None]), ak.Array([True, True, False])).tolist()
    [True, None, False]
    """
    left, right = truth(left), truth(right)
    if not (may_miss(left) or may_miss(right)):
        return np.logical_and(left, right)
    true = np.logical_and(_definitely(left), _definitely(right))
    false = np.logical_or(_definitely(np.logical_not(left)), _definitely(np.logical_not(right)))
    return ak.mask(true, np.logical_or(true, false))


def logical_or(left: Any, right: Any) -> Any:
    """Kleene's or: true where one side is true, missing where that is not decided."""
    return np.logical_not(logical_and(logical_not(left), logical_not(right)))


def _definitely(value: Any) -> Any:
    return ak.fill_none(value, False, axis=-1) if may_miss(value) else value


# --- comparison -----------------------------------------------------------------------


def equal(left: Any, right: Any) -> Any:
    """Equality of two numbers or of two strings."""
    if _is_text(left) != _is_text(right):
        raise TypeError("a string is compared with a number; expected two of a kind")
    return left == right if _is_text(left) else np.equal(number(left), number(right))


def contained(value: Any, candidates: tuple[Any, ...]) -> Any:
    """Whether the value is one of the candidates."""
    if not candidates:
        raise TypeError("nothing is in an empty list; expected values, such as (11, 13)")
    return reduce(np.logical_or, [equal(value, candidate) for candidate in candidates])


def ordered(function: np.ufunc) -> Callable[[Any, Any], Any]:
    """A comparison of numbers."""
    return lambda left, right: function(number(left), number(right))


def _is_text(value: Any) -> bool:
    return content_dtype(value) is None if isinstance(value, ak.Array) else isinstance(value, str)


# --- functions ------------------------------------------------------------------------


class Function(NamedTuple):
    """A function of an expression and its least and most arguments."""

    call: Callable[..., Any]
    low: int = 1
    high: int = 1


def power(base: Any, exponent: Any) -> Any:
    """In float64, because a negative exponent of a whole number is not a whole number."""
    base, exponent = number(base), number(exponent)
    wide = ak.values_astype(base, np.float64) if isinstance(base, ak.Array) else float(base)
    return np.power(wide, exponent)


def elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of numbers, element by element."""
    return lambda *values: function(*(number(value) for value in values))


def _lists(value: Any) -> ak.Array:
    """The value with all its lists joined to one an event."""
    if not isinstance(value, ak.Array) or value.ndim < 2:
        raise TypeError("the argument has one value in each event; expected a jagged column")
    while value.ndim > 2:
        value = ak.flatten(value, axis=2)
    return value


def _per_event(function: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda value: function(number(_lists(value)), axis=1)


def _quantified(function: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda value: function(truth(_lists(value)), axis=1)


def _extreme(per_event: Callable[..., Any], pair: Callable[..., Any]) -> Callable[..., Any]:
    """Of one jagged value the extreme in each event, of several the element-wise one."""

    def call(*values: Any) -> Any:
        if len(values) == 1:
            return _per_event(per_event)(values[0])
        return reduce(pair, [number(value) for value in values])

    return call


def _mean(values: ak.Array, axis: int) -> Any:
    return ak.mean(values, axis=axis, mask_identity=True)


def _count(value: Any) -> Any:
    return ak.num(_lists(value), axis=1)


def _where(condition: Any, one: Any, other: Any) -> Any:
    return ak.where(truth(condition), number(one), number(other))


def _alternative(value: Any, other: Any) -> Any:
    """The value, or the other where it is missing."""
    value, other = number(value), number(other)
    return ak.where(ak.is_none(value, axis=-1), other, value) if may_miss(value) else value


def _bitand(value: Any, bits: Any) -> Any:
    for side in (value, bits):
        dtype = content_dtype(side) if isinstance(side, ak.Array) else np.asarray(side).dtype
        if dtype is None or dtype.kind not in "iub":
            raise TypeError("bitand(…) takes whole numbers")
    return np.bitwise_and(number(value), number(bits))


_MANY = 99
_UFUNCS: dict[str, np.ufunc] = {
    "abs": np.abs, "fabs": np.abs, "sqrt": np.sqrt, "exp": np.exp, "log": np.log,
    "log10": np.log10, "log2": np.log2, "log1p": np.log1p, "expm1": np.expm1,
    "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "arcsin": np.arcsin, "arccos": np.arccos, "arctan": np.arctan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "arcsinh": np.arcsinh, "arccosh": np.arccosh, "arctanh": np.arctanh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "isfinite": np.isfinite, "isnan": np.isnan, "floor": np.floor, "ceil": np.ceil,
    "round": np.rint, "sign": np.sign,
}  # fmt: skip
_UFUNCS2: dict[str, np.ufunc] = {"arctan2": np.arctan2, "atan2": np.arctan2, "hypot": np.hypot}
FUNCTIONS: dict[str, Function] = {
    **{name: Function(elementwise(function)) for name, function in _UFUNCS.items()},
    **{name: Function(elementwise(function), 2, 2) for name, function in _UFUNCS2.items()},
    "pow": Function(power, 2, 2),
    "bitand": Function(_bitand, 2, 2),
    "where": Function(_where, 3, 3),
    "alt": Function(_alternative, 2, 2),
    "min": Function(_extreme(ak.min, np.minimum), 1, _MANY),
    "max": Function(_extreme(ak.max, np.maximum), 1, _MANY),
    "sum": Function(_per_event(ak.sum)),
    "mean": Function(_per_event(_mean)),
    "argmax": Function(_per_event(ak.argmax)),
    "argmin": Function(_per_event(ak.argmin)),
    "any": Function(_quantified(ak.any)),
    "all": Function(_quantified(ak.all)),
    "count": Function(_count),
    "len": Function(_count),
}


# --- indexing inside an event ---------------------------------------------------------


def take(value: Any, index: Any) -> ak.Array:
    """``value[index]`` inside each event; an element that is not there is missing.

    Arguments:
        value: Jagged, shape ``(N, var)``.
        index: A whole number (negative: from the end), a slice, a condition with the shape
            of ``value`` or one truth value an event, or positions, flat or jagged, of which
            a negative one means none.

    >>> muons = ak.Array([[40.0, 30.0], []])
    >>> take(muons, 0).tolist(), take(muons, muons < 35).tolist()
    ([40.0, None], [[30.0], []])
    """
    if not isinstance(value, ak.Array) or value.ndim < 2:
        raise TypeError("it has one value in each event and cannot be indexed")
    if isinstance(index, slice):
        return value[:, index]
    if isinstance(index, ak.Array):
        return _chosen(value, index)
    if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
        raise TypeError(f"the index {index!r} is not a whole number")
    return _element(value, int(index))


def _element(value: ak.Array, index: int) -> ak.Array:
    if index == 0:
        return ak.firsts(value, axis=1)
    needed = index + 1 if index >= 0 else -index
    return ak.mask(value, ak.num(value, axis=1) >= needed)[:, index]


def _chosen(value: ak.Array, index: ak.Array) -> ak.Array:
    dtype = content_dtype(index)
    if dtype is None or dtype.kind not in "iub":
        raise TypeError("an index is a whole number or a condition")
    return _where_true(value, index) if dtype.kind == "b" else _at_positions(value, index)


def _where_true(value: ak.Array, condition: ak.Array) -> ak.Array:
    condition, value = ak.broadcast_arrays(condition, value)
    return value[ak.fill_none(condition, False, axis=-1)]


def _at_positions(value: ak.Array, index: ak.Array) -> ak.Array:
    single = index.ndim == 1
    inside = ak.values_astype(ak.singletons(index) if single else index, np.int64)
    there = ak.fill_none((inside >= 0) & (inside < ak.num(value, axis=1)), False, axis=-1)
    picked = value[ak.mask(inside, there)]
    return ak.firsts(picked, axis=1) if single else picked
