"""Samples that are to be compared: what is asked of them, and their normal scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from hepgen.errors import DataError

Array = NDArray[np.float64]

_QUANTILES = 4096


def check_samples(*samples: Array, least: int = 2) -> None:
    """Refuse samples that are not ``(N, d)`` of one d, too small, or not finite.

    Raises:
        DataError: It says which column.
    """
    widths = {sample.shape[1:] for sample in samples}
    if any(sample.ndim != 2 for sample in samples) or len(widths) != 1 or widths == {(0,)}:
        shapes = " and ".join(str(sample.shape) for sample in samples)
        raise DataError(f"samples of shapes {shapes}; expected (N, d) and (M, d)")
    for sample in samples:
        if len(sample) < least:
            raise DataError(f"a sample of {len(sample)} events; expected at least {least}")
        invalid = ~np.isfinite(sample)
        if invalid.any():
            column = int(invalid.any(0).argmax())
            raise DataError(
                f"column {column}: {int(invalid[:, column].sum())} of {len(sample)} values are "
                "NaN or infinite; drop those events or repair the column"
            )


@dataclass(frozen=True)
class NormalScores:
    """The map of each column to a standard normal one, by the quantiles of a reference.

    u = Φ⁻¹(F(x)) with F the empirical distribution at the middle of its steps (van der
    Waerden). It is monotone, so that what tells two samples apart before it does so after it,
    and no unit, heavy tail or outlier sets the scale. Values that the reference has often stay
    one value, and values beyond its range are put at its end: what is missing or too much in
    the far tails is counted by the tail fractions instead.

    >>> scores = NormalScores.of(np.arange(101.0)[:, None])
    >>> scores(np.array([[50.0], [1e9]])).round(2).tolist()
    [[0.0], [2.58]]
    """

    values: tuple[Array, ...]
    scores: tuple[Array, ...]

    @classmethod
    def of(cls, reference: Array) -> NormalScores:
        """The map that makes ``reference``, shape ``(N, d)``, standard normal."""
        columns = [_steps(column) for column in reference.T]
        return cls(tuple(v for v, _ in columns), tuple(s for _, s in columns))

    def __call__(self, x: Array) -> Array:
        """Scores of x, both of shape ``(N, d)``."""
        columns = zip(x.T, self.values, self.scores, strict=True)
        return np.stack([np.interp(c, v, s) for c, v, s in columns], axis=-1)


def _steps(column: Array) -> tuple[Array, Array]:
    values, counts = np.unique(column, return_counts=True)
    middle = (np.cumsum(counts) - 0.5 * counts) / len(column)
    if len(values) > _QUANTILES:
        inner = np.linspace(middle[0], middle[-1], _QUANTILES)[1:-1]
        kept = np.searchsorted(middle, inner)
        kept = np.unique(np.concatenate([[0], kept, [len(values) - 1]]))
        values, middle = values[kept], middle[kept]
    return values, np.asarray(ndtri(middle), dtype=np.float64)
