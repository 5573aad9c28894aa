"""``hepgen run`` and ``hepgen infer``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hepgen.cli.additions import added_entries
from hepgen.cli.options import (
    AllowCode,
    Asimov,
    Branches,
    Cut,
    Dask,
    Device,
    DropInvalid,
    EntryStop,
    Export,
    Fisher,
    Force,
    Intervals,
    Jobs,
    Json,
    Layout,
    Limit,
    Method,
    Output,
    Overrides,
    Poi,
    Profile,
    Quiet,
    Rounds,
    Scan,
    Timeout,
    Toys,
    Tree,
    Weights,
    WorkflowArgument,
)
from hepgen.cli.program import CHECKS_FAILED, app
from hepgen.cli.session import open_session, print_result, statement_entries, workers_of
from hepgen.errors import InputError

if TYPE_CHECKING:
    from hepgen.pipeline.session import Session


@app.command()
def run(
    workflow: WorkflowArgument,
    output: Output = Path("results"),
    force: Force = False,
    jobs: Jobs = 0,
    dask: Dask = None,
    timeout: Timeout = None,
    device: Device = "auto",
    overrides: Overrides = None,
    allow_code: AllowCode = False,
    method: Method = None,
    poi: Poi = None,
    intervals: Intervals = None,
    profile: Profile = False,
    asimov: Asimov = False,
    toys: Toys = None,
    limit: Limit = False,
    export: Export = None,
    fisher: Fisher = False,
    scan: Scan = None,
    rounds: Rounds = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Simulate, train, validate, infer and report, skipping what is up to date."""
    more = bool(export or fisher or scan)
    asked = statement_entries(
        workflow, overrides, poi, intervals, profile, asimov, toys, limit, more
    )
    asked += added_entries(export, fisher, scan, rounds)
    workers = workers_of(jobs, dask, timeout)
    session = open_session(
        workflow, [*(overrides or []), *asked], workers, quiet, device, allow_code
    )
    _infer(session, _request([]), method, output, force, as_json)


@app.command()
def infer(
    workflow: WorkflowArgument,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE.root[:TREE]", help="data; globs allowed")
    ] = None,
    output: Output = Path("results"),
    force: Force = False,
    tree: Tree = None,
    layout: Layout = None,
    branches: Branches = None,
    cut: Cut = None,
    weights: Weights = None,
    drop_invalid: DropInvalid = False,
    entry_stop: EntryStop = None,
    method: Method = None,
    poi: Poi = None,
    intervals: Intervals = None,
    profile: Profile = False,
    asimov: Asimov = False,
    toys: Toys = None,
    limit: Limit = False,
    export: Export = None,
    fisher: Fisher = False,
    scan: Scan = None,
    rounds: Rounds = None,
    jobs: Jobs = 0,
    dask: Dask = None,
    timeout: Timeout = None,
    device: Device = "auto",
    overrides: Overrides = None,
    allow_code: AllowCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Infer the parameters from a data file, training first where that is needed."""
    from hepgen.pipeline.data import DataRequest

    more = bool(export or fisher or scan)
    asked = statement_entries(
        workflow, overrides, poi, intervals, profile, asimov, toys, limit, more
    )
    asked += added_entries(export, fisher, scan, rounds)
    workers = workers_of(jobs, dask, timeout)
    session = open_session(
        workflow, [*(overrides or []), *asked], workers, quiet, device, allow_code
    )
    request = DataRequest(
        files or [], tree, layout, branches or [], cut, weights, drop_invalid, entry_stop
    )
    _infer(session, request, method, output, force, as_json)


def _request(files: list[str]) -> Any:
    from hepgen.pipeline.data import DataRequest

    return DataRequest(files)


def _infer(
    session: Session, request: Any, method: str | None, output: Path, force: bool, as_json: bool
) -> None:
    from hepgen.config import ESTIMATORS

    if method is not None and method not in ESTIMATORS:
        raise InputError(f"--method {method!r}: expected one of {', '.join(ESTIMATORS)}")
    from hepgen.pipeline.infer import infer_into
    from hepgen.pipeline.show import result_words

    result, report = infer_into(session, request, output, method, overwrite=force)
    print_result(result.to_dict(), result_words(result, report), as_json)
    if not result.passed:
        raise typer.Exit(CHECKS_FAILED)


@app.command()
def reproduce(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="the folder of a result, or its result.json")
    ],
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE.root[:TREE]", help="the data, where they are elsewhere now"),
    ] = None,
    jobs: Jobs = 0,
    dask: Dask = None,
    timeout: Timeout = None,
    device: Device = "auto",
    allow_code: AllowCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a result again from its provenance, from nothing, and compare every number."""
    from hepgen.pipeline.progress import monitor
    from hepgen.pipeline.reproduce import reproduce as made_again

    found = made_again(
        results, files or [], workers=workers_of(jobs, dask, timeout), monitor=monitor(quiet),
        device=device, allow_code=allow_code,
    )  # fmt: skip
    print_result(found, found.words(), as_json)
    if found.differences:
        raise typer.Exit(CHECKS_FAILED)
