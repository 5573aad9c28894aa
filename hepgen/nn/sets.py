"""Event sets of any size: jagged rows for the training loop, and a network over them.

A set is a run of events in one flat tensor. Nothing is padded, so the embedding of a set does
not depend on its neighbours in a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hepgen.errors import DataError
from hepgen.nn.columns import Column, taken
from hepgen.nn.mlp import mlp

_WHOLE = 0.5
"""How often a set of blocks is taken whole."""


class SetRows:
    """Rows of the training loop that are sets: ``(events, counts, target)``.

    Each time a set is taken, a random run of its events stands for it, of a size drawn
    log-uniformly from ``smallest`` to all of them (or to ``largest``). Events in a set are
    independent and in no order, so that is a data set of that size at the same parameters.

    Arguments:
        events: The events of all sets, shape ``(T, d)``; they may be on disk.
        offsets: Where each set starts, and the end, shape ``(S + 1,)``.
        target: One row a set, shape ``(S, …)``.
        smallest, largest: The range of sizes; ``smallest`` ``None`` takes all events.
        weight: Event weights, shape ``(T,)``; those of a batch are then a fourth tensor.

    >>> rows = SetRows(torch.arange(5.0)[:, None], torch.tensor([0, 2, 5]), torch.zeros(2, 1))
    >>> events, counts, target = rows.take(torch.tensor([1]), torch.Generator())
    >>> events.flatten().tolist(), counts.tolist()
    ([2.0, 3.0, 4.0], [3])
    """

    def __init__(
        self,
        events: Column,
        offsets: Tensor,
        target: Tensor,
        *,
        smallest: int | None = None,
        largest: int | None = None,
        weight: Tensor | None = None,
    ) -> None:
        check_offsets(offsets, len(events))
        if len(target) != len(offsets) - 1:
            raise DataError(
                f"{len(offsets) - 1} sets with {len(target)} targets; expected one each"
            )
        self.events, self.start, self.target = events, offsets[:-1], target
        self.count = offsets.diff()
        self.smallest, self.largest, self.weight = smallest, largest, weight

    def __len__(self) -> int:
        return len(self.count)

    def take(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The sets ``index``, shape ``(B,)``: events ``(T, d)``, counts ``(B,)``, targets."""
        full, count = self.count[index], self._sizes(self.count[index], generator)
        start = self.start[index] + _below(full - count, generator)
        event = runs(start, count)
        weight = () if self.weight is None else (self.weight[event],)
        return taken(self.events, event), count, self.target[index], *weight

    def _sizes(self, full: Tensor, generator: torch.Generator) -> Tensor:
        if self.smallest is None:
            return full
        most = full if self.largest is None else full.clamp(max=self.largest)
        return log_uniform(most.clamp(max=self.smallest), most, generator)


class BlockRows:
    """Rows of the training loop that are means over runs of events: ``(mean, count, target)``.

    What :class:`SetRows` gives, after a network that embeds single events, once that network
    is fixed. The embeddings are summed over blocks of events and cumulated, so the mean over
    any run of blocks costs one subtraction, whatever its length.

    Half of the times a set is taken whole. Runs alone, log-uniform in sets that are themselves
    of log-uniform size, would all but never be as long as the longest sets, and a density
    trained on them comes out too wide there.

    Arguments:
        sums: The sum over each block, of all sets in order, shape ``(B, E)``.
        counts: The events in each block, shape ``(B,)``.
        offsets: Where the blocks of each set start, and the end, shape ``(S + 1,)``.
        target: One row a set, shape ``(S, …)``.
        smallest: The fewest events of a run, up to the size of a block.
        weight: Σw and Σw² of the events in each block, where the sums are weighted, shape
            ``(B,)`` each; a run then counts as (Σw)²/Σw² events.

    >>> sums = torch.tensor([[2.0], [4.0], [6.0]])
    >>> counts, offsets = torch.tensor([2, 2, 2]), torch.tensor([0, 3])
    >>> rows = BlockRows(sums, counts, offsets, torch.zeros(1, 1), smallest=6)
    >>> mean, count, _ = rows.take(torch.tensor([0]), torch.Generator())
    >>> mean.tolist(), count.tolist()
    ([[2.0]], [6])
    """

    def __init__(
        self,
        sums: Tensor,
        counts: Tensor,
        offsets: Tensor,
        target: Tensor,
        *,
        smallest: int,
        weight: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.sums = _cumulated(sums.double())
        self.total = _cumulated(counts if weight is None else weight[0].double())
        self.square = None if weight is None else _cumulated(weight[1].double())
        self.start, self.blocks = offsets[:-1], offsets.diff()
        self.target = target
        size = int(counts.max())
        self.fewest = max(1, -(-smallest // size))

    def __len__(self) -> int:
        return len(self.blocks)

    def take(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The sets ``index``, shape ``(B,)``: means ``(B, E)``, counts ``(B,)``, targets."""
        full = self.blocks[index]
        number = log_uniform(full.clamp(max=self.fewest), full, generator)
        number = torch.where(_uniform(len(full), generator) < _WHOLE, full, number)
        start = self.start[index] + _below(full - number, generator)
        mean, count = self.means(start, start + number)
        return mean, count, self.target[index]

    def means(self, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """The means and the numbers of events of runs of blocks, shapes ``(B, E)``, ``(B,)``."""
        total = self.total[end] - self.total[start]
        mean = ((self.sums[end] - self.sums[start]) / total[:, None]).float()
        if self.square is None:
            return mean, total
        return mean, total.square() / (self.square[end] - self.square[start])

    def full(self) -> tuple[Tensor, Tensor]:
        """The means and the numbers of events of the whole sets."""
        return self.means(self.start, self.start + self.blocks)


class DeepSet(nn.Module):
    """The mean of f(x) over the events of a set, and the logarithm of their number.

    Permutation invariant (Zaheer et al., arXiv:1703.06114). A mean over N events carries its
    information in the digits below 1/√N, and its E numbers are all but collinear over the
    training sets. ``location`` and ``whitening`` take the collinearity away and bring each
    direction to unit scale; see :meth:`whiten`.

    Arguments:
        features: d.
        outputs: The length E of the mean.
        hidden: The widths of f.

    >>> DeepSet(features=1, outputs=4)(torch.zeros(5, 1), torch.tensor([2, 3])).shape
    torch.Size([2, 5])
    """

    location: Tensor
    whitening: Tensor

    def __init__(self, features: int, outputs: int = 32, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        self.event = mlp(features, outputs, hidden)
        self.register_buffer("location", torch.zeros(outputs))
        self.register_buffer("whitening", torch.eye(outputs))

    def forward(self, events: Tensor, counts: Tensor, weight: Tensor | None = None) -> Tensor:
        """Embeddings, shape ``(S, E + 1)``.

        Arguments:
            events: The events of all sets in order, shape ``(T, d)``.
            counts: The sizes of the sets, shape ``(S,)``.
            weight: Signed event weights, shape ``(T,)``, of a positive sum in each set; a set
                then counts as (Σw)²/Σw² events, those of one weight whose mean has its variance.
        """
        mean, count = self.mean(events, counts, weight)
        return self.standardise(mean, count)

    def mean(
        self, events: Tensor, counts: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The means of f over sets, shape ``(S, E)``, and how many events these count as."""
        embedded = self.embed(events)
        if weight is None:
            return segment_sum(embedded, counts) / counts[:, None], counts
        w = weight[:, None].double()
        total, square = segment_sum(w, counts), segment_sum(w.square(), counts)
        mean = segment_sum(w.to(embedded) * embedded, counts) / total.to(embedded)
        return mean, (total.square() / square)[:, 0]

    def embed(self, events: Tensor) -> Tensor:
        """f(x) of single events: ``(T, d)`` to ``(T, E)``."""
        # Compressed, so that an outlier does not leave the range f was trained in.
        embedded: Tensor = self.event(torch.asinh(events))
        return embedded

    def standardise(self, mean: Tensor, counts: Tensor) -> Tensor:
        """Embeddings, shape ``(S, E + 1)``, from means, shape ``(S, E)``."""
        size = (torch.log(counts.to(mean)) - math.log(1000)) / 1.5
        return torch.cat([(mean - self.location) @ self.whitening, size[:, None]], dim=-1)

    @torch.no_grad()
    def whiten(self, mean: Tensor, floor: float) -> None:
        """Standardise so that the means of the training sets, ``(S, E)``, have unit covariance.

        Arguments:
            mean: Means of f, not standardised.
            floor: The smallest eigenvalue of their covariance that is brought to one, in
                units of the largest; what is below is rounding, and stays small.
        """
        values, vectors = torch.linalg.eigh(torch.cov(mean.double().mT))
        self.location.copy_(mean.double().mean(0))
        self.whitening.copy_(vectors / values.clamp(min=floor * float(values[-1])).sqrt())


def segment_sum(values: Tensor, counts: Tensor) -> Tensor:
    """Sums over consecutive runs of rows: ``(T, E)`` to ``(S, E)``.

    >>> segment_sum(torch.ones(5, 1), torch.tensor([2, 3])).flatten().tolist()
    [2.0, 3.0]
    """
    segment = torch.repeat_interleave(torch.arange(len(counts)), counts, output_size=len(values))
    return values.new_zeros(len(counts), *values.shape[1:]).index_add(0, segment, values)


def runs(start: Tensor, count: Tensor) -> Tensor:
    """The indices of consecutive runs, one after the other.

    >>> runs(torch.tensor([5, 0]), torch.tensor([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    shift = start - (count.cumsum(0) - count)
    total = int(count.sum())
    return torch.arange(total) + torch.repeat_interleave(shift, count, output_size=total)


def check_offsets(offsets: Tensor, events: int) -> None:
    """Refuse offsets that do not cut ``events`` events into sets with one event at least."""
    if offsets.ndim != 1 or len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != events:
        raise DataError(
            f"offsets of shape {tuple(offsets.shape)} for {events} events; expected (S + 1,) "
            "numbers from 0 to the number of events"
        )
    empty = int((offsets.diff() <= 0).sum())
    if empty:
        raise DataError(f"{empty} of {len(offsets) - 1} sets are empty; expected one event each")


def block_offsets(offsets: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cut each set into blocks of ``size`` events, the last one of what is left.

    Returns:
        The events in each block, and the offsets of the sets in blocks.

    >>> counts, offsets = block_offsets(torch.tensor([0, 5, 7]), 2)
    >>> counts.tolist(), offsets.tolist()
    ([2, 2, 1, 2], [0, 3, 4])
    """
    events = offsets.diff()
    blocks = -(-events // size)
    ends = blocks.cumsum(0)
    counts = torch.full((int(ends[-1]),), size)
    counts[ends - 1] = events - size * (blocks - 1)
    return counts, torch.cat([ends.new_zeros(1), ends])


def log_uniform(least: Tensor, most: Tensor, generator: torch.Generator) -> Tensor:
    """Integers log-uniform between ``least`` and ``most``, both included, of their shape."""
    size = least * (most / least.double()) ** _uniform(len(most), generator)
    return torch.minimum(size.round().long(), most)


def _below(most: Tensor, generator: torch.Generator) -> Tensor:
    """Integers uniform in 0 … ``most``."""
    return torch.minimum(((most + 1) * _uniform(len(most), generator)).long(), most)


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, dtype=torch.float64)


def _cumulated(values: Tensor) -> Tensor:
    return torch.cat([values.new_zeros(1, *values.shape[1:]), values.cumsum(0)])
