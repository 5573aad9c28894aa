"""The command line: parse, call the pipeline, print, exit code.

Exit codes: 0 done, 1 failed, 2 bad usage or input, 3 finished but a check failed.
Results go to standard output, progress and errors to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from hepgen import __version__
from hepgen.errors import HepgenError, InputError, out_of_memory

if TYPE_CHECKING:
    from hepgen.pipeline.session import Session

CHECKS_FAILED = 3
INTERRUPTED = 130


class Program(TyperGroup):
    """Turns what went wrong into one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except HepgenError as error:
            _fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            _fail("interrupted; what is finished is kept and will be used next time", INTERRUPTED)
        except BrokenPipeError:
            # The reader has gone; nothing more can be said to it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            _fail("out of memory; use fewer --jobs or a smaller simulation.block_size", 1)
        return result


app = typer.Typer(
    cls=Program,
    help="Simulation-based inference for particle physics: from a chain of simulators, or your "
    "ROOT files, to calibrated statements about physics parameters.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

WorkflowArgument = Annotated[
    Path, typer.Argument(metavar="WORKFLOW", help="a workflow file (TOML)")
]
ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="the folder of a trained surrogate")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="override an entry of the workflow"),
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="worker processes (0: one for each core)")]
Device = Annotated[str, typer.Option(help="where to train: auto, cpu, cuda or cuda:N")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress")]
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
Output = Annotated[Path, typer.Option("--output", "-o", help="folder for the results")]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        help="run the code that the workflow names: [[stages]], and plugins of Pythia",
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        help="headline estimator: nle, npe, nre, classifier, sally, rascal, alices or scandal"
    ),
]
Tree = Annotated[str | None, typer.Option(help="tree, where the files do not name one")]
Layout = Annotated[str | None, typer.Option(help="a [[data.layouts]] of the workflow, by name")]
Branches = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN=EXPRESSION", help="where a column comes from; may be repeated"),
]
Cut = Annotated[str | None, typer.Option(help="a cut over the file's branches")]
Weights = Annotated[str | None, typer.Option(help="an expression for signed event weights")]
DropInvalid = Annotated[
    bool, typer.Option("--drop-invalid", help="drop events with NaN or infinite values")
]
EntryStop = Annotated[int | None, typer.Option(help="read at most so many entries of all files")]


Poi = Annotated[
    list[str] | None,
    typer.Option("--poi", metavar="NAME", help="state something of this parameter; repeatable"),
]
Intervals = Annotated[
    list[str] | None,
    typer.Option("--interval", help="posterior, profile or neyman; may be repeated"),
]
Profile = Annotated[
    bool, typer.Option("--profile", help="also the profile likelihood: scan, interval, impacts")
]
Asimov = Annotated[bool, typer.Option("--asimov", help="also what is expected at the best fit")]
Toys = Annotated[
    int | None, typer.Option(help="pseudo-data sets for --interval neyman, and for --limit")
]
Limit = Annotated[bool, typer.Option("--limit", help="also CLs upper limits at 95 %")]


@app.command()
def run(
    workflow: WorkflowArgument,
    output: Output = Path("results"),
    jobs: Jobs = 0,
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
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Simulate, train, validate, infer and report, skipping what is up to date."""
    asked = _statements(workflow, poi, intervals, profile, asimov, toys, limit)
    session = _session(workflow, [*(overrides or []), *asked], jobs, quiet, device, allow_code)
    _infer(session, _request([]), method, output, as_json)


@app.command()
def infer(
    workflow: WorkflowArgument,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE.root[:TREE]", help="data; globs allowed")
    ] = None,
    output: Output = Path("results"),
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
    jobs: Jobs = 0,
    device: Device = "auto",
    overrides: Overrides = None,
    allow_code: AllowCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Infer the parameters from a data file, training first where that is needed."""
    from hepgen.pipeline.data import DataRequest

    asked = _statements(workflow, poi, intervals, profile, asimov, toys, limit)
    session = _session(workflow, [*(overrides or []), *asked], jobs, quiet, device, allow_code)
    request = DataRequest(
        files or [], tree, layout, branches or [], cut, weights, drop_invalid, entry_stop
    )
    _infer(session, request, method, output, as_json)


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

    session = _session(workflow, overrides, jobs, quiet, allow_code=allow_code)
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
    _print(facts, "\n".join([words, *(f"no score: {w}" for w in left_out.values())]), as_json)


@app.command()
def train(
    workflow: WorkflowArgument,
    method: Annotated[
        str | None,
        typer.Option(
            help="nle, npe, nre, classifier, sally, rascal, alices or scandal, by default those "
            "of [inference]; or the family of a surrogate: flow, diffusion, vae …"
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="also save the model in this folder")
    ] = None,
    jobs: Jobs = 0,
    device: Device = "auto",
    overrides: Overrides = None,
    allow_code: AllowCode = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train the estimators of a workflow, or a surrogate of its chain."""
    from hepgen.config import ESTIMATORS
    from hepgen.pipeline.estimators import beside
    from hepgen.pipeline.surrogates import trained_surrogate
    from hepgen.pipeline.train import trained
    from hepgen.surrogates.families import FAMILIES

    session = _session(workflow, overrides, jobs, quiet, device, allow_code)
    if method is not None and method not in (*ESTIMATORS, *FAMILIES):
        known = f"{', '.join(ESTIMATORS)}, or a surrogate: {', '.join(FAMILIES)}"
        raise InputError(f"--method {method!r}: expected one of {known}")
    if output is not None and method is None:
        raise InputError("--output needs --method: a folder holds one model")
    facts = {}
    for name in [method] if method else beside(session):
        model: Any = (
            trained_surrogate(session, name) if name in FAMILIES else trained(session, name)
        )
        if output is not None:
            model.save(output)
        best = model.curve.validation[model.curve.best_epoch]
        facts[name] = {"validation_loss": best, "seconds": model.curve.seconds}
    words = "\n".join(
        f"{name}: validation loss {f['validation_loss']:.4f}, {f['seconds']:.0f} s"
        for name, f in facts.items()
    )
    _print(facts, words, as_json)


@app.command()
def sample(
    model: ModelArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="the file to write: .root, or .hdf5 for images")
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
    force: Annotated[bool, typer.Option("--force", help="replace the output")] = False,
    jobs: Jobs = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Sample events of a trained surrogate into a ROOT file, or images into an HDF5 file."""
    from hepgen.pipeline.progress import monitor
    from hepgen.pipeline.sample import sample_to_root

    facts = sample_to_root(
        model, output, events=events, theta=theta or [], theta_from=theta_from, seed=seed,
        extrapolate=extrapolate, overwrite=force, jobs=_workers(jobs), monitor=monitor(quiet),
    )  # fmt: skip
    outside = facts["extrapolatedEventCount"]
    words = f"{output}: {facts['events']} events written"
    _print(facts, words + (f", {outside} of them extrapolated" if extrapolate else ""), as_json)


@app.command()
def export(
    model: ModelArgument,
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
    """Export a trained surrogate for programs without hepgen, and check what they will get."""
    from hepgen.pipeline.export import export_model

    manifest, words = export_model(
        model, output, format=format, sampler_only=sampler_only, extrapolate=extrapolate,
        overwrite=force,
    )  # fmt: skip
    _print(manifest, words, as_json)


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
    methods = [] if method is None or estimators else methods_of(method)
    session = _session(workflow, overrides, jobs, quiet, device, allow_code)
    if not methods:
        _, checks = calibrate(session, estimators)
        facts: dict[str, Any] = {"checks": checks}
        last = []
    elif len(methods) > 1:
        ranks, checks, report = leaderboard(session, methods)
        facts = {"checks": checks, "leaderboard": ranks, "report": str(report)}
        last = ["", table(ranks), f"report: {report}"]
    else:
        judgement, checks, report = validate_surrogate(session, methods[0])
        facts = {"checks": checks, "judgement": judgement, "report": str(report)}
        last = [f"report: {report}"]
    _print(facts, "\n".join([*map(_check_line, checks), *last]), as_json)
    if not all(check.passed for check in checks):
        raise typer.Exit(CHECKS_FAILED)


@app.command()
def show(
    target: Annotated[str, typer.Argument(metavar="FILE|WORKFLOW|MODEL", help="what to look at")],
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Show what is in a ROOT or HDF5 file, a workflow (with its defaults) or a model folder."""
    from hepgen.pipeline.show import show as describe

    facts, words = describe(target, overrides or [])
    _print(facts, words, as_json)


@app.callback(invoke_without_command=True)
def version(
    show_version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """Options of the program itself."""
    if show_version:
        print(f"hepgen {__version__}")
        raise typer.Exit


def _session(
    workflow: Path,
    overrides: list[str] | None,
    jobs: int,
    quiet: bool,
    device: str = "auto",
    allow_code: bool = False,
) -> Session:
    from hepgen.pipeline.progress import monitor
    from hepgen.pipeline.session import Session

    return Session.open(
        workflow, overrides or [], _workers(jobs), monitor(quiet), device, allow_code
    )


def _statements(
    workflow: Path,
    poi: list[str] | None,
    intervals: list[str] | None,
    profile: bool,
    asimov: bool,
    toys: int | None,
    limit: bool,
) -> list[str]:
    """The options as entries of ``[statements]``."""
    from hepgen.config import load

    known = ("posterior", "profile", "neyman")
    for name in intervals or ():
        if name not in known:
            raise InputError(f"--interval {name!r}: expected one of {', '.join(known)}")
    asked = []
    if profile or intervals:
        chosen = intervals or list(load(workflow).statements.intervals)
        chosen += ["profile"] if profile and "profile" not in chosen else []
        asked.append(f"statements.intervals={json.dumps(chosen)}")
    asked += [f"statements.parameters={json.dumps(poi)}"] if poi else []
    asked += ["statements.asimov=true"] if asimov else []
    asked += [f"statements.toys={toys}"] if toys is not None else []
    asked += [f"statements.limit={'toys' if toys else 'asymptotics'}"] if limit else []
    return asked


def _workers(jobs: int) -> int:
    from hepgen.compute import cores

    if jobs < 0:
        raise InputError(f"--jobs {jobs}: expected 0 (one for each core) or more")
    return jobs or cores()


def _request(files: list[str]) -> Any:
    from hepgen.pipeline.data import DataRequest

    return DataRequest(files)


def _infer(session: Session, request: Any, method: str | None, output: Path, as_json: bool) -> None:
    from hepgen.config import ESTIMATORS

    if method is not None and method not in ESTIMATORS:
        raise InputError(f"--method {method!r}: expected one of {', '.join(ESTIMATORS)}")
    from hepgen.pipeline.infer import infer_into
    from hepgen.pipeline.show import result_words

    result, report = infer_into(session, request, output, method)
    _print(result.to_dict(), result_words(result, report), as_json)
    if not result.passed:
        raise typer.Exit(CHECKS_FAILED)


def _check_line(check: Any) -> str:
    mark = "passed" if check.passed else "FAILED"
    return f"  {mark}  {check.name}: {check.value:.4g} (threshold {check.threshold:.4g})"


def _print(facts: Any, words: str, as_json: bool) -> None:
    from hepgen.results import to_json

    print(to_json(facts) if as_json else words)


def main() -> None:
    """The program."""
    app()


def _fail(words: str, code: int) -> NoReturn:
    print(f"hepgen: {words}", file=sys.stderr)
    raise SystemExit(code)
