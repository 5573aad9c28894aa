"""Exchange: the analysis in bins, as files of pyhf and HS3, and what the binning costs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.binning import BinnedFit
from hepgen.errors import DataError, SurrogateError, WorkflowError, nearest
from hepgen.files import write_atomically
from hepgen.inference.density import Density
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.exchange.binned_model import BinnedModel, Expected, Region, binned_model
from hepgen.inference.exchange.counts import DensityCounts, Filler, histogram
from hepgen.inference.exchange.hs3 import density_reference, hs3_document
from hepgen.inference.exchange.pyhf_workspace import PyhfWorkspace
from hepgen.inference.exchange.reweighted import ReweightedCounts
from hepgen.inference.fisher import joint_information
from hepgen.inference.nle import NLE
from hepgen.inference.posterior import PosteriorSample
from hepgen.inference.sample_sum import SampleSum
from hepgen.inference.statistics.fit import Fit, curvature_error, fit, index
from hepgen.parameters import Normal
from hepgen.pipeline.interest import interest
from hepgen.pipeline.likelihoods import density_of, likelihood_method, likelihood_of
from hepgen.pipeline.rates import event_rate
from hepgen.pipeline.scores import (
    estimator_scores,
    expected_error,
    for_data_set,
    simulated_events,
)
from hepgen.pipeline.session import Session
from hepgen.pipeline.train import trained
from hepgen.results import Check, to_json

FILES = {"pyhf": ("workspace.json", "workspace.parameters.json"), "hs3": ("hs3.json",)}
DENSITY_FILES = ("density.onnx", "density.json")
"""The learned density beside a document in HS3, which has no word for it, and its manifest."""
_FACTORS = (0.125, 0.25, 0.5, 1.0, 2.0)
_QUANTILES = 2**20
_BENT = 0.5
"""A parameter whose counts are so far from linear in it, as √χ², has another estimate in bins."""


@dataclass(frozen=True)
class Exchange:
    """What goes out; empty where nothing was asked for.

    Arguments:
        model: The templates.
        fits: Of each parameter of interest, with bins and without.
        formats: Of the files.
        density: The learned density of an event as an ONNX file, and its manifest.
    """

    model: BinnedModel | None = None
    fits: tuple[BinnedFit, ...] = ()
    formats: tuple[str, ...] = ()
    density: tuple[bytes, dict[str, Any]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The part of ``result.json``; only what there is."""
        if self.model is None:
            return {}
        (region,) = self.model.channels
        return {
            "exchange": {
                "files": [name for one in self.formats for name in FILES[one]],
                "observable": region.observable,
                "edges": region.edges.tolist(),
                "curvature": dict(self.model.curvature),
                "fits": [asdict(one) | {"cost": one.cost} for one in self.fits],
            }
        }

    def write(self, folder: Path, title: str) -> None:
        """Write the files, each at once or not at all."""
        if self.model is None:
            return
        if "pyhf" in self.formats:
            PyhfWorkspace.of(self.model).save(folder / FILES["pyhf"][0])
        if "hs3" in self.formats:
            document = hs3_document(self.model, self._densities(folder), description=title)
            write_atomically(folder / FILES["hs3"][0], json.dumps(document, indent=2).encode())

    def _densities(self, folder: Path) -> list[dict[str, Any]]:
        """What the document says of the learned density, which is written first."""
        if self.density is None or self.model is None:
            return []
        content, manifest = self.density
        graph, described = (folder / name for name in DENSITY_FILES)
        write_atomically(graph, content)
        write_atomically(described, to_json(manifest).encode())
        columns = {
            given: [one["name"] for one in manifest[part]]
            for given, part in (("x", "features"), ("theta", "parameters"))
        }
        (region,) = self.model.channels
        return [density_reference("density", graph, columns, "log_prob", region.name)]

    def figures(self) -> dict[str, Any]:
        """What binning costs, by title."""
        from hepgen import plots

        return {
            f"Cost of binning for {one.parameter}": plots.plot_binning(one)
            for one in self.fits
            if len(one.bins) > 1
        }


def _density(session: Session, method: str) -> tuple[bytes, dict[str, Any]] | None:
    """The learned density as a graph, or, said in words, why there is none."""
    model = trained(session, method)
    try:
        if not isinstance(model, NLE):
            raise SurrogateError(f"of the likelihood of {method!r} there is no graph")
        from hepgen.inference.export import density_graph  # imports torch's exporter

        return density_graph(model, seed=session.workflow.exchange.seed)
    except SurrogateError as error:
        session.monitor.say(f"no {DENSITY_FILES[0]} beside {FILES['hs3'][0]}: {error}")
        return None


def files_of(session: Session) -> tuple[str, ...]:
    """The names of the files that are asked for."""
    return tuple(name for one in session.workflow.exchange.formats for name in FILES[one])


def files_beside(session: Session) -> tuple[str, ...]:
    """Those that may stand beside them."""
    return DENSITY_FILES if "hs3" in session.workflow.exchange.formats else ()


def observable(session: Session, weighted: bool) -> int:
    """The column of the feature that is binned, checked before anything is trained.

    Raises:
        WorkflowError: There is no such feature, or there are variations.
        DataError: Events with weights, whose sums are no Poisson counts.
    """
    entry = session.workflow.exchange
    if not entry.formats:
        return 0
    names = session.feature_names
    if entry.observable is not None and entry.observable not in names:
        raise WorkflowError(
            f"exchange.observable: {entry.observable!r} is no feature; "
            f"{nearest(entry.observable, names)}"
        )
    if session.workflow.variations:
        words = ", ".join(one.name for one in session.workflow.variations)
        raise WorkflowError(
            f"--export: bins are filled by the chain, which does not know the variations {words}; "
            "leave the export out, or make each a parameter of a stage"
        )
    if weighted:
        raise DataError(
            "--export: sums of weights are no Poisson counts, which a workspace is made of; give "
            "events without weights, or leave the export out"
        )
    return names.index(entry.observable or names[0])


def exchange(
    session: Session,
    x: Tensor,
    samples: Mapping[str, PosteriorSample],
    headline: str,
) -> tuple[Exchange, list[Check]]:
    """The binned model of one data set of shape ``(N, d)``, expanded at the best fit to it."""
    entry, column = session.workflow.exchange, observable(session, weighted=False)
    if not entry.formats:
        return Exchange(), []
    with session.monitor.task("fill the bins of the workspace", 1) as update:
        method = likelihood_method(session, samples, headline)
        likelihood = likelihood_of(session, len(x), method)
        start = samples[headline].theta.double().mean(0)
        best = fit(likelihood, likelihood.encode([x], [None]), start=start)
        templates = _Templates.of(session, likelihood, x, best, method, column)
        given = None if entry.edges is None else torch.tensor(entry.edges, dtype=torch.float64)
        chosen = templates.model(templates.edges(entry.bins) if given is None else given)
        fits = _fits(session, templates, chosen, best)
        update(1)
    formats = tuple(dict.fromkeys(entry.formats))
    made = Exchange(chosen, fits, formats, _density(session, method) if "hs3" in formats else None)
    return made, [_check(session, one) for one in fits]


@dataclass(frozen=True)
class _Templates:
    """What fills the bins, whatever they are.

    Arguments:
        session: The workflow.
        likelihood: Of the data.
        method: The estimator.
        filler: The counts.
        data: The observable of the data, shape ``(N,)``.
        x: Simulated events, shape ``(M, d)``, of θ₀.
        theta: θ₀, shape ``(D,)``.
        point, steps: Of each parameter without a constraint, θ₀ and a step.
        column: That of the observable.
    """

    session: Session
    likelihood: EventLikelihood
    method: str
    filler: Filler
    data: Tensor
    x: Tensor
    theta: Tensor
    point: Mapping[str, float]
    steps: Mapping[str, float]
    column: int

    @classmethod
    def of(
        cls, session: Session, likelihood: EventLikelihood, data: Tensor, best: Fit, method: str,
        column: int,
    ) -> _Templates:  # fmt: skip
        point, steps = _expansion(session, best)
        theta, entry = best.theta[0].clone(), session.workflow.exchange
        for name, value in point.items():
            theta[index(session.parameters, name)] = value
        x = simulated_events(session, theta, entry.events, entry.seed)
        filler = _filler(session, method, theta, x, len(data), column)
        seen = data[:, column].double()
        return cls(session, likelihood, method, filler, seen, x, theta, point, steps, column)

    def model(self, edges: Tensor) -> BinnedModel:
        """With these bins."""
        name = self.session.feature_names[self.column]
        counts = histogram(self.data, edges)
        region = Region("data", edges, {"events": Expected(self.filler)}, counts, name)
        return binned_model(
            [region], self.session.parameters, interest(self.session)[0], point=self.point,
            steps=self.steps,
        )  # fmt: skip

    def edges(self, bins: int) -> Tensor:
        """Of equal width. Where the feature has no end, the outer bins take what is beyond."""
        feature = self.session.features[self.column]
        x = self.x[:, self.column].double()
        seen = torch.cat([self.data, x])
        spare = 0.5 * float(seen.max() - seen.min())
        ends = [feature.low, feature.high]
        tails = torch.quantile(x[:_QUANTILES], torch.tensor([0.001, 0.999]).double()).tolist()
        low, high = (e if math.isfinite(e) else t for e, t in zip(ends, tails, strict=True))
        edges = torch.linspace(low, high, bins + 1, dtype=torch.float64)
        if not math.isfinite(ends[0]):
            edges[0] = float(seen.min()) - spare
        if not math.isfinite(ends[1]):
            edges[-1] = float(seen.max()) + spare
        return edges


def _expansion(session: Session, best: Fit) -> tuple[dict[str, float], dict[str, float]]:
    """Of each parameter without a constraint, its best fit and a step of its error."""
    point, steps = {}, {}
    for parameter in session.parameters.free:
        prior = parameter.prior
        if prior is None or isinstance(prior, Normal):
            continue
        error = float(curvature_error(best, parameter.name)[0])
        room = 0.25 * (prior.high - prior.low)
        step = min(error, room) if math.isfinite(error) and error > 0 else 0.2 * room
        value = float(best.column(parameter.name)[0])
        # A best fit at the end of its range is expanded from a step inside.
        point[parameter.name] = min(max(value, prior.low + step), prior.high - step)
        steps[parameter.name] = 0.999 * step
    return point, steps


def _filler(
    session: Session, method: str, theta: Tensor, x: Tensor, events: int, column: int
) -> Filler:
    """Integrals of a density of one feature; else simulated events, which it carries to other θ."""
    rate, density = event_rate(session), cast(Density, density_of(session, method))

    def number(at: Tensor) -> Tensor:
        if rate is None:
            return torch.full((len(at),), float(events), dtype=torch.float64)
        return rate.rate(session.parameters.values(at.double())).double().expand(len(at))

    feature = session.features[column]
    if (
        isinstance(density, (NLE, SampleSum))
        and len(session.features) == 1
        and feature.kind == "continuous"
    ):
        return DensityCounts(density, number)
    return ReweightedCounts(density, number, x, theta, column)


def _fits(
    session: Session, templates: _Templates, chosen: BinnedModel, best: Fit
) -> tuple[BinnedFit, ...]:
    (region,) = chosen.channels
    fitted, cost = _binned_fit(chosen), _Cost.of(session, templates)
    made = []
    for name in interest(session):
        value, error = fitted.get(name, (math.nan, math.nan))
        parameter, bent = session.parameters[name], chosen.curvature.get(name, 0.0)
        words = [] if bent < _BENT else [
            f"the counts are not linear in {name} within its error (√χ² = {bent:.2g}): a fit of "
            "the workspace has another error than the events; expand around another point, or "
            "use the events"
        ]  # fmt: skip
        bins, errors, unbinned = cost.errors(name, region.edges)
        made.append(
            BinnedFit(
                name, region.observable, value, error, float(best.column(name)[0]),
                float(curvature_error(best, name)[0]), bins, errors, unbinned,
                len(region.data), parameter.unit, parameter.label or "", tuple(words),
            )
        )  # fmt: skip
    return tuple(made)


@dataclass(frozen=True)
class _Cost:
    """Expected errors from the score of events, and from its means in bins."""

    templates: _Templates
    score: Tensor

    @classmethod
    def of(cls, session: Session, templates: _Templates) -> _Cost:
        x, theta = templates.x, templates.theta
        return cls(templates, estimator_scores(session, templates.method, x, theta))

    def errors(
        self, name: str, edges: Tensor
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
        """With several numbers of bins, and without any."""
        entry = self.templates.session.workflow.exchange
        tried = {len(edges) - 1: edges}
        if entry.edges is None:
            tried |= {
                n: self.templates.edges(n)
                for n in {max(2, round(f * entry.bins)) for f in _FACTORS} - set(tried)
            }
        bins = np.array(sorted(tried))
        errors = np.array([self._error(name, self._averaged(tried[n])) for n in bins.tolist()])
        return bins, errors, self._error(name, self.score)

    def _averaged(self, edges: Tensor) -> Tensor:
        column = self.templates.x[:, self.templates.column].double().contiguous()
        place = torch.bucketize(column, edges[1:-1], right=True)
        count = torch.bincount(place, minlength=len(edges) - 1).clamp(min=1)
        sums = torch.zeros(len(edges) - 1, self.score.shape[1], dtype=torch.float64)
        return (sums.index_add_(0, place, self.score) / count[:, None])[place]

    def _error(self, name: str, score: Tensor) -> float:
        likelihood, theta = self.templates.likelihood, self.templates.theta
        one = joint_information(score, likelihood.parameters.free_names)
        events = float(len(self.templates.data))
        try:
            return expected_error(for_data_set(likelihood, one, theta, events), name)[0]
        except DataError:
            return math.inf


def _binned_fit(model: BinnedModel) -> dict[str, tuple[float, float]]:
    """Value and error of each parameter, in its unit, by the likelihood that was written."""
    likelihood, data = PyhfWorkspace.of(model).likelihood()
    best = fit(likelihood, data)
    found = {}
    for name in likelihood.parameters.free_names:
        if name in model.entries:
            entry = model.entries[name]
            error = float(curvature_error(best, name)[0]) if best.converged[0] else math.nan
            value = entry.physical(float(best.column(name)[0]))
            found[name] = value, abs(entry.unit) * error
    return found


def _check(session: Session, one: BinnedFit) -> Check:
    limit = session.workflow.checks.binning
    passed = one.cost <= limit
    words: Sequence[str] = one.warnings or (
        f"by how much of itself the expected error of {one.parameter} grows with {one.chosen} "
        f"bins of {one.observable}; more, or others (exchange.bins, exchange.edges), lose less",
    )
    return Check(
        f"exchange: binning of {one.parameter}", passed, one.cost, limit, "; ".join(words),
        warning=passed and bool(one.warnings),
    )  # fmt: skip
