r"""Many tests at once: p-values corrected for their number.

Holm's hold the probability of any false alarm among all tests, whatever their dependence (Scand.
J. Stat. 6 (1979) 65): for checks that decide whether a result is believed. With weights w_i that
are known before the data, the ordered :math:`p_{(1)}/w_{(1)} \le p_{(2)}/w_{(2)} \le \dots` become

.. math:: \tilde p_{(j)} = \max_{k \le j}\, \min\Big(1,\;
          \frac{p_{(k)}}{w_{(k)}} \sum_{l \ge k} w_{(l)}\Big)

(his section 4). Tests by simulation or by permutations have a smallest p-value, and with equal
weights among many tests could never reject: :func:`resolving_weights` gives each what it needs.

Those of Benjamini and Hochberg hold the expected share of false alarms among the alarms, for
independent or positively dependent tests (J. R. Stat. Soc. B 57 (1995) 289): for a list of features
to look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hepgen.errors import DataError
from hepgen.results import Check


@dataclass(frozen=True)
class PValue:
    """One test of several, not corrected.

    Arguments:
        name: What was tested, e.g. ``support: Dimuon_mass``.
        value: The p-value.
        meaning: One sentence for a reader who does not know the test.
        smallest: That the test can give: 1/(1 + P) for P permutations or simulated sets.
    """

    name: str
    value: float
    meaning: str
    smallest: float = 0.0


def corrected(tests: Sequence[PValue], level: float) -> list[Check]:
    """The checks that no p-value is below a level, each corrected for the number of all of them.

    If all is well, any of them fails with a probability of ``level`` at most.

    >>> [one] = corrected([PValue("support: x", 0.5, "p-value that x is known")], 0.01)
    >>> one.passed, one.value
    (True, 0.5)
    """
    weights = resolving_weights([one.smallest for one in tests], level)
    values = holm([one.value for one in tests], weights)
    words = f", corrected for {len(tests)} tests" if len(tests) > 1 else ""
    return [
        Check(one.name, value >= level, value, level, one.meaning + words)
        for one, value in zip(tests, values, strict=True)
    ]


def resolving_weights(smallest: Sequence[float], level: float) -> list[float]:
    """Weights of a sum of one with which each test can reject at a level by itself.

    A test whose smallest p-value is s_i needs the share s_i/level. What these leave is divided
    such that all others have the same. Where they leave nothing, all have in proportion what they
    need, at least half an equal share, and those that need more than they have cannot reject alone.

    >>> resolving_weights([0.0, 0.0, 0.005], 0.01)
    [0.25, 0.25, 0.5]
    """
    needs = np.asarray(smallest, dtype=np.float64) / level
    if needs.sum() >= 1:
        shares = np.maximum(needs, 0.5 / len(needs))
        return [float(w) for w in shares / shares.sum()]
    common = 0.0
    for rest in range(len(needs), 0, -1):
        # The rest that need least share what the others leave.
        ordered = np.sort(needs)
        common = float(1 - ordered[rest:].sum()) / rest
        if ordered[rest - 1] <= common:
            break
    return [float(w) for w in np.maximum(needs, common)]


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """p-values below a level reject with at most that probability of any false alarm.

    Arguments:
        p_values: Any number of them.
        weights: Positive, and known before the data; equal ones by default.

    >>> holm([0.01, 0.5, 0.04])
    [0.03, 0.5, 0.08]
    >>> holm([0.01, 0.5, 0.04], [2, 1, 1])
    [0.02, 0.5, 0.08]
    """
    w = np.ones(len(p_values)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (len(p_values),) or not bool((w > 0).all()):
        raise DataError(f"weights {list(w)} of {len(p_values)} tests; expected positive numbers")
    p = _checked(p_values)
    order = np.argsort(p / w, kind="stable")
    left = np.cumsum(w[order][::-1])[::-1]
    return _in_order(np.maximum.accumulate((p / w)[order] * left), order)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """p-values below a level reject with at most that expected share of false alarms.

    >>> benjamini_hochberg([0.01, 0.5, 0.04])
    [0.03, 0.5, 0.06]
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    return _in_order(np.minimum.accumulate(scaled[::-1])[::-1], order)


def _checked(p_values: Sequence[float]) -> NDArray[np.float64]:
    p = np.asarray(p_values, dtype=np.float64)
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise DataError(f"p-values {list(p_values)}; expected numbers in [0, 1]")
    return p


def _in_order(corrected: NDArray[np.float64], order: NDArray[np.intp]) -> list[float]:
    back = np.empty_like(corrected)
    back[order] = np.minimum(corrected, 1.0)
    return [round(float(p), 12) for p in back]
