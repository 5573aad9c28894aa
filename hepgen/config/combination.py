"""A combination: the file that names several channels, and what is asked of all of them."""

from __future__ import annotations

from pydantic import Field, model_validator

from hepgen.config.estimators import EstimatorName
from hepgen.config.inference import SamplerEntry, StatementsEntry
from hepgen.config.section import Section
from hepgen.config.validation import ChecksEntry

_OF_EVENTS = ("data", "layout", "cut", "weights", "method", "overrides")


class ChannelEntry(Section):
    """``[[channels]]``: data with a likelihood of their own."""

    name: str = Field(min_length=1, description="in errors, checks and the report")
    workflow: str | None = Field(
        default=None,
        description="a workflow file, relative to this one: a likelihood learned from its chain",
    )
    pyhf: str | None = Field(
        default=None, description="instead: a workspace of pyhf (JSON), relative to this file"
    )
    measurement: str | None = Field(
        default=None, description="of the workspace; by default its first"
    )
    data: list[str] = Field(
        default_factory=list,
        description="`FILE.root[:TREE]`, relative to this file; by default `data.file` of the "
        "workflow",
    )
    layout: str | None = Field(default=None, description="a `[[data.layouts]]` of the workflow")
    cut: str | None = Field(default=None, description="a cut over the file's branches")
    weights: str | None = Field(default=None, description="an expression for event weights")
    method: EstimatorName | None = Field(
        default=None, description="the estimator; by default that of the workflow"
    )
    overrides: list[str] = Field(
        default_factory=list, alias="set", description="entries of the workflow, as `KEY=VALUE`"
    )
    renamed: dict[str, str] = Field(
        default_factory=dict, description="what its parameters are called in the combination"
    )

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> ChannelEntry:
        if (self.workflow is None) == (self.pyhf is None):
            raise ValueError(f"channel {self.name!r}: expected a workflow, or a pyhf workspace")
        given = [name for name in _OF_EVENTS if getattr(self, name)]
        if self.pyhf is not None and given:
            raise ValueError(
                f"channel {self.name!r}: {', '.join(given)} of a pyhf workspace, which has its "
                "data in itself; remove it"
            )
        if self.workflow is not None and self.measurement is not None:
            raise ValueError(
                f"channel {self.name!r}: a measurement is one of a pyhf workspace; remove it"
            )
        return self


class Combination(Section):
    """A whole file of a combination, with its defaults filled in."""

    name: str = Field(description="by default that of the file")
    title: str = Field(default="", description="of the report")
    channels: list[ChannelEntry] = Field(min_length=1, description="what is combined")
    inference: SamplerEntry = SamplerEntry()
    statements: StatementsEntry = StatementsEntry()
    checks: ChecksEntry = ChecksEntry()

    @model_validator(mode="after")
    def _names_each_once(self) -> Combination:
        names = [channel.name for channel in self.channels]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"channel {', '.join(map(repr, twice))} is there more than once")
        return self

    @model_validator(mode="after")
    def _asks_what_a_combination_has(self) -> Combination:
        if self.statements.scan is not None or self.statements.fisher:
            raise ValueError(
                "statements.scan and statements.fisher are of one workflow, which `hepgen infer` "
                "takes; remove them from the combination"
            )
        return self
