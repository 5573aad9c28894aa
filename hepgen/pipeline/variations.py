"""Nuisance parameters that are known by varied data sets: what they add to a likelihood."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from hepgen.config import VariationEntry
from hepgen.errors import WorkflowError
from hepgen.inference.channel import Sample
from hepgen.inference.rate import Product
from hepgen.inference.reweighting import (
    Reweighted,
    ReweightedSampler,
    ShapeVariation,
    VariedRate,
)
from hepgen.io.sources import resolve
from hepgen.pipeline.data import DataRequest, read_observed, tensors
from hepgen.pipeline.estimators import reference_of
from hepgen.pipeline.model_folder import ModelFolder
from hepgen.pipeline.session import Session
from hepgen.pipeline.train import reporter, training_settings
from hepgen.pipeline.training_data import density_source, reference_campaign, training_events
from hepgen.pipeline.training_files import TrainingFiles, facts_of
from hepgen.store import digest

_FILES = ("model.json", "weights.safetensors", "norm.json")


def varied(session: Session, sample: Sample) -> Sample:
    """A sample of a likelihood, with the ``[[variations]]`` of the workflow.

    Raises:
        WorkflowError: A variation of a number of events that does not count.
    """
    entries = session.workflow.variations
    if not entries:
        return sample
    for entry in entries:
        if entry.up is None and sample.rate is None:
            raise WorkflowError(
                f"variation {entry.name!r} has a rate alone, and the number of events does not "
                "count: give inference.luminosity, or up and down, or remove it"
            )
    shapes = {e.name: shape_variation(session, e) for e in entries if e.up is not None}
    density, sampler, rate = sample.density, sample.sampler, sample.rate
    if shapes:
        density = Reweighted(density, shapes, session.nuisances)
        sampler = None if sampler is None else ReweightedSampler(sampler, density)
    if rate is not None:
        rate = Product(rate, *(_rate(session, e, shapes.get(e.name)) for e in entries))
    return Sample(sample.name, density, rate, sampler)


def _rate(session: Session, entry: VariationEntry, shape: ShapeVariation | None) -> VariedRate:
    down, up = entry.rate or (1.0, 1.0)
    return VariedRate(entry.name, up, down, session.parameters, shape)


def shape_variation(session: Session, entry: VariationEntry) -> ShapeVariation:
    """The variation in the run folder, learned first where it is missing or out of date.

    Raises:
        FileError, DataError: Its files are missing, or cannot be used.
        WorkflowError: Its nominal events are not known.
    """
    name, key = f"models/variations/{entry.name}", variation_key(session, entry)
    kept = ModelFolder(session.folder, name, key)
    if not kept.current:
        nominal, up, down = (
            _events(session, file) for file in (entry.nominal, entry.up, entry.down)
        )
        at_many = training_events(session)
        with session.monitor.task(f"learn the variation {entry.name}", 1.0) as update:
            found = ShapeVariation.fit(
                nominal[0], up[0], down[0], at_many.x, at_many.theta,
                features=session.features, weight=at_many.weight,
                weights=(nominal[1], up[1], down[1]), symmetric=entry.symmetric,
                progress=reporter(update), device=session.device,
                **training_settings(session, "classifier"),
            )  # fmt: skip
        with kept.renewed(_FILES):
            found.save(kept.path)
    kept.point(session.monitor.say)
    return ShapeVariation.load(kept.path)


def variation_key(session: Session, entry: VariationEntry) -> str:
    """What a learned variation depends on, its files included."""
    files: list[Any] = [
        facts_of(source)
        for name in (entry.nominal, entry.up, entry.down)
        if name is not None
        for source in resolve([session.near(name)])
    ]
    campaigns = [density_source(session), *([] if entry.nominal else [_nominal(session)])]
    simulations = [(campaign.identity(), campaign.events) for campaign in campaigns]
    layouts = [layout.model_dump() for layout in session.workflow.data.layouts]
    features = [repr(feature) for feature in session.features]
    settings = training_settings(session, "classifier")
    return digest(entry.model_dump(), files, simulations, layouts, features, settings, _FILES)


def _events(session: Session, name: str | None) -> tuple[Tensor, Tensor | None]:
    """Events of a file, or those of the chain at the defaults, with their weights."""
    if name is not None:
        return tensors(session, read_observed(session, DataRequest([session.near(name)])).events)
    made = training_events(session, _nominal(session), "nominal events of the variations")
    return made.x, made.weight


def _nominal(session: Session) -> Any:
    if isinstance(density_source(session), TrainingFiles):
        names = ", ".join(entry.name for entry in session.workflow.variations)
        raise WorkflowError(
            f"variations {names}: the density is learned from simulation.files, so their nominal "
            "events are from whatever made these; name a file of them: nominal = 'FILE.root'"
        )
    return reference_campaign(session, reference_of(session, "nle"))
