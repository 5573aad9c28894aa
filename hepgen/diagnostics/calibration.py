"""Calibration: does a posterior mean what it says, over data whose truth is known?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstest

from hepgen.errors import DataError
from hepgen.results import Calibration, Check

LEVEL = 0.68


def calibration(
    draws: Sequence[NDArray[np.float64]],
    truth: NDArray[np.float64],
    *,
    parameters: Sequence[str],
    method: str,
    source: str,
    events: Sequence[int],
) -> Calibration:
    """Ranks and pulls of M posteriors against the truth behind each data set.

    With θ drawn from the prior and x from p(x | θ), the rank of θ among posterior draws is
    uniform (Talts et al., arXiv:1804.06788).

    Arguments:
        draws: M arrays of posterior draws, each of shape ``(S, D)``.
        truth: Shape ``(M, D)``.
        parameters: The D names.
        method: The estimator.
        source: Where the data sets came from.
        events: The number of events in each set.
    """
    if len(draws) != len(truth) or not len(draws):
        raise DataError(f"{len(draws)} posteriors for {len(truth)} truths; expected one for each")
    return Calibration(
        method=method,
        source=source,
        parameters=tuple(parameters),
        events=np.asarray(events, dtype=np.int64),
        truth=truth,
        mean=np.stack([d.mean(axis=0) for d in draws]),
        std=np.stack([d.std(axis=0, ddof=1) for d in draws]),
        rank=np.stack([(d < t).mean(axis=0) for d, t in zip(draws, truth, strict=True)]),
    )


def calibration_checks(
    result: Calibration,
    name: str,
    *,
    coverage: float,
    pull_mean: float,
    pull_width: tuple[float, float],
    p_value: float,
) -> list[Check]:
    """The checks on one parameter: coverage, pulls, and uniform ranks.

    A threshold is a bound on the defect itself. Over M sets a perfect posterior scatters by
    √(0.22/M) in coverage and 1/√M in the mean pull, which the thresholds have to allow for.
    """
    label = f"{result.method.upper()} on {result.source}"
    pulls = result.pulls(name)
    covered = result.coverage(name, LEVEL)
    width = float(pulls.std(ddof=1))
    uniform = rank_p_value(result, name)
    low, high = pull_width
    return [
        Check(
            f"{label}: coverage of {name}", abs(covered - LEVEL) <= coverage, covered, LEVEL,
            f"share of {len(result)} pseudo-data sets whose 68 % interval holds the truth; "
            f"must be within {coverage:g} of 0.68",
        ),
        Check(
            f"{label}: mean pull of {name}", abs(float(pulls.mean())) <= pull_mean,
            float(pulls.mean()), pull_mean,
            "mean of (posterior mean − truth)/posterior width: zero without bias",
        ),
        Check(
            f"{label}: pull width of {name}", low <= width <= high, width,
            high if width > 1 else low,
            "standard deviation of the pulls: one if the quoted widths are right",
        ),
        Check(
            f"{label}: ranks of {name}", uniform >= p_value, uniform, p_value,
            "p-value that the ranks of the truth among posterior draws are uniform",
        ),
    ]  # fmt: skip


def rank_p_value(result: Calibration, name: str) -> float:
    """Kolmogorov–Smirnov p-value that the ranks of one parameter are uniform."""
    return float(kstest(result.rank[:, result.column(name)], "uniform").pvalue)


def binomial_error(fraction: float, trials: int) -> float:
    """√(p(1 − p)/M)."""
    return math.sqrt(fraction * (1 - fraction) / trials)
