"""Many tests at once: p-values corrected for their number.

Holm's hold the probability of any false alarm among all tests, whatever their dependence (Scand.
J. Stat. 6 (1979) 65): for checks that decide whether a result is believed. Those of Benjamini and
Hochberg hold the expected share of false alarms among the alarms, for independent or positively
dependent tests (J. R. Stat. Soc. B 57 (1995) 289): for a list of features to look at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hepgen.errors import DataError


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values below a level reject with at most that probability of any false alarm.

    >>> holm([0.01, 0.5, 0.04])
    [0.03, 0.5, 0.08]
    """
    p, order = _sorted(p_values)
    return _in_order(np.maximum.accumulate(p * np.arange(len(p), 0, -1)), order)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """p-values below a level reject with at most that expected share of false alarms.

    >>> benjamini_hochberg([0.01, 0.5, 0.04])
    [0.03, 0.5, 0.06]
    """
    p, order = _sorted(p_values)
    scaled = p * len(p) / np.arange(1, len(p) + 1)
    return _in_order(np.minimum.accumulate(scaled[::-1])[::-1], order)


def _sorted(p_values: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    p = np.asarray(p_values, dtype=np.float64)
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise DataError(f"p-values {list(p_values)}; expected numbers in [0, 1]")
    order = np.argsort(p, kind="stable")
    return p[order], order


def _in_order(corrected: NDArray[np.float64], order: NDArray[np.intp]) -> list[float]:
    back = np.empty_like(corrected)
    back[order] = np.minimum(corrected, 1.0)
    return [round(float(p), 12) for p in back]
