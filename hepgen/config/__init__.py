"""The workflow file: the one package that knows its format."""

from hepgen.config.data import DataEntry, LayoutEntry
from hepgen.config.estimators import (
    ESTIMATORS,
    EstimatorName,
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
from hepgen.config.file import load, parse, to_toml
from hepgen.config.inference import InferenceEntry, ScanEntry, StatementsEntry
from hepgen.config.model import FeatureEntry, ParameterEntry, StageEntry
from hepgen.config.section import Section
from hepgen.config.simulation import AugmentEntry, SimulationEntry
from hepgen.config.surrogate import SurrogateEntry, VariableEntry
from hepgen.config.validation import (
    CalibrationEntry,
    ChecksEntry,
    StatisticEntry,
    ValidationEntry,
)
from hepgen.config.workflow import Workflow

__all__ = [
    "ESTIMATORS",
    "AugmentEntry",
    "CalibrationEntry",
    "ChecksEntry",
    "DataEntry",
    "EstimatorName",
    "ExchangeEntry",
    "FeatureEntry",
    "InferenceEntry",
    "JointRatioEntry",
    "LayoutEntry",
    "LikelihoodEntry",
    "ParameterEntry",
    "PosteriorEntry",
    "RatioEntry",
    "ReferenceEntry",
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
    "Workflow",
    "load",
    "parse",
    "to_toml",
]
