"""Data sets of several channels, with the auxiliary measurements that constrain nuisances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.errors import DataError


@dataclass(frozen=True)
class ChannelData:
    """S sets of at most N events of one channel.

    A short set is filled up with copies of an event, of weight zero.

    Arguments:
        events: Shape ``(S, N, d)``.
        weight: Shape ``(S, N)``, float64.
        prepared: What the density of each sample wants of the events, shape ``(S, N, e)`` each.
        squares: Σ wᵢ², shape ``(S,)``, float64.
    """

    events: Tensor
    weight: Tensor
    prepared: tuple[Tensor, ...]
    squares: Tensor

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, part: slice | Tensor) -> ChannelData:
        prepared = tuple(one[part] for one in self.prepared)
        return ChannelData(self.events[part], self.weight[part], prepared, self.squares[part])

    @property
    def total(self) -> Tensor:
        """Σ wᵢ of each set, shape ``(S,)``."""
        return self.weight.sum(-1)

    @property
    def effective(self) -> Tensor:
        """(Σw)²/Σw² of each set, shape ``(S,)``: how many events of weight one (Kish)."""
        return self.total.square() / self.squares.clamp_min(1e-300)

    def split(self, size: int) -> list[ChannelData]:
        """The same sets in pieces of ``size`` events."""
        starts = range(0, self.weight.shape[1], size)
        return [self.rows(slice(start, start + size)) for start in starts]

    def rows(self, part: slice) -> ChannelData:
        """Some of the events of every set."""
        prepared = tuple(one[:, part] for one in self.prepared)
        return ChannelData(self.events[:, part], self.weight[:, part], prepared, self.squares)


@dataclass(frozen=True)
class EventData:
    """S data sets.

    Arguments:
        channels: Their events, by the name of the channel.
        auxiliary: The measurement a_j of each constrained parameter, shape ``(S, J)``.
    """

    channels: Mapping[str, ChannelData]
    auxiliary: Tensor

    def __len__(self) -> int:
        return len(self.auxiliary)

    def __getitem__(self, part: slice | Tensor) -> EventData:
        channels = {name: channel[part] for name, channel in self.channels.items()}
        return EventData(channels, self.auxiliary[part])


def stacked(
    events: Sequence[Tensor], weight: Sequence[Tensor], owner: Sequence[Tensor], sets: int
) -> tuple[Tensor, Tensor]:
    """Events of S sets in any order, as one tensor ``(S, N, d)`` with weights ``(S, N)``.

    Arguments:
        events: Parts, each of shape ``(M, d)``.
        weight: Of each event, shape ``(M,)``.
        owner: The number of the set of each event, shape ``(M,)``.
        sets: S.
    """
    owners = torch.cat(list(owner))
    order = torch.argsort(owners, stable=True)
    owners, x = owners[order], torch.cat(list(events))[order]
    counts = torch.bincount(owners, minlength=sets)
    place = torch.arange(len(owners)) - (counts.cumsum(0) - counts)[owners]
    shape = (sets, int(counts.max()) if sets else 0)
    filled = x[:1].expand(shape[0] * shape[1], -1).reshape(*shape, x.shape[-1]).clone()
    weights = torch.zeros(shape, dtype=torch.float64)
    filled[owners, place] = x
    weights[owners, place] = torch.cat(list(weight)).double()[order]
    return filled, weights


def merged(data: ChannelData) -> ChannelData:
    """The same data, with events that are in the same bins of all samples as one, of summed weight.

    Nothing is changed where an event has more than the number of a bin, or where that would make
    the sets no shorter.
    """
    if any(one.is_floating_point() for one in data.prepared) or not data.weight.numel():
        return data
    bins = torch.cat([one.flatten(0, 1) for one in data.prepared], dim=-1)
    found, number = bins.unique(dim=0, return_inverse=True)  # type: ignore[no-untyped-call]
    sets, most = data.weight.shape
    if len(found) >= most:
        return data
    weight = torch.zeros(sets, len(found), dtype=torch.float64)
    weight = weight.scatter_add(1, number.reshape(sets, most), data.weight)
    first = torch.zeros(len(found), dtype=torch.long)
    first[number.flip(0)] = torch.arange(len(number)).flip(0)
    events = data.events.flatten(0, 1)[first].expand(sets, -1, -1)
    prepared = tuple(one.flatten(0, 1)[first].expand(sets, -1, -1) for one in data.prepared)
    return ChannelData(events, weight, prepared, data.squares)


def checked_weights(weight: Tensor | None, events: Tensor, channel: str) -> Tensor:
    """Weights in float64, shape ``(N,)``; ones where there are none."""
    if weight is None:
        return torch.ones(len(events), dtype=torch.float64)
    if weight.shape != (len(events),) or not bool(torch.isfinite(weight).all()):
        raise DataError(
            f"weights of shape {tuple(weight.shape)} in channel {channel!r}, with "
            f"{int((~torch.isfinite(weight)).sum())} that are not finite; expected "
            f"({len(events)},) finite numbers"
        )
    if weight.sum() < 0:
        raise DataError(
            f"the event weights of channel {channel!r} sum to {weight.sum().item():g}; expected "
            "a number of events"
        )
    return weight.double()
