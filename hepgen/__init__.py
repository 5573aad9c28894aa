"""Simulation-based inference for particle physics.

From a chain of stochastic simulators, or from ROOT files, to calibrated statements about
physics parameters. Names are imported when they are first used, so that ``import hepgen``
costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hepgen.compute.workers import Workers
    from hepgen.errors import HepgenError
    from hepgen.events import Events
    from hepgen.feature_space import FeatureSpace
    from hepgen.features import Feature
    from hepgen.inference.likelihood_posterior import LikelihoodPosterior
    from hepgen.inference.nle import NLE
    from hepgen.inference.npe import NPE
    from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform
    from hepgen.pipeline.data import DataRequest, read_observed
    from hepgen.pipeline.infer import Inference, infer, write_results
    from hepgen.pipeline.load import load
    from hepgen.pipeline.session import Session
    from hepgen.pipeline.train import trained
    from hepgen.pipeline.validate import validate
    from hepgen.results import Calibration, Check, InferenceResult
    from hepgen.simulators.campaign import Campaign
    from hepgen.simulators.chain import Chain, Trace
    from hepgen.simulators.processes.registry import process
    from hepgen.simulators.stage import Stage

__version__ = "0.1.0"

_HOMES = {
    "Calibration": "results",
    "Campaign": "simulators.campaign",
    "Chain": "simulators.chain",
    "Check": "results",
    "DataRequest": "pipeline.data",
    "Events": "events",
    "Feature": "features",
    "FeatureSpace": "feature_space",
    "HepgenError": "errors",
    "Inference": "pipeline.infer",
    "InferenceResult": "results",
    "LikelihoodPosterior": "inference.likelihood_posterior",
    "NLE": "inference.nle",
    "NPE": "inference.npe",
    "Normal": "parameters",
    "Parameter": "parameters",
    "ParameterSet": "parameters",
    "Session": "pipeline.session",
    "Stage": "simulators.stage",
    "Trace": "simulators.chain",
    "Uniform": "parameters",
    "Workers": "compute.workers",
    "infer": "pipeline.infer",
    "load": "pipeline.load",
    "process": "simulators.processes.registry",
    "read_observed": "pipeline.data",
    "trained": "pipeline.train",
    "validate": "pipeline.validate",
    "write_results": "pipeline.infer",
}

__all__ = [
    "NLE",
    "NPE",
    "Calibration",
    "Campaign",
    "Chain",
    "Check",
    "DataRequest",
    "Events",
    "Feature",
    "FeatureSpace",
    "HepgenError",
    "Inference",
    "InferenceResult",
    "LikelihoodPosterior",
    "Normal",
    "Parameter",
    "ParameterSet",
    "Session",
    "Stage",
    "Trace",
    "Uniform",
    "Workers",
    "infer",
    "load",
    "process",
    "read_observed",
    "trained",
    "validate",
    "write_results",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hepgen' has no attribute {name!r}")
    return getattr(import_module(f"hepgen.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
