r"""The look-elsewhere effect: a bump at an unknown mass, and width.

Over a grid of masses the local test is :math:`q_0(m)`, the likelihood ratio of a signal of positive
strength at m and none. The global p-value, that of the largest of them, is bounded for large c by

.. math:: p_\mathrm{global}(c) \le P(q_0 > c) + \langle N(c_0) \rangle e^{-(c - c_0)/2}

with the mean number of upcrossings of a lower level c₀, which few toys know (Gross and Vitells,
arXiv:1005.1891, equation 3). Over two parameters it is the mean Euler characteristic of what is
above c, :math:`P(q_0 > c) + e^{-c/2} (N_1 + \sqrt{c}\, N_2)` (Vitells and Gross, arXiv:1105.4355).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.fit import fit, profile_fit
from hepgen.statements import significance

_LEVELS_2D = (0.5, 2.0)


@dataclass(frozen=True)
class GlobalPValue:
    """The p-value of the largest of many local tests.

    Arguments:
        statistic: The largest q₀.
        local: Its p-value at a place that was known beforehand.
        value: The global one, not above 1.
        error: Its standard error by the number of toys.
        method: ``upcrossings``, ``euler characteristic`` or ``toys``.
        warnings: What a reader must know before believing it.
    """

    statistic: float
    local: float
    value: float
    error: float
    method: str
    warnings: tuple[str, ...] = ()

    @property
    def trials(self) -> float:
        """The trial factor, global over local."""
        return self.value / self.local

    @property
    def significance(self) -> float:
        """Z = Φ⁻¹(1 − p) of the global p-value."""
        return significance(self.value)


def local_statistics(
    likelihood: Likelihood, sets: DataSets, strength: str, grid: Mapping[str, Tensor]
) -> Tensor:
    """q₀ of S data sets at K places, shape ``(S, K)``; 0 where the best strength is negative.

    Arguments:
        likelihood: With the strength and the place as free parameters.
        sets: S data sets.
        strength: The name of what is zero without a signal.
        grid: The places by name, e.g. ``{"m_x": masses}``, each of shape ``(K,)``; two parameters
            as the two flattened columns of their grid.
    """
    places = {name: v.double().expand(len(sets), -1) for name, v in grid.items()}
    somewhere: dict[str, float | Tensor] = {name: v[:, 0] for name, v in places.items()}
    without = fit(likelihood, sets, fixed=somewhere | {strength: 0.0})
    count = next(iter(places.values())).shape[1]
    start = without.theta[:, None].expand(-1, count, -1).clone()
    high = max(
        min(p.high, p.prior.high)
        for p in likelihood.parameters.free
        if p.name == strength and p.prior is not None
    )
    column = likelihood.parameters.free_names.index(strength)
    start[..., column] = min(0.02 * high, 1.0)
    found = profile_fit(likelihood, sets, places, start, bounds={strength: (0.0, high)})
    gain = (2 * (found.log_likelihood - without.log_likelihood[:, None])).clamp(min=0)
    # At the bound both are one point, and what is left of a difference is rounding.
    return torch.where(found.theta[..., column] > 0, gain, 0.0)


def local_p_value(q: float) -> float:
    """P(q₀ > q) = 1 − Φ(√q) at a known place, for many events."""
    return float(ndtr(-math.sqrt(q)))


def upcrossings(q: NDArray[np.float64], level: float) -> NDArray[np.int64]:
    """How often q crosses a level upwards along its last axis, shape ``(S, K)`` to ``(S,)``.

    >>> upcrossings(np.array([[0.0, 2.0, 0.0, 0.0, 3.0]]), 1.0)
    array([2])
    """
    return np.asarray(((q[..., 1:] > level) & (q[..., :-1] <= level)).sum(-1))


def euler_characteristic(q: NDArray[np.float64], level: float) -> NDArray[np.int64]:
    """Pieces minus holes of where q on a grid is above a level, ``(S, A, B)`` to ``(S,)``.

    Points minus edges plus faces, of the neighbours that are above the level too.

    >>> ring = np.ones((1, 3, 3))
    >>> ring[0, 1, 1] = 0.0
    >>> euler_characteristic(ring, 0.5)
    array([0])
    """
    above = q > level
    across, along = above[:, 1:] & above[:, :-1], above[:, :, 1:] & above[:, :, :-1]
    faces = across[:, :, 1:] & across[:, :, :-1]
    counts = [part.sum((1, 2)).astype(np.int64) for part in (above, across, along, faces)]
    return np.asarray(counts[0] - counts[1] - counts[2] + counts[3])


def global_p_value(q: float, toys: NDArray[np.float64], *, level: float = 0.5) -> GlobalPValue:
    """The global p-value of the largest q₀ from a few toys without a signal.

    Arguments:
        q: The largest q₀ of the data.
        toys: q₀ over the grid of background toys, shape ``(S, K)`` along one parameter, or
            ``(S, A, B)`` over two. The grid is to be finer than the width of a bump.
        level: c₀ of the upcrossings; along two parameters 0.5 and 2 are used.
    """
    if toys.ndim not in (2, 3) or len(toys) < 10:
        raise DataError(
            f"toys of shape {toys.shape}; expected (S, K) or (S, A, B) with ten toys at least"
        )
    if not np.isfinite(toys).all():
        raise DataError("q₀ of a toy is NaN or infinite: look at the fits that did not converge")
    if toys.ndim == 2:
        slope = np.exp(-(q - level) / 2)
        excess = upcrossings(toys, level) * slope
        method = "upcrossings"
    else:
        excess, method = _from_euler(q, toys), "euler characteristic"
    local = local_p_value(q)
    value = local + float(excess.mean())
    words: tuple[str, ...] = ()
    if value > 0.1:
        words = (
            f"the formula is for small p-values and gives {value:.2g}: use toys by brute force",
        )
    return GlobalPValue(
        q, local, min(1.0, value), float(excess.std(ddof=1)) / math.sqrt(len(toys)), method, words
    )


def brute_force(q: float, toys: NDArray[np.float64]) -> GlobalPValue:
    """The share of background toys whose largest q₀ is as large, with a binomial error.

    Arguments:
        q: The largest q₀ of the data.
        toys: As for :func:`global_p_value`.
    """
    largest = toys.reshape(len(toys), -1).max(1)
    above = int((largest >= q).sum())
    value = above / len(toys)
    words: tuple[str, ...] = ()
    if above < 10:
        words = (f"{above} of {len(toys)} toys are as large: make more, or use upcrossings",)
    error = math.sqrt(max(value * (1 - value), 1 / len(toys)) / len(toys))
    return GlobalPValue(q, local_p_value(q), value, error, "toys", words)


def _from_euler(q: float, toys: NDArray[np.float64]) -> NDArray[np.float64]:
    """e^{−q/2}(N₁ + √q N₂) of each toy, from the Euler characteristic at two levels."""
    left, right = [], []
    for level in _LEVELS_2D:
        left.append([math.exp(-level / 2), math.sqrt(level) * math.exp(-level / 2)])
        right.append(euler_characteristic(toys, level) - local_p_value(level))
    first, second = np.linalg.solve(np.array(left), np.array(right))
    return np.asarray(math.exp(-q / 2) * (first + math.sqrt(q) * second))
