"""Calibration: does a posterior mean what it says, over data whose truth is known?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hepgen.diagnostics.expected_coverage import expected_coverage
from hepgen.diagnostics.multiple_testing import PValue
from hepgen.diagnostics.sbc import ranks, sbc
from hepgen.diagnostics.tarp import tarp, tarp_levels
from hepgen.diagnostics.uniformity import LEVELS
from hepgen.errors import SamplingError
from hepgen.results import Calibration, Check, UniformityTest

LEVEL = 0.68
MOST_LEFT_OUT = 0.1
"""The largest share of the sets that may be left out: the others are no draws from the prior."""


def resolved(effective: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which data sets have draws enough for a rank, shape ``(M,)``.

    Draws that were resampled from weighted ones repeat, and are worth fewer independent ones. A
    rank among n of them scatters by up to 0.5/√n about the posterior probability below the truth,
    and is uniform where they are independent. Fewer than the :data:`LEVELS
    <hepgen.diagnostics.uniformity.LEVELS>` at which ranks are tested cannot tell these apart: a
    right posterior would fail.

    Arguments:
        effective: How many independent draws those of each set are worth.

    Raises:
        SamplingError: Too many sets have too few.
    """
    keep: NDArray[np.bool_] = effective >= LEVELS
    lost = int((~keep).sum())
    if lost > MOST_LEFT_OUT * len(keep):
        raise SamplingError(
            f"the posterior draws of {lost} of {len(keep)} data sets are worth fewer than {LEVELS} "
            f"independent ones, {effective.min():.0f} at least; expected {MOST_LEFT_OUT:.0%} of "
            "the sets at most: the likelihood is far from any Gaussian there. Draw more proposals "
            "(LikelihoodPosterior(proposals=…)), or look at its estimator"
        )
    return keep


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
        seed: Of the reference points of TARP, and of the draw that is kept.
    """
    rank = ranks(draws, truth)
    rng = np.random.default_rng(seed)
    kept = [int(rng.integers(len(d))) for d in draws]
    others = [np.delete(d, k, axis=0) for d, k in zip(draws, kept, strict=True)]
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
        drawn=np.stack([d[k] for d, k in zip(draws, kept, strict=True)]),
        covariance=np.stack([np.atleast_2d(np.cov(d.T)) for d in others]),
    )


def calibration_checks(
    result: Calibration,
    name: str,
    *,
    coverage: float,
    pull_mean: float,
    pull_width: float,
) -> list[Check]:
    """The checks on one parameter: coverage and pulls.

    A threshold bounds the defect. Over M sets a perfect posterior scatters by √(0.22/M) in
    coverage, 1/√M in the mean pull and 1/√(2M) in the pull width, which it has to allow for.
    """
    label = _label(result)
    covered = result.coverage(name, LEVEL)
    mean, width = result.pull_mean(name)[0], result.pull_width(name)[0]
    return [
        Check(f"{label}: |coverage − 0.68| of {name}", abs(covered - LEVEL) <= coverage,
              abs(covered - LEVEL), coverage,
              f"68 % intervals hold the truth in {covered:.3f} of the sets"),
        Check(f"{label}: |mean pull| of {name}", abs(mean) <= pull_mean, abs(mean), pull_mean,
              f"mean of (posterior mean − truth)/σ is {mean:+.3f}: zero without bias"),
        Check(f"{label}: |pull width − 1| of {name}", abs(width - 1) <= pull_width,
              abs(width - 1), pull_width,
              f"pulls scatter by {width:.3f}: one if the quoted widths are right"),
    ]  # fmt: skip


def uniformity_tests(result: Calibration, names: Sequence[str]) -> dict[str, UniformityTest]:
    """What is uniform if the posterior is right: ranks of parameters, coverage, TARP, by name.

    Coverage and TARP are of all parameters together; a calibration that was made before they
    were has none.
    """
    tests = {f"uniform ranks of {name}": sbc(result, name) for name in names}
    if result.hpd is not None:
        tests["expected coverage"] = expected_coverage(result.hpd, result.draws)
    if result.tarp is not None:
        tests["TARP"] = tarp(result.tarp, result.draws)
    return tests


def uniformity_p_values(result: Calibration, names: Sequence[str]) -> list[PValue]:
    """The p-values that they are, not corrected."""
    return [
        PValue(f"{_label(result)}: {name}", test.p_value, _meaning(name, test))
        for name, test in uniformity_tests(result, names).items()
    ]


def _label(result: Calibration) -> str:
    return f"{result.method.upper()} on {len(result)} sets of {result.source}"


def _meaning(name: str, test: UniformityTest) -> str:
    if name == "TARP":
        return "p-value that balls about random points hold the truth as often as the posterior"
    if name == "expected coverage":
        side = "too often" if test.excess > 0 else "too seldom"
        return (
            "p-value that regions of highest density of all parameters hold the truth as often as "
            f"they say; if not, {side}"
        )
    return "p-value that the ranks of the truth among posterior draws are uniform"
