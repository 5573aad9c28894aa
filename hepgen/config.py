"""The workflow file: the one module that knows its format."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from hepgen.errors import ParameterError, WorkflowError, nearest
from hepgen.features import Kind
from hepgen.parameters import prior_from_dict

EstimatorName = Literal["nle", "npe", "nre", "classifier", "sally", "rascal", "alices", "scandal"]
ESTIMATORS: tuple[EstimatorName, ...] = get_args(EstimatorName)
"""The estimators, each with a table of its name in the workflow file."""


class Section(BaseModel):
    """A table of the file: no key that is not known, nothing changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


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


class DataEntry(Section):
    """``[data]``: the file to infer from, and the layouts it may have."""

    file: str | None = Field(default=None, description="relative to the workflow file")
    layouts: list[LayoutEntry] = Field(
        default_factory=list, description="the first whose branches a file has is taken"
    )


class SimulationEntry(Section):
    """``[simulation]``: the training data."""

    seed: int = Field(default=1, description="of the training data; that of the sets is one more")
    events: int = Field(
        default=16_000_000, gt=0, description="generated for the event density (NLE)"
    )
    events_per_point: int = Field(default=128, gt=0, description="events for each parameter point")
    set_events: int = Field(default=60_000_000, gt=0, description="generated as event sets (NPE)")
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


class TrainingEntry(Section):
    """What the training of every estimator of single events has; absent keys are its defaults."""

    seed: int = Field(default=1, description="of the training")
    epochs: int | None = Field(default=None, gt=0, description="passes over the events")
    batch_size: int | None = Field(default=None, gt=0, description="events in a step")
    max_learning_rate: float | None = Field(default=None, gt=0, description="top of the cycle")
    hidden: list[PositiveInt] | None = Field(
        default=None, min_length=2, description="widths of the network"
    )
    members: int = Field(
        default=1,
        gt=0,
        description="networks, whose average is used and whose spread is the uncertainty of finite "
        "simulation",
    )
    scheme: Literal["bootstrap", "parts"] = Field(
        default="bootstrap",
        description="what members learn from: all events with Poisson weights, or a part each",
    )


class LikelihoodEntry(TrainingEntry):
    """``[nle]``: the training of the event density p(x | θ); absent keys are its defaults."""

    components: int | None = Field(
        default=None, gt=0, description="of the mixture, for each feature"
    )


class RatioEntry(TrainingEntry):
    """``[nre]``: the training of the ratio p(x | θ)/p(x); absent keys are its defaults."""

    loss: Literal["binary", "contrastive"] | None = Field(
        default=None, description="of two classes, or of one among several θ"
    )
    contrasts: int | None = Field(default=None, gt=0, description="other θ for each event")
    gamma: float | None = Field(default=None, gt=0, description="odds of the contrastive loss")


class ReferenceEntry(TrainingEntry):
    """``[classifier]``: the training of p(x | θ)/p(x | θ_ref); absent keys are its defaults."""

    reference: dict[str, float] = Field(
        default_factory=dict, description="θ_ref, where it is not the default: { NAME = value }"
    )


class JointRatioEntry(ReferenceEntry):
    """``[rascal]`` and ``[alices]``: p(x | θ)/p(x | θ_ref) from joint ratios and joint scores."""

    alpha: float | None = Field(default=None, ge=0, description="weight of the score")


class ScoreEntry(ReferenceEntry):
    """``[sally]``: the score at θ_ref, and the likelihood of it at any θ."""

    likelihood: Literal["mean", "histogram"] | None = Field(
        default=None,
        description="of the mean score of a data set, or of its histogram, which at most two "
        "parameters may have; by default the histogram for these",
    )
    bins: int | None = Field(default=None, gt=1, description="of the histogram, for each parameter")
    degree: int | None = Field(default=None, gt=0, description="of the polynomials of θ")


class ScoreDensityEntry(LikelihoodEntry):
    """``[scandal]``: the event density from events and joint scores."""

    alpha: float | None = Field(default=None, ge=0, description="weight of the score")


class PosteriorEntry(Section):
    """``[npe]``: the training of the amortised posterior; absent keys are its defaults."""

    seed: int = Field(default=1, description="of the training")
    embedding_epochs: int | None = Field(
        default=None, gt=0, description="passes over the sets for the embedding of an event"
    )
    density_epochs: int | None = Field(
        default=None, gt=0, description="passes over the sets for the density of the parameters"
    )
    smallest: int | None = Field(default=None, gt=0, description="fewest events of a data set")
    components: int | None = Field(
        default=None, gt=0, description="of the mixture, for each parameter"
    )


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


class InferenceEntry(Section):
    """``[inference]``: how the posterior is sampled."""

    method: EstimatorName = Field(default="nle", description="which result is the headline")
    beside: list[EstimatorName] | None = Field(
        default=None,
        description="estimators whose results are set beside it; by default nle and npe beside "
        "one another, and none beside the others",
    )
    luminosity: float | None = Field(
        default=None,
        gt=0,
        description="of the data, in 1/pb: the number of events counts; absent: their shape only",
    )
    rate: Literal["closed", "learned"] | None = Field(
        default=None,
        description="with a luminosity, σ(θ)ε(θ) as the process knows it, or with an efficiency "
        "that is fitted to a simulation; by default the former where the process knows it",
    )
    seed: int = Field(default=1, description="of the sampler")
    chains: int = Field(default=4, gt=1, description="Markov chains")
    draws: int = Field(default=500, gt=10, description="for each chain")
    predictive_events: int = Field(
        default=1_000_000, gt=0, description="generated for the comparison"
    )


class StatementsEntry(Section):
    """``[statements]``: what is stated of the parameters beside the posterior."""

    intervals: list[Literal["posterior", "profile", "neyman"]] = Field(
        default=["posterior"],
        min_length=1,
        description="how intervals are made; with profile or neyman also a scan and impacts",
    )
    parameters: list[str] | None = Field(
        default=None, min_length=1, description="by default those of interest"
    )
    asimov: bool = Field(
        default=False, description="also what is expected: data in which nothing fluctuates"
    )
    limit: Literal["asymptotics", "toys"] | None = Field(
        default=None, description="CLs upper limits at 95 %, and how"
    )
    toys: int = Field(
        default=2000, ge=500, description="pseudo-data sets from the simulator, for Neyman and CLs"
    )
    seed: int = Field(default=4, description="of the pseudo-data")


class CalibrationEntry(Section):
    """``[calibration]``: pseudo-data whose truth is known."""

    seed: int = Field(default=2, description="of the pseudo-data; not that of the training data")
    sets: int = Field(default=400, gt=20, description="pseudo-data sets")
    events: int = Field(default=500, gt=10, description="selected events in each")


class StatisticEntry(Section):
    """An entry of ``validation.statistics``: a number that stands for a whole data set."""

    kind: Literal["mean", "spread", "quantile", "correlation"] = Field(
        description="of the events; the spread is the standard deviation"
    )
    columns: list[str] = Field(
        min_length=1, max_length=2, description="one, or the two of a correlation"
    )
    level: float = Field(default=0.5, gt=0, lt=1, description="of a quantile")

    @model_validator(mode="after")
    def _has_its_columns(self) -> StatisticEntry:
        expected = 2 if self.kind == "correlation" else 1
        if len(self.columns) != expected:
            raise ValueError(
                f"a {self.kind} of {len(self.columns)} columns: expected {expected}, features or "
                "control columns"
            )
        return self


class ValidationEntry(Section):
    """``[validation]``: tests beside those of the calibration."""

    seed: int = Field(default=6, description="of their events, and of random choices")
    local: bool = Field(
        default=True,
        description="the local two-sample test at the data, on as many of their events as a "
        "calibration set has",
    )
    statistics: list[StatisticEntry] | None = Field(
        default=None,
        description="of the data and of the posterior predictive; by default the 5 % and 95 % "
        "quantiles of each feature that is continuous",
    )
    ratio_events: int = Field(
        default=30_000, ge=0, description="generated to test that a ratio is one; 0: not tested"
    )


class ChecksEntry(Section):
    """``[checks]``: what must hold for a result to be believed."""

    coverage: float = Field(
        default=0.07, description="largest |coverage − 0.68| of the 68 % interval"
    )
    pull_mean: float = Field(default=0.15, description="largest |mean pull|")
    pull_width: float = Field(default=0.15, description="largest |pull width − 1|")
    r_hat: float = Field(default=1.02, description="largest R-hat")
    divergences: float = Field(
        default=0.005, description="largest share of divergent transitions of the sampler"
    )
    effective_samples: float = Field(default=400, description="smallest effective sample size")
    p_value: float = Field(
        default=0.01, description="smallest p-value, after correction for many tests"
    )
    agreement: float = Field(default=0.5, description="largest |NLE − NPE| in standard deviations")
    c2st: float = Field(
        default=0.55, description="largest accuracy of a classifier, surrogate against simulation"
    )
    closure_shift: float = Field(
        default=0.2, description="largest rms shift of a surrogate's posterior means, in σ"
    )
    closure_width: float = Field(
        default=0.1, description="largest |mean ratio − 1| of the widths of these posteriors"
    )
    effective_events: float = Field(
        default=0.9, description="least share of the weighted events that they are worth"
    )
    simulation: float = Field(
        default=0.5,
        description="largest shift by another simulation, by the members of an ensemble, in σ",
    )
    rate: float = Field(
        default=0.5, description="largest error of a learned rate, in 1/√N of the data"
    )
    grid: float = Field(default=0.2, description="largest |NUTS − grid| in standard deviations")


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
    folder: str | None = Field(default=None, description="run folder; by default runs/NAME")
    data: DataEntry = DataEntry()
    simulation: SimulationEntry = SimulationEntry()
    augment: AugmentEntry = AugmentEntry()
    nle: LikelihoodEntry = LikelihoodEntry()
    npe: PosteriorEntry = PosteriorEntry()
    nre: RatioEntry = RatioEntry()
    classifier: ReferenceEntry = ReferenceEntry()
    sally: ScoreEntry = ScoreEntry()
    rascal: JointRatioEntry = JointRatioEntry()
    alices: JointRatioEntry = JointRatioEntry()
    scandal: ScoreDensityEntry = ScoreDensityEntry()
    surrogate: SurrogateEntry = SurrogateEntry()
    inference: InferenceEntry = InferenceEntry()
    statements: StatementsEntry = StatementsEntry()
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

    @model_validator(mode="after")
    def _has_free_parameters(self) -> Workflow:
        if not any(p.prior and p.role == "interest" for p in self.parameters.values()):
            raise ValueError("no parameter has role = 'interest' and a prior: nothing to measure")
        return self

    @model_validator(mode="after")
    def _names_each_once(self) -> Workflow:
        layouts = [layout.name for layout in self.data.layouts]
        for kind, names in (("feature", [f.name for f in self.features]), ("layout", layouts)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind} {', '.join(map(repr, twice))} is there more than once")
        return self


def load(path: Path, overrides: Sequence[str] = ()) -> Workflow:
    """Read and validate a workflow file.

    Arguments:
        path: The TOML file.
        overrides: ``key=value`` with a dotted key, as given to ``--set``.

    Raises:
        WorkflowError: It does not exist, is not TOML, or says something it cannot mean.
    """
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise WorkflowError(f"no workflow file {path}; {nearest(path.name, near)}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkflowError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorkflowError(f"{path} is not valid TOML: {error}") from error
    for override in overrides:
        _override(content, override)
    content.setdefault("name", path.stem)
    return parse(content, str(path))


def parse(content: Mapping[str, Any], source: str = "workflow") -> Workflow:
    """Validate the content of a workflow file.

    >>> parse({"name": "a", "process": "zmumu", "features": [{"name": "M"}], "controls": []})
    Traceback (most recent call last):
    hepgen.errors.WorkflowError: workflow: unknown key 'controls'; did you mean 'control'?
    """
    try:
        return Workflow.model_validate(content)
    except ValidationError as error:
        problems = [_problem(entry) for entry in error.errors()]
        raise WorkflowError(f"{source}: " + "; ".join(problems)) from None


def to_toml(workflow: Workflow) -> str:
    """The workflow with its defaults filled in, as TOML that reads back the same."""
    content = workflow.model_dump(mode="json", exclude_none=True, by_alias=True)
    return tomli_w.dumps(content)


def _override(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise WorkflowError(f"--set {override!r}: expected key=value, e.g. simulation.seed=7")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, last = key.strip().split(".")
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise WorkflowError(f"--set {override!r}: {table!r} is not a table")
    content[last] = value


def _problem(entry: Any) -> str:
    place = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        return f"unknown key {place!r}; {nearest(str(entry['loc'][-1]), _keys(entry['loc'][:-1]))}"
    if entry["type"] == "missing":
        return f"missing key {place!r}"
    message = str(entry["msg"]).removeprefix("Value error, ")
    given = entry.get("input")
    value = "" if isinstance(given, dict) else f" = {given!r}"
    return f"{place}{value}: {message}" if place else message


def _keys(place: tuple[int | str, ...]) -> list[str]:
    """The keys known in one table of the file."""
    tables: dict[str, type[Section]] = {
        "parameters": ParameterEntry, "features": FeatureEntry, "layouts": LayoutEntry,
        "data": DataEntry, "simulation": SimulationEntry, "augment": AugmentEntry,
        "stages": StageEntry, "surrogate": SurrogateEntry,
        "variables": VariableEntry, "nle": LikelihoodEntry, "npe": PosteriorEntry,
        "nre": RatioEntry, "classifier": ReferenceEntry, "sally": ScoreEntry,
        "rascal": JointRatioEntry, "alices": JointRatioEntry, "scandal": ScoreDensityEntry,
        "inference": InferenceEntry, "statements": StatementsEntry,
        "calibration": CalibrationEntry, "validation": ValidationEntry,
        "statistics": StatisticEntry, "checks": ChecksEntry,
    }  # fmt: skip
    named = [str(part) for part in place if str(part) in tables]
    fields = (tables[named[-1]] if named else Workflow).model_fields
    return [field.alias or name for name, field in fields.items()]
