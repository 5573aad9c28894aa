"""Calibration: does a posterior mean what it says, over data whose truth is known?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstest

from hepgen.diagnostics.sbc import ranks
from hepgen.diagnostics.tarp import tarp_levels
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
    hpd: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> Calibration:
    """Ranks and pulls of M posteriors against the truth behind each data set.

    With θ drawn from the prior and x from p(x | θ), the ranks of :mod:`hepgen.diagnostics.sbc`,
    :mod:`hepgen.diagnostics.expected_coverage` and :mod:`hepgen.diagnostics.tarp` are uniform.

    Arguments:
        draws: M arrays of posterior draws, each of shape ``(S, D)``.
        truth: Shape ``(M, D)``.
        parameters: The D names.
        method: The estimator.
        source: Where the data sets came from.
        events: The number of events in each set.
        hpd: From :func:`hepgen.diagnostics.expected_coverage.hpd_levels`, shape ``(M,)``.
        seed: Of the reference points of TARP.
    """
    rank = ranks(draws, truth)
    return Calibration(
        method=method,
        source=source,
        parameters=tuple(parameters),
        events=np.asarray(events, dtype=np.int64),
        truth=truth,
        mean=np.stack([d.mean(axis=0) for d in draws]),
        std=np.stack([d.std(axis=0, ddof=1) for d in draws]),
        rank=rank,
        draws=len(draws[0]) if len({len(d) for d in draws}) == 1 else 0,
        hpd=hpd,
        tarp=tarp_levels(draws, truth, seed=seed),
    )


def calibration_checks(
    result: Calibration,
    name: str,
    *,
    coverage: float,
    pull_mean: float,
    pull_width: float,
    p_value: float,
) -> list[Check]:
    """The checks on one parameter: coverage, pulls, and uniform ranks.

    A threshold bounds the defect. Over M sets a perfect posterior scatters by √(0.22/M) in
    coverage, 1/√M in the mean pull and 1/√(2M) in the pull width, which it has to allow for.
    """
    label = f"{result.method.upper()} on {len(result)} sets of {result.source}"
    covered = result.coverage(name, LEVEL)
    mean, width = result.pull_mean(name)[0], result.pull_width(name)[0]
    uniform = rank_p_value(result, name)
    return [
        Check(f"{label}: |coverage − 0.68| of {name}", abs(covered - LEVEL) <= coverage,
              abs(covered - LEVEL), coverage,
              f"68 % intervals hold the truth in {covered:.3f} of the sets"),
        Check(f"{label}: |mean pull| of {name}", abs(mean) <= pull_mean, abs(mean), pull_mean,
              f"mean of (posterior mean − truth)/σ is {mean:+.3f}: zero without bias"),
        Check(f"{label}: |pull width − 1| of {name}", abs(width - 1) <= pull_width,
              abs(width - 1), pull_width,
              f"pulls scatter by {width:.3f}: one if the quoted widths are right"),
        Check(f"{label}: uniform ranks of {name}", uniform >= p_value, uniform, p_value,
              "p-value that the ranks of the truth among posterior draws are uniform"),
    ]  # fmt: skip


def rank_p_value(result: Calibration, name: str) -> float:
    """Kolmogorov–Smirnov p-value that the ranks of one parameter are uniform."""
    return float(kstest(result.rank[:, result.column(name)], "uniform").pvalue)
