"""``hepgen simulate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hepgen.cli.options import AllowCode, Jobs, Json, Overrides, Quiet, WorkflowArgument
from hepgen.cli.program import app
from hepgen.cli.session import open_session, print_result


@app.command()
def simulate(
    workflow: WorkflowArgument,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="the file to write: .root, or .hdf5 for images"),
    ],
    events: Annotated[
        str, typer.Option("-n", "--events", help="events to generate, e.g. 1e6")
    ] = "1e5",
    theta: Annotated[
        list[str] | None,
        typer.Option(help="prior, default, or NAME=VALUE (may be repeated, or with commas)"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="by default the workflow's")] = None,
    shard: Annotated[str | None, typer.Option(help="i/n: only the i-th of n parts")] = None,
    points: Annotated[
        int | None, typer.Option(help="events generated at each parameter point")
    ] = None,
    latents: Annotated[
        bool, typer.Option("--latents", help="keep the truth of each stage")
    ] = False,
    keep_all: Annotated[
        bool, typer.Option("--all", help="keep events that fail the selection")
    ] = False,
    augment: Annotated[
        bool, typer.Option("--augment", help="keep joint scores and log-ratios")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="replace the output")] = False,
    jobs: Jobs = 0,
    overrides: Overrides = None,
    allow_code: AllowCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Simulate events into a ROOT file, or calorimeter images into an HDF5 file."""
    from hepgen.pipeline.requests import simulation_campaign
    from hepgen.pipeline.simulate import nothing_selected, simulate_to_root

    session = open_session(workflow, overrides, jobs, quiet, allow_code=allow_code)
    campaign = simulation_campaign(
        session, events=events, theta=theta or ["prior"], seed=seed, points=points,
        latents=latents, keep_all=keep_all, augment=augment,
    )  # fmt: skip
    facts = simulate_to_root(
        campaign, output, provenance=session.provenance(campaign=campaign.identity()),
        jobs=session.jobs, monitor=session.monitor, shard=shard, overwrite=force,
        inputs=session.inputs,
    )  # fmt: skip
    if not facts["selectedEventCount"]:
        print(f"hepgen: warning: {nothing_selected(campaign)}", file=sys.stderr)
    words = (
        f"{output}: {facts['events']} events written, {facts['genEventCount']} generated, "
        f"{facts['selectedEventCount']} selected (efficiency {facts['efficiency']:.4f})"
    )
    left_out = session.without_score(campaign.held) if augment else {}
    print_result(facts, "\n".join([words, *(f"no score: {w}" for w in left_out.values())]), as_json)
