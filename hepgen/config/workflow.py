"""A whole workflow file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from hepgen.config.data import DataEntry
from hepgen.config.estimators import (
    FieldEntry,
    JointRatioEntry,
    LikelihoodEntry,
    PosteriorEntry,
    RatioEntry,
    ReferenceEntry,
    ScoreDensityEntry,
    ScoreEntry,
)
from hepgen.config.exchange import ExchangeEntry
from hepgen.config.inference import InferenceEntry, StatementsEntry
from hepgen.config.model import FeatureEntry, ParameterEntry, StageEntry
from hepgen.config.samples import SampleEntry
from hepgen.config.section import Section
from hepgen.config.simulation import AugmentEntry, SimulationEntry
from hepgen.config.surrogate import SurrogateEntry
from hepgen.config.validation import (
    CalibrationEntry,
    ChecksEntry,
    ValidationEntry,
)
from hepgen.config.variations import VariationEntry


class Workflow(Section):
    """A whole workflow file, with its defaults filled in."""

    name: str = Field(description="of the run folder; by default that of the file")
    title: str = Field(default="", description="of the report")
    process: str = Field(description='the chain, by name; `"stages"`: only the stages of this file')
    chain: dict[str, Any] = Field(default_factory=dict, description="options of the process")
    stages: list[StageEntry] = Field(default_factory=list)
    surrogates: list[str] = Field(
        default_factory=list,
        description="folders of trained surrogates, each in the place of the stages it was "
        "trained on; relative to the workflow file",
    )
    parameters: dict[str, ParameterEntry] = Field(default_factory=dict)
    features: list[FeatureEntry] = Field(
        default_factory=list, description="needed for inference, not for simulation"
    )
    control: list[str] = Field(default_factory=list, description="columns to plot beside")
    folder: str | None = Field(
        default=None,
        description="run folder, inside the current one; by default runs/NAME. "
        "`--set folder=…` takes any",
    )
    data: DataEntry = DataEntry()
    samples: list[SampleEntry] = Field(default_factory=list)
    variations: list[VariationEntry] = Field(default_factory=list)
    simulation: SimulationEntry = SimulationEntry()
    augment: AugmentEntry = AugmentEntry()
    nle: LikelihoodEntry = LikelihoodEntry()
    npe: PosteriorEntry = PosteriorEntry()
    fmpe: FieldEntry = FieldEntry()
    npse: FieldEntry = FieldEntry()
    nre: RatioEntry = RatioEntry()
    classifier: ReferenceEntry = ReferenceEntry()
    sally: ScoreEntry = ScoreEntry()
    rascal: JointRatioEntry = JointRatioEntry()
    alices: JointRatioEntry = JointRatioEntry()
    scandal: ScoreDensityEntry = ScoreDensityEntry()
    surrogate: SurrogateEntry = SurrogateEntry()
    inference: InferenceEntry = InferenceEntry()
    statements: StatementsEntry = StatementsEntry()
    exchange: ExchangeEntry = ExchangeEntry()
    calibration: CalibrationEntry = CalibrationEntry()
    validation: ValidationEntry = ValidationEntry()
    checks: ChecksEntry = ChecksEntry()

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        # Products go into runs/NAME, and nowhere else.
        plain = value == Path(value).name and not set(value) & set("\\\0\r\n\t")
        if value in ("", "..") or not plain:
            raise ValueError("expected a plain file name, without / or ..; see also: folder")
        return value

    @field_validator("folder")
    @classmethod
    def _is_a_path(cls, value: str | None) -> str | None:
        if value is not None and set(value) & set("\0\r\n\t"):
            raise ValueError("expected a path")
        return value

    @model_validator(mode="after")
    def _has_free_parameters(self) -> Workflow:
        if not any(p.prior and p.role == "interest" for p in self.parameters.values()):
            raise ValueError("no parameter has role = 'interest' and a prior: nothing to measure")
        return self

    @model_validator(mode="after")
    def _names_each_once(self) -> Workflow:
        layouts = [layout.name for layout in self.data.layouts]
        for kind, names in (
            ("feature", [f.name for f in self.features]), ("layout", layouts),
            ("sample", [s.name for s in self.samples]),
            ("variation", [v.name for v in self.variations]),
        ):  # fmt: skip
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind} {', '.join(map(repr, twice))} is there more than once")
        return self
