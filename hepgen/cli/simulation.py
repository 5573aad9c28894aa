"""``hepgen simulate``, ``batch`` and ``merge``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hepgen.cli.options import (
    AllowCode,
    Dask,
    Format,
    Jobs,
    Json,
    Overrides,
    Quiet,
    Timeout,
    WorkflowArgument,
)
from hepgen.cli.program import app
from hepgen.cli.session import open_session, print_result, workers_of
from hepgen.errors import InputError

if TYPE_CHECKING:
    from hepgen.pipeline.session import Session


_EVENTS = "1e5"


@app.command()
def simulate(
    workflow: WorkflowArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="the file to write (.root, .parquet, .h5), or a folder that ends in .blocks",
        ),
    ] = None,
    training: Annotated[
        bool,
        typer.Option(
            "--training", help="what the estimators learn from, into the run folder; no output"
        ),
    ] = False,
    events: Annotated[
        str, typer.Option("-n", "--events", help="events to generate, e.g. 1e6")
    ] = _EVENTS,
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
    format: Format = None,
    force: Annotated[bool, typer.Option("--force", help="replace the output")] = False,
    jobs: Jobs = 0,
    dask: Dask = None,
    timeout: Timeout = None,
    overrides: Overrides = None,
    allow_code: AllowCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Simulate events into a file, or the images of a calorimeter into an HDF5 file."""
    from hepgen.pipeline.requests import simulation_campaign
    from hepgen.pipeline.simulate import nothing_selected

    if (output is None) == (not training):
        raise InputError("simulate: expected either an output, -o FILE, or --training")
    session = open_session(
        workflow, overrides, workers_of(jobs, dask, timeout), quiet, allow_code=allow_code
    )
    if output is None:
        _refuse_idle({
            "-n": events != _EVENTS, "--theta": theta, "--seed": seed is not None,
            "--points": points, "--latents": latents, "--all": keep_all, "--augment": augment,
            "--format": format, "--force": force,
        })  # fmt: skip
        _prepared(session, shard, as_json)
        return
    campaign = simulation_campaign(
        session, events=events, theta=theta or ["prior"], seed=seed, points=points,
        latents=latents, keep_all=keep_all, augment=augment,
    )  # fmt: skip
    facts, words = _simulated(session, campaign, output, shard, format, force)
    if not facts["selectedEventCount"]:
        print(f"hepgen: warning: {nothing_selected(campaign)}", file=sys.stderr)
    left_out = session.without_score(campaign.held) if augment else {}
    print_result(facts, "\n".join([words, *(f"no score: {w}" for w in left_out.values())]), as_json)


def _refuse_idle(options: Mapping[str, object]) -> None:
    """Options that say something of an output, where there is none."""
    if given := [name for name, value in options.items() if value]:
        raise InputError(
            f"{', '.join(given)}: what --training simulates is said by [simulation] of the "
            "workflow; use --set simulation.events=1e6 and the like"
        )


def _prepared(session: Session, shard: str | None, as_json: bool) -> None:
    from hepgen.pipeline.blocks import words
    from hepgen.pipeline.prepare import prepare

    folders = prepare(session, shard)
    print_result(folders, "\n".join(map(words, folders)), as_json)


def _simulated(
    session: Session,
    campaign: Any,
    output: Path,
    shard: str | None,
    format: str | None,
    force: bool,
) -> tuple[dict[str, Any], str]:
    """Simulate into what the name of the output asks for; facts and words."""
    from hepgen.io.blocks import SUFFIX
    from hepgen.pipeline.blocks import words
    from hepgen.pipeline.simulate import simulate_to_blocks, simulate_to_file

    options: dict[str, Any] = {
        "provenance": session.provenance(campaign=campaign.identity()), "shard": shard,
        "workers": session.workers, "monitor": session.monitor, "overwrite": force,
    }  # fmt: skip
    if output.suffix == SUFFIX:
        facts = simulate_to_blocks(campaign, output, **options)
        return facts, words(facts)
    facts = simulate_to_file(campaign, output, inputs=session.inputs, format=format, **options)
    return facts, (
        f"{output}: {facts['events']} events written, {facts['genEventCount']} generated, "
        f"{facts['selectedEventCount']} selected (efficiency {facts['efficiency']:.4f})"
        + _edge(facts["outsideEventCount"])
    )


def _edge(events: int) -> str:
    words = f"\n{events} of them had inputs beyond the training of a surrogate, moved to its edge"
    return words if events else ""


@app.command(context_settings={"ignore_unknown_options": True})
def batch(
    simulation: Annotated[
        list[str],
        typer.Argument(metavar="-- simulate WORKFLOW …", help="the simulation to share out"),
    ],
    system: Annotated[str, typer.Option(help="slurm or htcondor")],
    shards: Annotated[int, typer.Option(help="the number of jobs")],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder for the scripts")],
    as_json: Json = False,
) -> None:
    """Write job scripts that share a simulation on Slurm or HTCondor."""
    from hepgen.pipeline.batch import batch as scripts_of
    from hepgen.pipeline.batch import check

    check(system, shards, simulation)
    _check_jobs(shards, simulation[1:])
    scripts = scripts_of(system, shards, output, simulation)
    print_result([str(path) for path in scripts], "\n".join(map(str, scripts)), as_json)


def _check_jobs(shards: int, words: list[str]) -> None:
    """Refuse here what each of the jobs would refuse: options, workflow, too many shards."""
    from hepgen.pipeline.requests import simulation_campaign
    from hepgen.pipeline.simulate import shard_blocks

    group = typer.main.get_command(app)
    given = group.commands["simulate"].make_context("simulate", list(words)).params  # type: ignore[attr-defined]
    for name in ("force", "jobs", "dask"):
        if given[name]:
            raise InputError(
                f"--{name}: each of the jobs would do it by itself; leave it out of the command "
                "after -- (a script gives each job its cores)"
            )
    if given["training"] and given["output"] is not None:
        raise InputError("simulate: expected either an output, -o FILE, or --training")
    session = open_session(
        given["workflow"], given["overrides"], workers_of(1, None, None), True,
        allow_code=given["allow_code"],
    )  # fmt: skip
    if given["training"]:
        return
    campaign = simulation_campaign(
        session, theta=given["theta"] or ["prior"],
        **{name: given[name] for name in (
            "events", "seed", "points", "latents", "keep_all", "augment"
        )},
    )  # fmt: skip
    shard_blocks(campaign, f"1/{shards}")


@app.command()
def merge(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDER.blocks", help="folders of blocks, of all shards")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="a file (.root, .parquet, .h5), or a folder NAME.blocks"
        ),
    ],
    format: Format = None,
    force: Annotated[bool, typer.Option("--force", help="replace the output")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Merge the shards of a simulation, and refuse a missing or overlapping one."""
    from hepgen.io.blocks import SUFFIX
    from hepgen.pipeline.blocks import mixture, words
    from hepgen.pipeline.merge import merge as merged
    from hepgen.pipeline.progress import monitor

    facts = merged(folders, output, format=format, overwrite=force, monitor=monitor(quiet))
    if output.suffix == SUFFIX:
        told = words(facts)
    else:
        told = f"{output}: {facts['events']} events of {facts['genEventCount']} generated"
        told += f"\n  {mixture(facts['mixedVersions'])}" if "mixedVersions" in facts else ""
    print_result(facts, told, as_json)
