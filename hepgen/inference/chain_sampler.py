"""Pseudo-data from the chain of simulators itself, through the selection.

What a statement on learned densities is worth is decided by data that the simulator makes, and not
by data that the learned density makes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hepgen.errors import SimulationError
from hepgen.simulators.chain import Chain, stream

_PILOT = 4096
_SPARE = 1.15
_ROWS = 2**18
"""Events generated at once."""
_ROUNDS = 50


class FromChain:
    """Selected events of a chain, at any of its parameters.

    Arguments:
        chain: The simulator.
        columns: The observables that make an event, d of them.
        size: Events that stand for the density in an Asimov data set.
        seed: Of those.

    >>> import hepgen
    >>> events = FromChain(hepgen.process("gaussian"), ["x"])
    >>> values = hepgen.process("gaussian").parameters.values()
    >>> events.draw(torch.tensor([3, 5]), values, seed=0).shape
    torch.Size([8, 1])
    """

    def __init__(
        self, chain: Chain, columns: Sequence[str], size: int = 50_000, seed: int = 0
    ) -> None:
        self.chain, self.columns, self.size, self.seed = chain, tuple(columns), size, seed

    def draw(self, counts: Tensor, values: Mapping[str, Tensor], seed: int) -> Tensor:
        """Events of S data sets in order, shape ``(Σ counts, d)``; see
        :class:`hepgen.inference.sampler.Sampler`."""
        sets = len(counts)
        theta = {name: value.detach().double().expand(sets) for name, value in values.items()}
        kept: list[list[Tensor]] = [[] for _ in range(sets)]
        missing, efficiency = counts.clone(), self._efficiency(theta, seed)
        for number in range(_ROUNDS):
            short = missing.nonzero()[:, 0]
            if not len(short):
                empty = torch.zeros(0, len(self.columns), dtype=torch.float64)
                return torch.cat([torch.cat([empty, *parts]) for parts in kept])
            generated = math.ceil(_SPARE * int(missing.max()) / efficiency) + 8
            for rows in torch.split(short, max(1, _ROWS // generated)):
                block = (number * sets + int(rows[0])) + 1
                found = self._simulated(theta, rows, generated, seed, block)
                for s, events in zip(rows.tolist(), found, strict=True):
                    kept[s].append(events[: int(missing[s])])
                    missing[s] -= len(kept[s][-1])
        raise SimulationError(
            f"{int(missing.sum())} of {int(counts.sum())} events of pseudo-data are missing after "
            f"{_ROUNDS} rounds: hardly any event passes the selection at some parameter point; "
            "loosen the selection, or narrow the ranges of the parameters"
        )

    def expected(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """A sample of weights that sum to one, for values of shape ``()``."""
        number = torch.tensor([self.size])
        events = self.draw(number, {n: v.reshape(1) for n, v in values.items()}, self.seed)
        return events, torch.full((self.size,), 1 / self.size, dtype=torch.float64)

    def _efficiency(self, theta: Mapping[str, Tensor], seed: int) -> float:
        found = self._simulated(theta, torch.tensor([0]), _PILOT, seed, 0)
        return max(len(found[0]), 4) / _PILOT

    def _simulated(
        self, theta: Mapping[str, Tensor], rows: Tensor, generated: int, seed: int, block: int
    ) -> list[Tensor]:
        at = {name: value[rows, None] for name, value in theta.items()}
        state = self.chain.simulate(at, generated, stream(seed, "toys", block)).state
        x = torch.stack([state[name] for name in self.columns], -1).double()
        selected = state["selected"].bool() if "selected" in state else x[..., 0] == x[..., 0]
        return [events[passed] for events, passed in zip(x, selected, strict=True)]
