r"""Histories: latents of a process that runs step by step, its number of steps random.

A shower or a fragmentation draws step k + 1 given all steps before it. With the steps of kind j
as columns :math:`z^j = (z^j_1, \dots, z^j_n)`, the density of a history is

.. math:: p(z | \theta) = \prod_k \prod_j p(z^j_k | z_{<k}, z^{<j}_k, \theta)
          = \prod_j p_j, \qquad p_j = \prod_k p(z^j_k | \dots)

and each column is a site whose ``log_prob`` is log p_j: the sum of the sites is exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from torch import Tensor

from hepgen.simulators.distributions import Padded, StageDistribution

Columns = Mapping[str, Tensor]


@dataclass
class Steps:
    """The steps of one kind of history, for N events.

    Arguments:
        count: How many steps each event has, int64, shape ``(N,)``.
        columns: What was drawn, by site, shape ``(N, K)``, zero beyond the count.
        finite: Whether all of it is known to be finite.
    """

    count: Tensor
    columns: dict[str, Tensor] = field(default_factory=dict)
    finite: bool = False


class Walk(ABC):
    """A process over N events at once, that draws its steps or follows recorded ones."""

    #: The site of the number of steps, and the sites of their columns.
    count: str
    columns: tuple[str, ...]

    @abstractmethod
    def draw(self) -> Steps:
        """Run it, drawing every step."""

    @abstractmethod
    def follow(self, steps: Steps) -> None:
        """Run it along recorded steps, with what the densities need kept."""

    @abstractmethod
    def log_prob(self, name: str) -> Tensor:
        """log p_j of a site, shape ``(N,)``, of the steps that were followed."""


class Recorder:
    """Makes the sites of a walk, and runs it once for all of them.

    Arguments:
        walk: The process.
        shape: (G, E); the walk has N = G·E events.
    """

    def __init__(self, walk: Walk, shape: Sequence[int]) -> None:
        self.walk = walk
        self.shape = torch.Size(shape)
        self.steps: Steps | None = None
        self.mask: Tensor | None = None
        self.followed = False

    def run(self) -> None:
        """Draw the sites, or take the values that they are conditioned on."""
        count = pyro.sample(self.walk.count, HistoryCount(self)).flatten()
        values = {n: pyro.sample(n, HistoryColumn(self, n)) for n in self.walk.columns}
        if self.steps is None:
            flat = {n: v.flatten(0, 1) for n, v in values.items()}
            self._record(Steps(count.long(), flat))
            self._follow()

    def drawn(self) -> Steps:
        """The steps, drawn at the first call."""
        if self.steps is None:
            with torch.no_grad():
                self._record(self.walk.draw())
        assert self.steps is not None
        return self.steps

    def _record(self, steps: Steps) -> None:
        self.steps = steps
        width = max(int(steps.count.max()), 1)
        # Small integers: many are compared at once.
        mask = torch.arange(width, dtype=torch.int32) < steps.count[:, None].int()
        self.mask = self.unflattened(mask)

    def _follow(self) -> None:
        assert self.steps is not None
        self.walk.follow(self.steps)
        self.followed = True

    def log_prob(self, name: str) -> Tensor:
        """log p_j, shape ``(G, E)``."""
        if not self.followed:
            self._follow()
        return self.unflattened(self.walk.log_prob(name))

    def unflattened(self, value: Tensor) -> Tensor:
        """A column of N events as one of (G, E)."""
        return value.reshape(*self.shape, *value.shape[1:])


class HistoryCount(StageDistribution):
    """The number of steps of each event, shape ``(G, E)``, as a site of a history."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        super().__init__(recorder.shape)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008, ARG002
        """The counts; drawing them draws the whole history."""
        return self.recorder.unflattened(self.recorder.drawn().count.double())

    def log_prob(self, value: Tensor) -> Tensor:  # noqa: ARG002
        """The factor of the count in the density."""
        return self.recorder.log_prob(self.recorder.walk.count)


class HistoryColumn(Padded):
    """One column of the steps, shape ``(G, E, K)``, as a site of a history."""

    def __init__(self, recorder: Recorder, name: str) -> None:
        self.recorder = recorder
        self.name = name
        super(Padded, self).__init__(recorder.shape, torch.Size([1]), validate_args=False)

    @property
    def mask(self) -> Tensor:  # type: ignore[override]
        """Which steps exist, shape ``(G, E, K)``."""
        assert self.recorder.mask is not None
        return self.recorder.mask

    @property
    def known_finite(self) -> bool:
        """Where the walk says so of what it drew."""
        return self.recorder.steps is not None and self.recorder.steps.finite

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008, ARG002
        """The column; zero beyond the count."""
        return self.recorder.unflattened(self.recorder.drawn().columns[self.name])

    def log_prob(self, value: Tensor) -> Tensor:  # noqa: ARG002
        """The sum of the steps' log-densities, shape ``(G, E)``."""
        return self.recorder.log_prob(self.name)


def rank(rows: Tensor, events: int) -> tuple[Tensor, Tensor]:
    """The place of each entry within its event, and the number of entries of each event.

    Arguments:
        rows: The event of each entry, ascending, shape ``(T,)``.
        events: N.

    >>> rank(torch.tensor([0, 0, 2, 2, 2]), 3)
    (tensor([0, 1, 0, 1, 2]), tensor([2, 0, 3]))
    """
    count = torch.bincount(rows, minlength=events)
    start = count.cumsum(0) - count
    return torch.arange(len(rows)) - start[rows], count


def gathered(places: Sequence[Tensor], values: Sequence[Tensor], shape: tuple[int, int]) -> Tensor:
    """Entries put at flat places of a matrix of zeros."""
    dtype = values[0].dtype if values else torch.float64
    out = torch.zeros(shape[0] * shape[1], dtype=dtype)
    if places:
        out[torch.cat(list(places))] = torch.cat(list(values))
    return out.view(shape)
