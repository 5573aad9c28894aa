"""Stage: one stochastic link of a chain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor

from hepgen.events import Events
from hepgen.parameters import Parameter

State = dict[str, Tensor]


@dataclass(frozen=True)
class Failure:
    """An event that a stage could not make.

    Arguments:
        stage: Which one.
        event: The index of the event in its block.
        reason: In words.
        retried: Whether another event took its place; else it is in the output, not selected.
    """

    stage: str
    event: int
    reason: str
    retried: bool = True


class Stage(ABC):
    """A Pyro stochastic function over a block of events, p(out | in, θ).

    Calling it reads columns of the state, draws its named sites with ``pyro.sample``, and
    returns the state with new columns. Columns have shape ``(G, E)`` or ``(G, E, K)``:
    G parameter points with E events each, K objects padded. Parameters have shape
    ``(G, 1)`` or ``()``, so that they broadcast. A deterministic stage has no sites.
    Columns of other stages, parameters and what was drawn stay as they are: nothing is done in
    place. Observables of selected events are finite.

    A jagged latent is a :class:`~hepgen.simulators.distributions.Padded` site.
    """

    #: Unique in its chain; it names the stage's random stream.
    name: str
    #: The parameters it reads, with defaults, units and the range where they make sense.
    parameters: tuple[Parameter, ...] = ()
    #: The columns it reads and the ones it adds.
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    #: The columns of measured events that :meth:`reconstruct` needs.
    measured: tuple[str, ...] = ()
    #: Columns that a detector would record, as name → (unit, label), beside the process's own.
    outputs: Mapping[str, tuple[str, str]] = MappingProxyType({})
    #: Events for which it pays to start another process; ``None``: as for the built-in stages.
    worth_a_worker: int | None = None
    #: Whether the density of what it draws is known; else its events can only be sampled.
    has_density: bool = True
    #: How many events it can give, where they come from a file; ``None``: any number.
    available: int | None = None

    @abstractmethod
    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw this stage for every event of the block."""

    def reconstruct(self, events: Events) -> Events:
        """What a deterministic stage adds to measured events; others leave them as they are."""
        return events

    def cross_section(self, parameters: Mapping[str, Tensor]) -> Tensor | None:  # noqa: ARG002
        """The cross-section in pb of what the stage generates; ``None`` where it has none."""
        return None

    def failures(self) -> list[Failure]:
        """The events that failed since the last call: the ledger is handed over, and empty."""
        return []

    def notes(self) -> dict[str, Any]:
        """What there is to say of the events since the last call, as plain values.

        ``cross_section_pb`` is the cross-section that a generator measured while it made them;
        a list of names under the name of a column says what its entries are.
        """
        return {}
