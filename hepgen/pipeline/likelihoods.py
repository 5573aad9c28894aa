"""The likelihood of one data set, by a trained estimator and, where it counts, a rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.feature_space import FeatureSpace
from hepgen.inference.channel import Channel, Sample
from hepgen.inference.condensed import Condensed, smooth_space
from hepgen.inference.density import Density
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.held import Held, held
from hepgen.inference.sampler import FromChain
from hepgen.parameters import ParameterSet
from hepgen.pipeline.estimators import estimator
from hepgen.pipeline.rates import event_rate
from hepgen.pipeline.session import Session
from hepgen.pipeline.train import trained
from hepgen.pipeline.variations import varied

_MANY = 20_000
"""Events from which it pays to look for nodes in their place."""


def number_of(x: Tensor, weight: Tensor | None) -> float:
    """Of the events of a data set ``(N, d)``, or the sum of their weights ``(N,)``.

    >>> import torch
    >>> number_of(torch.zeros(3, 2), None), number_of(torch.zeros(2, 1), torch.tensor([0.5, 1.0]))
    (3.0, 1.5)
    """
    return float(len(x)) if weight is None else float(weight.sum())


def likelihood_of(
    session: Session, events: float, method: str = "nle", value: float | None = None
) -> EventLikelihood:
    """The learned likelihood of one data set, with pseudo-data from the chain.

    With ``inference.luminosity`` the number of events is a part of it.

    Arguments:
        session: The workflow.
        events: How many a data set has, or the sum of their weights: see :func:`number_of`. It
            says nothing where their number counts.
        method: The estimator.
        value: Of the parameter of ``statements.scan``; by default its own.

    Raises:
        WorkflowError: The method knows no density of single events, or the process no rate.
    """
    density = density_of(session, method)
    if density is None:
        raise WorkflowError(
            f"method {method!r} has no density of single events, which profile likelihoods, "
            "limits, Neyman's construction and rates are made of; use a method with one: nle, "
            "scandal, a ratio, or sally with likelihood = 'histogram'"
        )
    parameters, found = session.parameters, event_rate(session)
    if value is not None and isinstance(density, Held):
        density, parameters = density.at(value), held(parameters, density.name, value)
    sampler = FromChain(session.chain, parameters, session.feature_names)
    sample = Sample("events", density, None if found is None else found.rate, sampler)
    number = events if found is None else None
    channel = Channel(
        "data", (_varied(session, sample),), extended=found is not None, events=number
    )  # fmt: skip
    return EventLikelihood(ParameterSet([*parameters, *session.nuisances]), [channel])


def _varied(session: Session, sample: Sample) -> Sample:
    """With the variations of the workflow; what is scanned is held after them.

    They are normalised at all of its values.
    """
    known = sample.density
    if not isinstance(known, Held):
        return varied(session, sample)
    free = varied(session.for_training(), replace(sample, density=known.model))
    return replace(free, density=Held(free.density, known.name, known.value))


def condensed(
    session: Session, likelihood: EventLikelihood, x: Tensor
) -> EventLikelihood | Condensed:
    """The same likelihood on few nodes, where events ``(N, d)`` are many and have one feature."""
    space = condensing_space(session, x)
    return likelihood if space is None else Condensed(likelihood, space)


def condensing_space(session: Session, x: Tensor) -> FeatureSpace | None:
    """Where :class:`hepgen.inference.condensed.Condensed` pays; else ``None``."""
    return smooth_space(session.features, x) if len(x) >= _MANY else None


def density_of(session: Session, method: str) -> Density | None:
    """What a method knows of single events, in double precision; ``None`` where it is nothing."""
    model = trained(session, method)
    if not hasattr(model, "double") or not isinstance(model, Density):
        return None
    return cast(Density, cast(Any, model).double())


def likelihood_method(session: Session, methods: Iterable[str], headline: str) -> str:
    """The estimator whose likelihood is profiled: the headline, or the first that has one.

    Raises:
        WorkflowError: None has.
    """
    found = first_likelihood(session, methods, headline)
    if found is None:
        raise WorkflowError(
            "profile likelihoods, limits and Neyman's construction need a likelihood of single "
            f"events, and {headline!r} has none; set another beside it, e.g. "
            "inference.beside = ['nle']"
        )
    return found


def first_likelihood(session: Session, methods: Iterable[str], headline: str) -> str | None:
    """The first of the headline and of the others with a density of single events."""
    likelihoods = (m for m in (headline, *methods) if not estimator(m).amortised)
    return next((m for m in likelihoods if density_of(session, m) is not None), None)
