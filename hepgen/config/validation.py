"""The tables of what decides whether a result is believed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from hepgen.config.section import Section


class CalibrationEntry(Section):
    """``[calibration]``: pseudo-data whose truth is known."""

    seed: int = Field(default=2, description="of the pseudo-data; not that of the training data")
    sets: int = Field(default=400, gt=20, description="pseudo-data sets")
    events: int = Field(default=500, gt=10, description="selected events in each")


class StatisticEntry(Section):
    """An entry of ``validation.statistics``: a number that stands for a whole data set."""

    kind: Literal["mean", "spread", "quantile", "correlation"] = Field(
        description="of the events; the spread is the standard deviation"
    )
    columns: list[str] = Field(
        min_length=1, max_length=2, description="one, or the two of a correlation"
    )
    level: float = Field(default=0.5, gt=0, lt=1, description="of a quantile")

    @model_validator(mode="after")
    def _has_its_columns(self) -> StatisticEntry:
        expected = 2 if self.kind == "correlation" else 1
        if len(self.columns) != expected:
            raise ValueError(
                f"a {self.kind} of {len(self.columns)} columns: expected {expected}, features or "
                "control columns"
            )
        return self


class ValidationEntry(Section):
    """``[validation]``: tests beside those of the calibration."""

    seed: int = Field(default=6, description="of their events, and of random choices")
    local: bool = Field(
        default=True,
        description="the local two-sample test at the data, on as many of their events as a "
        "calibration set has",
    )
    statistics: list[StatisticEntry] | None = Field(
        default=None,
        description="of the data and of the posterior predictive; by default the 5 % and 95 % "
        "quantiles of each feature that is continuous",
    )
    ratio_events: int = Field(
        default=30_000, ge=0, description="generated to test that a ratio is one; 0: not tested"
    )


class ChecksEntry(Section):
    """``[checks]``: what must hold for a result to be believed."""

    coverage: float = Field(
        default=0.07, description="largest |coverage − 0.68| of the 68 % interval"
    )
    scan: float = Field(
        default=0.5,
        ge=0,
        description="standard deviations of a signal that a scan may see in simulated events "
        "without one, beyond 2.6 errors",
    )
    neyman_coverage: float = Field(
        default=0.03,
        description="largest |coverage − level| of Neyman's sets at a point, beyond its error",
    )
    pull_mean: float = Field(default=0.15, description="largest |mean pull|")
    pull_width: float = Field(default=0.15, description="largest |pull width − 1|")
    r_hat: float = Field(default=1.02, description="largest R-hat")
    divergences: float = Field(
        default=0.005, description="largest share of divergent transitions of the sampler"
    )
    effective_samples: float = Field(default=400, description="smallest effective sample size")
    p_value: float = Field(
        default=0.01, description="smallest p-value, after correction for many tests"
    )
    agreement: float = Field(default=0.5, description="largest |NLE − NPE| in standard deviations")
    c2st: float = Field(
        default=0.55, description="largest accuracy of a classifier, surrogate against simulation"
    )
    closure_shift: float = Field(
        default=0.2, description="largest rms shift of a surrogate's posterior means, in σ"
    )
    closure_width: float = Field(
        default=0.1, description="largest |mean ratio − 1| of the widths of these posteriors"
    )
    effective_events: float = Field(
        default=0.9, description="least share of the weighted events that they are worth"
    )
    simulation: float = Field(
        default=0.5,
        description="largest shift by another simulation, by the members of an ensemble, in σ",
    )
    rate: float = Field(
        default=0.5, description="largest error of a learned rate, in 1/√N of the data"
    )
    binning: float = Field(
        default=0.1, description="largest growth of an error by the bins of a workspace"
    )
    grid: float = Field(default=0.2, description="largest |NUTS − grid| in standard deviations")
