"""Decays into two bodies, isotropic in the rest frame, until everything is stable."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.simulators.history import Steps, Walk, gathered, rank
from hepgen.simulators.kinematics import boost_from_rest
from hepgen.simulators.species import Species


@dataclass
class Particles:
    """Particles of N events in one list.

    Arguments:
        rows: The event of each, ascending, shape ``(T,)``.
        species: Index of the kind of each, shape ``(T,)``.
        momenta: (E, x, y, z) in GeV, shape ``(4, T)``.
    """

    rows: Tensor
    species: Tensor
    momenta: Tensor

    def take(self, index: Tensor) -> Particles:
        """Some of them."""
        rows, species = self.rows.index_select(0, index), self.species.index_select(0, index)
        return Particles(rows, species, self.momenta.index_select(1, index))


#: Channel, cosine and azimuth of the decays of some parents, at their slots in the record.
Choose = Callable[[Particles, Tensor], tuple[Tensor, Tensor, Tensor]]


class DecayChain(Walk):
    """The decays of the hadrons of N events, generation after generation.

    Arguments:
        hadrons: What there is at first.
        events: N.
        species: The table.
    """

    count = "decays"
    columns = ("decay_channel", "decay_cosine", "decay_azimuth")

    def __init__(self, hadrons: Particles, events: int, species: Species) -> None:
        self.hadrons, self.events, self.species = hadrons, events, species

    def draw(self) -> Steps:
        """Let everything decay."""
        drawn: list[tuple[Tensor, ...]] = []
        rows: list[Tensor] = []
        slots: list[Tensor] = []

        def choose(parents: Particles, slot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            u = torch.rand(3, len(slot), dtype=torch.float64)
            channel = self.species.menus.draw(parents.species, u[0])
            values = channel, 2 * u[1] - 1, (2 * u[2] - 1) * math.pi
            drawn.append(values)
            rows.append(parents.rows)
            slots.append(slot)
            return values

        counts = self._run(choose)
        width = max(int(counts.max()), 1)
        places = [r * width + s for r, s in zip(rows, slots, strict=True)]
        columns = {
            name: gathered(places, [one[k].double() for one in drawn], (self.events, width))
            for k, name in enumerate(self.columns)
        }
        return Steps(counts, columns)

    def follow(self, steps: Steps) -> None:
        """Decay as recorded."""
        total = torch.zeros(self.events, dtype=torch.float64)

        def choose(parents: Particles, slot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            channel, cosine, azimuth = (steps.columns[n][parents.rows, slot] for n in self.columns)
            total.index_add_(0, parents.rows, self.species.menus.log_chance[channel.long()])
            return channel.long(), cosine, azimuth

        self._record(self._run(choose), total)

    def _record(self, counts: Tensor, chances: Tensor) -> None:
        """The terms, with the logarithms of the chances of the channels of each event."""
        self.terms = {
            "decays": torch.zeros(self.events, dtype=torch.float64),
            "decay_channel": chances,
            "decay_cosine": -math.log(2) * counts,
            "decay_azimuth": -math.log(2 * math.pi) * counts,
        }

    def log_prob(self, name: str) -> Tensor:
        """The term of a site: no parameter is in any of them."""
        return self.terms[name]

    def _run(self, choose: Choose) -> Tensor:
        """Decay generation after generation; the number of decays of each event."""
        counts = torch.zeros(self.events, dtype=torch.int64)
        self.final: list[Particles] = []
        current = self.hadrons
        while True:
            decays = self.species.decays[current.species]
            self.final.append(current.take((~decays).nonzero().squeeze(-1)))
            parents = current.take(decays.nonzero().squeeze(-1))
            if not len(parents.rows):
                return counts
            place, number = rank(parents.rows, self.events)
            slot = counts[parents.rows] + place
            counts = counts + number
            current = self._daughters(parents, *choose(parents, slot))

    def _daughters(
        self, parents: Particles, channel: Tensor, cosine: Tensor, azimuth: Tensor
    ) -> Particles:
        momentum, energy = self.species.momentum[channel], self.species.energy[channel]
        sine = momentum * (1 - cosine * cosine).clamp_min(0).sqrt()
        x, y = sine * torch.cos(azimuth), sine * torch.sin(azimuth)
        e, px, py, pz = parents.momenta
        mass = self.species.mass[parents.species]
        first = torch.stack(
            boost_from_rest((energy, x, y, momentum * cosine), (e, px, py, pz), mass)
        )
        both = torch.stack([first, parents.momenta - first], dim=-1).flatten(1)
        species = self.species.daughters[channel].flatten()
        return Particles(parents.rows.repeat_interleave(2), species, both)

    def padded(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Momenta ``(4, N, K)``, PDG ids ``(N, K)``, numbers and charged numbers ``(N,)``."""
        counts = torch.zeros(self.events, dtype=torch.int64)
        charged = counts.clone()
        slots = []
        for group in self.final:
            place, number = rank(group.rows, self.events)
            slots.append(counts.index_select(0, group.rows) + place)
            counts = counts + number
            charged.index_add_(0, group.rows, self.species.is_charged[group.species])
        width = max(int(counts.max()), 1)
        momenta = torch.zeros(4, self.events * width, dtype=torch.float64)
        ids = torch.zeros(self.events * width, dtype=torch.int64)
        for group, slot in zip(self.final, slots, strict=True):
            place = group.rows * width + slot
            for out, component in zip(momenta, group.momenta, strict=True):
                out[place] = component
            ids[place] = self.species.pdg[group.species]
        shape = (self.events, width)
        return momenta.view(4, *shape), ids.view(shape), counts, charged
