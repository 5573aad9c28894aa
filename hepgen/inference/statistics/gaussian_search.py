r"""Toys of a search by its Gaussian process: q₀ along a hypothesis, without a fit.

For many events :math:`\sqrt{q_0(m)} = \max(0, Z(m))`, where Z is standard normal at each m and

.. math:: \mathrm{corr}\,(Z(m), Z(m')) = \frac{C_{mm'}}{\sqrt{C_{mm} C_{m'm'}}}, \qquad
          C = I_{\mu\mu'} - I_{\mu\nu} I_{\nu\nu}^{-1} I_{\nu\mu'}

with the Fisher information at μ = 0 of the strengths at all m, the nuisance parameters ν fitted
along (Ananiev and Read, arXiv:2206.12328). Thousands of toys then cost nothing, and their
upcrossings are those of Gross and Vitells, arXiv:1005.1891.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.statistics.look_elsewhere import (
    GlobalPValue,
    brute_force,
    global_p_value,
)

Array = NDArray[np.float64]
_ENOUGH = 100
"""Toys above the data from which their share is known to a tenth."""


def search_toys(covariance: Array, toys: int, seed: int) -> Array:
    """q₀ of background toys, shape ``(T, K)``, from C of shape ``(K, K)``.

    Raises:
        DataError: A place without any information on a signal.

    >>> q = search_toys(np.eye(2), 4000, 1)
    >>> bool(abs((q > 0).mean() - 0.5) < 0.02)
    True
    """
    variance = np.diag(covariance)
    if not (np.isfinite(covariance).all() and (variance > 0).all()):
        k = int(np.argmin(np.where(np.isfinite(variance), variance, -np.inf)))
        raise DataError(
            f"place {k} of {len(variance)} has the information {variance[k]:g} on a signal; "
            "expected a positive one: leave it out of the scan"
        )
    correlation = covariance / np.sqrt(np.outer(variance, variance))
    values, vectors = np.linalg.eigh(correlation)
    # The root of a rounding error is no rounding error any more.
    rounding = len(values) * np.finfo(float).eps * values.max()
    root = vectors * np.sqrt(np.where(values > rounding, values, 0.0))
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(toys, len(root), generator=generator, dtype=torch.float64)
    found: Tensor = (noise @ torch.from_numpy(root).T).clamp(min=0).square()
    return found.numpy()


def search_p_value(largest: float, toys: Array) -> GlobalPValue:
    """The global p-value: the share of toys where they say it well, else by their upcrossings."""
    above = int((toys.max(1) >= largest).sum())
    if above >= _ENOUGH:
        return brute_force(largest, toys)
    return global_p_value(largest, toys)
