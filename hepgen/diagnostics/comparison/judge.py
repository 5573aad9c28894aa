"""Judge a surrogate: every comparison of it with held-out simulation, in one record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.diagnostics.comparison.classifier import judge_by_classifier
from hepgen.diagnostics.comparison.distances import correlations, judge_feature
from hepgen.diagnostics.comparison.frechet import frechet_distance
from hepgen.diagnostics.comparison.kernel import kernel_distance
from hepgen.diagnostics.comparison.likelihood import negative_log_likelihood
from hepgen.diagnostics.comparison.samples import Array, NormalScores, check_samples
from hepgen.diagnostics.comparison.showers import cell_spectrum, shower_observables
from hepgen.diagnostics.comparison.timing import seconds_per_event
from hepgen.errors import DataError
from hepgen.features import Feature
from hepgen.judgement import Distance, SurrogateJudgement
from hepgen.results import Check
from hepgen.simulators.calorimeter.material import Geometry
from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.surrogate import Surrogate

DENSITY_EVENTS = 5000
"""Held-out events whose density is computed."""
ALL_CELLS = "perceptron, all cells"
"""The name of the classifier that sees images."""
DENSITY_IMAGES = 100
"""As many of images, of which each takes longer."""
_SHOWERS = 1, 100, 1000
_COLUMNS = 50
"""Columns up to which trees and correlations are worth their time."""


@dataclass(frozen=True)
class Triple:
    """Three independent samples of one size, with their contexts as further columns.

    Simulation, surrogate, and simulation again: the null. They have shape ``(N, d + C)``.
    """

    truth: Array
    surrogate: Array
    null: Array


def judge(
    surrogate: Surrogate,
    x: Tensor,
    context: Tensor,
    *,
    shift: float = 0.1,
    classifiers: Sequence[str] = ("perceptron", "boosted trees"),
    times: bool = True,
    density_events: int = DENSITY_EVENTS,
    known: SurrogateJudgement | None = None,
    seed: int = 0,
) -> SurrogateJudgement:
    """Compare a surrogate with events of the simulator that it was not trained on.

    One half of the events is the simulation; at the contexts of the other half the surrogate is
    sampled, and the simulator's own events there are the null. The contexts of simulation and
    surrogate are so independent, and exchangeable, and each event is a row (x, c): what is
    compared is p(x | c) p(c), with the same p(c).

    Arguments:
        surrogate: The surrogate.
        x: Held-out events, shape ``(2N, d)``, in physical variables.
        context: Shape ``(2N, C)``, inside the surrogate's domain.
        shift: Of the planted shift, in standard deviations.
        classifiers: Of :data:`hepgen.diagnostics.comparison.classifier.CLASSIFIERS`; the first
            one gives the verdict. Trees are left out above 50 columns.
        times: Whether to measure the time of an event, for some seconds.
        density_events: Of how many events the density is computed.
        known: Of another surrogate with the same events and settings: its classifiers are not
            trained again where simulation is compared with simulation.
        seed: Of everything.

    Raises:
        DataError: Too few events, or events with NaN.
        SurrogateError: A context outside the domain.
    """
    surrogate.features.check(x)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    half = len(x) // 2
    first, second = order[:half], order[half : 2 * half]
    made = surrogate.sample(1, context[second], seed)[0]
    rows = [_rows(*pair) for pair in (
        (x[first], context[first]), (made, context[second]), (x[second], context[second])
    )]  # fmt: skip
    found = compare(
        Triple(*rows), surrogate.features.features, shift=shift, classifiers=classifiers,
        known=known, seed=seed,
    )  # fmt: skip
    few = second[:density_events]
    exact = surrogate.quality.kind != "none"
    return replace(
        found, **_known(surrogate),
        nll=negative_log_likelihood(surrogate, x[few], context[few], seed) if exact else None,
        seconds_per_event=seconds_per_event(surrogate, context) if times else {},
    )  # fmt: skip


def compare(
    samples: Triple,
    features: Sequence[Feature],
    *,
    shift: float = 0.1,
    classifiers: Sequence[str] = ("perceptron", "boosted trees"),
    known: SurrogateJudgement | None = None,
    seed: int = 0,
) -> SurrogateJudgement:
    """Compare three samples of which the first d columns are ``features``, see :func:`judge`."""
    truth, made, null = samples.truth, samples.surrogate, samples.null
    check_samples(truth, made, null)
    d, wide = len(features), truth.shape[1] > _COLUMNS
    names = [n for n in classifiers if not (wide and n == "boosted trees")] or ["perceptron"]
    simulation = np.concatenate([truth, null])
    scores = NormalScores.of(simulation)
    nulls = {one.name: one for one in known.classifiers} if known else {}
    varying = _varying(simulation)
    scored = [scores(one)[:, varying] for one in (truth, made, null)]
    return SurrogateJudgement(
        method="", quality="", events=len(truth),
        classifiers=tuple(
            judge_by_classifier(
                truth, made, null, name=name, shift=shift, known=nulls.get(name), seed=seed
            )
            for name in names
        ),
        features=tuple(
            judge_feature(one, truth[:, i], made[:, i], null[:, i], seed)
            for i, one in enumerate(features)
        ),
        correlations=None if wide or d < 2 else correlations(
            truth[:, :d], made[:, :d], [one.name for one in features]
        ),
        frechet=Distance(*(frechet_distance(scored[0], one, seed) for one in scored[1:])),
        kernel=Distance(*(kernel_distance(scored[0], one, seed=seed) for one in scored[1:])),
    )  # fmt: skip


def judge_images(
    surrogate: ImageSurrogate,
    images: Tensor,
    particles: Tensor,
    *,
    times: bool = True,
    density_images: int = DENSITY_IMAGES,
    known: SurrogateJudgement | None = None,
    seed: int = 0,
) -> SurrogateJudgement:
    """Compare a surrogate of images with showers that it was not trained on, as :func:`judge` does.

    Arguments:
        surrogate: The surrogate.
        images: Held out, GeV, shape ``(2N, voxels)``.
        particles: Shape ``(2N, C)``, the incident energy first.
        times: Whether to measure the time of an image at batch 1, 100 and 1000.
        density_images: Of how many the density is computed, where it is a bound: the estimate of
            a diffusion takes an ODE for each draw, and its noise may lift it above the density.
        known: Of another surrogate with the same showers, see :func:`judge`.
        seed: Of everything.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    half = len(images) // 2
    first, second = order[:half], order[half : 2 * half]
    given = particles[second]
    found = judge_showers(
        (images[first], particles[first]), (surrogate.sample(1, given, seed)[0], given),
        (images[second], given), Geometry(*surrogate.code.shape),
        threshold=surrogate.code.threshold, known=known, seed=seed,
    )  # fmt: skip
    few, bound = second[:density_images], surrogate.quality.kind == "bound"
    return replace(
        found, **_known(surrogate),
        nll=negative_log_likelihood(surrogate, images[few], particles[few], seed)
        if bound else None,
        seconds_per_event=seconds_per_event(surrogate, particles, _SHOWERS) if times else {},
    )  # fmt: skip


def judge_showers(
    truth: tuple[Tensor, Tensor],
    surrogate: tuple[Tensor, Tensor],
    null: tuple[Tensor, Tensor],
    geometry: Geometry,
    *,
    threshold: float,
    known: SurrogateJudgement | None = None,
    seed: int = 0,
) -> SurrogateJudgement:
    """Compare images by the observables of their showers, by all cells, and by their spectrum.

    Arguments:
        truth, surrogate, null: Images in GeV, shape ``(N, voxels)``, and their particles, shape
            ``(N,)`` or ``(N, C)``, the incident energy in GeV first; three independent samples,
            see :class:`Triple`.
        geometry: The cells.
        threshold: Cells at or below it are empty, GeV.
        known: Of another surrogate with the same truth and null, see :func:`judge`.
        seed: Of everything.
    """
    samples = (truth, surrogate, null)
    particles = [particle.reshape(len(particle), -1) for _, particle in samples]
    tables = [
        shower_observables(image, particle[:, 0], geometry, threshold)
        for (image, _), particle in zip(samples, particles, strict=True)
    ]
    rows = [
        _rows(torch.from_numpy(table.x), particle)
        for table, particle in zip(tables, particles, strict=True)
    ]
    found = compare(Triple(*rows), tables[0].features, known=known, seed=seed)
    cells = [
        _rows(image.flatten(1), particle)
        for (image, _), particle in zip(samples, particles, strict=True)
    ]
    before = known.classifiers if known else ()
    whole = next((one for one in before if one.name == ALL_CELLS), None)
    judged = judge_by_classifier(cells[0], cells[1], cells[2], known=whole, seed=seed)
    return replace(
        found,
        classifiers=(*found.classifiers, replace(judged, name=ALL_CELLS)),
        features=(*found.features, cell_spectrum(truth[0], surrogate[0], null[0], threshold)),
    )


def judgement_checks(judgement: SurrogateJudgement, *, c2st: float, p_value: float) -> list[Check]:
    """The checks on a surrogate: C2ST of each classifier, and null and power of the first.

    Arguments:
        judgement: Of the surrogate.
        c2st: The largest accuracy that passes.
        p_value: Simulation against itself has to be above it, and the planted shift below.
    """
    label = f"surrogate {judgement.method}".strip()
    checks = [
        Check(f"{label}: C2ST, {one.name}", one.surrogate.accuracy.value <= c2st,
              one.surrogate.accuracy.value, c2st,
              f"events named right: {one.surrogate.accuracy}, of simulation against itself "
              f"{one.null.accuracy}: 1/2 where nothing tells them apart")
        for one in judgement.classifiers
    ]  # fmt: skip
    judged = judgement.classifiers[0]
    planted = judged.planted
    null, least = judged.null.p_value, p_value
    words = "p-value of simulation against simulation: the test itself is sound"
    name = f"{label}: p-value of the null of the C2ST"
    checks.append(Check(name, null >= least, null, least, words))
    if planted is not None:
        words = (
            f"p-value of a shift by {judged.shift:g} standard deviations, of which an AUC of "
            f"{planted.auc} was found, at best {judged.optimum:.4f}, and a C2ST of "
            f"{planted.accuracy}, at best {judged.best_accuracy:.4f}: the test can see it"
        )
        found = planted.p_value
        name = f"{label}: p-value of a planted shift"
        checks.append(Check(name, found <= least, found, least, words))
    return checks


def closure_checks(judgement: SurrogateJudgement, *, shift: float, width: float) -> Iterator[Check]:
    """The checks on the posteriors that a surrogate gives, for each parameter.

    Arguments:
        judgement: Of the surrogate.
        shift: The largest rms shift of the mean beyond the reference's own error, in σ.
        width: The largest mean ratio of the widths, less one, by size.
    """
    label = f"surrogate {judgement.method}".strip()
    for one in judgement.closure:
        for name, found, limit in (
            ("shift", one.excess, shift), ("width", abs(one.width.value - 1), width)
        ):  # fmt: skip
            yield Check(
                f"{label}: closure of {one.name}, {name}", found <= limit, found, limit,
                f"posteriors of {len(one.shifts)} data sets, beside {one.reference}: rms shift "
                f"{one.rms:.2f} σ, mean {one.shift} σ, largest {one.largest:.2f} σ; ratio of the "
                f"widths {one.width}",
            )  # fmt: skip


def _known(surrogate: Surrogate | ImageSurrogate) -> dict[str, Any]:
    """What a surrogate says about itself."""
    domain = surrogate.domain
    return {
        "method": surrogate.method,
        "quality": str(surrogate.quality),
        "training_seconds": surrogate.curve.seconds,
        "domain": dict(zip(domain.names, zip(domain.low, domain.high, strict=True), strict=True)),
        "manifest": surrogate.manifest,
    }


def _rows(x: Tensor, context: Tensor) -> Array:
    if len(x) != len(context):
        raise DataError(f"{len(x)} events with {len(context)} contexts; expected one for each")
    found: Array = torch.cat([x.detach().double(), context.detach().double()], dim=-1).numpy()
    return found


def _varying(x: Array) -> NDArray[np.bool_]:
    return np.asarray(x.max(0) > x.min(0))
