"""What every table of the workflow file is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the file: no key that is not known, nothing changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")
