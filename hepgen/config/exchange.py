"""The table of the exchange: the same analysis in bins, for programs that are not hepgen."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from hepgen.config.section import Section


class ExchangeEntry(Section):
    """``[exchange]``: files for pyhf and HS3 beside the result."""

    formats: list[Literal["pyhf", "hs3"]] = Field(
        default=[], description="workspace.json, hs3.json; none by default"
    )
    observable: str | None = Field(
        default=None, description="the feature that is binned; by default the first"
    )
    bins: int = Field(default=40, ge=2, description="of equal width")
    edges: list[float] | None = Field(
        default=None, min_length=3, description="of the bins, ascending, in place of their number"
    )
    events: int = Field(
        default=100_000,
        ge=1000,
        description="simulated at the best fit: for what the bins cost, and for templates that "
        "are no integrals of a density of one feature",
    )
    seed: int = Field(default=8, description="of those events")

    @field_validator("edges")
    @classmethod
    def _ascend(cls, value: list[float] | None) -> list[float] | None:
        pairs = zip(value or [], (value or [])[1:], strict=False)
        if any(not low < high for low, high in pairs):
            raise ValueError("expected ascending numbers")
        return value
