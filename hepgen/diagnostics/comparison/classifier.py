r"""The classifier two-sample test: can a classifier tell two samples apart?

A classifier is trained on one half of the events to say which sample an event is of; on the
other half its accuracy is 1/2 (Lopez-Paz and Oquab, arXiv:1610.06545) and its AUC is 1/2 if the
samples have one distribution. Its output s, calibrated on events of their own by
σ(a·logit s + b) (Platt 1999), bounds the Jensen–Shannon divergence from below,

.. math:: \mathrm{JSD} \ge 1 + \tfrac12 E_p[\log_2(1 - s)] + \tfrac12 E_q[\log_2 s],

which is (ln 2 − BCE)/ln 2, in bits. Training, calibration and test are separate events: with the
classifier fixed, the labels of the test events are exchangeable under the null hypothesis, and
the permutation p-value is exact. (Cross-fitting would use every event for the test, but its
folds are correlated: a direction found in one is the direction that the other contains.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from hepgen.diagnostics.comparison.samples import Array, NormalScores, check_samples
from hepgen.judgement import ClassifierJudgement, Measured, TwoSampleTest
from hepgen.nn.mlp import mlp
from hepgen.nn.rows import Table
from hepgen.nn.train import train

Labels = NDArray[np.bool_]
Classifier = Callable[[Array, Labels, int], Callable[[Array], Array]]
"""Training events, labels and a seed to a function: events to logits of the second sample."""

LEAST = 40
"""Events of each sample below which nothing can be trained, calibrated and tested."""
_PARTS = 0.5, 0.6
_BINS = 40
_POINTS = 201
_FINEST = 1e-6


def two_sample_test(
    first: Array,
    second: Array,
    *,
    classifier: Classifier | None = None,
    permutations: int = 2000,
    seed: int = 0,
) -> TwoSampleTest:
    """Train a classifier to tell two samples apart, and test it on events of its own.

    Conditional distributions p(x | c) are compared by columns (x, c) in both samples, with
    independent draws of the context from one distribution; the same contexts in both would
    show the classifier, in training, which label a context has not in the test.

    Arguments:
        first, second: Shapes ``(N, d)`` and ``(M, d)``; the larger one is cut to the smaller.
        classifier: A perceptron by default; see also :func:`trees`.
        permutations: Of the labels, for the p-value.
        seed: Of the split, the training and the permutations.

    Raises:
        DataError: Samples with NaN, of different columns, or of too few events.
    """
    check_samples(first, second, least=LEAST)
    rng = np.random.default_rng(seed)
    n = min(len(first), len(second))
    x = np.concatenate([one[rng.permutation(len(one))[:n]] for one in (first, second)])
    y = np.repeat([False, True], n)
    part = np.tile(np.arange(n) / n, 2)
    training, testing = part < _PARTS[0], part >= _PARTS[1]
    calibration = ~training & ~testing
    scores = NormalScores.of(x[training])
    logit = (classifier or perceptron)(scores(x[training]), y[training], seed)
    known = logit(scores(x[calibration]))
    slope, offset = calibrate(known, y[calibration])
    raw, at = logit(scores(x[testing])), cut(known, slope, offset)
    return _test(raw, slope * raw + offset, at, y[testing], permutations, rng)


def perceptron(x: Array, y: Labels, seed: int) -> Callable[[Array], Array]:
    """A multi-layer perceptron on the columns and their squares.

    The squares show it a width or a tail as directly as a shift. It is trained by
    :func:`hepgen.nn.train.train`.
    """
    width = 64 if x.shape[1] <= 30 else 128
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = mlp(2 * x.shape[1], 1, (width, width))
    rows = Table(_with_squares(x), torch.from_numpy(y).float())
    train(
        network,
        lambda b: binary_cross_entropy_with_logits(network(b[0])[:, 0], b[1], reduction="none"),
        rows, batch_size=min(256, max(16, len(x) // 20)), epochs=20, max_learning_rate=1e-2,
        weight_decay=1e-2, patience=6, validation_fraction=0.15, seed=seed,
    )  # fmt: skip

    @torch.no_grad()
    def logit(events: Array) -> Array:
        parts = torch.split(_with_squares(events), 8192)
        found: Array = torch.cat([network(part)[:, 0] for part in parts]).double().numpy()
        return found

    return logit


def trees(x: Array, y: Labels, seed: int) -> Callable[[Array], Array]:
    """Gradient-boosted trees of scikit-learn: a second opinion, quick up to some fifty columns."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        learning_rate=0.06, max_iter=150, max_leaf_nodes=15, early_stopping=True,
        n_iter_no_change=8, validation_fraction=0.15, l2_regularization=1.0, random_state=seed,
    )  # fmt: skip
    model.fit(x, y)
    return lambda events: np.asarray(model.decision_function(events), dtype=np.float64)


CLASSIFIERS: dict[str, Classifier] = {"perceptron": perceptron, "boosted trees": trees}


def judge_by_classifier(
    truth: Array,
    surrogate: Array,
    null: Array,
    *,
    name: str = "perceptron",
    shift: float = 0.1,
    known: ClassifierJudgement | None = None,
    seed: int = 0,
) -> ClassifierJudgement:
    """The test on the surrogate, on the null, and on a shift whose optimum is known.

    The planted shift is the null with one more column, N(0, 1) in the first sample and N(δ, 1)
    in the second. Nothing else can tell the samples apart, so that no classifier exceeds an AUC
    of Φ(δ/√2), and how near this one comes says what it can find in data of this size.

    Arguments:
        truth, surrogate, null: Shape ``(N, d)``; the null is simulation, independent of truth.
        name: Of :data:`CLASSIFIERS`.
        shift: δ.
        known: With the same truth and null; it says what was found of the null and of the shift.
        seed: Of everything.
    """
    classifier, rng = CLASSIFIERS[name], np.random.default_rng(seed)
    found = two_sample_test(truth, surrogate, classifier=classifier, seed=seed)
    if known is not None:
        return replace(known, surrogate=found)
    columns = [rng.normal(mean, 1, (len(x), 1)) for mean, x in ((0, truth), (shift, null))]
    moved = [np.hstack([x, column]) for x, column in zip((truth, null), columns, strict=True)]
    return ClassifierJudgement(
        name,
        found,
        two_sample_test(truth, null, classifier=classifier, seed=seed),
        two_sample_test(moved[0], moved[1], classifier=classifier, seed=seed),
        shift,
    )


def calibrate(logit: Array, y: Labels) -> tuple[float, float]:
    """The (a, b) with the largest likelihood of the labels under σ(a·logit + b); a ≥ 0."""
    sign = np.where(y, 1.0, -1.0)
    scale = float(logit.std()) or 1.0
    # Half a pseudo-event keeps a finite where a line separates the labels.
    ridge = 0.5 / len(y)

    def loss(p: Array) -> float:
        return float(-log_expit(sign * (p[0] * logit / scale + p[1])).mean() + ridge * p[0] ** 2)

    slope, offset = minimize(loss, [scale, 0.0], bounds=[(0, None), (None, None)]).x
    return float(slope) / scale, float(offset)


def cut(logit: Array, slope: float, offset: float) -> float:
    """Above which logit an event is said to be of the second sample.

    Where the calibrated output is ½, which is best, moved into the middle 40 % of the logits.
    Of samples that hardly differ, a calibration knows neither slope nor offset: its ½ may be
    beyond all events, where no event is told apart. There, any cut in the middle is nearly best.
    """
    low, high = np.quantile(logit, [0.3, 0.7])
    half = -offset / slope if slope > 0 else float(np.median(logit))
    return float(np.clip(half, low, high))


def auc(score: Array, y: Labels) -> Measured:
    """P(score of a labelled event > score of another) and its error (DeLong et al. 1988).

    >>> auc(np.array([0.1, 0.4, 0.3, 0.9]), np.array([False, False, True, True])).value
    0.75
    """
    pooled, m = rankdata(score), int(y.sum())
    n = len(y) - m
    above = (pooled[y] - rankdata(score[y])) / n
    below = (pooled[~y] - rankdata(score[~y])) / m
    variance = sum(v.var(ddof=1) / len(v) if len(v) > 1 else 0.0 for v in (above, below))
    # Where no pair is out of order, the error is that of one event that could be.
    return Measured(float(above.mean()), max(math.sqrt(variance), 0.5 / min(m, n) ** 1.5))


def permutation_p_value(
    score: Array, y: Labels, permutations: int, rng: np.random.Generator
) -> float:
    """The fraction of permutations of the labels whose AUC is not smaller; one-sided."""
    ranks, observed = rankdata(score), 0
    total, m = ranks[y].sum(), int(y.sum())
    for _ in range(permutations):
        observed += rng.permutation(ranks)[:m].sum() >= total - 1e-9
    return (1 + int(observed)) / (1 + permutations)


def _with_squares(x: Array) -> Tensor:
    return torch.from_numpy(np.hstack([x, (x**2 - 1) / math.sqrt(2)])).float()


def _test(
    raw: Array, output: Array, at: float, y: Labels, permutations: int, rng: np.random.Generator
) -> TwoSampleTest:
    """Ranks are those of the raw logits: a calibration that finds nothing would tie them all."""
    probability = np.clip(expit(output), _FINEST, 1 - _FINEST)
    # A logit at the cut names neither sample.
    accuracy = float(np.where(raw == at, 0.5, (raw > at) == y).mean())
    n = len(y)
    terms = 1 + np.where(y, np.log2(probability), np.log2(1 - probability))
    edges = _edges(probability)
    order = np.argsort(-raw, kind="stable")
    points = np.linspace(0, n, min(_POINTS, n + 1)).astype(int)
    positive = np.concatenate([[0], np.cumsum(y[order])])[points] / max(int(y.sum()), 1)
    negative = np.concatenate([[0], np.cumsum(~y[order])])[points] / max(int((~y).sum()), 1)
    return TwoSampleTest(
        accuracy=Measured(accuracy, math.sqrt(max(accuracy * (1 - accuracy), 1 / n) / n)),
        auc=auc(raw, y),
        jsd=Measured(round(float(terms.mean()), 12), float(terms.std(ddof=1)) / math.sqrt(n)),
        p_value=permutation_p_value(raw, y, permutations, rng),
        events=int(y.sum()),
        edges=edges,
        first=np.histogram(probability[~y], edges)[0].astype(np.float64),
        second=np.histogram(probability[y], edges)[0].astype(np.float64),
        false_positive=negative,
        true_positive=positive,
    )


def _edges(probability: Array) -> Array:
    """Bins over the range of the output, symmetric about 1/2."""
    # A little more than the farthest, which rounding would else leave outside.
    half = min(0.5, max(0.01, (1 + 1e-9) * float(np.abs(probability - 0.5).max())))
    return np.linspace(0.5 - half, 0.5 + half, _BINS + 1)
