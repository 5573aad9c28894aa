"""The tables of a surrogate: what it stands for, and how it is trained."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from hepgen.config.section import Section
from hepgen.features import Kind


class VariableEntry(Section):
    """``[surrogate.variables.COLUMN]``: how a surrogate sees one of its columns."""

    ratio: str | None = Field(default=None, description="learn its ratio to this input column")
    difference: str | None = Field(
        default=None, description="learn its difference from this input column"
    )
    kind: Kind | None = Field(
        default=None,
        description="as of a feature; by default discrete for integers, zero_inflated for what "
        "only selected events have, else continuous; an angle is circular, from -π to π",
    )
    low: float | None = Field(default=None, description="bound of what is learned, below")
    high: float | None = Field(default=None, description="bound of what is learned, above")

    @model_validator(mode="after")
    def _has_one_relation(self) -> VariableEntry:
        if self.ratio and self.difference:
            raise ValueError("both ratio and difference: expected at most one")
        return self


class SurrogateEntry(Section):
    """``[surrogate]``: what a surrogate stands for, and its training; absent keys: its family's."""

    method: str = Field(default="flow", description="the family, where none is asked for")
    replace: list[str] | None = Field(
        default=None,
        min_length=1,
        description="stages in a row; absent: the whole chain, p(features | parameters)",
    )
    outputs: list[str] | None = Field(
        default=None,
        min_length=1,
        description="columns it gives; by default those that follow needs, or features and control",
    )
    image: bool = Field(
        default=False, description="whether it gives the images of a calorimeter, not columns"
    )
    variables: dict[str, VariableEntry] = Field(
        default_factory=dict, description="how it sees a column"
    )
    events: int = Field(default=1_000_000, gt=0, description="generated to train on")
    events_per_point: int = Field(default=16, gt=0, description="events for each parameter point")
    test_events: int = Field(
        default=100_000, gt=1000, description="generated to judge it, with the next seed"
    )
    seed: int = Field(default=5, description="of the training data, and of the training")
    distilled_steps: int = Field(
        default=4, gt=0, description="evaluations of a network in a distilled diffusion"
    )
    closure_sets: int = Field(
        default=20, ge=0, description="pseudo-data whose posteriors are set beside the simulator's"
    )
    closure_events: int = Field(default=500, gt=0, description="selected events in each of them")
    template_events: int = Field(
        default=1_000_000, gt=1000, description="generated for the simulator's own posteriors"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="of the family")
    epochs: int | None = Field(default=None, gt=0, description="passes over the events")
    batch_size: int | None = Field(default=None, gt=0, description="events in a step")
    max_learning_rate: float | None = Field(default=None, gt=0, description="top of the cycle")
    time_budget: float | None = Field(
        default=None, gt=0, description="seconds after which the training is complete"
    )
