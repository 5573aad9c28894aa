"""The bijection from the features of an event to the space that a model is trained in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.features import ROWS, Feature, check_features, feature_from_dict, feature_to_dict

_NORMAL_IQR = 1.3489795003921634
"""The interquartile range of a standard Gaussian."""
_QUARTILE_EVENTS = 500_000
"""How many events, evenly spaced in a sample, give the quartiles."""


@dataclass(frozen=True)
class FeatureSpace:
    """The bijection u = (b(x) − mean)/std from d physical features to standardised ℝᵈ.

    ``mean`` and ``std`` are robust: the median, and the interquartile range in units of a
    Gaussian's. A heavy tail, such as that of a Breit–Wigner, would inflate a standard
    deviation until the peak is a spike that a network cannot resolve.

    A circular feature becomes an angle in [−π, π), a discrete one its number counted from its
    first value, a zero-inflated one NaN where it is zero: :mod:`hepgen.surrogates.variables`
    learns those.

    >>> space = FeatureSpace((Feature("m", "GeV", low=60.0, high=120.0),), (0.0,), (0.5,))
    >>> x = torch.tensor([[91.2], [75.0]], dtype=torch.float64)
    >>> torch.allclose(space.inverse(space.forward(x)), x)
    True
    """

    features: tuple[Feature, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.features:
            raise DataError("no features: expected at least one column to train on")
        if not len(self.features) == len(self.mean) == len(self.std):
            raise DataError(
                f"{len(self.features)} features with {len(self.mean)} means and "
                f"{len(self.std)} scales; expected one of each a feature"
            )

    @classmethod
    def from_sample(cls, features: Sequence[Feature], *samples: Tensor) -> FeatureSpace:
        """The space in which the ``samples``, of shape ``(N, d)``, together have unit scale."""
        for x in samples:
            check_features(x, features)
        step = max(1, sum(map(len, samples)) // _QUARTILE_EVENTS)
        columns = torch.cat([x[::step] for x in samples]).double().unbind(-1)
        parts = [part for x in samples for part in torch.split(x, ROWS)]
        features = [_measured(f, [p[:, i] for p in parts]) for i, f in enumerate(features)]
        scales = [_scale(f, column) for f, column in zip(features, columns, strict=True)]
        mean, std = zip(*scales, strict=True)
        return cls(tuple(features), mean, std)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in order."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def _free(self) -> bool:
        # An image has thousands of features without a bound: they are one tensor, not a stack.
        unbounded = all(math.isinf(f.low) and math.isinf(f.high) for f in self.features)
        return unbounded and self.continuous

    @cached_property
    def _location(self) -> Tensor:
        return torch.tensor(self.mean, dtype=torch.float64)

    @cached_property
    def _width(self) -> Tensor:
        return torch.tensor(self.std, dtype=torch.float64)

    def check(self, x: Tensor) -> None:
        """Refuse values that are not finite, or not strictly inside the bounds."""
        check_features(x, self.features)

    def forward(self, x: Tensor) -> Tensor:
        """Standardised u, shape ``(*, d)``, in float64, of physical x, shape ``(*, d)``."""
        v = x.double() if self._free else _unbounded(self.features, x)
        return (v - self._location) / self._width

    @property
    def continuous(self) -> bool:
        """Whether all features are plain real numbers."""
        return all(feature.kind == "continuous" for feature in self.features)

    def inverse(self, u: Tensor) -> Tensor:
        """Physical x, shape ``(*, d)``, in float64, of standardised u, shape ``(*, d)``."""
        v = self._location + self._width * u.double()
        if self._free:
            return v
        parts = [feature.physical(v[..., columns]) for feature, columns in self._alike]
        return torch.cat(parts, dim=-1)[..., self._order] if len(parts) > 1 else parts[0]

    @cached_property
    def _alike(self) -> list[tuple[Feature, list[int]]]:
        """The columns that share a bijection, with a feature that has it."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for i, f in enumerate(self.features):
            groups.setdefault((f.kind, f.low, f.high, f.reach), []).append(i)
        return [(self.features[columns[0]], columns) for columns in groups.values()]

    @cached_property
    def _order(self) -> list[int]:
        """Where each column is in a row of the groups."""
        places = [i for _, columns in self._alike for i in columns]
        return sorted(range(len(places)), key=places.__getitem__)

    def log_jacobian(self, x: Tensor, counted: Tensor | None = None) -> Tensor:
        """log |du/dx|, shape ``(*,)``, at physical x, shape ``(*, d)``.

        Arguments:
            x: Where.
            counted: Which numbers of x have a probability, and no density; shape as x.
        """
        columns = zip(self.features, self.std, x.double().unbind(-1), strict=True)
        slopes = torch.stack([_log_slope(*column) for column in columns], dim=-1)
        return (slopes if counted is None else torch.where(counted, 0.0, slopes)).sum(-1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for model files; see :meth:`from_dict`."""
        return {
            "features": [feature_to_dict(feature) for feature in self.features],
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> FeatureSpace:
        """The inverse of :meth:`to_dict`."""
        features = tuple(feature_from_dict(feature) for feature in entry["features"])
        mean, std = (tuple(float(value) for value in entry[key]) for key in ("mean", "std"))
        return cls(features, mean, std)


def _measured(feature: Feature, parts: Sequence[Tensor]) -> Feature:
    """With the reach of the sample; a discrete one without bounds with those of the sample."""
    if feature.kind in ("continuous", "zero_inflated"):
        return _with_reach(feature, parts)
    if feature.kind != "discrete":
        return feature
    low = min(float(part.min()) for part in parts)
    high = max(float(part.max()) for part in parts)
    low = math.ceil(feature.low) if math.isfinite(feature.low) else low
    high = math.floor(feature.high) if math.isfinite(feature.high) else high
    return replace(feature, low=low, high=high)


def _with_reach(feature: Feature, parts: Sequence[Tensor]) -> Feature:
    below, above = math.isfinite(feature.low), math.isfinite(feature.high)
    if below == above:
        return feature
    distances = []
    for part in parts:
        some = part[part != 0] if feature.kind == "zero_inflated" else part
        if len(some):
            far = some.double() - feature.low if below else feature.high - some.double()
            distances.append(far.max().item())
    return replace(feature, reach=max(distances)) if distances else feature


def _scale(feature: Feature, column: Tensor) -> tuple[float, float]:
    """Location and scale of one column of a sample."""
    if feature.kind == "circular":
        return 0.5 * (feature.low + feature.high), (feature.high - feature.low) / math.tau
    if feature.kind == "discrete":
        return feature.low, 1.0
    v = feature.unbounded(column[column != 0] if feature.kind == "zero_inflated" else column)
    if not len(v):
        raise _one_value(feature, 0.0)
    low, median, high = np.quantile(v.numpy(), [0.25, 0.5, 0.75]).tolist()
    scale = (high - low) / _NORMAL_IQR
    scale = scale if scale > 0 else float(v.numpy().std())
    if not scale > 0:
        raise _one_value(feature, float(feature.physical(torch.tensor(median))))
    return median, scale


def _one_value(feature: Feature, value: float) -> DataError:
    return DataError(
        f"feature {feature.name!r} has one value only, at {feature.name} = {value:g}; leave it out "
        "of the features"
    )


def _unbounded(features: Sequence[Feature], x: Tensor) -> Tensor:
    columns = zip(features, x.double().unbind(-1), strict=True)
    return torch.stack([f.unbounded(column) for f, column in columns], dim=-1)


def _log_slope(feature: Feature, scale: float, column: Tensor) -> Tensor:
    """log |du/dx|; of a zero that is counted, 0."""
    slope = feature.log_jacobian(column) - math.log(scale)
    return torch.where(column == 0, 0.0, slope) if feature.kind == "zero_inflated" else slope
