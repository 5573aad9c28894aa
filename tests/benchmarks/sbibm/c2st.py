"""The classifier two-sample test as the suite defines it (Lopez-Paz and Oquab, arXiv:1610.06545).

The accuracy of a perceptron with two hidden layers of ten units a parameter, in five-fold
cross-validation, between draws of the reference and as many others, all standardised by the mean
and the standard deviation of the reference. 0.5 is the best.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from torch import Tensor


def c2st(reference: Tensor, other: Tensor, seed: int = 1) -> float:
    """The accuracy, for draws of shape ``(N, D)`` each; ``seed`` 1 is the suite's."""
    mean, std = reference.mean(0), reference.std(0)
    samples = [((draws - mean) / std).float().numpy() for draws in (reference, other)]
    label: NDArray[np.float64] = np.repeat([0.0, 1.0], [len(sample) for sample in samples])
    width = 10 * reference.shape[1]
    classifier = MLPClassifier(
        activation="relu",
        hidden_layer_sizes=(width, width),
        max_iter=10_000,
        solver="adam",
        random_state=seed,
    )
    folds = KFold(n_splits=5, shuffle=True, random_state=seed)
    scores = cross_val_score(
        classifier, np.concatenate(samples), label, cv=folds, scoring="accuracy"
    )
    return float(np.mean(scores))
