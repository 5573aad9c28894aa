"""The tables of the result: the posterior, and what is stated beside it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from hepgen.config.estimators import EstimatorName
from hepgen.config.section import Section


class SamplerEntry(Section):
    """``[inference]`` of a combination: how a posterior is sampled."""

    seed: int = Field(default=1, description="of the sampler")
    chains: int = Field(default=4, gt=1, description="Markov chains")
    draws: int = Field(default=500, gt=10, description="for each chain")


class InferenceEntry(SamplerEntry):
    """``[inference]``: of what the posterior is, and how it is sampled."""

    method: EstimatorName = Field(default="nle", description="which result is the headline")
    beside: list[EstimatorName] | None = Field(
        default=None,
        description="estimators whose results are set beside it; by default nle and npe beside "
        "one another, nle beside fmpe and npse, and none beside the others",
    )
    rounds: int = Field(
        default=1,
        ge=1,
        description="of simulation and training: those after the first simulate where the "
        "posterior of the data is, a share of the events each; the result is good for these data "
        "alone",
    )
    luminosity: float | None = Field(
        default=None,
        gt=0,
        description="of the data, in 1/pb: the number of events counts; absent: their shape only",
    )
    rate: Literal["closed", "learned"] | None = Field(
        default=None,
        description="with a luminosity, σ(θ)ε(θ) as the process knows it, or with an efficiency "
        "that is fitted to a simulation; by default the former where the process knows it",
    )
    predictive_events: int = Field(
        default=1_000_000, gt=0, description="generated for the comparison"
    )


class ScanEntry(Section):
    """``statements.scan``: a hypothesis, such as the mass of a resonance, that is scanned."""

    parameter: str = Field(
        description="which has a meaning only with a signal; it is held at its default for all "
        "else that is stated"
    )
    values: list[float] = Field(
        min_length=2, description="where the tests are made, and the limits if there are any"
    )
    toys: int = Field(
        default=10_000, ge=100, description="of the Gaussian process, for the global p-value"
    )
    events: int = Field(
        default=50_000, ge=1000, description="simulated without a signal, for its correlations"
    )

    @field_validator("values")
    @classmethod
    def _are_several(cls, value: list[float]) -> list[float]:
        if len(set(value)) < len(value):
            raise ValueError("expected each value once")
        return value


class StatementsEntry(Section):
    """``[statements]``: what is stated of the parameters beside the posterior."""

    intervals: list[Literal["posterior", "profile", "neyman"]] = Field(
        default=["posterior"],
        min_length=1,
        description="how intervals are made; with profile or neyman also a scan and impacts",
    )
    parameters: list[str] | None = Field(
        default=None, min_length=1, description="by default those of interest"
    )
    asimov: bool = Field(
        default=False, description="also what is expected: data in which nothing fluctuates"
    )
    limit: Literal["asymptotics", "toys"] | None = Field(
        default=None, description="CLs upper limits at 95 %, and how"
    )
    toys: int = Field(
        default=2000, ge=500, description="pseudo-data sets from the simulator, for Neyman and CLs"
    )
    scan: ScanEntry | None = Field(
        default=None,
        description="local p-values, limits and the global p-value along a hypothesis, by one "
        "training over all its values",
    )
    fisher: bool = Field(
        default=False,
        description="also the errors that are expected by the Fisher information: of the whole "
        "history, of the estimator, of each feature and of all",
    )
    fisher_events: int = Field(
        default=200_000, ge=1000, description="generated at the best fit for that"
    )
    seed: int = Field(default=4, description="of the pseudo-data")
