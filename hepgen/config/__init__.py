"""The workflow file: the one package that knows its format."""

from hepgen.config.combination import ChannelEntry, Combination
from hepgen.config.data import DataEntry, LayoutEntry
from hepgen.config.estimators import (
    ESTIMATORS,
    AmortisedEntry,
    EstimatorEntry,
    EstimatorName,
    FieldEntry,
    JointRatioEntry,
    LikelihoodEntry,
    PosteriorEntry,
    RatioEntry,
    ReferenceEntry,
    ScoreDensityEntry,
    ScoreEntry,
    TrainingEntry,
)
from hepgen.config.exchange import ExchangeEntry
from hepgen.config.file import load, load_combination, parse, parse_combination, to_toml
from hepgen.config.inference import InferenceEntry, SamplerEntry, ScanEntry, StatementsEntry
from hepgen.config.model import FeatureEntry, ParameterEntry, StageEntry
from hepgen.config.samples import SampleEntry
from hepgen.config.section import Section
from hepgen.config.simulation import AugmentEntry, SimulationEntry
from hepgen.config.surrogate import SurrogateEntry, VariableEntry
from hepgen.config.validation import (
    CalibrationEntry,
    ChecksEntry,
    StatisticEntry,
    ValidationEntry,
)
from hepgen.config.variations import VariationEntry
from hepgen.config.workflow import Workflow

__all__ = [
    "ESTIMATORS",
    "AmortisedEntry",
    "AugmentEntry",
    "CalibrationEntry",
    "ChannelEntry",
    "ChecksEntry",
    "Combination",
    "DataEntry",
    "EstimatorEntry",
    "EstimatorName",
    "ExchangeEntry",
    "FeatureEntry",
    "FieldEntry",
    "InferenceEntry",
    "JointRatioEntry",
    "LayoutEntry",
    "LikelihoodEntry",
    "ParameterEntry",
    "PosteriorEntry",
    "RatioEntry",
    "ReferenceEntry",
    "SampleEntry",
    "SamplerEntry",
    "ScanEntry",
    "ScoreDensityEntry",
    "ScoreEntry",
    "Section",
    "SimulationEntry",
    "StageEntry",
    "StatementsEntry",
    "StatisticEntry",
    "SurrogateEntry",
    "TrainingEntry",
    "ValidationEntry",
    "VariableEntry",
    "VariationEntry",
    "Workflow",
    "load",
    "load_combination",
    "parse",
    "parse_combination",
    "to_toml",
]
