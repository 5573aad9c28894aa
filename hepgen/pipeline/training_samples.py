"""What an estimator learns from, as one object of which members of an ensemble take shares."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from hepgen.inference.augmented import AugmentedEvents
from hepgen.nn.sets import runs
from hepgen.pipeline.gather import shared


@runtime_checkable
class TrainingSample(Protocol):
    """Events, each of which can be left out or counted more than once."""

    def __len__(self) -> int:
        """How many."""

    def share(self, index: Tensor, factor: Tensor, folder: Path) -> TrainingSample:
        """The events ``index``, shape ``(n,)``, with factors for their weights, ``(n,)``.

        Where they are too many for memory, they are in a file in ``folder``; see
        :func:`hepgen.pipeline.gather.shared`.
        """


@dataclass(frozen=True)
class Simulated:
    """Events, each with its own θ.

    Arguments:
        x: Shape ``(N, d)``.
        theta: Shape ``(N, D)``.
        weight: Shape ``(N,)``; ``None`` for ones.
    """

    x: Tensor
    theta: Tensor
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def share(self, index: Tensor, factor: Tensor, folder: Path) -> Simulated:
        """See :class:`TrainingSample`."""
        x, theta = shared((self.x, self.theta), index, folder)
        return Simulated(x, theta, _times(self.weight, index, factor))


@dataclass(frozen=True)
class Sets:
    """Event sets, each with its own θ; what members take shares of are whole sets.

    Arguments:
        x: The events of all sets in order, shape ``(T, d)``.
        offsets: Where each set starts, and the end, shape ``(S + 1,)``.
        theta: Shape ``(S, D)``.
        weight: Of the events, shape ``(T,)``; ``None`` for ones.
        set_weight: Of the sets, shape ``(S,)``; ``None`` for ones.
    """

    x: Tensor
    offsets: Tensor
    theta: Tensor
    weight: Tensor | None = None
    set_weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.theta)

    def share(self, index: Tensor, factor: Tensor, folder: Path) -> Sets:
        """See :class:`TrainingSample`."""
        counts = self.offsets.diff()[index]
        event = runs(self.offsets[index], counts)
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        (x,) = shared((self.x,), event, folder)
        weight = None if self.weight is None else self.weight[event]
        factors = _times(self.set_weight, index, factor)
        return Sets(x, offsets, self.theta[index], weight, factors)


@dataclass(frozen=True)
class WithReference:
    """Events, and then those of one other θ.

    Arguments:
        own: The former.
        other: The latter.
    """

    own: Simulated
    other: Simulated

    def __len__(self) -> int:
        return len(self.own) + len(self.other)

    def share(self, index: Tensor, factor: Tensor, folder: Path) -> WithReference:
        """See :class:`TrainingSample`."""
        first, second = _parted(index, len(self.own))
        return WithReference(
            self.own.share(index[first], factor[first], folder),
            self.other.share(index[second] - len(self.own), factor[second], folder),
        )


@dataclass(frozen=True)
class Scored:
    """Events with their joint scores, and with joint ratios where there is a reference."""

    events: AugmentedEvents

    def __len__(self) -> int:
        return len(self.events)

    def share(self, index: Tensor, factor: Tensor, folder: Path) -> Scored:
        """See :class:`TrainingSample`."""
        weight = _times(self.events.weight, index, factor)
        columns = {n: c for n, c in self.events.columns.items() if n != "weight"}
        found: dict[str, Any] = dict(
            zip(columns, shared(list(columns.values()), index, folder), strict=True)
        )
        return Scored(dataclasses.replace(self.events, weight=weight, **found))


@dataclass(frozen=True)
class ScoredReference:
    """Events of a reference with their joint scores, and then events with θ's of their own."""

    reference: Scored
    own: Simulated

    def __len__(self) -> int:
        return len(self.reference) + len(self.own)

    def share(self, index: Tensor, factor: Tensor, folder: Path) -> ScoredReference:
        """See :class:`TrainingSample`."""
        first, second = _parted(index, len(self.reference))
        return ScoredReference(
            self.reference.share(index[first], factor[first], folder),
            self.own.share(index[second] - len(self.reference), factor[second], folder),
        )


def _parted(index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where ``index`` is of the first ``size`` events, and where it is of the others."""
    first = index < size
    return first, ~first


def _times(weight: Tensor | None, index: Tensor, factor: Tensor) -> Tensor | None:
    if weight is not None:
        return weight[index] * factor
    return None if bool(torch.all(factor == 1)) else factor
