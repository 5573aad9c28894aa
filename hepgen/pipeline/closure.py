"""Closure of a workflow's surrogate: posteriors with it beside those with the simulator itself.

The simulator's side are templates: histograms that the joint density of the chain carries to every
θ, with nothing learned. The surrogate's side is its density, where it stands for the whole chain;
where it stands for some stages, it is templates of the chain with the surrogate in their place.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import HepgenError, SimulationError, SurrogateError
from hepgen.features import Feature
from hepgen.inference.closure import closure
from hepgen.inference.event_sets import SetLikelihood
from hepgen.inference.surrogate_likelihood import SurrogateLikelihood
from hepgen.inference.templates import Templates
from hepgen.judgement import Closure
from hepgen.parameters import ParameterSet
from hepgen.pipeline.session import Session
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain
from hepgen.surrogates.hybrid import hybrid
from hepgen.surrogates.surrogate import Surrogate

Edges = Mapping[str, NDArray[np.float64]]

_BINS = {1: 200, 2: 24, 3: 8}
"""Bins of each column, by the number of columns: more than three need too many."""
_NODES = 9
_POINTS = 90
"""How often a posterior of one parameter asks for a density, about."""
_LONGEST, _FEWEST = 300.0, 5
"""Seconds of densities, and data sets that are worth having."""
_BLOCKS = 50


@dataclass(frozen=True)
class Reference:
    """The simulator's side of the closure of one parameter: the same for every surrogate.

    Arguments:
        parameters: One of them is free.
        sets: Pseudo-data, each of shape ``(N, d)``.
        templates: Of the simulator.
        error: How far their means can be trusted, in σ of the data sets.
        words: What they are, and how far they can be trusted.
    """

    parameters: ParameterSet
    sets: Sequence[Tensor]
    templates: Templates
    error: float
    words: str


def references(session: Session) -> tuple[Reference, ...]:
    """That of each parameter of interest, the others at their defaults.

    Raises:
        SurrogateError: The likelihood has too many columns for templates.
        ParameterError: The chain has no joint density in the parameter.
    """
    if not session.workflow.surrogate.closure_sets:
        raise SurrogateError("it was not asked for (surrogate.closure_sets = 0)")
    names = session.parameters.interest or session.parameters.free_names
    return tuple(_reference(session, name) for name in names)


def closures(
    session: Session, surrogate: Surrogate, known: Sequence[Reference] | None = None
) -> tuple[tuple[Closure, ...], str]:
    """The closure of each parameter of interest.

    Arguments:
        session: Its ``[surrogate]`` says how many data sets, and events of templates.
        surrogate: Of the workflow.
        known: From :func:`references`, where they are there already.

    Returns:
        The closures, and in words why there are none.
    """
    try:
        against = references(session) if known is None else known
        return tuple(_closure(session, surrogate, one) for one in against), ""
    except HepgenError as error:
        return (), f"No closure: {error}."


def _reference(session: Session, name: str) -> Reference:
    entry, parameters = session.workflow.surrogate, session.parameters.only(name)
    features = session.features
    if len(features) not in _BINS:
        raise SurrogateError(
            f"the likelihood has {len(features)} columns; templates are made of one to three"
        )
    sets = pseudo_data(
        session.simulator, parameters, [f.name for f in features], entry.closure_sets,
        entry.closure_events, seed=entry.seed + 2,
    )  # fmt: skip
    edges = bins(features, torch.cat(sets))
    first, second = (
        _templates(session, session.simulator, parameters, edges, entry.seed + 3 + half)
        for half in (0, 1)
    )
    whole = dataclasses.replace(first, counts=first.counts + second.counts)
    # Half the difference of two halves is what their number leaves open; of what bins twice as
    # wide change, a third of the variance is what these leave open.
    (statistics,) = closure(first, second, sets, name="the other half")
    (binning,) = closure(whole.wider(), whole, sets, name="wider bins")
    trust = math.hypot(0.5 * statistics.rms, binning.rms / math.sqrt(3))
    words = f"templates of {entry.template_events:,} simulated events, good to {trust:.2f} σ"
    return Reference(parameters, sets, whole, trust, words)


def _closure(session: Session, surrogate: Surrogate, known: Reference) -> Closure:
    sets, seed = known.sets, session.workflow.surrogate.seed
    likelihood: SetLikelihood
    error = known.error
    if "target" in surrogate.manifest:
        chain = hybrid(session.simulator, surrogate)
        first, second = (
            _templates(session, chain, known.parameters, known.templates.edges, seed + 5 + half)
            for half in (0, 1)
        )
        likelihood = dataclasses.replace(first, counts=first.counts + second.counts)
        error = math.sqrt(2) * known.error  # templates on both sides, of as many events
    else:
        likelihood = SurrogateLikelihood(surrogate, known.parameters, seed)
        sets = sets[: _affordable(surrogate, likelihood, sets)]
    (found,) = closure(likelihood, known.templates, sets, name=known.words)
    return dataclasses.replace(found, reference_error=error)


def pseudo_data(
    chain: Chain,
    parameters: ParameterSet,
    columns: Sequence[str],
    sets: int,
    size: int,
    *,
    seed: int,
) -> list[Tensor]:
    """Data sets of ``size`` selected events, each at a θ of the middle half of the prior.

    Raises:
        SimulationError: Hardly an event is selected.
    """
    low, high = parameters.priors[0].reach
    generator = torch.Generator().manual_seed(seed)
    fraction = 0.25 + 0.5 * torch.rand(sets, 1, generator=generator).double()
    data: list[Tensor] = []
    for theta in (low + (high - low) * fraction).numpy():
        campaign = Campaign(
            chain, parameters, _BLOCKS * 2 * size, seed + 1000 * len(data), theta=theta[None],
            points=2 * size, block_size=2 * size, columns=list(columns),
        )  # fmt: skip
        data.append(_first(campaign, columns, size))
    return data


def bins(features: Sequence[Feature], x: Tensor) -> dict[str, NDArray[np.float64]]:
    """Edges of an even number of bins for each column, with as many of the events ``x`` in each."""
    edges = {}
    for feature, column in zip(features, x.numpy().T, strict=True):
        inner = np.quantile(column, np.linspace(0, 1, _BINS[len(features)] + 1)[1:-1])
        low, high = feature.low, feature.high
        if feature.kind == "discrete":
            inner, low, high = np.floor(inner) + 0.5, low - 0.5, high + 0.5
        inner = np.unique(inner)
        inner = inner[(inner > low) & (inner < high)]
        inner = inner if len(inner) % 2 else inner[1:]
        edges[feature.name] = np.array([low, *inner, high])
    return edges


def _first(campaign: Campaign, columns: Sequence[str], size: int) -> Tensor:
    parts: list[NDArray[np.float64]] = []
    for block in range(campaign.blocks):
        parts.append(campaign.simulate(block).events.flat(list(columns)))
        if sum(map(len, parts)) >= size:
            return torch.from_numpy(np.concatenate(parts)[:size])
    raise SimulationError(
        f"{sum(map(len, parts))} of {campaign.events} events were selected; expected {size}"
    )


def _affordable(
    surrogate: Surrogate, likelihood: SurrogateLikelihood, sets: Sequence[Tensor]
) -> int:
    """How many posteriors can be had in time."""
    if surrogate.quality.kind == "exact":  # and fast, of many points at once
        return len(sets)
    some, (low, high) = sets[0][:100], likelihood.parameters.priors[0].reach
    start = time.perf_counter()
    likelihood.log_likelihood(some, torch.tensor([[0.5 * (low + high)]]).double())
    each = (time.perf_counter() - start) / len(some) * len(sets[0]) * _POINTS
    most = int(_LONGEST / each)
    if most < min(_FEWEST, len(sets)):
        raise SurrogateError(
            f"a posterior of {len(sets[0])} events would take {each:.0f} s, as the density of "
            f"{surrogate.method} is slow; ask for smaller data sets (surrogate.closure_events)"
        )
    return min(len(sets), most)


def _templates(
    session: Session, chain: Chain, parameters: ParameterSet, edges: Edges, seed: int
) -> Templates:
    """Those of half of the events."""
    return Templates.simulate(
        chain, parameters, edges, session.workflow.surrogate.template_events // 2, seed=seed,
        nodes=_NODES, block_size=session.workflow.simulation.block_size,
    )  # fmt: skip
