"""``hepgen combine``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hepgen.cli.options import (
    AllowCode,
    Asimov,
    Dask,
    Device,
    Force,
    Intervals,
    Jobs,
    Json,
    Limit,
    Output,
    Overrides,
    Poi,
    Profile,
    Quiet,
    Timeout,
    Toys,
)
from hepgen.cli.program import CHECKS_FAILED, app
from hepgen.cli.session import print_result, statement_entries, workers_of


@app.command()
def combine(
    combination: Annotated[
        Path, typer.Argument(metavar="COMBINATION", help="a file of [[channels]] (TOML)")
    ],
    output: Output = Path("results"),
    force: Force = False,
    poi: Poi = None,
    intervals: Intervals = None,
    profile: Profile = False,
    asimov: Asimov = False,
    toys: Toys = None,
    limit: Limit = False,
    jobs: Jobs = 0,
    dask: Dask = None,
    timeout: Timeout = None,
    device: Device = "auto",
    overrides: Overrides = None,
    allow_code: AllowCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Infer parameters that several data sets share: workflows, and workspaces of pyhf."""
    from hepgen.pipeline.channels import Combination
    from hepgen.pipeline.combine import combine_into
    from hepgen.pipeline.progress import monitor
    from hepgen.pipeline.show import result_words

    asked = statement_entries(
        combination, overrides, poi, intervals, profile, asimov, toys, limit, combined=True
    )
    opened = Combination.open(
        combination, [*(overrides or []), *asked], workers_of(jobs, dask, timeout),
        monitor(quiet), device, allow_code,
    )  # fmt: skip
    result, report = combine_into(opened, output, overwrite=force)
    print_result(result.to_dict(), result_words(result, report), as_json)
    if not result.passed:
        raise typer.Exit(CHECKS_FAILED)
