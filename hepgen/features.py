"""Features: the event columns a model sees, and the bijection to the space it is trained in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError
from hepgen.events import Events

Kind = Literal["continuous", "circular", "discrete", "zero_inflated"]

ROWS = 2**22
"""Of a sample that may be on disk, how many are looked at together."""


@dataclass(frozen=True)
class Feature:
    """One column of the events that a model is trained on.

    A bound is the edge of the feature's support (e.g. a mass window); values lie strictly
    inside. Between two bounds the logit unbounds it, with none the identity, with one bound
    the logarithm of the distance y from it, which goes on as a straight line beyond the reach R:

        b(y) = ln y for y ≤ R,  ln R + (y − R)/R for y > R.

    A density that is finite at the bound falls as eᵛ in v = ln y. A kernel with such a tail on
    both sides would have the tail 1/y² far from the bound, and no mean; with a straight line
    there every moment of y exists that exists of v.

    A ``circular`` feature has the period high − low, and no bounds: x and x + (high − low) are
    one value. A ``discrete`` one is a whole number from low to high, both included, of which
    there may be one only. A
    ``zero_inflated`` one is exactly 0 in some events, and otherwise strictly inside its bounds.

    Arguments:
        name: The column.
        unit: e.g. ``GeV``; empty for a pure number.
        label: How a plot writes it (LaTeX); the name where empty.
        low, high: The bounds.
        kind: ``continuous``, ``circular``, ``discrete`` or ``zero_inflated``.
        reach: R, with one bound; a :class:`FeatureSpace` measures it on its sample.

    >>> mass = Feature("Dimuon_mass", "GeV", low=60.0, high=120.0)
    >>> mass.unbounded(torch.tensor([90.0], dtype=torch.float64)).item()
    0.0
    """

    name: str
    unit: str = ""
    label: str = ""
    low: float = -math.inf
    high: float = math.inf
    kind: Kind = "continuous"
    reach: float = math.inf

    def __post_init__(self) -> None:
        one_value = self.kind == "discrete" and self.low == self.high
        if not (self.low < self.high or one_value):
            raise DataError(
                f"feature {self.name!r}: bounds ({self.low}, {self.high}); expected low < high"
            )
        if self.kind == "circular" and not math.isfinite(self.high - self.low):
            raise DataError(
                f"feature {self.name!r}: a circular feature with bounds ({self.low}, {self.high}); "
                "expected both, one period apart, e.g. -π and π"
            )

    @property
    def axis(self) -> str:
        """Its label with the unit, for a plot's axis."""
        label = self.label or self.name
        return f"{label} [{self.unit}]" if self.unit else label

    def unbounded(self, x: Tensor) -> Tensor:
        """v = b(x) on the whole real line; shape as x.

        For a circular feature it is x in [low, high), for a discrete one x itself; for a
        zero-inflated one it is NaN where x = 0.
        """
        if self.kind == "circular":
            return self.low + torch.remainder(x - self.low, self.high - self.low)
        if self.kind == "discrete":
            return x
        if self.kind == "zero_inflated":
            return torch.where(x == 0, math.nan, self._bounded_to_real(self._present(x)))
        return self._bounded_to_real(x)

    def physical(self, v: Tensor) -> Tensor:
        """x = b⁻¹(v); shape as v."""
        if self.kind == "circular":
            return self.unbounded(v)
        if self.kind == "discrete":
            return v.round()
        if self.kind == "zero_inflated":
            absent = v.isnan()
            return torch.where(absent, 0.0, self._real_to_bounded(v.masked_fill(absent, 0.0)))
        return self._real_to_bounded(v)

    def log_jacobian(self, x: Tensor) -> Tensor:
        """log |db/dx| at x; shape as x. Where x is counted, by itself or as a zero, it is 0."""
        if self.kind in ("circular", "discrete"):
            return torch.zeros_like(x)
        if self.kind == "zero_inflated":
            return torch.where(x == 0, 0.0, self._log_slope(self._present(x)))
        return self._log_slope(x)

    def _present(self, x: Tensor) -> Tensor:
        """x with its zeros replaced by a value inside the bounds, so that derivatives exist."""
        inside = self._real_to_bounded(torch.zeros_like(x))
        return torch.where(x == 0, inside, x)

    def _bounded_to_real(self, x: Tensor) -> Tensor:
        below, above = math.isfinite(self.low), math.isfinite(self.high)
        if below and above:
            return torch.log((x - self.low) / (self.high - x))
        if below:
            return self._log(x - self.low)
        return -self._log(self.high - x) if above else x

    def _real_to_bounded(self, v: Tensor) -> Tensor:
        below, above = math.isfinite(self.low), math.isfinite(self.high)
        if below and above:
            x = self.low + (self.high - self.low) * torch.sigmoid(v)
        elif below:
            x = self.low + self._exp(v)
        else:
            x = self.high - self._exp(-v) if above else v
        return self._strictly_inside(x) if below or above else x

    def _log(self, y: Tensor) -> Tensor:
        """b(y), see the class."""
        if math.isinf(self.reach):
            return torch.log(y)
        near = y.clamp(max=self.reach)
        return torch.log(near) + (y - near) / self.reach

    def _exp(self, v: Tensor) -> Tensor:
        """b⁻¹(v)."""
        if math.isinf(self.reach):
            return torch.exp(v)
        near = v.clamp(max=math.log(self.reach))
        return torch.exp(near) + self.reach * (v - near)

    def _strictly_inside(self, x: Tensor) -> Tensor:
        """What rounding carried onto a bound, or beyond the largest number, just inside."""
        most = torch.finfo(x.dtype).max
        low, high = (x.new_tensor(max(-most, min(edge, most))) for edge in (self.low, self.high))
        return x.clamp(torch.nextafter(low, high), torch.nextafter(high, low))

    def _log_slope(self, x: Tensor) -> Tensor:
        below, above = math.isfinite(self.low), math.isfinite(self.high)
        if below and above:
            width = math.log(self.high - self.low)
            return width - torch.log(x - self.low) - torch.log(self.high - x)
        if below or above:
            y = x - self.low if below else self.high - x
            return -torch.log(y.clamp(max=self.reach))
        return torch.zeros_like(x)


def events_to_tensor(events: Events, features: Sequence[Feature]) -> Tensor:
    """The columns of the ``features``, shape ``(N, d)`` in float64, checked.

    Raises:
        DataError: A column is missing or jagged, or holds values that are not finite or
            not strictly inside the feature's bounds.

    >>> events = Events.from_columns({"m": np.array([91.2, 60.5])})
    >>> events_to_tensor(events, [Feature("m", low=60.0, high=120.0)]).shape
    torch.Size([2, 1])
    """
    x = torch.from_numpy(events.flat([feature.name for feature in features]))
    check_features(x, features)
    return x


def check_features(x: Tensor, features: Sequence[Feature]) -> None:
    """Refuse ``x``, shape ``(N, d)``, with values not finite or not strictly inside bounds."""
    if x.ndim != 2 or x.shape[-1] != len(features):
        raise DataError(
            f"events of shape {tuple(x.shape)}; expected (N, {len(features)}), a column for "
            f"each of {', '.join(feature.name for feature in features)}"
        )
    if len(x) == 0:
        raise DataError("no events: the selection is empty; expected at least one")
    for part in torch.split(x.detach(), ROWS):
        for feature, column in zip(features, part.double().numpy().T, strict=True):
            _check_column(feature, column)


def _check_column(feature: Feature, column: NDArray[np.float64]) -> None:
    invalid = int(np.count_nonzero(~np.isfinite(column)))
    if invalid:
        raise DataError(
            f"feature {feature.name!r}: {invalid} of {len(column)} values are NaN or infinite; "
            "drop those events or repair the column"
        )
    outside = _outside(feature, column)
    count = int(np.count_nonzero(outside))
    if count:
        raise DataError(
            f"feature {feature.name!r}: {count} of {len(column)} values, e.g. "
            f"{column[outside][0]:g}, are not {_EXPECTED[feature.kind]} ({feature.low:g}, "
            f"{feature.high:g}){' ' + feature.unit if feature.unit else ''}; "
            "apply the selection the model was trained with"
        )


_EXPECTED = {
    "continuous": "strictly inside",
    "discrete": "whole numbers within",
    "zero_inflated": "zero or strictly inside",
}


def _outside(feature: Feature, column: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which values a feature cannot have."""
    if feature.kind == "circular":
        return np.zeros(column.shape, dtype=np.bool_)
    if feature.kind == "discrete":
        beyond = np.logical_or(column < feature.low, column > feature.high)
        return np.asarray(np.logical_or(beyond, column != np.round(column)))
    outside: NDArray[np.bool_] = np.logical_or(column <= feature.low, column >= feature.high)
    if feature.kind == "zero_inflated":
        outside = np.logical_and(outside, column != 0)
    return outside


def as_continuous(features: Sequence[Feature]) -> tuple[Feature, ...]:
    """The features as plain real numbers, for models that treat no other kind.

    Raises:
        DataError: A feature is zero-inflated: it has no density.
    """
    for feature in features:
        if feature.kind == "zero_inflated":
            raise DataError(
                f"feature {feature.name!r} is zero-inflated, so that it has no density, which this "
                "estimator learns; leave it out of the features, or train a surrogate"
            )
    return tuple(replace(feature, kind="continuous") for feature in features)


def feature_from_dict(entry: Mapping[str, Any]) -> Feature:
    """A feature from plain values, as :meth:`FeatureSpace.to_dict` writes it."""
    values = dict(entry)
    for bound, default in (("low", -math.inf), ("high", math.inf)):
        if values.get(bound) is None:
            values[bound] = default
    return Feature(**values)


def feature_to_dict(feature: Feature) -> dict[str, Any]:
    """Plain values, of which :func:`feature_from_dict` makes the feature."""
    return {
        "name": feature.name,
        "unit": feature.unit,
        "label": feature.label,
        "low": feature.low if math.isfinite(feature.low) else None,
        "high": feature.high if math.isfinite(feature.high) else None,
        **({} if feature.kind == "continuous" else {"kind": feature.kind}),
        **({} if math.isinf(feature.reach) else {"reach": feature.reach}),
    }
