"""Infer: p(θ | data) from a file, the checks that say whether to believe it, and a report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hepgen.compute import one_thread
from hepgen.config import to_toml
from hepgen.events import Events
from hepgen.files import parse_json, replacing, write_atomically
from hepgen.inference.posterior import PosteriorSample
from hepgen.inference.sample_sum import SampleSum
from hepgen.information import InformationTable
from hepgen.io.root import RootWriter
from hepgen.pipeline import calibration_report, ratio_posterior
from hepgen.pipeline.analysis import Analysis
from hepgen.pipeline.budget import error_budget
from hepgen.pipeline.data import DataRequest, Observed, read_observed, tensors
from hepgen.pipeline.earlier_result import RESULT, refuse_other
from hepgen.pipeline.estimators import beside
from hepgen.pipeline.exchange import (
    Exchange,
    exchange,
    files_beside,
    files_of,
    observable,
)
from hepgen.pipeline.information import information
from hepgen.pipeline.interest import interest, limited, signal
from hepgen.pipeline.measured import content_digest, of_what
from hepgen.pipeline.p_values import Tests, tests_of
from hepgen.pipeline.posteriors import posterior_samples, sample_checks
from hepgen.pipeline.predictive import compare, predict
from hepgen.pipeline.rates import event_rate
from hepgen.pipeline.rounds import Rounds, in_rounds, round_checks
from hepgen.pipeline.search import search
from hepgen.pipeline.session import Session
from hepgen.pipeline.statements import Statements, statements
from hepgen.pipeline.train import trained, training_key
from hepgen.pipeline.validate import calibrated, threshold_checks
from hepgen.pipeline.validity import data_checks, fit_checks
from hepgen.pipeline.variations import variation_key
from hepgen.results import (
    Calibration,
    FeatureComparison,
    InferenceResult,
    ParameterEstimate,
    TrainingCurve,
    to_json,
)
from hepgen.search import SearchScan
from hepgen.statements import ErrorBudget, Interval
from hepgen.store import digest, versions

Array = NDArray[np.float64]
POSTERIOR = "posterior.root"
REPORT = "report.html"


@dataclass(frozen=True)
class Inference:
    """A result with everything that its report shows."""

    result: InferenceResult
    samples: Mapping[str, PosteriorSample]
    comparisons: Sequence[FeatureComparison]
    calibrations: Sequence[Calibration]
    curves: Mapping[str, TrainingCurve]
    observed: Observed
    statements: Statements = Statements()  # noqa: RUF009 (frozen)
    tests: Tests = Tests()  # noqa: RUF009 (frozen)
    budget: Sequence[ErrorBudget] = ()
    recalibrated: Sequence[Interval] = ()
    exchange: Exchange = Exchange()  # noqa: RUF009 (frozen)
    information: Sequence[InformationTable] = ()
    from_ratio: Sequence[Interval] = ()
    search: SearchScan | None = None
    rounds: Rounds | None = None


@runtime_checkable
class Stated(Protocol):
    """A result with its draws and statements."""

    @property
    def result(self) -> InferenceResult:
        """What is written."""

    @property
    def samples(self) -> Mapping[str, PosteriorSample]:
        """Draws, by method."""

    @property
    def statements(self) -> Statements:
        """What plots are made of."""


def infer(session: Session, request: DataRequest, method: str | None = None) -> Inference:
    """The posterior of the free parameters given a data file.

    Estimators that are missing or out of date are trained first.

    Arguments:
        session: The workflow.
        request: Which data.
        method: The headline estimator; by default the workflow's.
    """
    observed = read_observed(session, request)
    measured = of_what(session, request, method, observed)
    return _inferred(session, request, method, observed, measured)


def infer_into(
    session: Session,
    request: DataRequest,
    output: Path | str,
    method: str | None = None,
    *,
    overwrite: bool = False,
) -> tuple[InferenceResult, Path]:
    """Infer and write the results, unless the folder has just these already.

    Arguments:
        session, request, method: See :func:`infer`.
        output: The folder for ``result.json``, ``posterior.root`` and ``report.html``, and what
            ``[exchange]`` asks for.
        overwrite: Replace whatever is there, not only a result of the same workflow and events.

    Returns:
        The result and the path of its report.
    """
    observed = read_observed(session, request)
    session.monitor.say(
        f"{len(observed.events)} events selected from {', '.join(observed.sources)}"
    )
    key = _key(session, request, method, observed)
    known = known_result(Path(output), key, files_of(session))
    if known is not None:
        session.monitor.say("all up to date")
        return known, Path(output) / "report.html"
    measured = of_what(session, request, method, observed)
    provenance = session.provenance(**measured)
    names = (POSTERIOR, REPORT, *files_of(session), *files_beside(session))

    def check() -> None:
        refuse_other(Path(output), provenance, names, overwrite)

    check()
    inference = _inferred(session, request, method, observed, measured)
    return inference.result, write_results(session, inference, output, check)


def _key(session: Session, request: DataRequest, method: str | None, observed: Observed) -> str:
    """What a result depends on, the data themselves included."""
    keys = [training_key(session, name) for name in beside(session, method)]
    keys += [variation_key(session, v) for v in session.workflow.variations if v.up is not None]
    return digest(
        content_digest(observed.events), keys, to_toml(session.workflow), method,
        list(observed.sources), request.cut, versions(),
    )  # fmt: skip


def known_result(output: Path, key: str, more: Sequence[str] = ()) -> InferenceResult | None:
    """What a folder has, where it is complete, with ``more`` files, and of this key."""
    files = [output / n for n in (RESULT, POSTERIOR, REPORT, *more)]
    if not all(file.exists() for file in files):
        return None
    try:
        result = InferenceResult.from_dict(parse_json(files[0].read_text("utf-8")))
    except (ValueError, KeyError, TypeError):
        return None
    return result if result.provenance.get("key") == key else None


@one_thread()
def _inferred(
    session: Session,
    request: DataRequest,
    method: str | None,
    observed: Observed,
    measured: Mapping[str, Any],
) -> Inference:
    """The posterior of data that were read; ``measured`` says of what, as it was at the start."""
    started = time.monotonic()
    _ = interest(session), limited(session)  # before anything is trained
    if session.workflow.statements.scan is not None:
        _ = signal(session)
    headline, together = method or session.workflow.inference.method, beside(session, method)
    x, weight = tensors(session, observed.events)
    _ = observable(session, weight is not None)
    key = _key(session, request, method, observed)
    session, rounds = in_rounds(session, x, weight, headline)
    valid = data_checks(session, x, weight, together, headline)
    calibrations = [calibrated(session, name) for name in together]
    checks = threshold_checks(session, calibrations)
    samples = posterior_samples(session, x, weight, headline, together)
    checks += [*valid, *sample_checks(session, x, weight, samples)]
    checks += round_checks(session.earlier[0] if rounds else session, rounds, samples[headline])
    checks += fit_checks(session, x, weight, samples, headline)
    made = statements(session, x, weight, samples, headline)
    checks += made.checks
    binned, binning = exchange(session, x, samples, headline)
    checks += binning
    informed = information(session, x, weight, samples, headline)
    scanned, searched = search(session, x, weight, samples, headline)
    checks += searched
    budget, simulation = error_budget(session, x, weight, samples, headline)
    predictive = predict(session, samples[headline].theta.numpy())
    with session.monitor.task("test the data and the estimators", 1) as update:
        tests = tests_of(session, calibrations, observed, (x, weight), predictive)
        update(1)
    checks += [*simulation, *tests.checks(session.workflow.checks.p_value)]
    provenance = session.provenance(
        **measured,
        seconds=round(time.monotonic() - started, 1),
        key=key,
    )
    rate, parameters = event_rate(session), estimates(session, samples[headline])
    again = tuple(
        interval
        for one in calibrations
        if one.method == headline
        for interval in calibration_report.recalibrated(parameters, samples[headline], one, len(x))
    )
    ratio = ratio_posterior.ratio_intervals(
        session, tests.ratios, headline, (x, weight), parameters
    )
    stated = {
        **made.to_dict(), **binned.to_dict(),
        **({"information": list(informed)} if informed else {}),
        **({"search": scanned} if scanned is not None else {}),
        **({} if rate is None else {"rate": rate.words}),
        **({} if rounds is None else {"rounds": rounds.to_dict()}),
        **({"budget": list(budget)} if budget else {}),
        **({"recalibrated": [*again, *ratio]} if again or ratio else {}),
    }  # fmt: skip
    result = InferenceResult(
        headline, len(observed.events), parameters, checks,
        provenance, observed.selection, json.loads(to_json(stated)),
    )  # fmt: skip
    return Inference(
        result, samples, compare(session, observed, predictive), calibrations,
        curves_of(session, together), observed, made,
        tests, budget, again, binned, informed, ratio, scanned, rounds,
    )  # fmt: skip


def curves_of(session: Session, methods: Iterable[str]) -> dict[str, TrainingCurve]:
    """The trainings of some estimators, by their names, each of all samples."""
    found: dict[str, TrainingCurve] = {}
    for name in methods:
        model = trained(session, name)
        if isinstance(model, SampleSum):
            found |= {f"{name} of {sample}": curve for sample, curve in model.curves.items()}
        else:
            found[name] = model.curve
    return found


def estimates(session: Analysis, sample: PosteriorSample) -> dict[str, ParameterEstimate]:
    """The marginal posterior of each free parameter."""
    return {
        parameter.name: ParameterEstimate.from_samples(
            sample.theta[:, i].numpy(),
            parameter.role,
            parameter.unit,
            sample.r_hat[i] if sample.r_hat else None,
            sample.effective_samples[i],
        )
        for i, parameter in enumerate(session.likelihood_parameters.free)
    }


def write_results(
    session: Session,
    inference: Inference,
    output: Path | str,
    check: Callable[[], object] | None = None,
) -> Path:
    """Write ``result.json``, ``posterior.root`` and ``report.html``; returns the report.

    Arguments:
        session, inference: What is written.
        output: The folder.
        check: Is asked before anything is replaced, and may refuse.
    """

    def beside_it(path: Path) -> Path:
        inference.exchange.write(path.parent, session.workflow.title or session.workflow.name)
        return _write_report(session, inference, path)

    with session.monitor.task("write the report", 1) as update:
        report = write_into(Path(output), inference, beside_it, check)
        update(1)
    return report


def write_into(
    output: Path,
    inference: Stated,
    report: Callable[[Path], Path],
    check: Callable[[], object] | None = None,
) -> Path:
    """The three files of a result in a folder, with whoever writes the report."""
    with replacing(output, RESULT, check) as part:
        _write_posterior(inference, part / POSTERIOR)
        report(part / REPORT)
        content = to_json(inference.result.to_dict()) + "\n"
        write_atomically(part / RESULT, content.encode())
    return output / REPORT


def _write_posterior(inference: Stated, path: Path) -> None:
    result, sample = inference.result, inference.samples[inference.result.method]
    columns = {n: sample.theta[:, i].numpy() for i, n in enumerate(sample.names)}
    with RootWriter(path, tree="posterior", overwrite=True) as writer:
        writer.write(Events.from_columns(columns))
        writer.metadata({"method": sample.method, "provenance": result.provenance})


def _write_report(session: Session, inference: Inference, path: Path) -> Path:
    # matplotlib takes a second to import, and only a report needs it.
    from hepgen.report.inference import write_report

    parameters, rate = session.parameters, inference.result.statements.get("rate")
    return write_report(
        path, inference.result, _figures(session, inference),
        title=session.workflow.title or session.workflow.name,
        curves=inference.curves, calibrations=inference.calibrations,
        configuration=to_toml(session.workflow),
        labels={p.name: p.label or p.name for p in parameters},
        remarks=[
            *([f"{rate[0].upper()}{rate[1:]}."] if rate else []),
            *([inference.rounds.in_words()] if inference.rounds else []),
            *calibration_report.in_words(
                inference.recalibrated, inference.result.parameters,
                sum(len(c) for c in inference.calibrations if c.method == inference.result.method),
            ),
            *ratio_posterior.in_words(inference.from_ratio, inference.result.parameters),
        ],
    )  # fmt: skip


def statement_figures(session: Analysis, inference: Stated) -> dict[str, Any]:
    """The intervals of all methods, scans, contours, impacts, limits and coverage, by title."""
    from hepgen import plots

    made, data = inference.statements, f"{inference.result.events} events"
    figures: dict[str, Any] = {}
    for name in dict.fromkeys(i.parameter for i in made.intervals):
        parameter = session.parameters[name]
        own = [i for i in made.intervals if i.parameter == name]
        if len({i.method for i in own}) > 1:
            figures[f"Intervals of {name}"] = plots.plot_intervals(own, parameter, data=data)
    held = {scan.parameter: scan for scan in made.held}
    expected = {scan.parameter: scan for scan in made.expected}
    for scan in made.scans:
        parameter = session.parameters[scan.parameter]
        figures[f"Profile likelihood of {scan.parameter}"] = plots.plot_scan(
            scan, statistical=held.get(scan.parameter), reference=parameter.reference,
            reference_error=parameter.reference_error, data=data,
        )  # fmt: skip
        if scan.parameter in expected:
            figures[f"Expected profile likelihood of {scan.parameter}"] = plots.plot_scan(
                expected[scan.parameter], data="expected at the best fit"
            )
    for contour in made.contours:
        title = f"Profile likelihood of {' and '.join(contour.parameters)}"
        figures[title] = plots.plot_contours({"Profile likelihood": contour}, data=data)
    for one in made.impacts:
        figures[f"Impacts on {one.parameter}"] = plots.plot_impacts(one)
    for limit in made.limits:
        figures[f"Limit on {limit.limit.parameter}"] = plots.plot_cls(limit, data=data)
    for name in dict.fromkeys(one.parameters[0] for one in made.coverage):
        own_maps = [one for one in made.coverage if one.parameters[0] == name]
        figures[f"Coverage of Neyman's sets of {name}"] = plots.plot_coverage_map(
            own_maps, [session.parameters[name]]
        )
    return figures


def _search_figures(inference: Inference) -> dict[str, Any]:
    from hepgen import plots

    scan, data = inference.search, f"{inference.result.events} events"
    if scan is None:
        return {}
    along = scan.along_label or scan.along
    figures: dict[str, Any] = {
        f"No signal along {scan.along}": plots.plot_p_values(scan, data=data)
    }
    if scan.limits:
        figures[f"Limits along {scan.along}"] = plots.plot_limits(
            scan.limits, along=along, unit=scan.along_unit, data=data
        )
    return figures


def _figures(session: Session, inference: Inference) -> dict[str, Any]:
    from hepgen import plots

    free = session.likelihood_parameters.free
    stated = [p for p in free if p.role == "interest" or p.name in interest(session)]
    order = [
        inference.result.method,
        *(m for m in inference.samples if m != inference.result.method),
    ]
    draws = {m.upper(): inference.samples[m].theta.numpy() for m in order}
    figures: dict[str, Any] = {}
    for i, parameter in enumerate(free):
        if parameter in stated:
            figures[f"Posterior of {parameter.name}"] = plots.plot_posterior(
                {name: d[:, i] for name, d in draws.items()}, parameter,
                reference_error=parameter.reference_error,
                data=f"{inference.result.events} events",
            )  # fmt: skip
    figures |= statement_figures(session, inference)
    figures |= _search_figures(inference)
    figures |= inference.exchange.figures()
    for table in inference.information:
        figures[f"Expected error of {table.parameter}"] = plots.plot_expected_errors(table)
    for budget in inference.budget:
        figures[f"Error budget of {budget.parameter}"] = plots.plot_error_budget(budget)
    figures["All parameters"] = plots.plot_corner(draws, free)
    for comparison in inference.comparisons:
        figures[f"Data and prediction: {comparison.name}"] = plots.plot_comparison(comparison)
    for parameter in stated:
        figures[f"Coverage of {parameter.name}"] = plots.plot_coverage(
            inference.calibrations, parameter
        )
        figures[f"Pulls of {parameter.name}"] = plots.plot_pulls(inference.calibrations, parameter)
        figures[f"Ranks of {parameter.name}"] = plots.plot_ranks(inference.calibrations, parameter)
    figures |= calibration_report.figures(inference.calibrations, interest(session))
    figures |= inference.tests.figures()
    for name, curve in inference.curves.items():
        method, *of = name.partition(" ")
        title = "".join([method.upper(), *of])
        figures[f"Training of {title}"] = plots.plot_training(curve, name=title)
    return figures
