"""What a result is of, as its provenance notes it: events, request, and all else that is read."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hepgen.events import Events
from hepgen.io.sources import resolve
from hepgen.pipeline.data import DataRequest, Observed
from hepgen.pipeline.samples import sample_sessions
from hepgen.pipeline.session import Session
from hepgen.store import digest


def of_what(
    session: Session, request: DataRequest, method: str | None, observed: Observed
) -> dict[str, Any]:
    """The provenance of what is measured, beside that of the workflow."""
    return {
        "data": {
            "files": list(observed.sources), "layout": observed.layout, "cut": request.cut,
            "sha256": content_digest(observed.events),
        },
        "request": {
            **asdict(request),
            "files": list(request.files or observed.sources),
            "branches": list(request.branches),
            "method": method,
            "workflow": str(session.source),
        },
        "inputs": inputs_of(session),
    }  # fmt: skip


def inputs_of(session: Session) -> dict[str, str]:
    """Digests of what the workflow names beside its data: chains, with their code, and files."""
    workflow = session.workflow
    found = {"chain": digest(session.chain.options)}
    found |= {f"chain of {n}": digest(s.chain.options) for n, s in sample_sessions(session).items()}
    events = [name for v in workflow.variations for name in (v.nominal, v.up, v.down) if name]
    for name in (*events, *workflow.simulation.files):
        local = [Path(one.path) for one in resolve([session.near(name)]) if not one.remote]
        found[name] = digest(*local)
    return found


def content_digest(events: Events) -> str:
    """The SHA-256 of the selected events, wherever they were read from."""
    content = hashlib.sha256()
    for name in events.fields:
        content.update(events.flat([name]).tobytes())
    return content.hexdigest()
