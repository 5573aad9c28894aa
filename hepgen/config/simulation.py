"""The tables of the training data."""

from __future__ import annotations

from pydantic import Field, field_validator

from hepgen.config.section import Section


class SimulationEntry(Section):
    """``[simulation]``: the training data."""

    seed: int = Field(default=1, description="of the training data; that of the sets is one more")
    events: int = Field(
        default=16_000_000, gt=0, description="generated for the event density (NLE)"
    )
    files: list[str] = Field(
        default_factory=list,
        description="files of events to train on instead, with the features and `theta_NAME`: of "
        "NLE, NRE, a classifier and a surrogate of the whole chain; relative to the workflow file",
    )
    events_per_point: int = Field(default=128, gt=0, description="events for each parameter point")
    set_events: int = Field(
        default=60_000_000, gt=0, description="generated as event sets (NPE, FMPE, NPSE)"
    )
    set_sizes: tuple[int, int] = Field(
        default=(512, 32_768), description="events generated for a set: smallest and largest"
    )
    augmented_events: int = Field(
        default=1_000_000,
        gt=0,
        description="generated with joint scores and ratios (SALLY, RASCAL, ALICES, SCANDAL), and "
        "at the reference of a classifier",
    )
    rate_events: int = Field(
        default=1_000_000, gt=0, description="generated for an efficiency that is learned"
    )
    block_size: int = Field(default=32_768, gt=0, description="events in a unit of work")

    @field_validator("set_sizes")
    @classmethod
    def _ascends(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("expected two positive numbers, the smaller first")
        return value


class AugmentEntry(Section):
    """``[augment]``: what ``hepgen simulate --augment`` keeps of each event."""

    parameters: list[str] | None = Field(
        default=None,
        min_length=1,
        description="whose joint score is kept; by default all that have one",
    )
    points: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="other parameter points, as the values that change: name = { NAME = value }; "
        "the joint log-ratio to each is kept",
    )
