r"""Selected events with what their histories know: the data of the estimators of this chapter.

Of each event x, made at θ or at a reference θ_ref, with its history z,

.. math:: t = \nabla_\theta \log p(x, z | \theta), \qquad
          \log r = \log\frac{p(x, z | \theta)}{p(x, z | \theta_{ref})}

are exact (:mod:`hepgen.simulators.augment`). Their means at fixed x, over all histories, are the
score and the ratio of the density of x itself, E[t | x, θ] = ∇ log p(x | θ) for events of θ, and
E[r | x, θ_ref] = p(x | θ)/p(x | θ_ref) for events of the reference (Brehmer, Louppe, Pavez,
Cranmer, arXiv:1805.12244). A regression on t or r therefore learns them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.events import LOG_RATIO, SCORE, WEIGHT, Events
from hepgen.features import Feature, events_to_tensor
from hepgen.inference.selection_efficiency import SelectionEfficiency
from hepgen.nn.columns import Column, Derived
from hepgen.parameters import ParameterSet
from hepgen.simulators.augment import joint_log_ratio, joint_score
from hepgen.simulators.chain import Chain, Trace, stream

_EVENTS_AT_A_POINT = 16


@dataclass(frozen=True)
class AugmentedEvents:
    """N events, each with a θ. Those with ``at_theta`` are of θ, the others of the reference.

    Arguments:
        x: Shape ``(N, d)``, physical variables.
        theta: Shape ``(N, D)``, the free parameters.
        score: t at the point where the event was made, shape ``(N, D)``.
        log_ratio: log r of θ to the reference, shape ``(N,)``; ``None`` where it was not kept.
        weight: Signed event weights, shape ``(N,)``; ``None`` for ones.
        at_theta: Shape ``(N,)``; ``None`` where all are.
        reference: θ_ref, shape ``(D,)``, where there is a ratio.
    """

    x: Tensor
    theta: Tensor
    score: Tensor
    log_ratio: Tensor | None = None
    weight: Tensor | None = None
    at_theta: Tensor | None = None
    reference: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | Tensor) -> AugmentedEvents:
        """Some of the events: a slice, a mask, or indices."""
        kept: dict[str, Any] = {name: column[rows] for name, column in self.columns.items()}
        return dataclasses.replace(self, **kept)

    @property
    def columns(self) -> dict[str, Tensor]:
        """Those that are there, by the names of the arguments."""
        names = ("x", "theta", "score", "log_ratio", "weight", "at_theta")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @classmethod
    def from_events(
        cls,
        events: Events,
        features: Sequence[Feature],
        parameters: ParameterSet,
        *,
        ratio: str | None = None,
        reference: Tensor | None = None,
    ) -> AugmentedEvents:
        """Selected events at their own θ, with the columns ``score_*`` of the free parameters.

        Arguments:
            events: As ``hepgen simulate --augment`` writes them, or a campaign makes them.
            features: The columns of x.
            parameters: The free ones make θ.
            ratio: The point of the column ``logr_*`` that is the reference, if any. It stands for
                log p(x, z | point)/p(x, z | θ), with the sign of a reference in the numerator.
            reference: The values of the free parameters at that point.

        Raises:
            DataError: A column is missing, with words on how to get it.
        """
        names = parameters.free_names
        _require(events, [SCORE + name for name in names])
        log_ratio = None
        if ratio is not None:
            _require(events, [LOG_RATIO + ratio])
            log_ratio = -torch.from_numpy(events.flat([LOG_RATIO + ratio])[:, 0])
        return cls(
            x=events_to_tensor(events, features),
            theta=torch.from_numpy(events.theta(names)),
            score=torch.from_numpy(events.flat([SCORE + name for name in names])),
            log_ratio=log_ratio,
            weight=torch.from_numpy(events.weight) if WEIGHT in events else None,
            reference=reference,
        )

    @classmethod
    def pairs(
        cls,
        chain: Chain,
        parameters: ParameterSet,
        features: Sequence[Feature],
        reference: Tensor,
        events: int,
        *,
        seed: int = 0,
        block_size: int = 8192,
    ) -> AugmentedEvents:
        """Half of them at θ from the prior, half at the reference with a θ from the prior.

        Arguments:
            chain: The simulator.
            parameters: The free ones make θ; the others stand at their defaults.
            features: The columns of x.
            reference: θ_ref, shape ``(D,)``.
            events: How many are generated; those that are selected come back.
            seed: Of the events.
            block_size: Events generated in a block.

        Raises:
            ParameterError: A free parameter has no score.
        """
        parts, have, block = list[AugmentedEvents](), 0, 0
        while have < events:
            size = min(block_size, events - have)
            parts += pair_block(chain, parameters, features, reference, size, seed, block)
            have, block = have + size, block + 1
        return concatenate(parts)

    @property
    def own(self) -> AugmentedEvents:
        """Those that were made at their θ."""
        return self if self.at_theta is None else self[self.at_theta]

    @property
    def at_reference(self) -> AugmentedEvents:
        """Those of the reference, with it as their θ: what SALLY is trained on."""
        if self.at_theta is None:
            raise DataError("all events are of their own θ; expected some of a reference")
        part = self[~self.at_theta]
        return AugmentedEvents(part.x, part.made_at[:], part.score, weight=part.weight)

    @property
    def made_at(self) -> Column:
        """The parameters that made each event, shape ``(N, D)``."""
        if self.at_theta is None or self.reference is None:
            return self.theta
        reference = self.reference
        return Derived(
            lambda theta, own: torch.where(own[:, None], theta, reference),
            self.theta, self.at_theta,
        )  # fmt: skip

    def efficiency(self, degree: int = 3) -> SelectionEfficiency:
        """log ε(θ) from the scores of all events."""
        return SelectionEfficiency.fit(self.made_at, self.score, self.weight, degree=degree)

    def selected(self, efficiency: SelectionEfficiency) -> AugmentedEvents:
        """With t and r of the density of selected events, which is normalised over them."""
        score, ratio = self.selected_score(efficiency), self.selected_ratio(efficiency)
        return dataclasses.replace(
            self, score=score[:], log_ratio=None if ratio is None else ratio[:]
        )

    def selected_score(self, efficiency: SelectionEfficiency) -> Column:
        """t of the density of selected events, shape ``(N, D)``."""
        return Derived(lambda t, at: t - efficiency.score(at), self.score, self.made_at)

    def selected_ratio(self, efficiency: SelectionEfficiency) -> Column | None:
        """log r of the density of selected events, shape ``(N,)``."""
        if self.log_ratio is None:
            return None
        there = 0.0 if self.reference is None else efficiency.log(self.reference)
        return Derived(
            lambda ratio, theta: ratio - efficiency.log(theta) + there, self.log_ratio, self.theta
        )


def concatenate(parts: Sequence[AugmentedEvents]) -> AugmentedEvents:
    """The events of all parts, which have the same columns and reference."""
    if not parts:
        raise DataError("nothing to concatenate: expected at least one set of events")

    def joined(name: str) -> Tensor | None:
        columns = [getattr(part, name) for part in parts]
        if any(c is None for c in columns) != all(c is None for c in columns):
            raise DataError(f"some events have {name!r} and some have not; expected all or none")
        return None if columns[0] is None else torch.cat(columns)

    x, theta, score = (torch.cat([getattr(p, n) for p in parts]) for n in ("x", "theta", "score"))
    return AugmentedEvents(
        x, theta, score, joined("log_ratio"), joined("weight"), joined("at_theta"),
        parts[0].reference,
    )  # fmt: skip


def _require(events: Events, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in events]
    if not missing:
        return
    have = [c for c in events.fields if c.startswith((SCORE, LOG_RATIO))]
    raise DataError(
        f"no column {missing[0]!r} in the events, which have {', '.join(have) or 'no joint scores'}"
        ": simulate with `hepgen simulate --augment`, or Campaign(scores=…, ratios=…). A parameter "
        "that decides which events are possible, or of a stage without a density, has no score: "
        "fix it (no prior), or use an estimator without scores"
    )


def pair_block(
    chain: Chain,
    parameters: ParameterSet,
    features: Sequence[Feature],
    reference: Tensor,
    events: int,
    seed: int,
    block: int,
) -> Iterator[AugmentedEvents]:
    """One block of :meth:`AugmentedEvents.pairs`: the events of θ, then those of the reference."""
    groups = max(1, events // (2 * _EVENTS_AT_A_POINT))
    here, there = _points(parameters, reference, groups, seed, block)
    for at_theta, made_at in ((True, here), (False, there)):
        trace = chain.simulate(made_at, _EVENTS_AT_A_POINT, seed, 2 * block + at_theta)
        log_ratio = joint_log_ratio(chain, trace, here, made_at)
        if at_theta:
            log_ratio = -joint_log_ratio(chain, trace, there, made_at)
        score = [joint_score(chain, trace, made_at, n) for n in parameters.free_names]
        yield _rows(
            trace, parameters, features, reference, here, log_ratio, torch.stack(score, -1),
            at_theta,
        )  # fmt: skip


def _points(
    parameters: ParameterSet, reference: Tensor, groups: int, seed: int, block: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All parameters at θ from the prior, and at the reference: shape ``(G, 1)`` or ``()``."""
    if reference.shape != (len(parameters.free),):
        raise ParameterError(
            f"a reference of shape {tuple(reference.shape)}; expected ({len(parameters.free)},): "
            f"{', '.join(parameters.free_names)}"
        )
    generator = torch.Generator().manual_seed(stream(seed, "theta", block))
    theta = parameters.prior().sample((groups,), generator)
    both = (parameters.values(one) for one in (theta, reference.double().expand_as(theta)))
    here, there = ({n: v[:, None] if v.dim() else v for n, v in one.items()} for one in both)
    return here, there


def _rows(
    trace: Trace,
    parameters: ParameterSet,
    features: Sequence[Feature],
    reference: Tensor,
    theta: Mapping[str, Tensor],
    log_ratio: Tensor,
    score: Tensor,
    at_theta: bool,
) -> AugmentedEvents:
    state, shape = trace.state, trace.shape
    kept = state.get("selected", torch.ones(shape, dtype=torch.bool))
    return AugmentedEvents(
        x=torch.stack([state[f.name].double() for f in features], dim=-1)[kept],
        theta=torch.stack([theta[n].expand(shape) for n in parameters.free_names], dim=-1)[kept],
        score=score[kept],
        log_ratio=log_ratio[kept],
        weight=state["weight"].double().expand(shape)[kept] if "weight" in state else None,
        at_theta=torch.full((int(kept.sum()),), at_theta),
        reference=reference.double(),
    )
