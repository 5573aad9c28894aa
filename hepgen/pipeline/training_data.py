"""Training data: the campaigns that estimators learn from, and their events as tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError
from hepgen.events import WEIGHT, Events
from hepgen.inference.augmented import AugmentedEvents
from hepgen.inference.pair_campaign import PairCampaign
from hepgen.inference.truncation import inside
from hepgen.io.blocks import BlockStore
from hepgen.pipeline.gather import Columns, gather
from hepgen.pipeline.seeds import training_seed
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import BlockSource, run_campaign
from hepgen.pipeline.training_files import TrainingFiles
from hepgen.pipeline.training_samples import Sets, Simulated
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import stream
from hepgen.store import digest

Source = TypeVar("Source", bound=Campaign | TrainingFiles)


def density_source(session: Session) -> Campaign | TrainingFiles:
    """What a density p(x | θ) learns from: files that the workflow names, or a campaign."""
    return TrainingFiles.of(session, session.feature_names) or training_campaign(session)


def training_campaign(session: Session) -> Campaign:
    """Single events at many parameter points."""
    entry = session.workflow.simulation
    return Campaign(
        session.chain,
        session.parameters,
        _of_round(session, entry.events),
        _seed(session, entry.seed),
        points=entry.events_per_point,
        block_size=entry.block_size,
        columns=session.feature_names,
    )


def set_campaign(session: Session) -> Campaign:
    """Event sets of many sizes: what an amortised posterior learns from."""
    entry = session.workflow.simulation
    return Campaign(
        session.chain,
        session.parameters,
        _of_round(session, entry.set_events),
        _seed(session, entry.seed + 1),
        points=entry.set_sizes,
        block_size=entry.block_size,
        columns=session.feature_names,
        as_sets=True,
    )


def _of_round(session: Session, events: int) -> int:
    """The share of the session's round in all events; the last has what is left over."""
    rounds = session.workflow.inference.rounds
    return (
        events - (rounds - 1) * (events // rounds) if session.round == rounds else events // rounds
    )


def _seed(session: Session, seed: int) -> int:
    """Another in each round: the same would make nearly the same events in like regions."""
    first = training_seed(seed)
    return first if session.round == 1 else stream(first, "round", session.round)


def score_campaign(session: Session, reference: Mapping[str, float] | None = None) -> Campaign:
    """Single events with their joint scores, at many parameter points or at one."""
    entry = session.workflow.simulation
    return dataclasses.replace(
        training_campaign(session),
        events=entry.augmented_events,
        fixed=dict(reference or {}),
        prior=reference is None,
        scores=session.parameters.free_names,
    )


def reference_campaign(session: Session, reference: Mapping[str, float]) -> Campaign:
    """Single events at one parameter point, without scores."""
    campaign = score_campaign(session, reference)
    seed = training_seed(session.workflow.simulation.seed + 2)
    return dataclasses.replace(campaign, seed=seed, scores=())


def rate_campaign(session: Session) -> Campaign:
    """All generated events at many parameter points, selected or not: what a rate is fitted to."""
    entry = session.workflow.simulation
    return dataclasses.replace(
        training_campaign(session),
        events=entry.rate_events,
        # Enough at each point for its count to be Gaussian, where a percent is selected.
        points=max(64, min(1024, entry.rate_events // 256)),
        seed=training_seed(entry.seed + 10),
        keep_all=True,
    )


def pair_campaign(session: Session, reference: Mapping[str, float]) -> PairCampaign:
    """Events of many θ and of a reference, with joint scores and ratios."""
    entry = session.workflow.simulation
    return PairCampaign(
        session.chain, session.parameters, session.features, tuple(reference.values()),
        entry.augmented_events, training_seed(entry.seed), entry.block_size,
    )  # fmt: skip


def kind_of(campaign: BlockSource) -> str:
    """What the blocks of a campaign that estimators learn from are called in a run folder."""
    if isinstance(campaign, PairCampaign):
        return "pairs"
    if isinstance(campaign, Campaign) and campaign.as_sets:
        return "sets"
    return "scores" if isinstance(campaign, Campaign) and campaign.scores else "events"


def store_of(session: Session, campaign: BlockSource, name: str) -> BlockStore:
    """The blocks of a campaign in the run folder."""
    key = digest(campaign.identity())
    return BlockStore(session.folder / f"{name}-{key[:8]}", campaign.identity())


def simulated(
    session: Session,
    campaign: BlockSource | TrainingFiles,
    name: str,
    title: str,
    *,
    weighted: bool = False,
) -> Iterator[Events]:
    """The blocks of a campaign in the run folder, simulated first where they are missing.

    Raises:
        DataError: They have weights that differ, and it was not said that these are used.
    """
    for events in _blocks(session, campaign, name, title):
        if not weighted:
            _refuse_weights(events)
        yield events


def each_round(
    session: Session, source: Callable[[Session], Source]
) -> list[tuple[Session, Source]]:
    """What is learned from in this round and in those before it, with the session of each."""
    return [(one, source(one)) for one in (*session.earlier, session)]


def _simulated_in_rounds(
    session: Session, sources: Sequence[tuple[Session, Source]], name: str, title: str
) -> Iterator[Events]:
    """The events of all rounds with θ inside of the region of this one.

    Those of an earlier, wider region are in this one as draws of the prior truncated to it.
    """
    parameters = session.parameters
    for one, source in sources:
        for events in simulated(one, source, name, title, weighted=True):
            if one is session:
                yield events
                continue
            theta = torch.from_numpy(events.theta(parameters.free_names))
            kept = events.select(inside(parameters, theta).numpy())
            if len(kept):
                yield kept


def _blocks(
    session: Session, campaign: BlockSource | TrainingFiles, name: str, title: str
) -> Iterator[Events]:
    if isinstance(campaign, TrainingFiles):
        yield from campaign.read()
        return
    store = store_of(session, campaign, name)
    run_campaign(campaign, store, workers=session.workers, monitor=session.monitor, title=title)
    for block in store.read_all(range(campaign.blocks)):
        yield block.events


def _refuse_weights(events: Events) -> None:
    """Weights that differ would be left out without a word."""
    weight = np.asarray(ak.flatten(events[WEIGHT], axis=None)) if WEIGHT in events else np.ones(1)
    if len(weight) and (weight != weight[0]).any():
        raise DataError(
            f"simulated events have weights from {weight.min():g} to {weight.max():g}; expected "
            "one weight: only the training of an estimator takes others, and neither that of a "
            "surrogate, nor pseudo-data for a calibration; let the generator unweight them"
        )


def training_events(
    session: Session,
    campaign: Campaign | None = None,
    title: str = "simulate events for the density",
) -> Simulated:
    """Events, by default of :func:`density_source`, with their weights where these differ."""
    sources = [(session, campaign)] if campaign else each_round(session, density_source)
    names = session.parameters.free_names

    def columns(events: Events) -> Columns:
        x = _inside(session, events.flat(session.feature_names))
        return (x, events.theta(names), *_given(events))

    blocks = map(columns, _simulated_in_rounds(session, sources, "events", title))
    rows = sum(source.events for _, source in sources)
    x, theta, *weight = gather(blocks, rows, session.folder.path)
    return Simulated(x, theta, _differing(*weight))


def _given(events: Events) -> list[NDArray[Any]]:
    """The weights, if there are any, of flat or jagged events in a row."""
    if WEIGHT not in events:
        return []
    return [np.asarray(ak.flatten(events[WEIGHT], axis=None), np.float32)]


def _differing(weight: Tensor | None = None) -> Tensor | None:
    """``None`` where all are equal, as where there are none."""
    return None if weight is None or bool((weight == weight[0]).all()) else weight


def scored_events(
    session: Session, campaign: Campaign, title: str = "simulate events with joint scores"
) -> AugmentedEvents:
    """Events with the joint scores of the free parameters."""
    blocks = (
        AugmentedEvents.from_events(events, session.features, session.parameters)
        for events in simulated(session, campaign, "scores", title, weighted=True)
        if len(events)
    )
    return _gathered(session, blocks, campaign.events)


def paired_events(session: Session, campaign: PairCampaign) -> AugmentedEvents:
    """Events of many θ and of a reference, with joint scores and ratios."""
    title = "simulate events of θ and of the reference"
    blocks = simulated(session, campaign, "pairs", title, weighted=True)
    parts = (campaign.sample([events]) for events in blocks if len(events))
    return _gathered(session, parts, campaign.blocks * campaign.block_size)


def _gathered(session: Session, parts: Iterator[AugmentedEvents], rows: int) -> AugmentedEvents:
    """Events of all blocks, see :func:`hepgen.pipeline.gather.gather`."""
    first = next(parts, None)
    if first is None:
        raise DataError("no events to train on; expected some: the selection is empty")
    names = first.columns
    blocks = (tuple(p.columns[n].numpy() for n in names) for p in chain([first], parts))
    columns = gather(blocks, rows, session.folder.path)
    return dataclasses.replace(first, **dict(zip(names, columns, strict=True)))


def training_sets(session: Session) -> Sets:
    """Event sets, with the weights of their events where these differ."""
    sources, title = each_round(session, set_campaign), "simulate event sets for the posterior"
    sizes, theta = list[NDArray[Any]](), list[NDArray[Any]]()

    def blocks() -> Iterator[Columns]:
        for events in _simulated_in_rounds(session, sources, "sets", title):
            first = events[session.feature_names[0]]
            events = events.select(np.asarray(ak.num(first)) > 0)
            columns = [events[name] for name in session.feature_names]
            sizes.append(np.asarray(ak.num(columns[0])))
            theta.append(events.theta(session.parameters.free_names))
            flat = np.stack([ak.to_numpy(ak.flatten(c)) for c in columns], -1)
            yield (_inside(session, flat), *_given(events))

    rows = sum(source.events for _, source in sources)
    x, *weight = gather(blocks(), rows, session.folder.path)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(sizes))])
    theta_of_all = torch.from_numpy(np.concatenate(theta))
    return Sets(x, torch.from_numpy(offsets), theta_of_all, _differing(*weight))


def _inside(session: Session, x: NDArray[Any]) -> NDArray[np.float32]:
    """In single precision, where rounding must not carry a value onto its bound."""
    low, high = (
        np.array([getattr(f, edge) for f in session.features], np.float32)
        for edge in ("low", "high")
    )
    inner = np.nextafter(low, high), np.nextafter(high, low)
    return np.clip(x.astype(np.float32), *inner)
