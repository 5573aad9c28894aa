"""What a data set is expected to say of a parameter, by what is looked at in its events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ExpectedError:
    """The error of a parameter by the Fisher information of one source (Cramér and Rao).

    Arguments:
        source: e.g. ``whole history``, ``NLE``, ``all features``, or the name of a feature.
        bound: ``at least``, of the whole history: no analysis is better. ``at most``: what the
            source is known to carry, on events that nothing was trained on. ``estimate``: that of
            an estimator, whose noise counts as information.
        profiled: With the nuisance parameters fitted along; infinite where nothing fixes a
            direction.
        profiled_error: The standard error of that, from the number of simulated events.
        known, known_error: The same with the nuisance parameters known.
        warnings: What a reader must know.
    """

    source: str
    bound: Literal["at least", "at most", "estimate"]
    profiled: float
    profiled_error: float
    known: float
    known_error: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class InformationTable:
    """The expected errors of one parameter.

    Arguments:
        parameter: Its name.
        events: Of the data set that they are for.
        at: θ at which they are, the best fit, by name.
        rows: By source.
        simulated: Selected events that they are from.
        unit, label: Of the parameter.
        warnings: What a reader must know.
    """

    parameter: str
    events: int
    at: Mapping[str, float]
    rows: tuple[ExpectedError, ...]
    simulated: int
    unit: str = ""
    label: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def axis(self) -> str:
        """The label with the unit, for a plot's axis."""
        name = self.label or self.parameter
        return f"{name} [{self.unit}]" if self.unit else name
