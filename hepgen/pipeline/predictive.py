"""Posterior predictive: what the chain makes of the parameters that were inferred."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hepgen.diagnostics.misspecification import misspecification
from hepgen.diagnostics.multiple_testing import PValue
from hepgen.diagnostics.support import prior_predictive_p_value, two_sample_p_value
from hepgen.events import Events
from hepgen.features import Feature
from hepgen.pipeline.data import Observed
from hepgen.pipeline.session import Session
from hepgen.pipeline.training_data import density_source, simulated, training_campaign
from hepgen.pipeline.training_files import TrainingFiles
from hepgen.pipeline.validate import pseudo_data
from hepgen.results import FeatureComparison
from hepgen.simulators.campaign import POINT, Campaign

Array = NDArray[np.float64]
POINTS = 32
"""Posterior draws that are simulated."""
COMPARED = 1000
"""Simulated events in a two-sample test."""
_OF_THE_CHAIN = 200_000
"""Generated where no estimator learns from the whole chain."""
PERMUTATIONS = 999
"""Of the labels of two samples."""


@dataclass(frozen=True)
class Predictive:
    """Events simulated at posterior draws, with the number of the draw of each."""

    events: Events
    points: NDArray[np.int64]


def predict(session: Session, theta: Array) -> Predictive:
    """Simulate the chain at ``theta``, posterior draws of shape ``(S, D)``."""
    entry = session.workflow.inference
    rows = np.linspace(0, len(theta) - 1, POINTS).astype(int)
    # The chain's own parameters come first; of variations it knows nothing.
    chosen = theta[rows, : len(session.parameters.free)]
    per_point = 1 << max(8, int(math.log2(entry.predictive_events / POINTS)))
    campaign = Campaign(
        session.chain, session.parameters, per_point * POINTS, entry.seed, theta=chosen,
        points=per_point, block_size=per_point * 8,
    )  # fmt: skip
    parts = []
    with session.monitor.task("simulate the posterior predictive", campaign.blocks) as update:
        for number in range(campaign.blocks):
            parts.append(campaign.simulate(number).events)
            update(number + 1)
    events = Events.concatenate(parts)
    _, points = np.unique(np.asarray(events[POINT]), return_inverse=True)
    return Predictive(events, points)


def compare(
    session: Session, observed: Observed, predictive: Predictive
) -> list[FeatureComparison]:
    """The data beside the prediction, for every feature of the data."""
    training = _training_sample(session)
    return [
        _comparison(feature, observed.events, predictive, training.get(feature.name))
        for feature in (*session.features, *session.control)
        if feature.name in observed.events
    ]


def _training_sample(session: Session) -> dict[str, tuple[Array, Array]]:
    """The values of each feature of some events that estimators learn from, and their weights.

    Where samples are learned, nothing is from the chain as a whole: it is simulated for this.
    """
    source: Campaign | TrainingFiles
    if session.workflow.samples:
        source = replace(training_campaign(session), events=_OF_THE_CHAIN)
    else:
        session = session.for_training()
        source = density_source(session)
    title = "simulate events for the density"
    first = next(simulated(session, source, "events", title, weighted=True))
    return {name: (first.flat([name])[:, 0], first.weight) for name in session.feature_names}


def _comparison(
    feature: Feature, data: Events, predictive: Predictive, training: tuple[Array, Array] | None
) -> FeatureComparison:
    values, weight = data.flat([feature.name])[:, 0], data.weight
    simulated_values = predictive.events.flat([feature.name])[:, 0]
    edges = bin_edges(feature, np.concatenate([values, simulated_values]))
    counts, _ = np.histogram(values, edges, weights=weight)
    squares, _ = np.histogram(values, edges, weights=weight**2)
    share, spread = _shares(simulated_values, predictive.points, edges)
    scale = float(weight.sum())
    weighted = _weighted(data)
    reference = None
    if training is not None:
        counted = np.histogram(training[0], edges, weights=training[1])[0]
        reference = counted / training[1].sum() * scale
    return FeatureComparison(
        name=feature.name, edges=edges, observed=counts.astype(np.float64),
        predicted=share * scale, uncertainty=spread * scale,
        in_likelihood=training is not None,
        p_value=math.nan if weighted else _p_value(values[:, None], simulated_values[:, None]),
        label=feature.label, unit=feature.unit, training=reference,
        observed_std=np.sqrt(squares) if weighted else None,
    )  # fmt: skip


def _shares(values: Array, points: NDArray[np.int64], edges: Array) -> tuple[Array, Array]:
    """Mean and standard deviation over posterior draws of the share of each bin, ``(B,)``.

    What the finite simulation of each draw adds to the spread is taken off.
    """
    number = int(points.max()) + 1
    table, _, _ = np.histogram2d(points, values, bins=(np.arange(number + 1) - 0.5, edges))
    totals = np.maximum(np.bincount(points, minlength=number)[:, None], 1)
    shares = table / totals
    mean = shares.mean(axis=0)
    noise = np.mean(shares * (1 - shares) / totals, axis=0)
    return mean, np.sqrt(np.maximum(shares.var(axis=0) - noise, noise / number))


def bin_edges(feature: Feature, values: Array, bins: int = 30) -> Array:
    """Even bins over the bounds of a feature, or over the bulk of its values, rounded."""
    low, high = np.quantile(values, [0.002, 0.998])
    low = feature.low if math.isfinite(feature.low) else low
    high = feature.high if math.isfinite(feature.high) else high
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-12) / bins))
    step *= min((f for f in (1, 2, 2.5, 5, 10) if f * step * bins >= (high - low)), default=10)
    first = math.floor(low / step + 1e-9) * step
    count = max(1, math.ceil((high - first) / step - 1e-9))
    edges: Array = first + step * np.arange(count + 1)
    return edges


def _p_value(observed: Array, simulated_values: Array, seed: int = 0) -> float:
    rng = np.random.default_rng(seed)
    few = rng.permutation(len(simulated_values))[:COMPARED]
    some = rng.permutation(len(observed))[:COMPARED]
    return two_sample_p_value(
        observed[some], simulated_values[few], permutations=PERMUTATIONS, seed=seed
    )


def _weighted(events: Events) -> bool:
    return bool(np.any(events.weight != 1))


def support_p_values(session: Session, observed: Observed, predictive: Predictive) -> list[PValue]:
    """Is the data like the training sample, and like what was inferred from it? Not corrected.

    None of weighted data: the tests are of events that count alike.
    """
    if _weighted(observed.events):
        return []
    names = list(session.feature_names)
    data, simulation = observed.events.flat(names), predictive.events.flat(names)
    sets, _ = pseudo_data(session)
    training = _training_sample(session)
    # Without their weights: a rank among pseudo-data is right beside any reference.
    reference = np.stack([training[name][0] for name in names], axis=-1)[:COMPARED]
    arrays = [s.numpy() for s in sets]
    groups = [[i] for i in range(len(names))] + ([list(range(len(names)))] if names[1:] else [])
    titles = names + (["jointly"] if names[1:] else [])
    prior = [
        prior_predictive_p_value(data[:, g], [a[:, g] for a in arrays], reference[:, g])
        for g in groups
    ]
    nearest = misspecification(data, arrays)
    posterior = [_p_value(data[:, g], simulation[:, g]) for g in groups]
    sets_floor, floor = 1 / (1 + len(arrays)), 1 / (1 + PERMUTATIONS)
    supported = zip([*titles, "nearest sets"], [*prior, nearest.p_value], strict=True)
    return [
        *(PValue(f"support: {title}", value, "p-value that data like this come from some θ of the "
                 "prior", sets_floor)
          for title, value in supported),
        *(PValue(f"posterior predictive: {title}", value, "p-value that the data follow the "
                 "distribution that was inferred from them", floor)
          for title, value in zip(titles, posterior, strict=True)),
    ]  # fmt: skip
