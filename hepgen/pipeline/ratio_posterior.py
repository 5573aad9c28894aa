"""The posterior intervals of a ratio that is recalibrated, beside the raw ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.power import Power
from hepgen.pipeline.calibration_report import LEVELS
from hepgen.pipeline.ratios import RatioTest
from hepgen.pipeline.session import Session
from hepgen.pipeline.train import trained
from hepgen.results import ParameterEstimate, rounded
from hepgen.statements import Interval

METHOD = "recalibrated ratio"


def ratio_intervals(
    session: Session,
    tests: Sequence[RatioTest],
    headline: str,
    data: tuple[Tensor, Tensor | None],
    units: Mapping[str, ParameterEstimate],
) -> tuple[Interval, ...]:
    """Central intervals of the parameters of interest; none where the headline is no ratio.

    None either where the number of events counts: its part of the likelihood is no ratio.

    Arguments:
        session: The workflow.
        tests: Of ratios, with events that these have not learned from.
        headline: The estimator of the result.
        data: The events, shape ``(N, d)``, and their weights.
        units: The estimates of the result.
    """
    test = next((one for one in tests if one.method == headline), None)
    if test is None or session.workflow.inference.luminosity is not None:
        return ()
    slope = test.slope
    if not slope > 0:
        session.monitor.say(
            f"no interval of the recalibrated ratio: its slope is {slope:.3g}, and a ratio that "
            "has learned anything rises with the right one"
        )
        return ()
    entry = session.workflow.inference
    model: Any = trained(session, headline)
    posterior = LikelihoodPosterior(
        Power(model, slope), method="importance", chains=entry.chains
    )  # fmt: skip
    sample = posterior.draw(entry.chains * entry.draws, data[0], weight=data[1], seed=entry.seed)
    found = []
    for name in (n for n, one in units.items() if one.role == "interest"):
        draws = sample.column(name).numpy()
        for level in LEVELS:
            low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]).tolist()
            mean = float(draws.mean())
            found.append(Interval(name, level, mean, ((low, high),), METHOD, unit=units[name].unit))
    return tuple(found)


def in_words(
    intervals: Sequence[Interval], parameters: Mapping[str, ParameterEstimate]
) -> Iterator[str]:
    """A sentence for each parameter."""
    for name in dict.fromkeys(one.parameter for one in intervals):
        std = parameters[name].std
        found = "; ".join(
            f"{100 * one.level:.0f} % from {rounded(one.low, std)} to {rounded(one.high, std)}"
            for one in intervals
            if one.parameter == name
        )
        yield f"{name}, from the recalibrated ratio: {found}."
