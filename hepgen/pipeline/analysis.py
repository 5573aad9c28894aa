"""What a statement needs to know of an analysis: one workflow, or several channels combined."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from hepgen.compute import Workers
from hepgen.config import ChecksEntry, SamplerEntry, StatementsEntry
from hepgen.parameters import ParameterSet
from hepgen.pipeline.monitor import Monitor


@runtime_checkable
class Settings(Protocol):
    """The tables of a file that are about statements."""

    @property
    def inference(self) -> SamplerEntry:
        """How a posterior is sampled."""

    @property
    def statements(self) -> StatementsEntry:
        """What is stated beside it."""

    @property
    def checks(self) -> ChecksEntry:
        """What must hold."""


@runtime_checkable
class Analysis(Protocol):
    """Of which parameters something is stated, what, and with whose hands."""

    @property
    def workflow(self) -> Settings:
        """The file."""

    @property
    def parameters(self) -> ParameterSet:
        """Those of its simulators, and of its workspaces."""

    @property
    def likelihood_parameters(self) -> ParameterSet:
        """The same, with nuisance parameters that no simulator has."""

    @property
    def monitor(self) -> Monitor:
        """Who is told."""

    @property
    def workers(self) -> Workers:
        """Who computes."""

    @property
    def import_path(self) -> str | None:
        """A folder in which workers find modules, besides the usual ones."""
