"""``hepgen validate``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hepgen.cli.options import (
    AllowCode,
    Dask,
    Device,
    Jobs,
    Json,
    Overrides,
    Quiet,
    Timeout,
    WorkflowArgument,
)
from hepgen.cli.program import CHECKS_FAILED, app
from hepgen.cli.session import check_line, open_session, print_result, workers_of


@app.command()
def validate(
    workflow: WorkflowArgument,
    method: Annotated[
        str | None,
        typer.Option(
            help="the family of a surrogate, several with commas, or all: a leaderboard; or an "
            "estimator, by default those of [inference]"
        ),
    ] = None,
    jobs: Jobs = 0,
    dask: Dask = None,
    timeout: Timeout = None,
    device: Device = "auto",
    overrides: Overrides = None,
    allow_code: AllowCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Calibrate the estimators on pseudo-data, or judge a surrogate beside its simulator."""
    from hepgen.config import ESTIMATORS
    from hepgen.pipeline.leaderboard import leaderboard, methods_of, table
    from hepgen.pipeline.surrogates import validate_surrogate
    from hepgen.pipeline.validate import validate as calibrate

    estimators = [method] if method in ESTIMATORS else None
    failed: list[int] = []
    methods = [] if method is None or estimators else methods_of(method)
    workers = workers_of(jobs, dask, timeout)
    session = open_session(workflow, overrides, workers, quiet, device, allow_code)
    if not methods:
        _, checks = calibrate(session, estimators)
        facts: dict[str, Any] = {"checks": checks}
        last = []
    elif len(methods) > 1:
        ranks, checks, report = leaderboard(session, methods)
        failed = [one.exit_code for one in ranks if one.failed]
        facts = {"checks": checks, "leaderboard": ranks, "report": str(report)}
        last = ["", table(ranks), f"report: {report}"]
    else:
        judgement, checks, report = validate_surrogate(session, methods[0])
        facts = {"checks": checks, "judgement": judgement, "report": str(report)}
        last = [f"report: {report}"]
    print_result(facts, "\n".join([*map(check_line, checks), *last]), as_json)
    if failed and len(failed) == len(methods):
        raise typer.Exit(failed[0])
    if failed or not all(check.passed for check in checks):
        raise typer.Exit(CHECKS_FAILED)
