"""``hepgen train``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from hepgen.cli.options import (
    AllowCode,
    Dask,
    Device,
    Devices,
    Jobs,
    Json,
    Nodes,
    Overrides,
    Quiet,
    Timeout,
    WorkflowArgument,
)
from hepgen.cli.program import app
from hepgen.cli.session import open_session, print_result, workers_of
from hepgen.errors import FileError, InputError, nearest


@app.command()
def train(
    workflow: WorkflowArgument,
    method: Annotated[
        str | None,
        typer.Option(
            help="nle, npe, fmpe, npse, nre, classifier, sally, rascal, alices or scandal, by "
            "default those of [inference]; or the family of a surrogate: flow, diffusion, vae …"
        ),
    ] = None,
    events: Annotated[
        str | None,
        typer.Option(
            help="train on these events instead of simulating: files, as 'sim*.root:Events' "
            "(simulation.files of the workflow)"
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="also save the model in this folder")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="replace the model there")] = False,
    jobs: Jobs = 0,
    dask: Dask = None,
    timeout: Timeout = None,
    device: Device = "auto",
    devices: Devices = 1,
    nodes: Nodes = 1,
    overrides: Overrides = None,
    allow_code: AllowCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train the estimators of a workflow, or a surrogate of its chain."""
    from hepgen.config import ESTIMATORS
    from hepgen.nn import together
    from hepgen.nn.fabric import launched
    from hepgen.pipeline.estimators import beside
    from hepgen.pipeline.monitor import Silent
    from hepgen.pipeline.surrogates import trained_surrogate
    from hepgen.pipeline.train import learns_from_files, trained
    from hepgen.surrogates.families import FAMILIES

    workers = workers_of(jobs, dask, timeout)
    if events is not None:
        overrides = [*(overrides or []), f"simulation.files={json.dumps(_absolute(events))}"]
    session = open_session(workflow, overrides, workers, quiet, device, allow_code)
    if method is not None and method not in (*ESTIMATORS, *FAMILIES):
        known = f"{', '.join(ESTIMATORS)}, or a surrogate: {', '.join(FAMILIES)}"
        close = nearest(method, (*ESTIMATORS, *FAMILIES))
        close = f"{close} " if close.startswith("did") else ""
        raise InputError(f"--method {method!r}: {close}expected one of {known}")
    if output is not None and method is None:
        raise InputError("--output needs --method: a folder holds one model")
    if output is not None and (output / "model.json").exists() and not force:
        raise FileError(f"{output} has a model; choose another folder, or give --force")
    names = [method] if method else beside(session)
    if events is not None and not any(learns_from_files(session, name) for name in names):
        raise InputError(
            f"--events {events}: {', '.join(names)} learns from what only the chain can simulate; "
            "files are for nle, nre, classifier and a surrogate of the whole chain"
        )
    facts = {}
    with launched(devices, nodes, device):
        if not together.leads():
            session.monitor = Silent()
        for name in names:
            model: Any = (
                trained_surrogate(session, name) if name in FAMILIES else trained(session, name)
            )
            best = model.curve.validation[model.curve.best_epoch]
            facts[name] = {"validation_loss": best, "seconds": model.curve.seconds}
        if not together.leads():
            return
    if output is not None:
        model.save(output)
    words = "\n".join(
        f"{name}: validation loss {f['validation_loss']:.4f}, {f['seconds']:.0f} s"
        for name, f in facts.items()
    )
    print_result(facts, words, as_json)


def _absolute(events: str) -> list[str]:
    """Files as they are seen from here, for a workflow in another folder."""
    named = [part.strip() for part in events.split(",")]
    return [part if "://" in part else str(Path(part).absolute()) for part in named]
