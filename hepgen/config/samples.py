"""The tables of the samples that the events of a chain are made of."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from hepgen.config.section import Section


class SampleEntry(Section):
    """``[[samples]]``: events whose density is learned by themselves, e.g. those of a signal."""

    name: str = Field(min_length=1, pattern=r"^\w[\w-]*$", description="e.g. signal")
    chain: dict[str, Any] = Field(
        default_factory=dict, description="options of the process that are others in this sample"
    )
    parameters: dict[str, float] = Field(
        default_factory=dict,
        description="values at which it is simulated: of its strength, and of what it does not "
        "depend on",
    )
    strength: str | None = Field(
        default=None,
        description="the parameter that its number of events is proportional to; without one, it "
        "is as the chain says",
    )
    events: int | None = Field(
        default=None, gt=0, description="generated for its density; by default `simulation.events`"
    )

    @model_validator(mode="after")
    def _has_a_unit(self) -> SampleEntry:
        if self.strength is not None and not self.parameters.get(self.strength):
            raise ValueError(
                f"sample {self.name!r} has the strength {self.strength!r}, and no value of it at "
                f"which it is simulated: expected one in its parameters, e.g. {{ {self.strength} = "
                "1.0 }"
            )
        return self
