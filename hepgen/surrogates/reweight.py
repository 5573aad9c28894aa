"""Events that were made at one θ, weighted to another by the ratio of a surrogate's densities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepgen.errors import DataError, SurrogateError
from hepgen.events import WEIGHT
from hepgen.surrogates.arrays import EventSurrogate
from hepgen.surrogates.surrogate import Surrogate

_SIGMAS = 5.0


@dataclass(frozen=True)
class Reweighting:
    """The weights of N events, and how far they may be trusted.

    Arguments:
        weights: w = w₀ p(x | θ₁)/p(x | θ₀), shape ``(N,)``, with the events' own weights w₀.
        error: The Monte Carlo error of each, shape ``(N,)``; zero for an exact density.
        mean: Σw/Σw₀, which is 1 on average for events from p(x | θ₀).
        mean_error: Its standard error, from the spread of the ratios.
        effective_events: (Σw)²/Σw²: as many unweighted events have the variance of the weighted.
    """

    weights: NDArray[np.float64]
    error: NDArray[np.float64]
    mean: float
    mean_error: float
    effective_events: float


def reweight(
    surrogate: EventSurrogate | Surrogate,
    events: Any,
    from_theta: Any,
    to_theta: Any,
    *,
    weight: ArrayLike | None = None,
    smallest: float = 0.01,
    off: float = 0.1,
    seed: int = 0,
) -> Reweighting:
    r"""Weights that turn a sample of p(x | θ₀) into one of p(x | θ₁).

    .. math:: w = w_0 \, p(x \mid θ_1) / p(x \mid θ_0), \qquad E_{θ_0}[w / w_0] = 1

    The sample must cover what θ₁ gives: where it has no event no weight can make one.

    Arguments:
        surrogate: With a density that is exact or an estimate of one.
        events: N events, from θ₀; in any form that :class:`EventSurrogate` takes.
        from_theta: θ₀, the same for all events or one for each.
        to_theta: θ₁, likewise.
        weight: Their own signed weights, shape ``(N,)``; by default the column ``genWeight``
            where there is one.
        smallest: The smallest effective number of events that is accepted, as a fraction of that
            of the events' own weights.
        off: The largest distance of Σw/Σw₀ from 1 that is accepted, where it is more than five
            standard errors.
        seed: Of a density that draws random numbers; the same for both θ.

    Raises:
        SurrogateError: θ₀ or θ₁ is outside the range of the training, the density is a bound or
            there is none, or the weights are not to be trusted.
    """
    front = surrogate if isinstance(surrogate, EventSurrogate) else EventSurrogate(surrogate)
    _refuse_bounds(front)
    there, there_error = front.log_density(events, to_theta, seed)
    here, here_error = front.log_density(events, from_theta, seed)
    ratio = np.exp(there - here)
    own = _own(events, weight, len(ratio))
    weights = own * ratio
    error = np.abs(weights) * np.hypot(there_error, here_error)
    _check_finite(weights)
    mean = float(weights.sum() / own.sum())
    spread = float(np.sqrt((own**2 * (ratio - mean) ** 2).sum()) / abs(own.sum()))
    found = Reweighting(weights, error, mean, spread, _effective(weights))
    _check(found, _effective(own), smallest, off)
    return found


def _effective(weights: NDArray[np.float64]) -> float:
    return float(weights.sum() ** 2 / (weights**2).sum())


def _refuse_bounds(front: EventSurrogate) -> None:
    if front.quality.kind in ("none", "bound"):
        raise SurrogateError(
            f"{front.surrogate.method}: the density is {front.quality}, and the ratio of two such "
            "numbers is not the ratio of densities; reweight with a flow"
        )


def _own(events: Any, weight: ArrayLike | None, n: int) -> NDArray[np.float64]:
    if weight is None:
        fields = getattr(events, "fields", None) or getattr(
            getattr(events, "dtype", None), "names", None
        ) or (list(events) if hasattr(events, "keys") else [])  # fmt: skip
        weight = np.asarray(events[WEIGHT]) if WEIGHT in fields else np.ones(n)
    own = np.asarray(weight, dtype=np.float64)
    if own.shape != (n,) or not np.isfinite(own).all() or not own.sum() > 0:
        raise DataError(
            f"weights of shape {own.shape} with sum {own.sum():g}; expected {n} finite ones with "
            "a positive sum"
        )
    return own


def _check_finite(weights: NDArray[np.float64]) -> None:
    wrong = int(np.count_nonzero(~np.isfinite(weights)))
    if wrong:
        raise SurrogateError(
            f"{wrong} of {len(weights)} weights are not finite: p(x | θ₀) vanishes there; the "
            "events are not from θ₀, or the surrogate does not describe them"
        )


def _check(found: Reweighting, before: float, smallest: float, off: float) -> None:
    if found.effective_events < smallest * before:
        raise SurrogateError(
            f"the weighted sample is worth {found.effective_events:.1f} events, of {before:.0f} "
            f"before; expected at least {smallest:g} of them: go in smaller steps of θ, simulate "
            "or sample at the target, or accept it (smallest=…)"
        )
    distance = abs(found.mean - 1)
    if distance > off and distance > _SIGMAS * found.mean_error:
        raise SurrogateError(
            f"the ratios have mean {found.mean:.3f} ± {found.mean_error:.3f}, expected 1: the "
            "events are not from θ₀, or do not cover what θ₁ gives; sample at the target, or "
            "accept it (off=…)"
        )
