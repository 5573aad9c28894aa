"""Values that cannot be used: NaN, infinite or missing."""

from __future__ import annotations

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgen.io.operations import content_dtype, may_miss


def not_finite(array: ak.Array) -> NDArray[np.bool_]:
    """Which rows hold a NaN or an infinity, at any depth, shape ``(N,)``.

    >>> not_finite(ak.Array([[1.0], [], [2.0, float("nan")]]))
    array([False, False,  True])
    """
    dtype = content_dtype(array)
    if dtype is None or dtype.kind != "f":
        return np.zeros(len(array), dtype=np.bool_)
    return _any_inside(~np.isfinite(array))


def is_missing(array: ak.Array) -> NDArray[np.bool_]:
    """Which rows are missing, or hold a missing element, shape ``(N,)``."""
    if not may_miss(array):
        return np.zeros(len(array), dtype=np.bool_)
    missing = np.asarray(ak.to_numpy(ak.is_none(array, axis=0)), dtype=np.bool_)
    for axis in range(1, array.ndim):
        missing = missing | _any_inside(ak.is_none(array, axis=axis))
    return missing


def _any_inside(flags: ak.Array) -> NDArray[np.bool_]:
    while flags.ndim > 1:
        flags = ak.any(flags, axis=-1)
    return np.asarray(ak.to_numpy(ak.fill_none(flags, False)), dtype=np.bool_)


def dense(array: ak.Array) -> ak.Array:
    """The same values in a type that does not allow for missing ones, in memory of its own."""
    return ak.to_packed(ak.drop_none(array) if may_miss(array) else array)
