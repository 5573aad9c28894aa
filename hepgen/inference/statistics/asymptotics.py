r"""The distributions of the test statistics for many events (Cowan et al., arXiv:1007.1727).

With :math:`\hat\mu \sim \mathcal{N}(\mu', \sigma)` and :math:`t = (\mu - \hat\mu)^2/\sigma^2`
(Wald), section 3 of the paper. σ comes from an Asimov data set at μ′:
:math:`\sigma = |\mu - \mu'|/\sqrt{t_A}`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr, ndtr, ndtri

from hepgen.statements import SIGMAS, Statistic

Array = NDArray[np.float64]
SQRT2 = math.sqrt(2)


def p_value(
    statistic: Statistic,
    observed: float | Array,
    *,
    shift: float | Array = 0.0,
    reach: float | Array = np.inf,
) -> Array:
    r"""The probability of a statistic as large as the observed one, or larger.

    Arguments:
        statistic: Which one; for ``q0`` the tested μ is 0.
        observed: q.
        shift: :math:`(\mu - \mu')/\sigma`: 0 where the tested hypothesis is the true one. For
            ``q0`` :math:`-\mu'/\sigma`.
        reach: μ/σ, the distance of the tested value from the bound at 0, for the two with a tilde.

    >>> round(float(p_value("q0", 25.0)), 9), round(float(p_value("t", 3.841459)), 4)
    (2.87e-07, 0.05)
    """
    q, s, r = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (observed, shift, reach)))
    root = np.asarray(np.sqrt(np.clip(q, 0, None)))
    if statistic == "q0":
        return np.asarray(ndtr(-root - s))
    upper = ndtr(-(root + s))  # μ̂ too high: only two-sided statistics count it
    lower = ndtr(-_lower(root, s, r if statistic.endswith("tilde") else np.full_like(r, np.inf)))
    if statistic in ("t", "t_tilde"):
        return np.asarray(upper + lower)
    return np.asarray(lower)


def _lower(root: Array, shift: Array, reach: Array) -> Array:
    """How many σ below μ′ the estimate is that gives q from below μ; beyond the bound it is linear.

    Without a bound √q − (μ − μ′)/σ; where √q > μ/σ, the estimate is negative, and
    q = (μ² − 2μμ̂)/σ².
    """
    beyond = root > reach
    # At μ = 0 itself no estimate below gives q > 0.
    safe = np.where(beyond, np.maximum(reach, 1e-150), 1.0)
    linear = (root**2 + safe**2) / (2 * safe)
    return np.asarray(np.where(beyond, linear, root) - shift)


def cls(observed: float | Array, asimov: float | Array) -> Array:
    r"""CLs = p_{s+b}/p_b from q̃ of the data and of the Asimov data set without a signal.

    With r = √q_A, the estimate lies √q of its errors below μ while that is at most r, and
    s = (q + r²)/2r beyond, where μ̂ is negative; there
    :math:`\Phi(-s)/\Phi(r - s) = e^{-q/2}\,\mathrm{erfcx}(s/\sqrt2)/\mathrm{erfcx}((s-r)/\sqrt2)`.

    >>> round(float(cls(3.93824492, 3.41886758)), 4)
    0.0525
    """
    q, asimov = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (observed, asimov)))
    root, reach = (np.sqrt(np.clip(v, 0, None)) for v in (q, asimov))
    # Both tails vanish in double precision beyond 38 sigma; their ratio does not.
    inside = np.exp(log_ndtr(-root) - log_ndtr(reach - root))
    sigmas = (root**2 + reach**2) / (2 * np.maximum(reach, 1e-150))
    sigmas = np.where(root > reach, sigmas, 0.0)
    beyond = np.exp(-(root**2) / 2) * erfcx(sigmas / SQRT2) / erfcx((sigmas - reach) / SQRT2)
    return np.asarray(np.where(root > reach, beyond, inside))


def expected_cls(asimov: float | Array) -> Array:
    """CLs where μ̂ is −2, …, +2 σ above its mean without a signal, shape ``(*, 5)``.

    Arguments:
        asimov: q̃ of the Asimov data set without a signal, shape ``(*,)``.
    """
    root, n = np.sqrt(np.asarray(asimov, dtype=float))[..., None], np.array(SIGMAS, dtype=float)
    return np.asarray(ndtr(n - root) / ndtr(n))


def expected_root(alpha: float) -> Array:
    """√q̃ of the Asimov data set at which each :func:`expected_cls` is α, shape ``(5,)``."""
    n = np.array(SIGMAS, dtype=float)
    return np.asarray(n - ndtri(alpha * ndtr(n)))
