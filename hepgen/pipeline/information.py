"""The Fisher information of a data set: whole history, estimator, each feature and all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.augmented import AugmentedEvents
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.fisher import (
    FisherInformation,
    event_scores,
    feature_information,
    joint_information,
    regression_information,
)
from hepgen.inference.posterior import PosteriorSample
from hepgen.inference.statistics.fit import fit
from hepgen.information import ExpectedError, InformationTable
from hepgen.pipeline.interest import interest
from hepgen.pipeline.likelihoods import likelihood_method, likelihood_of, number_of
from hepgen.pipeline.scores import (
    drawn_events,
    estimator_scores,
    expected_error,
    for_data_set,
)
from hepgen.pipeline.seeds import training_seed
from hepgen.pipeline.session import Session
from hepgen.simulators.campaign import Campaign

Bound = Literal["at least", "at most", "estimate"]
_NOT_FOR_SCORES = {"members", "scheme", "reference", "likelihood", "bins", "degree"}


def information(
    session: Session,
    x: Tensor,
    weight: Tensor | None,
    samples: Mapping[str, PosteriorSample],
    headline: str,
) -> tuple[InformationTable, ...]:
    """Expected errors of each parameter of interest, at the best fit to the data ``(N, d)``.

    With joint scores of all free parameters, from events that are simulated there: those of the
    whole history, and what the estimator and each set of features is known to carry. Else by the
    scores of the estimator alone.
    """
    if not session.workflow.statements.fisher:
        return ()
    with session.monitor.task("Fisher information", 1) as update:
        method, events = likelihood_method(session, samples, headline), number_of(x, weight)
        likelihood = likelihood_of(session, events, method)
        start = samples[headline].theta.double().mean(0)
        theta = fit(likelihood, likelihood.encode([x], [weight]), start=start).theta[0]
        sources, simulated, words = _sources(session, likelihood, method, theta)
        tables = tuple(
            _table(session, likelihood, name, theta, events, sources, simulated, words)
            for name in interest(session)
        )
        update(1)
    return tables


Sources = Mapping[str, tuple[Bound, FisherInformation]]


def _sources(
    session: Session, likelihood: EventLikelihood, method: str, theta: Tensor
) -> tuple[Sources, int, tuple[str, ...]]:
    """The information of one event by source, from how many events, and what is missing."""
    names = likelihood.parameters.free_names
    held = {n: float(v) for n, v in likelihood.parameters.values(theta).items()}
    reasons = [f"no stage has {name}" for name in session.nuisances.names]
    reasons += [r for n, r in session.without_score(held).items() if n in names]
    if reasons:
        entry = session.workflow.statements
        x = drawn_events(likelihood, theta, entry.fisher_events, training_seed(entry.seed))
        score = event_scores(likelihood, x, theta.expand(len(x), -1))
        words = f"without joint scores, of the estimator alone: {'; '.join(reasons)}"
        found = {method.upper(): ("estimate", joint_information(score, names))}
        return found, len(x), (words,)  # type: ignore[return-value]
    events = _scored_events(session, theta)
    score = estimator_scores(session, method, events.x, theta)
    sources: dict[str, tuple[Bound, FisherInformation]] = {
        "whole history": ("at least", joint_information(events.score, names, events.weight)),
        method.upper(): (
            "at most", regression_information(score, events.score, names, events.weight)
        ),
    }  # fmt: skip
    columns = session.feature_names
    subsets = {"all features": columns}
    if len(columns) > 1:
        subsets |= {name: (name,) for name in columns}
    options = session.workflow.sally.model_dump(exclude_none=True, exclude=_NOT_FOR_SCORES)
    each = feature_information(
        events, session.features, session.parameters, subsets, device=session.device, **options
    )
    return sources | {name: ("at most", one) for name, one in each.items()}, len(events), ()


def _scored_events(session: Session, theta: Tensor) -> AugmentedEvents:
    """Selected events at θ with their joint scores, in the order of the generator."""
    entry, simulation = session.workflow.statements, session.workflow.simulation
    names = session.parameters.free_names
    campaign = Campaign(
        session.chain, session.parameters, entry.fisher_events, training_seed(entry.seed),
        fixed=dict(zip(names, theta.tolist(), strict=True)), prior=False,
        points=simulation.events_per_point, block_size=simulation.block_size,
        columns=session.feature_names, scores=names,
    )  # fmt: skip
    blocks = [campaign.simulate(block).events for block in range(campaign.blocks)]
    return AugmentedEvents.from_events(
        type(blocks[0]).concatenate(blocks), session.features, session.parameters
    )


def _table(
    session: Session, likelihood: EventLikelihood, name: str, theta: Tensor, events: float,
    sources: Sources, simulated: int, words: tuple[str, ...],
) -> InformationTable:  # fmt: skip
    rows = tuple(
        _row(label, bound, for_data_set(likelihood, one, theta, events), name)
        for label, (bound, one) in sources.items()
    )
    parameter = session.parameters[name]
    at = dict(zip(likelihood.parameters.free_names, theta.tolist(), strict=True))
    return InformationTable(
        name, round(events), at, rows, simulated, parameter.unit, parameter.label or "", words
    )


def _row(label: str, bound: Bound, found: FisherInformation, name: str) -> ExpectedError:
    known, words = _known(found, name), tuple[str, ...]()
    try:
        profiled = expected_error(found, name)
    except DataError as error:
        profiled, words = (math.inf, 0.0), (f"{label}: {error}",)
    if not words and math.isinf(profiled[0]):
        words = (f"{label}: no information on {name} beyond the noise of the simulation",)
    return ExpectedError(label, bound, *profiled, *known, words)


def _known(found: FisherInformation, name: str) -> tuple[float, float]:
    """With all other parameters known."""
    return expected_error(found.of([name]), name)
