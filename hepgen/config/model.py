"""The tables of what is measured: parameters, features, and the stages of the chain."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from hepgen.config.section import Section
from hepgen.errors import ParameterError
from hepgen.features import Kind
from hepgen.parameters import prior_from_dict


class ParameterEntry(Section):
    """``[parameters.NAME]``: what a workflow says of one parameter of the chain."""

    default: float | None = Field(default=None, description="value where none is asked for")
    role: Literal["interest", "nuisance"] | None = Field(
        default=None, description="what is measured, or integrated out (by default)"
    )
    prior: dict[str, list[float]] | None = Field(
        default=None,
        description="{ uniform = [low, high] } or { normal = [mean, std] }; absent: fixed",
    )
    label: str | None = Field(default=None, description="how plots write it (LaTeX)")
    reference: float | None = Field(default=None, description="a value to mark in plots")
    reference_error: float | None = Field(default=None, description="its uncertainty")

    @field_validator("prior")
    @classmethod
    def _makes_a_prior(cls, value: Any) -> Any:
        try:
            prior_from_dict(value)
        except ParameterError as error:
            raise ValueError(str(error)) from error
        return value


class FeatureEntry(Section):
    """``[[features]]``: a column that enters the likelihood."""

    name: str = Field(description="an observable of the process")
    low: float | None = Field(default=None, description="physical bound below")
    high: float | None = Field(default=None, description="physical bound above")
    kind: Kind = Field(
        default="continuous",
        description="continuous, circular (period high - low), discrete (whole numbers from low to "
        "high), or zero_inflated (exactly 0 in some events)",
    )


class StageEntry(Section):
    """``[[stages]]``: a stage of the user's, which runs code and so needs ``--allow-code``."""

    where: str = Field(alias="import", description='its class: `"module:Class"`')
    replace: str | list[str] | None = Field(
        default=None, description="the stage, or the stages in a row, in whose place it stands"
    )
    before: str | None = Field(default=None, description="the stage before which it stands")
    after: str | None = Field(
        default=None, description="the stage behind which it stands; by default the last"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of the class")

    @field_validator("replace")
    @classmethod
    def _names_a_stage(cls, value: str | list[str] | None) -> str | list[str] | None:
        if value == []:
            raise ValueError("expected at least one stage")
        return value

    @model_validator(mode="after")
    def _has_one_place(self) -> StageEntry:
        places = [p for p in ("replace", "before", "after") if getattr(self, p) is not None]
        if len(places) > 1:
            raise ValueError(f"both {' and '.join(places)}: expected at most one place")
        return self
