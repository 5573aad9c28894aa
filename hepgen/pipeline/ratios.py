"""Is a learned ratio one of two densities? Tested with events that it has not learned from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.compute import one_thread
from hepgen.diagnostics.multiple_testing import PValue
from hepgen.diagnostics.ratio_calibration import RatioCalibration, calibration_p_value, slope
from hepgen.errors import SimulationError
from hepgen.events import Events
from hepgen.inference.ensemble import Ensemble
from hepgen.inference.nre import NRE
from hepgen.inference.ratio import Ratio
from hepgen.pipeline.estimators import reference_of
from hepgen.pipeline.session import Session
from hepgen.pipeline.train import trained
from hepgen.pipeline.training_data import reference_campaign, simulated, training_campaign
from hepgen.simulators.campaign import Campaign

Array = NDArray[np.float64]
_FEWEST = 100


@dataclass(frozen=True)
class RatioTest:
    """Log-ratios log r̂(x | θ) of pairs of events and parameters.

    Arguments:
        method: The estimator.
        numerator: Of x ~ p(x | θ), shape ``(N,)``.
        denominator: Of x that know nothing of θ, shape ``(N,)``.
    """

    method: str
    numerator: Array
    denominator: Array

    @property
    def p_value(self) -> float:
        """Of :func:`hepgen.diagnostics.ratio_calibration.calibration_p_value`."""
        return calibration_p_value(self.numerator, self.denominator)

    @property
    def slope(self) -> float:
        """a of the line a·log r̂ + b, fitted to all pairs; 1 where the ratio is right."""
        return slope(self.numerator, self.denominator)

    @property
    def recalibrated(self) -> RatioTest:
        """After a·log r̂ + b, the line fitted to the first half of all pairs, for the second."""
        half = len(self.numerator) // 2
        first, second = self.numerator[:half], self.denominator[:half]
        line = RatioCalibration.fit(first, second, kind="platt")
        return dataclasses.replace(
            self, numerator=line(self.numerator[half:]), denominator=line(self.denominator[half:])
        )


def ratio_tests(session: Session, methods: Sequence[str]) -> list[RatioTest]:
    """Those of the methods that have learned a ratio."""
    if not session.workflow.validation.ratio_events:
        return []
    return [_test(session, method) for method in methods if _one_ratio(session, method) is not None]


def ratio_p_values(tests: Sequence[RatioTest]) -> list[PValue]:
    """Not corrected."""
    return [
        PValue(f"{one.method.upper()}: ratio", one.p_value,
               "p-value that the learned ratio is that of two densities, with "
               f"{len(one.numerator)} events of each")
        for one in tests
    ]  # fmt: skip


def _one_ratio(session: Session, method: str) -> Ratio | None:
    """A member, of an ensemble."""
    model: Any = trained(session, method)
    one = model.members[0] if isinstance(model, Ensemble) else model
    return one if isinstance(one, Ratio) else None


@one_thread()
def _test(session: Session, method: str) -> RatioTest:
    """Each event and each θ is used once, so that all pairs are independent."""
    names, model = list(session.feature_names), trained(session, method)
    events = _simulated(session, _campaign(session), "ratio", "simulate events for ratios")
    theta = torch.from_numpy(events.theta(session.parameters.free_names))
    x = torch.from_numpy(events.flat(names))
    if isinstance(_one_ratio(session, method), NRE):
        third = len(x) // 3
        other, unpaired = x[third : 2 * third], theta[2 * third : 3 * third]
    else:
        at_reference = _simulated(
            session, _reference(session, method), "ratio-reference",
            "simulate the reference of ratios",
        )  # fmt: skip
        other = torch.from_numpy(at_reference.flat(names))
        third = min(len(x) // 2, len(other))
        other, unpaired = other[:third], theta[third : 2 * third]
    if third < _FEWEST:
        raise SimulationError(
            f"only {third} events for the test of a ratio are selected; expected at least "
            f"{_FEWEST}: raise validation.ratio_events, or set it to 0"
        )
    return RatioTest(
        method, _log_ratio(model, x[:third], theta[:third]), _log_ratio(model, other, unpaired)
    )


@torch.no_grad()
def _log_ratio(model: Any, x: Tensor, theta: Tensor) -> Array:
    """Of each pair, shape ``(N,)``: a set of one event at one point."""
    found: Tensor = model.log_densities(model.prepare(x)[:, None], theta[:, None])
    return found[:, 0, 0].double().numpy()


def _campaign(session: Session) -> Campaign:
    """Single events, each at a θ of its own."""
    entry = session.workflow.validation
    return dataclasses.replace(
        training_campaign(session), events=entry.ratio_events, seed=entry.seed, points=1
    )


def _reference(session: Session, method: str) -> Campaign:
    entry = session.workflow.validation
    campaign = reference_campaign(session, reference_of(session, method))
    return dataclasses.replace(campaign, events=entry.ratio_events // 2, seed=entry.seed + 1)


def _simulated(session: Session, campaign: Campaign, name: str, title: str) -> Events:
    return Events.concatenate(list(simulated(session, campaign, name, title)))
