r"""The kernel distance: the unbiased MMD² of a polynomial kernel.

.. math:: \mathrm{MMD}^2 = \frac{\sum_{i\ne j} k(x_i, x_j)}{n(n - 1)}
          + \frac{\sum_{i\ne j} k(y_i, y_j)}{n(n - 1)} - \frac{2\sum_{ij} k(x_i, y_j)}{n^2},
          \qquad k(x, y) = \left(\frac{x \cdot y}{d} + 1\right)^4

(KPD: Kansal et al., arXiv:2211.10295; Gretton et al., JMLR 13 (2012) 723). It sees differences
of moments up to the fourth. Its mean over samples of one distribution is 0.
"""

from __future__ import annotations

import math

import numpy as np

from hepgen.diagnostics.comparison.samples import Array, check_samples
from hepgen.errors import DataError
from hepgen.judgement import Measured

_BATCHES = 10
_LARGEST = 5000


def mmd2(first: Array, second: Array) -> float:
    """The unbiased MMD² of two samples of n events each, shape ``(n, d)``."""
    n, d = first.shape
    within = [_kernel(x, x, d) for x in (first, second)]
    same: float = sum(float(k.sum() - np.trace(k)) for k in within) / (n * (n - 1))
    return same - 2 * float(_kernel(first, second, d).mean())


def kernel_distance(
    first: Array, second: Array, batches: int = _BATCHES, seed: int = 0
) -> Measured:
    """The median of MMD² over disjoint batches, and the standard error of that median.

    The error is 1.2533 s/√B, with s half the range from 16 % to 84 % of the batches, which the
    original definition quotes itself: s is the error of one batch, not of their median.

    Arguments:
        first, second: Shapes ``(N, d)`` and ``(M, d)``.
        batches: B; of 5000 events at most, each event in one batch only.
        seed: Of the division into batches.

    Raises:
        DataError: NaN, or fewer than ten events in a batch.
    """
    check_samples(first, second)
    size = min(len(first) // batches, len(second) // batches, _LARGEST)
    if size < 10:
        raise DataError(
            f"samples of {len(first)} and {len(second)} events; expected at least {10 * batches}"
        )
    rng = np.random.default_rng(seed)
    parts = [x[rng.permutation(len(x))[: size * batches]].reshape(batches, size, -1) for x in
             (first, second)]  # fmt: skip
    found = np.array([mmd2(a, b) for a, b in zip(*parts, strict=True)])
    low, median, high = np.quantile(found, [0.16, 0.5, 0.84])
    return Measured(float(median), math.sqrt(math.pi / 2 / batches) * float(high - low) / 2)


def _kernel(x: Array, y: Array, d: int) -> Array:
    square = np.square(x @ y.T / d + 1)
    return np.square(square, out=square)
