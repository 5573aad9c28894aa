r"""The local classifier two-sample test: is the posterior right at the data at hand?

A classifier learns to tell pairs (θ*, x) of truths and their data from pairs (θ, x) of draws
θ ~ q(θ | x) and the same data. Where q is the posterior, it says ½ everywhere. At the observed x_o,

.. math:: t(x_o) = \frac1S \sum_s \left(d(\theta_s, x_o) - \tfrac12\right)^2,
          \qquad \theta_s \sim q(\theta | x_o),

is large where q(θ | x_o) is not p(θ | x_o) (Linhart, Gramfort and Rodrigues, arXiv:2306.03580,
section 3): expected coverage and ranks see the mean over x only, in which two errors may cancel. If
q is the posterior for all x, the two labels of each data set may be exchanged, so that the p-value
over classifiers that are trained on exchanged labels is exact.

θ is standardised by the mean and the covariance of the draws at its x, as a normalising flow does
with its own base (section 3.2 there): what is left to learn is where a calibrated posterior is a
standard normal one, and varies slowly with x.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from hepgen.diagnostics.comparison.classifier import Classifier, Labels
from hepgen.errors import DataError
from hepgen.results import Calibration

Array = NDArray[np.float64]

_RIDGE = 1.0
_STEPS = 8
_CLOSE = 1e-4


@dataclass(frozen=True)
class LocalTest:
    """The test at one data set.

    Arguments:
        statistic: t(x_o).
        null: The statistic for exchanged labels, shape ``(P,)``.
        probability: d(θ, x_o) at each draw, shape ``(S,)``: above ½ where q is too high.
    """

    statistic: float
    null: Array
    probability: Array

    @property
    def p_value(self) -> float:
        """(1 + the number of exchanges with no smaller statistic)/(1 + P)."""
        return float((1 + np.sum(self.null >= self.statistic)) / (1 + len(self.null)))


@dataclass(frozen=True)
class CalibrationSets:
    """M data sets whose truth is known, as the test wants them.

    Arguments:
        truth: Shape ``(M, D)``.
        drawn: A draw of each posterior, shape ``(M, D)``.
        mean: Of other draws of it, shape ``(M, D)``.
        covariance: Of these, shape ``(M, D, D)``.
        data: What stands for each data set, shape ``(M, k)``.
    """

    truth: Array
    drawn: Array
    mean: Array
    covariance: Array
    data: Array

    @classmethod
    def of(cls, calibration: Calibration, names: Sequence[str]) -> CalibrationSets | None:
        """The sets of a calibration, with the posterior means of ``names`` for data.

        ``None`` of a calibration that has kept no draws.
        """
        if calibration.drawn is None or calibration.covariance is None or not calibration.draws:
            return None
        columns, s = [calibration.column(name) for name in names], calibration.draws
        drawn = calibration.drawn[:, columns]
        # That of all draws without the one.
        mean = (s * calibration.mean[:, columns] - drawn) / (s - 1)
        covariance = calibration.covariance[:, columns][:, :, columns]
        return cls(calibration.truth[:, columns], drawn, mean, covariance, mean)


def local_c2st(
    draws: Sequence[Array],
    truth: Array,
    data: Array,
    observed_draws: Array,
    observed: Array,
    *,
    classifier: Classifier | None = None,
    permutations: int = 200,
    seed: int = 0,
) -> LocalTest:
    """Test the posterior at the observed data with calibration data sets.

    Arguments:
        draws: Of M posteriors, each of shape ``(S, D)``; the first of each is compared, and the
            others standardise.
        truth: Shape ``(M, D)``.
        data: What stands for each data set, shape ``(M, k)``: an embedding, or the posterior
            mean, which says all that is locally known of θ.
        observed_draws: Of the posterior at the observed data, shape ``(S, D)``.
        observed: The observed data in the form of ``data``, shape ``(k,)``.
        classifier: From :mod:`hepgen.diagnostics.comparison.classifier`; :func:`quadratic` by
            default, which a permutation costs milliseconds.
        permutations: P.
        seed: Of the exchanges.

    Raises:
        DataError: Shapes that do not belong together, or fewer draws than a covariance needs.
    """
    _check(draws, truth, data, observed_draws, observed)
    sets = CalibrationSets(
        truth, np.stack([d[0] for d in draws]), np.stack([d[1:].mean(axis=0) for d in draws]),
        np.stack([np.atleast_2d(np.cov(d[1:].T)) for d in draws]), data,
    )  # fmt: skip
    return local_test(
        sets, observed_draws, observed, classifier=classifier, permutations=permutations, seed=seed
    )


def local_test(
    sets: CalibrationSets,
    observed_draws: Array,
    observed: Array,
    *,
    classifier: Classifier | None = None,
    permutations: int = 200,
    seed: int = 0,
) -> LocalTest:
    """As :func:`local_c2st`, with what is needed of the calibration sets.

    Arguments:
        sets: See :class:`CalibrationSets`.
        observed_draws, observed, classifier, permutations, seed: See :func:`local_c2st`.

    Raises:
        DataError: Draws that do not vary in all parameters.
    """
    train, rng = classifier or quadratic, np.random.default_rng(seed)
    inverse = _inverse_factors(sets.covariance)
    pairs = [_standard(one, sets.mean, inverse) for one in (sets.drawn, sets.truth)]
    location, scale = sets.data.mean(axis=0), sets.data.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    context = (sets.data - location) / scale
    x = np.concatenate([np.hstack([one, context]) for one in pairs])
    frame = _inverse_factors(np.atleast_2d(np.cov(observed_draws.T))[None])
    at = np.hstack([
        _standard(observed_draws, observed_draws.mean(axis=0), frame),
        np.broadcast_to((observed - location) / scale, (len(observed_draws), len(observed))),
    ])  # fmt: skip

    def output(exchanged: Labels) -> Array:
        # The label is true for a draw from q.
        logit = train(x, np.concatenate([~exchanged, exchanged]), seed)(at)
        return np.asarray(expit(logit), dtype=np.float64)

    number = len(sets.truth)
    probability = output(np.zeros(number, dtype=np.bool_))
    null = [output(rng.random(number) < 0.5) for _ in range(permutations)]
    return LocalTest(_statistic(probability), np.array([_statistic(p) for p in null]), probability)


def quadratic(x: Array, y: Labels, seed: int) -> Callable[[Array], Array]:  # noqa: ARG001
    """Logistic regression on all products of two columns, with a weak ridge.

    The log-ratio of two Gaussians whose means and widths vary linearly with x is one.
    """
    columns = _products(x)
    location, scale = columns.mean(axis=0), columns.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    design = np.hstack([np.ones((len(x), 1)), (columns - location) / scale])
    beta = np.zeros(design.shape[1])
    ridge = _RIDGE * np.eye(len(beta))
    ridge[0, 0] = 1e-6
    for _ in range(_STEPS):
        p = expit(design @ beta)
        gradient = design.T @ (y - p) - ridge @ beta
        hessian = (design * (p * (1 - p))[:, None]).T @ design + ridge
        step = np.linalg.solve(hessian, gradient)
        beta = beta + step
        if np.abs(step).max() < _CLOSE:
            break

    def logit(at: Array) -> Array:
        return np.asarray(beta[0] + (_products(at) - location) / scale @ beta[1:], dtype=np.float64)

    return logit


def _products(x: Array) -> Array:
    first, second = np.triu_indices(x.shape[1])
    return np.hstack([x, x[:, first] * x[:, second]])


def _statistic(probability: Array) -> float:
    return float(np.mean((probability - 0.5) ** 2))


def _inverse_factors(covariance: Array) -> Array:
    """L⁻¹ of each covariance LLᵀ, shape ``(M, D, D)``."""
    try:
        return np.asarray(np.linalg.inv(np.linalg.cholesky(covariance)), dtype=np.float64)
    except np.linalg.LinAlgError as error:
        raise DataError(
            f"draws of a posterior do not vary in all of {covariance.shape[-1]} parameters; "
            "expected draws with a covariance"
        ) from error


def _standard(theta: Array, mean: Array, inverse: Array) -> Array:
    # Far outside of the posterior it makes no difference how far.
    return np.clip((inverse @ (theta - mean)[..., None])[..., 0], -6.0, 6.0)


def _check(
    draws: Sequence[Array], truth: Array, data: Array, observed_draws: Array, observed: Array
) -> None:
    if not len(draws) == len(truth) == len(data) or truth.ndim != 2 or data.ndim != 2:
        raise DataError(
            f"{len(draws)} posteriors, truths of shape {truth.shape}, data of shape {data.shape}; "
            "expected M, (M, D) and (M, k)"
        )
    if observed.shape != data.shape[1:] or observed_draws.shape[1:] != truth.shape[1:]:
        raise DataError(
            f"observed data of shape {observed.shape} with draws of shape {observed_draws.shape}; "
            f"expected ({data.shape[1]},) and (S, {truth.shape[1]})"
        )
    fewest = min(len(d) for d in [*draws, observed_draws])
    if fewest < truth.shape[1] + 3:
        raise DataError(
            f"{fewest} draws of {truth.shape[1]} parameters; expected at least "
            f"{truth.shape[1] + 3}, of which a covariance can be taken"
        )
