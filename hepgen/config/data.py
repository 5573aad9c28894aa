"""The tables of the data: where they are, and what their branches mean."""

from __future__ import annotations

from pydantic import Field

from hepgen.config.section import Section


class LayoutEntry(Section):
    """``[[data.layouts]]``: how the branches of a file map onto hepgen's columns."""

    name: str = Field(description="for --layout and the report")
    tree: str | None = Field(default=None, description="the tree; by default the only one")
    columns: dict[str, str | list[str]] = Field(
        default_factory=dict, description="column = expression, or a list of them: one per object"
    )
    cut: str | None = Field(default=None, description="an expression over the file's branches")
    weight: str | None = Field(default=None, description="an expression for signed event weights")
    one_per: list[str] = Field(default_factory=list, description="at most one row for each key")
    keep: str | None = Field(default=None, description="of those, the row where this is largest")


class DataEntry(Section):
    """``[data]``: the file to infer from, and the layouts it may have."""

    file: str | None = Field(default=None, description="relative to the workflow file")
    layouts: list[LayoutEntry] = Field(
        default_factory=list, description="the first whose branches a file has is taken"
    )
