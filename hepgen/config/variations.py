"""The tables of nuisance parameters that no simulator has: they are known by varied data sets."""

from __future__ import annotations

from pydantic import Field, model_validator

from hepgen.config.section import Section


class VariationEntry(Section):
    """``[[variations]]``: a nuisance parameter, 0 ± 1, by what it does at −1 and at +1."""

    name: str = Field(min_length=1, description="of the parameter")
    up: str | None = Field(
        default=None,
        description="simulated events at +1, `FILE.root[:TREE]` relative to the workflow file, "
        "with all parameters at their defaults; read as data are, by `[[data.layouts]]`",
    )
    down: str | None = Field(default=None, description="the same at −1")
    nominal: str | None = Field(
        default=None, description="the same at 0; by default hepgen simulates them"
    )
    rate: list[float] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="the expected number of events at −1 and at +1, relative to that at 0; it "
        "counts where there is an `inference.luminosity`",
    )
    symmetric: bool = Field(
        default=False,
        description="take half of the difference of log-ratios at +1 and −1 as the effect, and its "
        "negative at −1: what differs between the two is noise of the samples",
    )
    label: str = Field(default="", description="how plots write it (LaTeX)")

    @model_validator(mode="after")
    def _says_what_it_does(self) -> VariationEntry:
        if (self.up is None) != (self.down is None):
            missing = "down" if self.down is None else "up"
            raise ValueError(f"variation {self.name!r} has no {missing}: expected both")
        if self.up is None and (self.rate is None or self.nominal is not None):
            raise ValueError(f"variation {self.name!r}: expected up and down, or a rate")
        if self.up is None and self.symmetric:
            raise ValueError(
                f"variation {self.name!r} is symmetric, and has no up and down; a rate says both "
                "sides itself"
            )
        if self.rate is not None and min(self.rate) <= 0:
            raise ValueError(
                f"variation {self.name!r}: rate = {self.rate}; expected two positive numbers, e.g. "
                "[0.98, 1.02]"
            )
        return self
