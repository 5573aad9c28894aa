"""Combine: one posterior, and the statements beside it, from the data of several channels.

Each channel is trained and calibrated by its own workflow, in its own run folder. The likelihoods
are multiplied; a parameter of one name is one, and its constraint is counted once.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hepgen.compute import one_thread
from hepgen.config import to_toml
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.posterior import PosteriorSample
from hepgen.inference.statistics.fit import curvature_error, fit
from hepgen.inference.validity import check_positive
from hepgen.pipeline.channel_tests import ChannelTests, channel_tests
from hepgen.pipeline.channels import Combination, Combined, EventChannel, columns
from hepgen.pipeline.earlier_result import refuse_other
from hepgen.pipeline.infer import (
    POSTERIOR,
    REPORT,
    estimates,
    known_result,
    statement_figures,
    write_into,
)
from hepgen.pipeline.interest import interest, limited
from hepgen.pipeline.measured import content_digest, inputs_of
from hepgen.pipeline.posteriors import posterior_grid_checks, sampler_checks
from hepgen.pipeline.statements import Statements, check_toys, stated
from hepgen.pipeline.train import trained, training_key
from hepgen.pipeline.validate import calibrated, threshold_checks
from hepgen.pipeline.validity import best_fit_checks, data_checks, profiles
from hepgen.pipeline.variations import variation_key
from hepgen.results import Check, InferenceResult, to_json
from hepgen.statements import Interval
from hepgen.store import digest, versions

METHOD = "combined"


@dataclass(frozen=True)
class CombinedInference:
    """A result with everything that its report shows.

    Arguments:
        result: What is written.
        sample: Draws of the posterior.
        statements: Beside it.
        alone: For each parameter of interest and channel, the best fit of the channel ± its error.
        tested: The data of each channel, beside what was inferred from all.
    """

    result: InferenceResult
    sample: PosteriorSample
    statements: Statements
    alone: Sequence[Interval]
    tested: ChannelTests

    @property
    def samples(self) -> Mapping[str, PosteriorSample]:
        """The draws, by method."""
        return {METHOD: self.sample}


def combine_into(
    combination: Combination, output: Path | str, *, overwrite: bool = False
) -> tuple[InferenceResult, Path]:
    """Infer and write the results, unless the folder has just these already.

    Arguments:
        combination: What is combined.
        output: The folder for ``result.json``, ``posterior.root`` and ``report.html``.
        overwrite: Replace whatever is there, not only a result of the same workflows and data.

    Returns:
        The result and the path of its report.
    """
    output = Path(output)
    _ = interest(combination), limited(combination)  # before anything is trained
    read = {name: EventChannel.read(combination, name) for name in combination.sessions}
    known = known_result(output, _key(combination, read))
    if known is not None:
        combination.monitor.say("all up to date")
        return known, output / "report.html"
    made = _provenance(combination, read)

    def check() -> None:
        refuse_other(output, made, (POSTERIOR, REPORT), overwrite)

    check()
    inference = combine(combination, read)
    with combination.monitor.task("write the report", 1) as update:
        report = write_into(
            output, inference,
            lambda path: _write_report(combination, inference, read, path), check,
        )  # fmt: skip
        update(1)
    return inference.result, report


@one_thread()
def combine(
    combination: Combination, read: Mapping[str, EventChannel] | None = None
) -> CombinedInference:
    """The posterior of all parameters given the data of all channels.

    Arguments:
        combination: What is combined.
        read: The data, where they were read already.
    """
    started = time.monotonic()
    _ = interest(combination), limited(combination)
    if read is None:
        read = {name: EventChannel.read(combination, name) for name in combination.sessions}
    provenance = _provenance(combination, read)
    checks = [one for name, channel in read.items() for one in _channel_checks(name, channel)]
    for channel in read.values():
        check_toys(combination, channel.weight)
    combined = Combined.of(combination, read)
    likelihood, data, entry = combined.likelihood, combined.data, combination.workflow.inference
    posterior = LikelihoodPosterior(likelihood, method="nuts", chains=entry.chains)
    with combination.monitor.task("sample the posterior", 1) as update:
        (sample,) = posterior.draw_sets(entry.chains * entry.draws, data, seed=entry.seed)
        update(1)
    checks += sampler_checks(combination, sample)
    checks += posterior_grid_checks(combination, posterior, data, sample)
    start = sample.theta.double().mean(0)
    best = fit(likelihood, data, start=start)
    if combined.events is not None:
        events = combined.events
        own = events.data({f"{n}/data": one.x for n, one in read.items()})
        # The parameters of the channels of events come first.
        check_positive(events, own, best.theta[0, : len(events.parameters.free)])
    number = _numbers(combination, read)
    checks += best_fit_checks(
        combination, likelihood, data, best, start, sum(len(one.x) for one in read.values())
    )
    made = stated(combination, likelihood, data, sample) if profiles(combination) else Statements()
    alone = _alone(combination, combined)
    tested = channel_tests(combination, read, combined, sample.theta)
    told = {
        **made.to_dict(), "channels": _told(combination, read, number, alone)
    }  # fmt: skip
    result = InferenceResult(
        METHOD, sum(number.values()), estimates(combination, sample),
        [*checks, *made.checks, *tested.checks],
        {**provenance, "seconds": round(time.monotonic() - started, 1)},
        statements=json.loads(to_json(told)),
    )  # fmt: skip
    return CombinedInference(result, replace(sample, method=METHOD), made, alone, tested)


def _channel_checks(name: str, channel: EventChannel) -> list[Check]:
    """Those that a channel has by itself, under its name."""
    session, method = channel.session, channel.method
    checks = data_checks(session, channel.x, channel.weight, [method], method)
    checks += threshold_checks(session, [calibrated(session, method)])
    return [replace(check, name=f"{name}: {check.name}") for check in checks]


def _alone(combination: Combination, combined: Combined) -> list[Interval]:
    """The best fit of each channel by itself, where it has a parameter of interest."""
    found = []
    for name, (likelihood, data) in combined.alone.items():
        names = {p: combination.renamed[name].get(p, p) for p in likelihood.parameters.free_names}
        best = fit(likelihood, data)
        for own, shared in names.items():
            if shared not in interest(combination):
                continue
            # At a bound, which hides its error, the one without it.
            at_bound = own in best.at_bounds(0)
            errors = curvature_error(best, own) if at_bound else best.error(own)
            value, error = best.column(own)[0].item(), errors[0].item()
            found.append(
                Interval(
                    shared, 0.68, value, ((value - error, value + error),), name,
                    unit=combination.parameters[shared].unit, warnings=best.warnings(0),
                )
            )  # fmt: skip
    return found


def _numbers(combination: Combination, read: Mapping[str, EventChannel]) -> dict[str, int]:
    """How many events each channel has."""
    counts = {n: round(float(sets.counts.sum())) for n, (_, sets) in combination.binned.items()}
    return {name: len(channel.x) for name, channel in read.items()} | counts


def _told(
    combination: Combination,
    read: Mapping[str, EventChannel],
    number: Mapping[str, int],
    alone: Sequence[Interval],
) -> list[dict[str, Any]]:
    """What ``result.json`` says of each channel."""
    return [
        {
            "name": name,
            "likelihood": read[name].method if name in read else "pyhf",
            "events": number[name],
            "selection": dict(read[name].observed.selection) if name in read else {},
            "alone": [one for one in alone if one.method == name],
        }
        for name in combination.channels
    ]


def _key(combination: Combination, read: Mapping[str, EventChannel]) -> str:
    """What a result depends on, the data themselves included."""
    content = hashlib.sha256(b"".join(columns(read)))
    keys = [training_key(channel.session, channel.method) for channel in read.values()]
    keys += [
        variation_key(channel.session, v)
        for channel in read.values()
        for v in channel.session.workflow.variations
        if v.up is not None
    ]
    files = [to_toml(channel.session.workflow) for channel in read.values()]
    return digest(
        content.hexdigest(), keys, files, json.dumps(dict(combination.workspaces)),
        to_toml(combination.workflow), versions(),
    )  # fmt: skip


def _provenance(combination: Combination, read: Mapping[str, EventChannel]) -> dict[str, Any]:
    return {
        "versions": versions(),
        "combination": to_toml(combination.workflow),
        "source": str(combination.source),
        "channels": {
            name: {
                "workflow": to_toml(one.session.workflow),
                "source": str(one.session.source),
                "data": list(one.observed.sources),
                "layout": one.observed.layout,
                "sha256": content_digest(one.observed.events),
                "inputs": inputs_of(one.session),
                "request": asdict(combination.request(name)),
            }
            for name, one in read.items()
        },
        "workspaces": {n: digest(dict(one)) for n, one in combination.workspaces.items()},
        "key": _key(combination, read),
    }


def _write_report(
    combination: Combination,
    inference: CombinedInference,
    read: Mapping[str, EventChannel],
    path: Path,
) -> Path:
    # matplotlib takes a second to import, and only a report needs it.
    from hepgen.report.inference import write_report

    return write_report(
        path, inference.result, _figures(combination, inference),
        title=combination.workflow.title or combination.workflow.name,
        curves={name: trained(one.session, one.method).curve for name, one in read.items()},
        configuration=to_toml(combination.workflow),
        labels={p.name: p.label or p.name for p in combination.parameters},
        remarks=[
            f"Channel {one['name']}: {one['events']} events, likelihood {one['likelihood']}."
            for one in inference.result.statements["channels"]
        ],
    )  # fmt: skip


def _figures(combination: Combination, inference: CombinedInference) -> dict[str, Any]:
    from hepgen import plots

    figures: dict[str, Any] = {}
    draws, free = inference.sample.theta.numpy(), combination.parameters.free
    data = f"{inference.result.events} events"
    for i, parameter in enumerate(free):
        if parameter.name in interest(combination):
            figures[f"Posterior of {parameter.name}"] = plots.plot_posterior(
                {"combined": draws[:, i]}, parameter, reference_error=parameter.reference_error,
                data=data,
            )  # fmt: skip
            rows = [one for one in inference.alone if one.parameter == parameter.name]
            rows = [*rows, _estimate(inference, parameter.name, parameter.unit)]
            if len(rows) > 1 and all(torch.tensor(one.pieces).isfinite().all() for one in rows):
                figures[f"{parameter.name} by channel"] = plots.plot_intervals(
                    rows, parameter, data=data
                )
    figures |= statement_figures(combination, inference)
    figures["All parameters"] = plots.plot_corner({"combined": draws}, free)
    for name, features in inference.tested.comparisons.items():
        for one in features:
            figures[f"Data and prediction: {one.name} of {name}"] = plots.plot_comparison(one)
    for name, tests in inference.tested.tests.items():
        figures |= {f"{title} of {name}": figure for title, figure in tests.figures().items()}
    return figures


def _estimate(inference: CombinedInference, name: str, unit: str) -> Interval:
    """The posterior, as a row beside those of the channels."""
    one = inference.result.parameters[name]
    return Interval(name, 0.68, one.mean, (one.interval68,), METHOD, unit=unit)
