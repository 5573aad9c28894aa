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
from hepgen.inference.statistics.toys import count_above, fraction_above, left_out
from hepgen.statements import significance

_LEVELS_2D = (0.5, 2.0)

_SMOOTH = 0.6
"""The least correlation of √q₀ at neighbours of a grid that sees every bump: a Gaussian bump of
width σ has 0.72 with places σ apart, 0.6 with 1.25 σ, and 0.3 with 2 σ."""


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

    NaN where a fit did not converge.

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
    gain = torch.where(found.theta[..., column] > 0, gain, 0.0)
    return gain.masked_fill(~found.converged | ~without.converged[:, None], torch.nan)


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
            ``(S, A, B)`` over two. The grid is to be finer than the width of a bump: there is a
            warning where neighbours are less alike than it takes. Toys with a NaN, from
            :func:`local_statistics`, are left out with a warning.
        level: c₀ of the upcrossings; along two parameters 0.5 and 2 are used.

    Raises:
        DataError: Too few toys, or more than a tenth with a fit that did not converge.
    """
    if toys.ndim not in (2, 3) or len(toys) < 10:
        raise DataError(
            f"toys of shape {toys.shape}; expected (S, K) or (S, A, B) with ten toys at least"
        )
    toys, words = _fitted(q, toys)
    if toys.ndim == 2:
        slope = np.exp(-(q - level) / 2)
        excess = upcrossings(toys, level) * slope
        method = "upcrossings"
    else:
        slope = np.exp(-q / 2)
        excess, method = _from_euler(q, toys), "euler characteristic"
    local, more = local_p_value(q), float(excess.mean())
    value = local + max(more, 0.0)
    error = float(excess.std(ddof=1)) / math.sqrt(len(toys))
    if more < 0:
        words += (
            f"the Euler characteristics of {len(toys)} toys give {more:.2g} beside the local "
            f"p-value, {local:.2g}, which none is below: make more toys",
        )
    elif toys[0].size > 1 and not excess.any():
        # As if one toy had crossed once.
        error = float(slope) / len(toys)
        words += (
            f"none of {len(toys)} toys rises through q₀ = {level:g}, so the global p-value is the "
            f"local one, and may be larger by {error:.2g} or more: make more toys, or take a "
            "lower level",
        )
    if value > 0.1:
        words += (
            f"the formula is for small p-values and gives {value:.2g}: use toys by brute force",
        )
    return GlobalPValue(q, local, min(1.0, value), error, method, words + _coarse(toys))


def brute_force(q: float, toys: NDArray[np.float64]) -> GlobalPValue:
    """The share of background toys whose largest q₀ is as large, with a binomial error.

    Where there is none it is an upper limit, 1/(T + 1), see
    :func:`hepgen.inference.statistics.toys.fraction_above`.

    Arguments:
        q: The largest q₀ of the data.
        toys: As for :func:`global_p_value`.

    Raises:
        DataError: More than a tenth of the toys have a fit that did not converge.
    """
    toys, words = _fitted(q, toys)
    largest = torch.from_numpy(toys.reshape(len(toys), -1).max(1))
    above = count_above(largest, q)
    value, error = fraction_above(largest, q)
    if above < 10:
        limit = "" if above else f"the p-value is an upper limit, 1/{len(toys) + 1}; "
        words += (
            f"{above} of {len(toys)} toys are as large: {limit}make more, or use upcrossings",
        )
    return GlobalPValue(q, local_p_value(q), value, error, "toys", words)


def _fitted(q: float, toys: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The toys whose fits all converged, and a warning of the others."""
    if not math.isfinite(q) or np.isinf(toys).any():
        raise DataError(
            f"q₀ = {q:g} of the data, and {int(np.isinf(toys).sum())} infinite values of toys; "
            "expected finite ones: look at the fits that did not converge"
        )
    lost = np.isnan(toys).reshape(len(toys), -1).any(1)
    words = left_out(int(lost.sum()), len(toys))
    return toys[~lost], words


def _coarse(toys: NDArray[np.float64]) -> tuple[str, ...]:
    """A warning where q₀ changes too much from one place to the next."""
    root = np.sqrt(toys)
    axes = range(1, toys.ndim)
    alike = [_correlation(np.moveaxis(root, axis, 1)) for axis in axes if toys.shape[axis] > 1]
    if not alike or min(alike) >= _SMOOTH:
        return ()
    return (
        f"√q₀ at neighbouring places has a correlation of {min(alike):.2f}; expected "
        f"{_SMOOTH:g} at least: the grid is coarser than a bump is wide, which hides upcrossings "
        "and makes the global p-value too small; scan in finer steps",
    )


def _correlation(root: NDArray[np.float64]) -> float:
    """Of neighbours along the second axis, over all toys and places; 1 where nothing varies."""
    here, there = root[:, :-1].ravel(), root[:, 1:].ravel()
    if not here.std() or not there.std():
        return 1.0
    return float(np.corrcoef(here, there)[0, 1])


def _from_euler(q: float, toys: NDArray[np.float64]) -> NDArray[np.float64]:
    """e^{−q/2}(N₁ + √q N₂) of each toy, from the Euler characteristic at two levels."""
    left, right = [], []
    for level in _LEVELS_2D:
        left.append([math.exp(-level / 2), math.sqrt(level) * math.exp(-level / 2)])
        right.append(euler_characteristic(toys, level) - local_p_value(level))
    first, second = np.linalg.solve(np.array(left), np.array(right))
    return np.asarray(math.exp(-q / 2) * (first + math.sqrt(q) * second))
