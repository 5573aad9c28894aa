"""``hepgen sample`` and ``hepgen export``: what is done with a trained surrogate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hepgen.cli.options import Dask, Format, Jobs, Json, ModelArgument, Quiet, Timeout
from hepgen.cli.program import app
from hepgen.cli.session import print_result, workers_of


@app.command()
def sample(
    model: ModelArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="the file to write: .root, .parquet or .h5")
    ],
    events: Annotated[
        str | None, typer.Option("-n", "--events", help="events to sample, e.g. 1e6")
    ] = None,
    theta: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE (may be repeated, or with commas)")
    ] = None,
    theta_from: Annotated[
        str | None,
        typer.Option(metavar="FILE.root[:TREE]", help="one event at the theta of each row"),
    ] = None,
    seed: Annotated[int, typer.Option(help="of the sample")] = 0,
    extrapolate: Annotated[
        bool,
        typer.Option("--extrapolate", help="allow theta outside the training range, and mark it"),
    ] = False,
    format: Format = None,
    force: Annotated[bool, typer.Option("--force", help="replace the output")] = False,
    jobs: Jobs = 0,
    dask: Dask = None,
    timeout: Timeout = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Sample events of a trained surrogate into a ROOT file, or images into an HDF5 file."""
    from hepgen.pipeline.progress import monitor
    from hepgen.pipeline.sample import sample_to_file

    facts = sample_to_file(
        model, output, events=events, theta=theta or [], theta_from=theta_from, seed=seed,
        extrapolate=extrapolate, format=format, overwrite=force, monitor=monitor(quiet),
        workers=workers_of(jobs, dask, timeout),
    )  # fmt: skip
    outside = facts["extrapolatedEventCount"]
    words = f"{output}: {facts['events']} events written"
    print_result(
        facts, words + (f", {outside} of them extrapolated" if extrapolate else ""), as_json
    )


@app.command()
def export(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="the folder of a surrogate, or of an NLE")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="the folder to write to")],
    format: Annotated[str, typer.Option(help="onnx")] = "onnx",
    sampler_only: Annotated[
        bool, typer.Option("--sampler-only", help="leave the density out")
    ] = False,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="do not answer NaN outside the training range")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="replace the export")] = False,
    as_json: Json = False,
) -> None:
    """Export a surrogate, or the density of an NLE, for programs without hepgen, and check it."""
    from hepgen.pipeline.export import export_model

    manifest, words = export_model(
        model, output, format=format, sampler_only=sampler_only, extrapolate=extrapolate,
        overwrite=force,
    )  # fmt: skip
    print_result(manifest, words, as_json)
