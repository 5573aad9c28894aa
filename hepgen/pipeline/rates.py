r"""How many events are expected: λ(θ) = 𝓛 σ(θ) ε(θ), as the process knows it or as learned."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from hepgen.diagnostics.multiple_testing import PValue
from hepgen.errors import SimulationError, WorkflowError
from hepgen.events import Events
from hepgen.inference.exact import ExactLikelihood
from hepgen.inference.learned_rate import Goodness, LearnedRate, selected_counts
from hepgen.inference.rate import CrossSection, Product, Rate
from hepgen.pipeline.model_folder import ModelFolder
from hepgen.pipeline.session import Session
from hepgen.pipeline.training_data import rate_campaign, simulated
from hepgen.results import Check
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity
from hepgen.store import digest

_NAME = "models/rate"


@dataclass(frozen=True)
class EventRate:
    """The expected number of events.

    Arguments:
        rate: λ, as a likelihood takes it.
        goodness: Of an efficiency that was learned; ``None`` where all is known.
    """

    rate: Rate
    goodness: Goodness | None = None

    @property
    def words(self) -> str:
        """Where it is from."""
        if self.goodness is None:
            return "the number of events counts, with a cross-section and efficiency in closed form"
        return f"the number of events counts, with a learned efficiency: {self.goodness}"


def event_rate(session: Session) -> EventRate | None:
    """The rate of a workflow, learned first if need be; ``None`` where numbers do not count.

    Raises:
        WorkflowError: The process states no cross-section, or no efficiency in closed form where
            that is asked for.
    """
    entry = session.workflow.inference
    if entry.luminosity is None:
        if entry.rate is not None:
            raise WorkflowError(
                f"inference.rate = {entry.rate!r} without inference.luminosity; give the "
                "luminosity of the data in 1/pb, or remove the rate"
            )
        return None
    rate, efficiency = selected_cross_section(session)
    goodness = None if efficiency is None else efficiency.goodness
    return EventRate(Product(entry.luminosity, rate), goodness)


def selected_cross_section(session: Session) -> tuple[Rate, LearnedRate | None]:
    """σ(θ)ε(θ) in pb, and the efficiency in it where that was learned.

    Raises:
        WorkflowError: The process states no cross-section, or no efficiency in closed form where
            that is asked for.
    """
    rate = session.workflow.inference.rate
    closed = None if rate == "learned" else _closed(session)
    if closed is not None:
        return closed, None
    if rate == "closed":
        raise WorkflowError(
            f"inference.rate = 'closed': the chain {session.chain.name!r} selects events, and its "
            "efficiency is not known in closed form; use rate = 'learned'"
        )
    section, efficiency = _cross_section(session), learned_efficiency(session)
    return Product(section, efficiency), efficiency


def rate_checks(session: Session, events: float) -> list[Check]:
    """Whether a learned rate is known well enough for so many events."""
    found, limits = event_rate(session), session.workflow.checks
    if found is None or found.goodness is None:
        return []
    goodness = found.goodness
    error = goodness.relative_error * math.sqrt(max(events, 0.0))
    return [
        Check("rate: error", error <= limits.rate, error, limits.rate,
              "error of a learned efficiency in units of the fluctuation of the number of events; "
              "more simulation.rate_events make it smaller"),
    ]  # fmt: skip


def rate_p_values(session: Session) -> list[PValue]:
    """Whether a learned rate describes its simulation; not corrected."""
    found = event_rate(session)
    if found is None or found.goodness is None:
        return []
    words = f"p-value of a learned efficiency on points that it was not fitted to: {found.goodness}"
    return [PValue("rate: goodness", found.goodness.p_value, words)]


def learned_efficiency(session: Session) -> LearnedRate:
    """ε(θ) in the run folder, fitted first where it is missing or out of date."""
    session = session.for_training()
    campaign, kept = rate_campaign(session), ModelFolder(session.folder, _NAME, rate_key(session))
    if not kept.current:
        blocks = simulated(session, campaign, "rate", "simulate events for the efficiency")
        points = selected_counts(Events.concatenate(list(blocks)), session.parameters)
        rate = LearnedRate.fit(points, session.parameters)
        with kept.renewed(("model.json", "weights.safetensors")):
            rate.save(kept.path)
    kept.point(session.monitor.say)
    return LearnedRate.load(kept.path)


def rate_key(session: Session) -> str:
    """What a learned efficiency depends on."""
    campaign = rate_campaign(session.for_training())
    return digest(campaign.identity(), campaign.events)


def _closed(session: Session) -> Rate | None:
    """σ(θ)ε(θ) in pb where both are known, and no stage of the user's changes them."""
    if session.workflow.stages or session.workflow.surrogates:
        return None
    try:
        density = ElectronPositronDensity.of(session.chain)
    except SimulationError:
        selects = any("selected" in stage.provides for stage in session.chain.stages)
        return None if selects else _cross_section(session)
    return ExactLikelihood(density, session.parameters).rate


def _cross_section(session: Session) -> CrossSection:
    """σ(θ) in pb of the first stage that states one.

    Raises:
        WorkflowError: None does.
    """
    at = {n: torch.as_tensor(v).double() for n, v in session.parameters.values().items()}
    for stage in session.chain.stages:
        if stage.cross_section(at) is not None:
            return CrossSection(stage)
    raise WorkflowError(
        f"no stage of the chain {session.chain.name!r} states a cross-section, so that numbers of "
        "events say nothing; remove inference.luminosity and [[samples]]"
    )
