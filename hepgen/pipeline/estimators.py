"""The estimators of a workflow, in one table: what each learns from, and how it is trained.

.. code-block:: text

    nle         p(x | θ)                 events
    npe         p(θ | {x})               event sets
    fmpe        p(θ | {x})               event sets
    npse        p(θ | {x})               event sets
    nre         p(x | θ)/p(x)            events
    classifier  p(x | θ)/p(x | θ_ref)    events, and events of the reference
    sally       ∇ log p(x | θ_ref)       joint scores at the reference, then events
    rascal      p(x | θ)/p(x | θ_ref)    joint scores and ratios
    alices      p(x | θ)/p(x | θ_ref)    joint scores and ratios
    scandal     p(x | θ)                 joint scores
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hepgen.config import EstimatorName, ReferenceEntry
from hepgen.errors import InputError, WorkflowError, nearest
from hepgen.inference.alices import ALICES
from hepgen.inference.nle import NLE
from hepgen.inference.npe import NPE
from hepgen.inference.nre import NRE, ParametrisedClassifier
from hepgen.inference.pair_campaign import PairCampaign
from hepgen.inference.rascal import RASCAL
from hepgen.inference.sally import SALLY
from hepgen.inference.scandal import fit_scandal
from hepgen.inference.score_likelihood import (
    ScoreHistogram,
    ScoreMean,
    load_score_likelihood,
)
from hepgen.parameters import ParameterSet
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import BlockSource
from hepgen.pipeline.training_data import (
    density_source,
    each_round,
    pair_campaign,
    paired_events,
    reference_campaign,
    score_campaign,
    scored_events,
    set_campaign,
    training_events,
    training_sets,
)
from hepgen.pipeline.training_files import TrainingFiles
from hepgen.pipeline.training_samples import (
    Scored,
    ScoredReference,
    Sets,
    Simulated,
    WithReference,
)
from hepgen.results import TrainingCurve
from hepgen.simulators.campaign import Campaign, held

Loader = Callable[[Path], "Trained"]
Settings = Mapping[str, Any]
"""Arguments of a training: features, parameters, those of the workflow, and the loop's."""


@runtime_checkable
class Trained(Protocol):
    """A trained estimator, whatever it estimates."""

    parameters: ParameterSet

    @property
    def curve(self) -> TrainingCurve:
        """Of its training."""

    def save(self, folder: Path | str) -> None:
        """Write it into a folder."""


@dataclass(frozen=True)
class Estimator:
    """One line of the table.

    Arguments:
        campaigns: What is simulated for it.
        sample: The events of these, simulated first where they are missing.
        fit: The training.
        load: Of its folder.
        scores: Whether it learns from joint scores.
        amortised: Whether it is a posterior of data sets, and no likelihood.
    """

    campaigns: Callable[[Session], Sequence[BlockSource | TrainingFiles]]
    sample: Callable[[Session], Any]
    fit: Callable[[Any, Settings], Trained]
    load: Loader
    scores: bool = False
    amortised: bool = False


def estimator(method: str) -> Estimator:
    """The line of a method.

    Raises:
        InputError: There is none of that name.
    """
    if method not in TABLE:
        raise InputError(f"method {method!r}: expected one of {', '.join(TABLE)}")
    return TABLE[method]


def beside(session: Session, headline: str | None = None) -> tuple[str, ...]:
    """The estimators of a result: the headline, and those that are set beside it.

    ``nle`` stands before an amortised posterior, whichever of them is the headline.
    """
    entry = session.workflow.inference
    chosen = headline or entry.method
    others = entry.beside
    if others is None:
        # Where the number of events counts, or a variation, NPE answers another question; and it
        # has no density that could be held at the value of a scan.
        workflow = session.workflow
        alone = entry.luminosity is not None or workflow.variations or workflow.statements.scan
        if entry.rounds > 1:  # each learns from simulations of its own
            return (chosen,)
        both: list[EstimatorName] = ["nle"] if alone else ["nle", "npe"]
        others = both if chosen in both else ["nle"] if estimator(chosen).amortised else []
    together = {chosen, *others}
    return tuple(name for name in TABLE if name in together)


def reference_of(session: Session, method: str) -> dict[str, float]:
    """θ_ref of a method: the defaults of the free parameters, but for what the workflow says.

    Raises:
        WorkflowError: It names a parameter that is not free.
        ParameterError: A value outside of the range of its parameter.
    """
    entry = getattr(session.workflow, method)
    changed: dict[str, float] = entry.reference if isinstance(entry, ReferenceEntry) else {}
    free = session.parameters.free_names
    for name, value in changed.items():
        if name not in free:
            raise WorkflowError(
                f"{method}.reference: {name!r} is no free parameter; {nearest(name, free)}"
            )
        session.parameters[name].check_prior(value)
    return {p.name: changed.get(p.name, p.default) for p in session.parameters.free}


def require_scores(session: Session, method: str) -> None:
    """Refuse a method that learns from joint scores where a free parameter has none.

    Raises:
        WorkflowError: With the parameter, the reason, and what to do.
    """
    if not estimator(method).scores:
        return
    varied = session.without_score(held(session.parameters, {}, varies=True))
    there = session.without_score(reference_of(session, method))
    reasons = {**there, **varied}
    missing = [name for name in session.parameters.free_names if name in reasons]
    if missing:
        raise WorkflowError(
            f"method {method!r} learns from joint scores, and "
            f"{'; '.join(reasons[name] for name in missing)}, so there is none in the chain "
            f"{session.chain.name!r}: fix {', '.join(map(repr, missing))} (no prior), or use a "
            f"method without scores: {', '.join(n for n, one in TABLE.items() if not one.scores)}"
        )


def _against_reference(session: Session) -> WithReference:
    campaign = reference_campaign(session, reference_of(session, "classifier"))
    other = training_events(session, campaign, "events of the reference")
    return WithReference(training_events(session), other)


def _score_reference(session: Session) -> ScoredReference:
    at_reference, everywhere = _score_campaigns(session)
    scores = scored_events(session, at_reference, "simulate joint scores at the reference")
    return ScoredReference(Scored(scores), training_events(session, everywhere))


def _score_campaigns(session: Session) -> tuple[Campaign, Campaign]:
    """Joint scores at the reference, and events at many θ for their likelihood."""
    everywhere = dataclasses.replace(score_campaign(session), scores=())
    return score_campaign(session, reference_of(session, "sally")), everywhere


def _fit_events(fit: Callable[..., Trained]) -> Callable[[Simulated, Settings], Trained]:
    def train(sample: Simulated, settings: Settings) -> Trained:
        return fit(sample.x, sample.theta, weight=sample.weight, **settings)

    return train


def _fit_scored(fit: Callable[..., Trained]) -> Callable[[Scored, Settings], Trained]:
    return lambda sample, settings: fit(sample.events, **settings)


def _fit_classifier(sample: WithReference, settings: Settings) -> Trained:
    own, other = sample.own, sample.other
    return ParametrisedClassifier.fit(
        own.x, own.theta, other.x, other.theta[0].double(),
        weight=own.weight, weight_reference=other.weight, **settings,
    )  # fmt: skip


def _fit_sally(sample: ScoredReference, settings: Settings) -> Trained:
    """The observables, and their likelihood: a histogram of one or two of them by default."""
    training, own = dict(settings), sample.own
    chosen = training.pop("likelihood", None)
    shape = {name: training.pop(name) for name in ("bins", "degree") if name in training}
    sally = SALLY.fit(sample.reference.events, **training)
    few = len(sally.parameters.free) <= 2
    if (chosen or ("histogram" if few else "mean")) == "histogram":
        return ScoreHistogram.fit(sally, own.x, own.theta, weight=own.weight, **shape)
    if "bins" in shape:
        raise WorkflowError(
            f"sally.bins = {shape['bins']}: only likelihood = 'histogram' has bins; remove it"
        )
    return ScoreMean.fit(sally, own.x, own.theta, weight=own.weight, **shape)


def _pairs(method: EstimatorName, fit: Callable[..., Trained], load: Loader) -> Estimator:
    """RASCAL or ALICES."""

    def campaign(session: Session) -> PairCampaign:
        return pair_campaign(session, reference_of(session, method))

    return Estimator(
        lambda session: [campaign(session)],
        lambda session: Scored(paired_events(session, campaign(session))),
        _fit_scored(fit), load, scores=True,
    )  # fmt: skip


def _single(fit: Callable[..., Trained], load: Loader) -> Estimator:
    """NLE or NRE."""
    return Estimator(_sources(density_source), training_events, _fit_events(fit), load)


def _amortised(density: str) -> Estimator:
    """NPE, FMPE or NPSE."""

    def fit(sample: Sets, settings: Settings) -> Trained:
        return NPE.fit(
            sample.x, sample.offsets, sample.theta, weight=sample.weight,
            set_weight=sample.set_weight, density=density, **settings,
        )  # fmt: skip

    campaigns = _sources(set_campaign)
    return Estimator(campaigns, training_sets, fit, NPE.load, amortised=True)


def _sources(
    source: Callable[[Session], Campaign | TrainingFiles],
) -> Callable[[Session], list[BlockSource | TrainingFiles]]:
    """What is simulated in this round and in those before it."""
    return lambda session: [found for _, found in each_round(session, source)]


TABLE: dict[str, Estimator] = {
    "nle": _single(NLE.fit, NLE.load),
    "npe": _amortised("mixture"), "fmpe": _amortised("flow-matching"),
    "npse": _amortised("diffusion"),
    "nre": _single(NRE.fit, NRE.load),
    "classifier": Estimator(
        lambda s: [density_source(s), reference_campaign(s, reference_of(s, "classifier"))],
        _against_reference, _fit_classifier, ParametrisedClassifier.load,
    ),
    "sally": Estimator(
        _score_campaigns, _score_reference, _fit_sally, load_score_likelihood, scores=True
    ),
    "rascal": _pairs("rascal", RASCAL.fit, RASCAL.load),
    "alices": _pairs("alices", ALICES.fit, ALICES.load),
    "scandal": Estimator(
        lambda s: [score_campaign(s)], lambda s: Scored(scored_events(s, score_campaign(s))),
        _fit_scored(fit_scandal), NLE.load, scores=True,
    ),
}  # fmt: skip
"""Every estimator that ``--method`` knows, by its name."""
