"""Chains: from the words of a workflow to a process, and to the file it takes events from."""

from __future__ import annotations

from pathlib import Path

from hepgen.config import Workflow
from hepgen.errors import WorkflowError
from hepgen.io.event_files import open_events
from hepgen.simulators.chain import Chain
from hepgen.simulators.processes.registry import process
from hepgen.simulators.pythia.base import PythiaStage
from hepgen.simulators.pythia.code import refuse_code

#: The process that has no stages of its own.
STAGES_ONLY = "stages"


def chain_of(workflow: Workflow, source: Path) -> Chain:
    """The chain of a workflow's process.

    Arguments:
        workflow: The validated file.
        source: Where it came from; the path of a file of events starts there.
    """
    if workflow.process == STAGES_ONLY:
        return _empty(workflow)
    kind, colon, path = str(workflow.chain.get("generator", "")).partition(":")
    if not colon:
        return process(workflow.process, **workflow.chain)
    if not path.strip():
        raise WorkflowError(f"generator = '{kind}:' names no file; expected {kind}:FILE")
    events = open_events(kind, source.parent / path)
    chain = process(workflow.process, events, **workflow.chain)
    chain.options["events"] = events.identity()
    return chain


def permit(chain: Chain, allow_code: bool) -> Chain:
    """A chain whose settings of Pythia may load code, or do not.

    Arguments:
        chain: Its stages are told.
        allow_code: Whether they may.

    Raises:
        WorkflowError: They may not, and a setting does.
    """
    for stage in chain.stages:
        if isinstance(stage, PythiaStage):
            stage.allow_code = allow_code
            if not allow_code:
                refuse_code(stage.settings)
    return chain


def builtin(workflow: Workflow) -> Chain:
    """The chain as it is without a foreign generator."""
    own = {k: v for k, v in workflow.chain.items() if k not in ("generator", "pythia")}
    return process(workflow.process, **own)


def _empty(workflow: Workflow) -> Chain:
    if workflow.chain or not workflow.stages:
        raise WorkflowError(
            f'process = "{STAGES_ONLY}" is a chain of the [[stages]] of the workflow; expected '
            "at least one of them, and no [chain]"
        )
    return Chain([], name=workflow.name)
