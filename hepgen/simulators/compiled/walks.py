"""The walks of ``ee_jets`` that run as machine code."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hepgen.simulators.compiled import decays, jets, shower
from hepgen.simulators.compiled.kernel import Array, padded
from hepgen.simulators.coupling import REFERENCE, RunningCoupling
from hepgen.simulators.decays import DecayChain
from hepgen.simulators.dipole_cascade import DipoleCascade
from hepgen.simulators.fragmentation import Fragmentation
from hepgen.simulators.history import Steps
from hepgen.simulators.lund import LundFunction
from hepgen.simulators.species import JetEnds, Menus, Species


def _seed() -> int:
    """The seed of a kernel, from the stream of the stage."""
    return int(torch.randint(2**63 - 1, ()))


def _array(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().numpy())


def _recorded(steps: Steps | None, names: tuple[str, ...]) -> tuple[Array, ...]:
    """The columns of recorded steps, or as many without any."""
    if steps is None:
        return tuple(np.zeros((0, 0)) for _ in names)
    return tuple(_array(steps.columns[name].double()) for name in names)


def _counts(steps: Steps | None, events: int) -> Array:
    return np.zeros(events, np.int64) if steps is None else _array(steps.count)


def _steps(names: tuple[str, ...], rows: Array, counts: Array) -> Steps:
    columns = padded(rows, tuple(range(len(names))), counts)
    made = {name: torch.from_numpy(c) for name, c in zip(names, columns, strict=True)}
    return Steps(torch.from_numpy(counts), made)


def _lists(menus: Menus, rows: int) -> tuple[Array, Array]:
    """The ends of lists, and where to begin to look in each of the equal parts of a list."""
    part = torch.arange(rows * jets.BINS, dtype=torch.float64) / jets.BINS
    return _array(menus.ends), _array(torch.searchsorted(menus.ends, part, right=True))


class CompiledCascade(DipoleCascade):
    """The shower of N pairs."""

    def draw(self) -> Steps:
        """Run the shower."""
        trials, counts = self._walk(None)
        return _steps(self.columns, trials, counts)

    def follow(self, steps: Steps) -> None:
        """Run along recorded trials, and keep the terms of the density."""
        trials, counts = self._walk(steps)
        events, t, vetoed, weight = torch.from_numpy(trials).unbind(-1)
        self.choices = [(events.long(), t, vetoed > 0, weight)]
        self.terms["shower_position"] = torch.zeros(self.events, dtype=torch.float64)
        self.terms["shower_azimuth"] = -math.log(2 * math.pi) * torch.from_numpy(counts)

    def _walk(self, steps: Steps | None) -> tuple[Array, Array]:
        n = self.events
        # Only the drawing reads α_s, which then has no derivative.
        alpha = self.alpha_s if steps is None else torch.zeros_like(self.energy)
        pairs = torch.stack(
            [self.energy, self.flavour.double(), *self.direction, alpha, self.cutoff], -1
        )
        terms, counts = np.zeros((2, n)), _counts(steps, n)
        rows, self._partons, made = shower.run(
            _seed() if steps is None else 0, _array(pairs), self._clock(), REFERENCE,
            _recorded(steps, self.columns), counts, steps is None,
            np.empty((16 * n + 64, 4)), np.empty((12 * n + 64, 5)), terms,
        )  # fmt: skip
        self.partons = torch.from_numpy(made)
        self.terms = {
            name: torch.from_numpy(one)
            for name, one in zip((self.count, "shower_scale"), terms, strict=True)
        }
        return rows, counts

    def _clock(self) -> Array:
        coupling = self.coupling
        running = isinstance(coupling, RunningCoupling)
        slope, pole = (coupling.slope, coupling.pole) if running else (0.0, 0.0)
        return np.array([slope, pole, coupling.alpha_max])

    def ordered(self) -> tuple[Tensor, Tensor]:
        """Momenta, shape ``(4, N, K)``, and ids along the chains of colour."""
        *momenta, ids = padded(self._partons, (0, 1, 2, 3, 4), self.partons.numpy())
        return torch.stack([torch.from_numpy(p) for p in momenta]), torch.from_numpy(ids).long()


class CompiledFragmentation(Fragmentation):
    """The jets of N events.

    Arguments:
        partons: E, x, y, z and id, shape ``(N, K)`` each, and their number, ``(N,)``.
        point: The parameter point of each event, shape ``(N,)``.
        function, ends, masses, stop: As for :class:`Fragmentation`.
    """

    def __init__(
        self,
        partons: tuple[Tensor, ...],
        point: Tensor,
        function: LundFunction,
        ends: JetEnds,
        masses: Tensor,
        stop: float,
    ) -> None:
        self.columns_of_partons = tuple(_array(one) for one in partons)
        self.point, self.function = point, function
        self.ends, self.masses, self.stop = ends, masses, stop
        self.events = len(point)

    def draw(self) -> Steps:
        """Fragment everything."""
        fragments, counts, _ = self._walk(None)
        return _steps(self.columns, fragments, counts)

    def follow(self, steps: Steps) -> None:
        """Fragment as recorded."""
        fragments, _, terms = self._walk(steps)
        events, share, log_mt2 = torch.from_numpy(fragments).unbind(-1)[:3]
        self.shares = [(events.long(), share, log_mt2)]
        self.terms = {self.count: torch.zeros(self.events, dtype=torch.float64)}
        for name, term in zip(self.columns, terms, strict=False):
            self.terms[name] = torch.from_numpy(term)

    def _walk(self, steps: Steps | None) -> tuple[Array, Array, Array]:
        n, ends = self.events, self.ends
        lists = _lists(ends.menus, int(ends.menus.owner.max()) + 1)
        menu = (*lists, *(_array(x) for x in (ends.hadron, ends.left, ends.menus.log_chance)))
        terms, counts = np.zeros((3, n)), _counts(steps, n)
        fragments, self._hadrons, self._made = jets.fragment(
            _seed() if steps is None else 0, self.columns_of_partons, menu, _array(self.masses),
            *self._tables(), self.stop, _recorded(steps, self.columns), counts, steps is None,
            np.empty((32 * n + 64, 4)), np.empty((28 * n + 64, 5)), terms,
        )  # fmt: skip
        return fragments, counts, terms

    def _tables(self) -> tuple[tuple[Array, ...], tuple[float, float, int, int]]:
        f = self.function
        values, area = _array(f.values), _array(f.area)
        scale = (f.rows - 1) / (f.highest - f.lowest)
        points = len(values) // f.rows
        per_point = max(self.events // points, 1)
        tables = _array(f.nodes), values, area, jets.guide(area)
        return tables, (f.lowest, scale, f.rows, per_point)

    def restore(self, energy: Tensor) -> Tensor:
        """Give the hadrons the energy of their events; the events where that fails."""
        excess = jets.restore(self._hadrons, self._made, _array(energy), _array(self.masses))
        return torch.from_numpy(np.flatnonzero(np.abs(excess) > 1e-3))

    def decays(self, species: Species) -> DecayChain:
        """The decays of the hadrons."""
        return CompiledDecays(self._hadrons, self._made, species)


class CompiledDecays(DecayChain):
    """The decays of the hadrons of N events.

    Arguments:
        hadrons: Rows (species, E, x, y, z), event after event.
        made: How many of them each event has.
        species: The table.
    """

    def __init__(self, hadrons: Array, made: Array, species: Species) -> None:
        self.rows, self.made, self.species = hadrons, made, species
        self.events = len(made)

    def draw(self) -> Steps:
        """Let everything decay."""
        rows, counts, _ = self._walk(None)
        return _steps(self.columns, rows, counts)

    def follow(self, steps: Steps) -> None:
        """Decay as recorded."""
        _, counts, chances = self._walk(steps)
        self._record(torch.from_numpy(counts), torch.from_numpy(chances))

    def _walk(self, steps: Steps | None) -> tuple[Array, Array, Array]:
        n, table = self.events, self.species
        menu = (
            *_lists(table.menus, len(table.ids)),
            *(
                _array(x)
                for x in (table.daughters, table.momentum, table.energy, table.menus.log_chance)
            ),
        )
        terms, counts = np.zeros(n), _counts(steps, n)
        rows, self._left, self._number = decays.decay(
            _seed() if steps is None else 0, self.rows, self.made, menu, _array(table.mass),
            _array(~table.decays), _recorded(steps, self.columns), counts, steps is None,
            np.empty((32 * n + 64, 3)), np.empty((56 * n + 64, 5)), terms,
        )  # fmt: skip
        return rows, counts, terms

    def padded(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Momenta ``(4, N, K)``, PDG ids ``(N, K)``, numbers and charged numbers ``(N,)``."""
        shape = (self.events, max(int(self._number.max(initial=0)), 1))
        momenta, ids = np.zeros((4, *shape)), np.zeros(shape, np.int64)
        charged = np.zeros(self.events, np.int64)
        decays.columns(
            self._left, self._number, _array(self.species.pdg), momenta, ids,
            _array(self.species.is_charged), charged,
        )  # fmt: skip
        return tuple(torch.from_numpy(x) for x in (momenta, ids, self._number, charged))
