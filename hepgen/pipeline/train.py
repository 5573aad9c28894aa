"""Train: simulate what an estimator learns from, and let it learn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.compute import one_thread
from hepgen.errors import TrainingError
from hepgen.events import WEIGHT, Events
from hepgen.inference.nle import NLE
from hepgen.inference.npe import NPE
from hepgen.io.blocks import BlockStore
from hepgen.nn.train import Progress
from hepgen.pipeline.monitor import Update
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import run_campaign
from hepgen.simulators.campaign import Campaign
from hepgen.store import digest

METHODS = ("nle", "npe")


def training_campaign(session: Session) -> Campaign:
    """Single events at many parameter points: what a density p(x | θ) learns from."""
    entry = session.workflow.simulation
    return Campaign(
        session.chain,
        session.parameters,
        entry.events,
        entry.seed,
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
        entry.set_events,
        entry.seed + 1,
        points=entry.set_sizes,
        block_size=entry.block_size,
        columns=session.feature_names,
        as_sets=True,
    )


def simulated(session: Session, campaign: Campaign, name: str, title: str) -> Iterator[Events]:
    """The blocks of a campaign in the run folder, simulated first where they are missing."""
    key = digest(campaign.identity())
    store = BlockStore(session.folder / f"{name}-{key[:8]}", campaign.identity())
    run_campaign(campaign, store, jobs=session.jobs, monitor=session.monitor, title=title)
    for block in store.read_all(range(campaign.blocks)):
        _refuse_weights(block.events)
        yield block.events


def _refuse_weights(events: Events) -> None:
    """Weights that differ would be left out of the training without a word."""
    weight = np.asarray(ak.flatten(events[WEIGHT], axis=None)) if WEIGHT in events else np.ones(1)
    if len(weight) and (weight != weight[0]).any():
        raise TrainingError(
            f"simulated events have weights from {weight.min():g} to {weight.max():g}, and the "
            "estimators learn from events of one weight; let the generator unweight them"
        )


def training_events(session: Session) -> tuple[Tensor, Tensor]:
    """x of shape ``(N, d)`` and θ of shape ``(N, D)``."""
    campaign = training_campaign(session)
    x, theta = [], []
    for events in simulated(session, campaign, "events", "simulate events for the density"):
        x.append(_inside(session, events.flat(session.feature_names)))
        theta.append(events.theta(session.parameters.free_names))
    return torch.from_numpy(np.concatenate(x)), torch.from_numpy(np.concatenate(theta))


def training_sets(session: Session) -> tuple[Tensor, Tensor, Tensor]:
    """x of shape ``(T, d)``, offsets of shape ``(S + 1,)``, θ of shape ``(S, D)``."""
    campaign = set_campaign(session)
    x, sizes, theta = [], [], []
    for events in simulated(session, campaign, "sets", "simulate event sets for the posterior"):
        first = events[session.feature_names[0]]
        events = events.select(np.asarray(ak.num(first)) > 0)
        columns = [events[name] for name in session.feature_names]
        sizes.append(np.asarray(ak.num(columns[0])))
        x.append(_inside(session, np.stack([ak.to_numpy(ak.flatten(c)) for c in columns], -1)))
        theta.append(events.theta(session.parameters.free_names))
    counts = np.concatenate(sizes)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return (
        torch.from_numpy(np.concatenate(x)),
        torch.from_numpy(offsets),
        torch.from_numpy(np.concatenate(theta)),
    )


def _inside(session: Session, x: NDArray[Any]) -> NDArray[np.float32]:
    """In single precision, where rounding must not carry a value onto its bound."""
    low, high = (
        np.array([getattr(f, edge) for f in session.features], np.float32)
        for edge in ("low", "high")
    )
    inner = np.nextafter(low, high), np.nextafter(high, low)
    return np.clip(x.astype(np.float32), *inner)


def training_key(session: Session, method: str) -> str:
    """What a trained estimator depends on."""
    campaign = training_campaign(session) if method == "nle" else set_campaign(session)
    entry = session.workflow.nle if method == "nle" else session.workflow.npe
    features = [repr(feature) for feature in session.features]
    return digest(method, campaign.identity(), campaign.events, entry.model_dump(), features)


@one_thread()
def trained(session: Session, method: str) -> NLE | NPE:
    """The estimator in the run folder, trained first where it is missing or out of date."""
    if method not in METHODS:
        raise TrainingError(f"method {method!r}: expected one of {', '.join(METHODS)}")
    key = training_key(session, method)
    path = session.folder / f"models/{method}"
    step = f"train {method}"
    estimator: type[NLE] | type[NPE] = NLE if method == "nle" else NPE
    files = [f"models/{method}/model.json", f"models/{method}/weights.safetensors"]
    if not session.folder.is_current(step, key):
        checkpoint = session.folder / f"checkpoints/{method}-{key[:8]}"
        model = _fit(session, method, checkpoint)
        model.save(path)
        session.folder.record(step, key, files, {"seconds": model.curve.seconds})
    return estimator.load(path)


def _fit(session: Session, method: str, checkpoint: Path) -> NLE | NPE:
    entry = session.workflow.nle if method == "nle" else session.workflow.npe
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    data = training_events(session) if method == "nle" else training_sets(session)
    fit: Callable[..., NLE | NPE] = NLE.fit if method == "nle" else NPE.fit
    with session.monitor.task(f"train {method.upper()}", 1.0) as update:
        return fit(
            *data, features=session.features, parameters=session.parameters,
            checkpoint=checkpoint, progress=reporter(update), device=session.device,
            **entry.model_dump(exclude_none=True),
        )  # fmt: skip


def reporter(update: Update) -> Callable[[Progress], None]:
    """What shows the progress of a training as that of a task."""
    started = time.monotonic()

    def report(progress: Progress) -> None:
        # The share of the time, which the training knows better than the count of epochs.
        elapsed = time.monotonic() - started
        done = elapsed / max(elapsed + progress.seconds_left, 1e-9)
        words = f"epoch {progress.epoch}/{progress.epochs} loss {progress.train:.4f}"
        update(min(done, 1.0), f"{progress.part} {words}".strip())

    return report
