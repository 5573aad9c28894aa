"""The walks of ``ee_jets`` that run as machine code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from hepgen.simulators.compiled import decays, jets, shower
from hepgen.simulators.compiled.kernel import MEMORY, Array, Columns, Recorded, seeded
from hepgen.simulators.coupling import REFERENCE, RunningCoupling
from hepgen.simulators.decays import DecayChain
from hepgen.simulators.dipole_cascade import VETO, DipoleCascade
from hepgen.simulators.fragmentation import Fragmentation
from hepgen.simulators.history import Steps, Walk
from hepgen.simulators.lund import LundFunction
from hepgen.simulators.species import JetEnds, Menus, Species


def _state(steps: Steps | None) -> Array:
    """The random numbers of a kernel, from the stream of the stage, where it needs any."""
    seed = 0 if steps is not None else int(torch.randint(2**63 - 1, ()))
    state: Array = seeded(seed)
    return state


def _array(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().numpy())


def _whole_rows(tensor: Tensor) -> Array:
    """A column, with what its rows have beyond it in memory if they are part of longer ones."""
    step, end = tensor.stride(0), tensor.storage_offset() + len(tensor) * tensor.stride(0)
    if tensor.stride(1) == 1 and end * tensor.element_size() <= tensor.untyped_storage().nbytes():
        tensor = tensor.as_strided((len(tensor), step), (step, 1))
    return _array(tensor)


def _columns(walk: Walk, events: int, steps: Steps | None) -> Columns:
    """Recorded steps, or room for those that are drawn."""
    if steps is None:
        return Columns(walk.count, len(walk.columns), events)
    return Recorded(*(_array(steps.columns[name].double()) for name in walk.columns))


def _noted(steps: Steps | None) -> Array:
    """Room for a number of each recorded step."""
    shape = (0, 0) if steps is None else next(iter(steps.columns.values())).shape
    return np.empty(shape)


def _counts(steps: Steps | None, events: int) -> Array:
    return np.zeros(events, np.int64) if steps is None else _array(steps.count)


def _steps(walk: Walk, columns: Columns, counts: Array, finite: bool) -> Steps:
    made = dict(zip(walk.columns, columns.tensor(counts), strict=True))
    return Steps(torch.from_numpy(counts), made, finite)


def _entries(steps: Steps, *columns: Tensor) -> tuple[Tensor, ...]:
    """The event of each step, and what the steps have in some columns."""
    exists = torch.arange(columns[0].shape[1]) < steps.count[:, None]
    return exists.nonzero()[:, 0], *(column[exists] for column in columns)


def _momenta_and_ids(columns: Columns, counts: Array) -> tuple[Tensor, Tensor]:
    """Of columns (id, E, x, y, z), the ids as the bits of integers."""
    values = columns.tensor(counts)
    return values[1:], values[0].view(torch.int64)


@lru_cache(maxsize=8)
def _lists(menus: Menus, rows: int) -> tuple[Array, Array]:
    """The ends of lists, and where to begin to look in each of the equal parts of a list."""
    part = torch.arange(rows * jets.BINS, dtype=torch.float64) / jets.BINS
    return _array(menus.ends), _array(torch.searchsorted(menus.ends, part, right=True).short())


class CompiledCascade(DipoleCascade):
    """The shower of N pairs."""

    def draw(self) -> Steps:
        """Run the shower."""
        columns, counts, _, check = self._walk(None)
        return _steps(self, columns, counts, math.isfinite(check))

    def follow(self, steps: Steps) -> None:
        """Run along recorded trials, and keep the terms of the density."""
        _, counts, weights, _ = self._walk(steps)
        scale, outcome = steps.columns["shower_scale"], steps.columns["shower_outcome"]
        events, t, chosen, weight = _entries(steps, scale, outcome, torch.from_numpy(weights))
        self.choices = [(events, t, chosen == VETO, weight)]
        self.terms["shower_position"] = torch.zeros(self.events, dtype=torch.float64)
        self.terms["shower_azimuth"] = -math.log(2 * math.pi) * torch.from_numpy(counts)

    def _walk(self, steps: Steps | None) -> tuple[Columns, Array, Array, float]:
        n, drawing = self.events, steps is None
        # Only the drawing reads α_s, which then has no derivative.
        alpha = self.alpha_s if drawing else torch.zeros_like(self.energy)
        pairs = _array(
            torch.stack(
                [self.energy, self.flavour.double(), *self.direction, alpha, self.cutoff], -1
            )
        )
        state, clock, columns = _state(steps), self._clock(), _columns(self, n, steps)
        counts, self._made = _counts(steps, n), np.zeros(n, np.int64)
        terms, weights = np.zeros((2, 0 if drawing else n)), _noted(steps)
        self._partons = Columns("partons", 5, n)
        done, check = 0, 0.0
        while done < n:
            done, part = shower.run(
                state, done, pairs, clock, REFERENCE, drawing, columns.arrays, counts,
                self._partons.arrays, self._made, weights, terms,
            )  # fmt: skip
            check += part
            if done < n:
                columns.reserve(int(counts[done]), done)
                self._partons.reserve(int(self._made[done]), done)
        self.partons = torch.from_numpy(self._made)
        self.terms = {
            name: torch.from_numpy(one)
            for name, one in zip((self.count, "shower_scale"), terms, strict=True)
        }
        return columns, counts, weights, check

    def _clock(self) -> Array:
        slope = pole = 0.0
        if isinstance(self.coupling, RunningCoupling):
            slope, pole = self.coupling.slope, self.coupling.pole
        return np.array([slope, pole, self.coupling.alpha_max])

    def ordered(self) -> tuple[Tensor, Tensor]:
        """Momenta, shape ``(4, N, K)``, and ids along the chains of colour."""
        return _momenta_and_ids(self._partons, self._made)


class CompiledFragmentation(Fragmentation):
    """The jets of N events.

    Arguments:
        partons: E, x, y, z and id, shape ``(N, K)`` each.
        number: How many there are of them, shape ``(N,)``.
        energy: √s of each event, GeV, shape ``(N,)``.
        point: The parameter point of each event, shape ``(N,)``.
        function, ends, masses, stop: As for :class:`Fragmentation`.
    """

    def __init__(
        self,
        partons: Sequence[Tensor],
        number: Tensor,
        energy: Tensor,
        point: Tensor,
        function: LundFunction,
        ends: JetEnds,
        masses: Tensor,
        stop: float,
    ) -> None:
        self._partons, self._number = tuple(_whole_rows(x) for x in partons), _array(number)
        self.energy, self.point, self.function = energy, point, function
        self.ends, self.masses, self.stop = ends, masses, stop
        self.events = len(point)

    def draw(self) -> Steps:
        """Fragment everything."""
        columns, counts, *_, check = self._walk(None)
        return _steps(self, columns, counts, math.isfinite(check))

    def follow(self, steps: Steps) -> None:
        """Fragment as recorded."""
        *_, log_mt2, terms, _ = self._walk(steps)
        recorded = steps.columns["fragment_share"], torch.from_numpy(log_mt2)
        events, share, log = _entries(steps, *recorded)
        self.shares = [(events, share, log)]
        self.terms = {self.count: torch.zeros(self.events, dtype=torch.float64)}
        for name, term in zip(self.columns, terms, strict=False):
            self.terms[name] = torch.from_numpy(term)

    def _walk(self, steps: Steps | None) -> tuple[Columns, Array, Array, Array, float]:
        n, drawing, ends = self.events, steps is None, self.ends
        lists = _lists(ends.menus, int(ends.menus.owner.max()) + 1)
        menu = (*lists, *(_array(x) for x in (ends.hadron, ends.left, ends.menus.log_chance)))
        state, columns, mass = _state(steps), _columns(self, n, steps), _array(self.masses)
        tables, point = self._tables(), _array(self.point)
        counts, self._kept = _counts(steps, n), np.zeros(n, np.int64)
        terms, log_mt2 = np.zeros((3, 0 if drawing else n)), _noted(steps)
        self._excess, self._hadrons = np.zeros(n), np.empty((5, 0))
        energy = _array(self.energy)
        done, check = 0, 0.0
        while done < n:
            self._reserve_hadrons(n * columns.width, int(self._kept[:done].sum()))
            done, part = jets.fragment(
                state, done, self._partons, self._number, energy, point, menu, mass, *tables,
                self.stop, drawing, columns.arrays, counts, tuple(self._hadrons), self._kept,
                self._excess, log_mt2, terms,
            )  # fmt: skip
            check += part
            if done < n:
                columns.reserve(int(counts[done]), done)
        return columns, counts, log_mt2, terms, check

    def _reserve_hadrons(self, room: int, made: int) -> None:
        """Room for them in one list: the next stage reads them once, one after the other."""
        old, self._hadrons = self._hadrons, MEMORY.take("hadrons", 5, room)
        self._hadrons[:, :made] = old[:, :made]

    def _tables(self) -> tuple[tuple[Array, ...], tuple[float, float, int]]:
        f = self.function
        values, area = _array(f.values), _array(f.area)
        scale = (f.rows - 1) / (f.highest - f.lowest)
        nodes, guide = _array(f.nodes), jets.guide(area)
        return (nodes, 1 / np.diff(nodes), values, area, guide), (f.lowest, scale, f.rows)

    def restore(self) -> Tensor:
        """The events whose hadrons could not get their energy."""
        return torch.from_numpy(np.flatnonzero(np.abs(self._excess) > 1e-3))

    def decays(self, species: Species) -> DecayChain:
        """The decays of the hadrons."""
        return CompiledDecays(self._hadrons, self._kept, species)


class CompiledDecays(DecayChain):
    """The decays of the hadrons of N events.

    Arguments:
        hadrons: Species, E, x, y, z of one event after the other, shape ``(5, T)``.
        made: How many of them each event has.
        species: The table.
    """

    def __init__(self, hadrons: Array, made: Array, species: Species) -> None:
        self._hadrons, self._made, self.species = hadrons, made, species
        self.events = len(made)

    def draw(self) -> Steps:
        """Let everything decay."""
        columns, counts, _ = self._walk(None)
        return _steps(self, columns, counts, finite=True)

    def follow(self, steps: Steps) -> None:
        """Decay as recorded."""
        _, counts, chances = self._walk(steps)
        self._record(torch.from_numpy(counts), torch.from_numpy(chances))

    def _walk(self, steps: Steps | None) -> tuple[Columns, Array, Array]:
        n, drawing, table = self.events, steps is None, self.species
        modes = table.daughters, table.momentum, table.energy, table.menus.log_chance
        menu = (*_lists(table.menus, len(table.ids)), *(_array(x) for x in modes))
        of_kind = table.mass, ~table.decays, table.pdg, table.is_charged
        kinds = tuple(_array(x) for x in of_kind)
        state, columns = _state(steps), _columns(self, n, steps)
        counts, terms = _counts(steps, n), np.zeros(0 if drawing else n)
        self._left, self._charged = np.zeros((2, n), np.int64)
        self._particles = Columns("particles", 5, n)
        done = 0
        while done < n:
            done = decays.decay(
                state, done, tuple(self._hadrons), self._made, menu, kinds, drawing,
                columns.arrays, counts, self._particles.arrays, self._left, self._charged, terms,
            )  # fmt: skip
            if done < n:
                columns.reserve(int(counts[done]), done)
                self._particles.reserve(int(self._left[done]), done)
        return columns, counts, terms

    def padded(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Momenta ``(4, N, K)``, PDG ids ``(N, K)``, numbers and charged numbers ``(N,)``."""
        numbers = torch.from_numpy(self._left), torch.from_numpy(self._charged)
        return *_momenta_and_ids(self._particles, self._left), *numbers
