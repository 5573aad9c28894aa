"""Several data sets as one tensor, for likelihoods that are evaluated all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.parameters import ParameterSet


@dataclass(frozen=True)
class EventSets:
    """S data sets of at most N events, in the space a likelihood is evaluated in.

    A short set is filled up with copies of its first event of weight zero, which leave the
    weighted sum over its events exactly as it is.

    Arguments:
        events: Shape ``(S, N, d)``.
        weight: Shape ``(S, N)``, float64.
        constant: What the bijection of the features adds to each log-likelihood, ``(S,)``.
    """

    events: Tensor
    weight: Tensor
    constant: Tensor

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, part: slice | Tensor) -> EventSets:
        return EventSets(self.events[part], self.weight[part], self.constant[part])


@runtime_checkable
class SetLikelihood(Protocol):
    """log p(data set | θ), for many data sets and parameter points at once.

    How it keeps data sets is its own: most as :class:`EventSets`.
    """

    parameters: ParameterSet

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> Any:
        """The data sets ``x``, each of shape ``(N, d)`` in physical variables, checked."""

    def log_likelihoods(self, sets: Any, theta: Tensor) -> Tensor:
        """Shape ``(S, K)`` in float64, for physical θ of shape ``(S, K, D)``."""


def pad(
    events: Sequence[Tensor], weight: Sequence[Tensor | None], constant: Sequence[Tensor]
) -> EventSets:
    """One tensor of sets of different sizes.

    Arguments:
        events: Each of shape ``(N_s, d)``.
        weight: Each of shape ``(N_s,)``, or ``None`` for ones.
        constant: What each event adds to the log-density, each of shape ``(N_s,)``.
    """
    sizes = [len(one) for one in events]
    weights = [event_weights(w, n) for w, n in zip(weight, sizes, strict=True)]
    total = [(w * c).sum() for w, c in zip(weights, constant, strict=True)]
    shape = (len(sizes), max(sizes))
    padded = events[0].new_empty((*shape, events[0].shape[-1]))
    filled = torch.zeros(shape, dtype=torch.float64)
    for s, (one, w) in enumerate(zip(events, weights, strict=True)):
        padded[s, : len(one)], padded[s, len(one) :] = one, one[0]
        filled[s, : len(one)] = w
    return EventSets(padded, filled, torch.stack(total))


def event_weights(weight: Tensor | None, events: int) -> Tensor:
    """Weights in float64, shape ``(N,)``, checked; ones where there are none."""
    if weight is None:
        return torch.ones(events, dtype=torch.float64)
    if weight.shape != (events,):
        raise DataError(f"weights of shape {tuple(weight.shape)}; expected ({events},)")
    invalid = int((~torch.isfinite(weight)).sum())
    if invalid:
        raise DataError(f"{invalid} of {events} event weights are NaN or infinite; expected none")
    if not weight.sum() > 0:
        raise DataError(
            f"the event weights sum to {weight.sum().item():g}; expected a positive number"
        )
    return weight.double()
