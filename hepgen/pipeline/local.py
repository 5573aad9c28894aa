"""The local two-sample test of each estimator at the observed data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hepgen.diagnostics.local_c2st import CalibrationSets, LocalTest, local_test
from hepgen.diagnostics.multiple_testing import PValue
from hepgen.pipeline.session import Session
from hepgen.pipeline.validate import DRAWS, posterior_of
from hepgen.results import Calibration

PERMUTATIONS = 999
"""Exchanges of labels."""


def local_tests(
    session: Session, calibrations: Sequence[Calibration], x: Tensor, weight: Tensor | None
) -> dict[str, LocalTest]:
    """By method, of the parameters of interest together; none where the data do not allow for it.

    The test compares the data with the calibration sets, so that it sees a random choice of as many
    of their events as a set has.

    Arguments:
        session: The workflow.
        calibrations: Of the estimators.
        x, weight: The data, shape ``(N, d)``.
    """
    entry, found = session.workflow.validation, dict[str, LocalTest]()
    if not entry.local or not session.parameters.interest:
        return found
    for calibration in calibrations:
        number = int(calibration.events.max())
        reason = _not_possible(number, x, weight)
        if reason:
            session.monitor.say(f"without the local test: {reason}")
            return {}
        generator = torch.Generator().manual_seed(entry.seed)
        some = x[torch.randperm(len(x), generator=generator)[:number]]
        found |= _test(session, calibration, some)
    return found


def local_p_values(tests: Mapping[str, LocalTest]) -> list[PValue]:
    """Not corrected."""
    return [
        PValue(f"{method.upper()}: local two-sample test", test.p_value,
               "p-value that the posterior is right at the data, by a classifier of its draws "
               "and of the truth of pseudo-data", 1 / (1 + len(test.null)))
        for method, test in tests.items()
    ]  # fmt: skip


def _test(session: Session, calibration: Calibration, x: Tensor) -> dict[str, LocalTest]:
    names, seed = session.parameters.interest, session.workflow.validation.seed
    sets = CalibrationSets.of(calibration, names)
    if sets is None:
        return {}
    (sample,) = posterior_of(session, calibration.method).draw_batched(DRAWS, [x], seed=seed)
    draws = torch.stack([sample.column(name) for name in names], dim=-1).double().numpy()
    test = local_test(sets, draws, draws.mean(axis=0), permutations=PERMUTATIONS, seed=seed)
    return {calibration.method: test}


def _not_possible(number: int, x: Tensor, weight: Tensor | None) -> str:
    if weight is not None:
        return "the calibration sets have no weights, as the data have"
    if len(x) < number:
        return (
            f"{len(x)} events are fewer than the {number} of a calibration set; set "
            f"calibration.events to at most {len(x)}"
        )
    return ""
