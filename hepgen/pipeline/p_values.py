"""All that is tested for one result: one list of p-values, corrected for their number at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from hepgen.diagnostics.local_c2st import LocalTest
from hepgen.diagnostics.multiple_testing import PValue, corrected
from hepgen.diagnostics.posterior_predictive import PredictiveTest
from hepgen.pipeline.data import Observed
from hepgen.pipeline.local import local_p_values, local_tests
from hepgen.pipeline.predictive import Predictive, support_p_values
from hepgen.pipeline.predictive_statistics import predictive_p_values, predictive_tests
from hepgen.pipeline.rates import rate_p_values
from hepgen.pipeline.ratios import Array, RatioTest, ratio_p_values, ratio_tests
from hepgen.pipeline.session import Session
from hepgen.pipeline.validate import calibration_p_values
from hepgen.results import Calibration, Check


@dataclass(frozen=True)
class Tests:
    """What was tested, and the checks that follow.

    Arguments:
        p_values: Of all of them, not corrected.
        local: The local two-sample test, by method.
        statistics: Of the data and of the posterior predictive, by name.
        ratios: Of the methods that have learned one.
    """

    p_values: Sequence[PValue] = ()
    local: Mapping[str, LocalTest] = field(default_factory=dict)
    statistics: Mapping[str, PredictiveTest] = field(default_factory=dict)
    ratios: Sequence[RatioTest] = ()

    def checks(self, level: float) -> list[Check]:
        """Of all p-values, corrected for their number (Holm)."""
        return corrected(self.p_values, level)

    def figures(self) -> dict[str, Any]:
        """By title; of what there is."""
        from hepgen import plots

        found: dict[str, Any] = {}
        if self.local:
            null = {m.upper(): (one.statistic, one.null) for m, one in self.local.items()}
            found["Local two-sample test"] = plots.plot_null(
                null, of="Distance of the classifier from ½"
            )
        if self.statistics:
            found["Statistics of data and prediction"] = plots.plot_statistics(
                {name: (one.observed, one.replicated) for name, one in self.statistics.items()}
            )
        if self.ratios:
            found["Calibration of ratios"] = plots.plot_ratio_calibration(
                _labelled("{}: p = {:.2g}", self.ratios),
                _labelled("{}, recalibrated: p = {:.2g}", [r.recalibrated for r in self.ratios]),
            )
        return found


def _labelled(words: str, tests: Sequence[RatioTest]) -> dict[str, tuple[Array, Array]]:
    return {
        words.format(one.method.upper(), one.p_value): (one.numerator, one.denominator)
        for one in tests
    }


def tests_of(
    session: Session,
    calibrations: Sequence[Calibration],
    observed: Observed,
    data: tuple[Tensor, Tensor | None],
    predictive: Predictive,
) -> Tests:
    """Of the estimators, and of the data with them.

    Arguments:
        session: The workflow.
        calibrations: Of the estimators of the result.
        observed: The data.
        data: Their features, shape ``(N, d)``, and weights.
        predictive: Simulated at draws of the posterior.
    """
    local = local_tests(session, calibrations, *data)
    statistics = predictive_tests(session, observed, predictive)
    ratios = ratio_tests(session, [one.method for one in calibrations])
    p_values: list[PValue] = [
        *calibration_p_values(session, calibrations), *ratio_p_values(ratios),
        *rate_p_values(session), *local_p_values(local),
        *support_p_values(session, observed, predictive), *predictive_p_values(statistics),
    ]  # fmt: skip
    return Tests(p_values, local, statistics, ratios)
