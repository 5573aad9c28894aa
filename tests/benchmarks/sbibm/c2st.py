"""The classifier two-sample test as the suite defines it (Lopez-Paz and Oquab, arXiv:1610.06545).

The accuracy of a perceptron with two hidden layers of ten units a parameter, in five-fold
cross-validation, between draws of the reference and as many others, all standardised by the mean
and the standard deviation of the reference. 0.5 is the best.

The suite trains scikit-learn's ``MLPClassifier`` once a fold, :func:`c2st_of_scikit_learn`.
:func:`c2st` is the same computation, with its random numbers, in compiled loops. The two differ by
how float32 is rounded: not at all with 1,000 draws of ``two_moons``; with 10,000, and many more
epochs, another order of the sums moved an accuracy of 0.55 by 0.006.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from torch import Tensor

_FOLDS, _BATCH, _EPOCHS = 5, 200, 10_000
_RATE, _DECAYS, _EPSILON = 1e-3, (0.9, 0.999), 1e-8
_PENALTY, _TOLERANCE, _PATIENCE = 1e-4, 1e-4, 10
"""What is scikit-learn's default."""

Array = NDArray[np.float32]


def c2st(reference: Tensor, other: Tensor, seed: int = 1) -> float:
    """The accuracy, for draws of shape ``(N, D)`` each; ``seed`` 1 is the suite's."""
    x, label = _labelled(reference, other)
    accuracies = []
    for train, test in _folds(seed).split(x):
        with _no_denormals():
            layers = _train(x[train], label[train, None], seed)
        value = x[test]
        for i, (matrix, offset) in enumerate(layers):
            value = value @ matrix + offset
            value = np.maximum(value, 0) if i < 2 else value
        accuracies.append(np.mean((value[:, 0] > 0) == (label[test] > 0)))
    return float(np.mean(accuracies))


def c2st_of_scikit_learn(reference: Tensor, other: Tensor, seed: int = 1) -> float:
    """The same, many times slower."""
    x, label = _labelled(reference, other)
    width = 10 * x.shape[1]
    classifier = MLPClassifier(
        activation="relu",
        hidden_layer_sizes=(width, width),
        max_iter=_EPOCHS,
        solver="adam",
        random_state=seed,
    )
    scores = cross_val_score(classifier, x, label, cv=_folds(seed), scoring="accuracy")
    return float(np.mean(scores))


def _train(x: Array, y: Array, seed: int) -> list[tuple[Array, Array]]:
    """The matrices and offsets of one perceptron, for x of shape ``(N, D)`` and labels ``(N, 1)``.

    Adam until the loss has not fallen for ten epochs.
    """
    random, width, n = np.random.RandomState(seed), 10 * x.shape[1], len(x)
    layers = []
    for shape in ((x.shape[1], width), (width, width), (width, 1)):
        bound = np.sqrt(6 / sum(shape))
        layers.append(random.uniform(-bound, bound, shape).astype(np.float32))
        layers.append(random.uniform(-bound, bound, (1, shape[1])).astype(np.float32))
    weights = tuple(layers)
    first = tuple(np.zeros_like(one) for one in weights)
    second = tuple(np.zeros_like(one) for one in weights)
    best, waited, order, step = np.inf, 0, np.arange(n), 0
    for _ in range(_EPOCHS):
        shift = np.arange(n)
        random.shuffle(shift)
        order = order[shift]
        loss, step = _epoch(x[order], y[order], weights, first, second, step)
        waited = waited + 1 if loss > best - _TOLERANCE else 0
        best = min(best, loss)
        if waited > _PATIENCE:
            break
    return [(layers[i], layers[i + 1]) for i in (0, 2, 4)]


@njit(cache=True, fastmath=True)
def _adam(weight, slope, first, second, rate):  # type: ignore[no-untyped-def]
    w, g, m, v = weight.ravel(), slope.ravel(), first.ravel(), second.ravel()
    for i in range(w.size):
        m[i] += np.float32(1 - _DECAYS[0]) * (g[i] - m[i])
        v[i] += np.float32(1 - _DECAYS[1]) * (g[i] * g[i] - v[i])
        w[i] -= rate * m[i] / (np.sqrt(v[i]) + np.float32(_EPSILON))


@njit(cache=True, fastmath=True)
def _hidden(x, matrix, offset):  # type: ignore[no-untyped-def]
    value = np.dot(x, matrix)
    for i in range(value.shape[0]):
        for j in range(value.shape[1]):
            value[i, j] = max(value[i, j] + offset[0, j], np.float32(0))
    return value


@njit(cache=True, fastmath=True)
def _epoch(x, y, weights, first, second, step):  # type: ignore[no-untyped-def]
    """The mean loss of an epoch in which the weights move, and the number of steps so far."""
    w0, b0, w1, b1, w2, b2 = weights
    one, penalty = np.float32(1), np.float32(_PENALTY)
    total = 0.0
    for start in range(0, len(x), _BATCH):
        u, label = x[start : start + _BATCH], y[start : start + _BATCH]
        n = len(u)
        scale = np.float32(1 / n)
        h0 = _hidden(u, w0, b0)
        h1 = _hidden(h0, w1, b1)
        d2 = np.dot(h1, w2)
        loss = 0.0
        for i in range(n):
            logit = d2[i, 0] + b2[0, 0]
            small = np.exp(-abs(logit))
            loss += max(logit, np.float32(0)) - logit * label[i, 0] + np.log1p(small)
            chance = one / (one + small) if logit > 0 else small / (one + small)
            d2[i, 0] = (chance - label[i, 0]) * scale
        squares = 0.0
        for w in (w0, w1, w2):
            flat = w.ravel()
            for i in range(flat.size):
                squares += flat[i] * flat[i]
        total += loss + 0.5 * _PENALTY * squares
        d1 = np.dot(d2, w2.T)
        for i in range(n):
            for j in range(d1.shape[1]):
                if h1[i, j] <= 0:
                    d1[i, j] = 0
        d0 = np.dot(d1, w1.T)
        for i in range(n):
            for j in range(d0.shape[1]):
                if h0[i, j] <= 0:
                    d0[i, j] = 0
        step += 1
        rate = np.float32(_RATE * np.sqrt(1 - _DECAYS[1] ** step) / (1 - _DECAYS[0] ** step))
        decay = penalty * scale
        g0, g1, g2 = np.dot(u.T, d0), np.dot(h0.T, d1), np.dot(h1.T, d2)
        _adam(w0, g0 + decay * w0, first[0], second[0], rate)
        _adam(b0, d0.sum(0), first[1], second[1], rate)
        _adam(w1, g1 + decay * w1, first[2], second[2], rate)
        _adam(b1, d1.sum(0), first[3], second[3], rate)
        _adam(w2, g2 + decay * w2, first[4], second[4], rate)
        _adam(b2, d2.sum(0), first[5], second[5], rate)
    return total / len(x), step


@contextmanager
def _no_denormals() -> Iterator[None]:
    """Numbers below 10⁻³⁸ are zero. Units that no data reach make many, and they are slow."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _labelled(reference: Tensor, other: Tensor) -> tuple[Array, Array]:
    mean, std = reference.mean(0), reference.std(0)
    samples = [((draws - mean) / std).float().numpy() for draws in (reference, other)]
    label = np.repeat(np.array([0, 1], np.float32), [len(sample) for sample in samples])
    return np.concatenate(samples), label


def _folds(seed: int) -> KFold:
    return KFold(n_splits=_FOLDS, shuffle=True, random_state=seed)
