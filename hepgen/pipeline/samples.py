"""The samples of a workflow: sessions of their own, and what they are together."""

from __future__ import annotations

import dataclasses
from typing import Any

from hepgen.config import ParameterEntry, SampleEntry, Workflow
from hepgen.errors import WorkflowError, nearest
from hepgen.inference.channel import Sample
from hepgen.inference.sample_sum import SampleRate, SampleSum
from hepgen.pipeline.rates import rate_key, selected_cross_section
from hepgen.pipeline.session import Session

METHODS = ("nle", "scandal")
"""Those that learn a density which is normalised: ratios have no common denominator."""


def sample_sessions(session: Session) -> dict[str, Session]:
    """The session in which each of the ``[[samples]]`` is simulated and learned, by name.

    Raises:
        WorkflowError: A sample names what the chain does not have.
    """
    if not session.workflow.samples:
        return {}
    if session.workflow.inference.rounds > 1:
        raise WorkflowError(
            "inference.rounds with [[samples]]: rounds narrow the priors of one simulation; use "
            "one of the two"
        )
    if session.workflow.simulation.files:
        raise WorkflowError(
            "simulation.files with [[samples]]: a sample is simulated by the chain; remove the "
            "files, or the samples"
        )
    return {entry.name: _session(session, entry) for entry in session.workflow.samples}


def learning_sessions(session: Session, amortised: bool) -> list[Session]:
    """In which sessions an estimator learns: in those of the samples, where it is no posterior."""
    own = {} if amortised else sample_sessions(session)
    return list(own.values()) or [session]


def sample_sum(session: Session, densities: dict[str, Any]) -> SampleSum:
    """The density of the chain, of those of its samples by name."""
    sessions = sample_sessions(session)
    samples = []
    for entry in session.workflow.samples:
        section, _ = selected_cross_section(sessions[entry.name])
        rate = SampleRate(section, entry.parameters, entry.strength)
        samples.append(Sample(entry.name, densities[entry.name], rate))
    return SampleSum(session.parameters, samples)


def sample_keys(session: Session) -> list[Any]:
    """What the rates of the samples depend on."""
    sessions = sample_sessions(session)
    return [(e.model_dump(), rate_key(sessions[e.name])) for e in session.workflow.samples]


def require_density(session: Session, method: str) -> None:
    """Refuse a method that learns no density of a sample."""
    if session.workflow.samples and method not in METHODS:
        raise WorkflowError(
            f"method {method!r} learns no density that is normalised, and [[samples]] are added up "
            f"as densities; use {' or '.join(METHODS)}, or remove the samples"
        )


def _session(session: Session, entry: SampleEntry) -> Session:
    known, workflow = session.parameters, session.workflow
    for name, value in entry.parameters.items():
        if name not in known.names:
            raise WorkflowError(
                f"sample {entry.name!r}: no parameter {name!r}; {nearest(name, known.names)}"
            )
        known[name].check(value)
    own = session.folder / "samples" / entry.name
    changed: dict[str, Any] = {
        "name": f"{workflow.name}-{entry.name}",
        "folder": str(own),
        "chain": {**workflow.chain, **entry.chain},
        "parameters": {**workflow.parameters, **_held(workflow, entry)},
        "simulation": workflow.simulation.model_copy(
            update={} if entry.events is None else {"events": entry.events}
        ),
        "samples": [],
        "variations": [],
    }
    scan = workflow.statements.scan
    if scan is not None and scan.parameter in entry.parameters:
        changed["statements"] = workflow.statements.model_copy(update={"scan": None})
    return dataclasses.replace(session, workflow=workflow.model_copy(update=changed))


def _held(workflow: Workflow, entry: SampleEntry) -> dict[str, Any]:
    """The entries of its parameters: at a value, without a prior."""
    kept = {n: workflow.parameters.get(n, ParameterEntry()) for n in entry.parameters}
    return {
        name: one.model_copy(
            update={"default": entry.parameters[name], "prior": None, "role": "nuisance"}
        )
        for name, one in kept.items()
    }
