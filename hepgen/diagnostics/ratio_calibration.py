r"""Calibration of a learned likelihood ratio, with events of both hypotheses that it has not seen.

A classifier between p₁ and p₀ gives a number s(x) that is monotone in their ratio, if it has
learned what tells them apart, but not the ratio itself. The ratio of the densities of s,

.. math:: r(x) = \frac{p_1(s(x))}{p_0(s(x))},

is that of x where s is monotone in it (Cranmer, Pavez and Louppe, arXiv:1506.02169, theorem 1),
and densities of one number are easily estimated:

- ``platt``: log r = a·s + b with the largest likelihood of the labels (Platt 1999): two numbers,
  for few events;
- ``isotonic``: the monotone step function of the largest likelihood (Zadrozny and Elkan 2002);
- ``histogram``: densities of s in bins with the same number of events in each, as in CARL. It takes
  signed weights, and need not be monotone.

Afterwards E₀[r] = 1, which an uncalibrated ratio need not keep: ``normalisation`` is that mean.

Whether a ratio needs it can be tested without a fit. With the logistic function σ and any φ(s), a
ratio that is right, e^s = p₁/p₀, has

.. math:: E_1[(1 - \sigma(s))\,\phi(s)] = E_0[\sigma(s)\,\phi(s)],

since both are ∫ p₁p₀/(p₁ + p₀) φ. For φ = (1, s) the difference of the two means is the score of
the intercept and of the slope of a logistic regression of the hypothesis on s (Cox, Biometrika 45
(1958) 562); with its covariance from each sample its square is asymptotically χ² with two degrees
of freedom: ``calibration_p_value``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import chi2

from hepgen.diagnostics.comparison.classifier import calibrate
from hepgen.errors import DataError

Array = NDArray[np.float64]
Kind = Literal["platt", "isotonic", "histogram"]

_LEAST = 20
_CONSTANT = 1e-6


@dataclass(frozen=True)
class RatioCalibration:
    """A map from a learned log-ratio to a calibrated one.

    Arguments:
        kind: How it was made.
        low, high: The range of the log-ratios in calibration; beyond it the map is constant.
        correct: log-ratios inside of it to calibrated ones.
    """

    kind: Kind
    low: float
    high: float
    correct: Callable[[Array], Array]

    @classmethod
    def fit(
        cls,
        numerator: Array,
        denominator: Array,
        *,
        weight: tuple[Array, Array] | None = None,
        kind: Kind = "isotonic",
        bins: int = 50,
    ) -> RatioCalibration:
        """Calibrate with the log-ratios s of events of p₁ and of p₀.

        Arguments:
            numerator: s of events of p₁, shape ``(N,)``.
            denominator: s of events of p₀, shape ``(M,)``.
            weight: Signed weights of both; for histograms only.
            kind: See above.
            bins: Of a histogram.

        Raises:
            DataError: Log-ratios that are not finite, too few of them, weights where a density
                must be positive, or a bin whose weights sum to nothing.
        """
        _check_samples(numerator, denominator)
        if weight is not None and kind != "histogram":
            raise DataError(
                f"a calibration of the kind {kind!r} counts labels and takes no weights; use "
                "'histogram'"
            )
        pooled = np.concatenate([numerator, denominator])
        label = np.repeat([True, False], [len(numerator), len(denominator)])
        offset = np.log(len(denominator) / len(numerator))
        correct: Callable[[Array], Array]
        if kind == "platt":
            slope, constant = calibrate(pooled, label)
            correct = _Line(slope, constant + offset)
        elif kind == "isotonic":
            correct = _isotonic(pooled, label, offset)
        else:
            weights = weight or (np.ones(len(numerator)), np.ones(len(denominator)))
            correct = _histogram(numerator, denominator, weights, bins)
        return cls(kind, float(pooled.min()), float(pooled.max()), correct)

    def __call__(self, log_ratio: Array) -> Array:
        """Calibrated log r; shape as that of the log-ratios."""
        return self.correct(np.clip(log_ratio, self.low, self.high))


def slope(numerator: Array, denominator: Array) -> float:
    """a of log r = a·s + b, the line of the kind ``platt``: 1 for the ratio of two densities.

    Arguments:
        numerator: s of events of p₁, shape ``(N,)``.
        denominator: s of events of p₀, shape ``(M,)``.

    Raises:
        DataError: Too few events, or log-ratios that are not finite.
    """
    _check_samples(numerator, denominator)
    label = np.repeat([True, False], [len(numerator), len(denominator)])
    found, _ = calibrate(np.concatenate([numerator, denominator]), label)
    return float(found)


def normalisation(log_ratio: Array, weight: Array | None = None) -> tuple[float, float]:
    """E₀[r] over events of p₀ and its standard error: 1 for the ratio of two densities.

    >>> normalisation(np.zeros(10))
    (1.0, 0.0)
    """
    w = np.ones(len(log_ratio)) if weight is None else weight
    mean = float(np.sum(w * np.exp(log_ratio)) / w.sum())
    scatter = float(np.sum(np.square(w * (np.exp(log_ratio) - mean))))
    return mean, scatter**0.5 / abs(float(w.sum()))


def calibration_p_value(numerator: Array, denominator: Array) -> float:
    """p-value that the log-ratios of events of p₁ and of p₀ need no line.

    Arguments:
        numerator: s of events of p₁, shape ``(N,)``.
        denominator: s of events of p₀, shape ``(M,)``.

    Raises:
        DataError: Too few events, or log-ratios that are not finite.
    """
    _check_samples(numerator, denominator)
    pooled = np.concatenate([numerator, denominator])
    if np.ptp(pooled) < _CONSTANT:  # the ratio of two hypotheses that it takes for one, or wrong
        return float(abs(pooled.mean()) < _CONSTANT)
    sides = ((numerator, expit(-numerator)), (denominator, expit(denominator)))
    terms = [np.stack([weight, weight * s]) for s, weight in sides]
    difference = terms[0].mean(axis=1) - terms[1].mean(axis=1)
    covariance = sum(np.cov(one) / one.shape[1] for one in terms)
    size = difference @ np.linalg.pinv(covariance) @ difference
    return float(chi2.sf(size, np.linalg.matrix_rank(covariance)))


def _check_samples(numerator: Array, denominator: Array) -> None:
    for one in (numerator, denominator):
        if one.ndim != 1 or len(one) < _LEAST or not bool(np.isfinite(one).all()):
            raise DataError(
                f"log-ratios of shape {one.shape}, {int((~np.isfinite(one)).sum())} of them "
                f"NaN or infinite; expected at least {_LEAST} finite numbers"
            )


@dataclass(frozen=True)
class _Line:
    slope: float
    constant: float

    def __call__(self, s: Array) -> Array:
        return self.slope * s + self.constant


@dataclass(frozen=True)
class _Table:
    """Linear between knots, and constant beyond them."""

    knots: Array
    values: Array

    def __call__(self, s: Array) -> Array:
        return np.asarray(np.interp(s, self.knots, self.values), dtype=np.float64)


def _isotonic(s: Array, label: NDArray[np.bool_], offset: float) -> _Table:
    from sklearn.isotonic import IsotonicRegression

    # Half an event of either label at each end keeps the ratio finite.
    x = np.concatenate([s, [s.min(), s.max()]])
    y = np.concatenate([label, [0.5, 0.5]])
    probability = IsotonicRegression().fit(x, y).predict(np.sort(x))
    ordered = np.sort(x)
    # The middle of each step: between the middles, the ratio rises as s does.
    values, start, count = np.unique(probability, return_index=True, return_counts=True)
    middle = 0.5 * (ordered[start] + ordered[start + count - 1])
    edge = 0.5 / len(x)
    values = np.clip(values, edge, 1 - edge)
    return _Table(middle, np.log(values) - np.log1p(-values) + offset)


def _histogram(
    numerator: Array, denominator: Array, weight: tuple[Array, Array], bins: int
) -> _Table:
    pooled = np.sort(np.concatenate([numerator, denominator]))
    edges = np.unique(np.quantile(pooled, np.linspace(0, 1, bins + 1)))
    if len(edges) < 3:
        raise DataError(f"log-ratios of {len(edges)} different values; expected a spread")
    for w in weight:
        if not w.sum() > 0:
            raise DataError(f"the weights of a sample sum to {w.sum():g}; a ratio must be positive")
    shares = [
        np.histogram(s, edges, weights=w)[0] / w.sum()
        for s, w in zip((numerator, denominator), weight, strict=True)
    ]
    empty = (shares[0] <= 0) | (shares[1] <= 0)
    if empty.any():
        raise DataError(
            f"{int(empty.sum())} of {len(empty)} bins have no events, or weights that sum to less "
            "than nothing, of one hypothesis: a ratio must be positive; take fewer bins"
        )
    which = np.digitize(pooled, edges[1:-1])
    middle = np.bincount(which, pooled) / np.bincount(which)
    return _Table(middle, np.log(shares[0] / shares[1]))
