"""The walks of ``ee_jets`` that run as machine code."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from hepgen.simulators.compiled import decays, jets, shower
from hepgen.simulators.compiled.kernel import MEMORY, ROOM, Array, Columns, parts, seeded
from hepgen.simulators.coupling import REFERENCE, RunningCoupling
from hepgen.simulators.decays import DecayChain
from hepgen.simulators.dipole_cascade import DipoleCascade
from hepgen.simulators.fragmentation import Fragmentation
from hepgen.simulators.history import Steps
from hepgen.simulators.lund import LundFunction
from hepgen.simulators.species import JetEnds, Menus, Species


def _state(steps: Steps | None) -> Array:
    """The random numbers of a kernel, from the stream of the stage, where it needs any."""
    seed = 0 if steps is not None else int(torch.randint(2**63 - 1, ()))
    state: Array = seeded(seed)
    return state


def _array(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().numpy())


def _part(arrays: Iterable[Array], part: slice) -> tuple[Array, ...]:
    return tuple(np.ascontiguousarray(one[part]) for one in arrays)


def _recorded(steps: Steps | None, names: tuple[str, ...]) -> tuple[Array, ...]:
    """The columns of recorded steps, or as many without any."""
    if steps is None:
        return tuple(np.zeros((0, 0)) for _ in names)
    return tuple(_array(steps.columns[name].double()) for name in names)


def _counts(steps: Steps | None, events: int) -> Array:
    return np.zeros(events, np.int64) if steps is None else _array(steps.count)


def _steps(names: tuple[str, ...], columns: Columns, counts: Array) -> Steps:
    made = dict(zip(names, columns.tensor, strict=True))
    return Steps(torch.from_numpy(counts), made)


def _momenta_and_ids(columns: Columns) -> tuple[Tensor, Tensor]:
    """Of columns (id, E, x, y, z), the ids as the bits of integers."""
    values = columns.tensor
    return values[1:], values[0].view(torch.int64)


def _lists(menus: Menus, rows: int) -> tuple[Array, Array]:
    """The ends of lists, and where to begin to look in each of the equal parts of a list."""
    part = torch.arange(rows * jets.BINS, dtype=torch.float64) / jets.BINS
    return _array(menus.ends), _array(torch.searchsorted(menus.ends, part, right=True))


class CompiledCascade(DipoleCascade):
    """The shower of N pairs."""

    def draw(self) -> Steps:
        """Run the shower."""
        columns, counts, _ = self._walk(None)
        return _steps(self.columns, columns, counts)

    def follow(self, steps: Steps) -> None:
        """Run along recorded trials, and keep the terms of the density."""
        _, counts, trials = self._walk(steps)
        events, t, vetoed, weight = torch.from_numpy(trials).unbind(-1)
        self.choices = [(events.long(), t, vetoed > 0, weight)]
        self.terms["shower_position"] = torch.zeros(self.events, dtype=torch.float64)
        self.terms["shower_azimuth"] = -math.log(2 * math.pi) * torch.from_numpy(counts)

    def _walk(self, steps: Steps | None) -> tuple[Columns, Array, Array]:
        n, drawing = self.events, steps is None
        # Only the drawing reads α_s, which then has no derivative.
        alpha = self.alpha_s if drawing else torch.zeros_like(self.energy)
        pairs = _array(
            torch.stack(
                [self.energy, self.flavour.double(), *self.direction, alpha, self.cutoff], -1
            )
        )
        state, clock, recorded = _state(steps), self._clock(), _recorded(steps, self.columns)
        counts, made = _counts(steps, n), np.zeros(n, np.int64)
        terms = np.zeros((2, 0 if drawing else n))
        columns, self._partons = Columns("trials", len(self.columns), n), Columns("partons", 5, n)
        trials, partons = np.empty((2 * ROOM, 4)), np.empty((2 * ROOM, 5))
        rows = trials[:0]
        for part in parts(n, whole=not drawing):
            rows, final = shower.run(
                state, pairs[part], clock, REFERENCE, recorded, counts[part], made[part],
                drawing, trials, partons, terms,
            )  # fmt: skip
            self._partons.add(final, made[part])
            if drawing:
                columns.add(rows, counts[part])
        self.partons = torch.from_numpy(made)
        self.terms = {
            name: torch.from_numpy(one)
            for name, one in zip((self.count, "shower_scale"), terms, strict=True)
        }
        return columns, counts, rows

    def _clock(self) -> Array:
        slope = pole = 0.0
        if isinstance(self.coupling, RunningCoupling):
            slope, pole = self.coupling.slope, self.coupling.pole
        return np.array([slope, pole, self.coupling.alpha_max])

    def ordered(self) -> tuple[Tensor, Tensor]:
        """Momenta, shape ``(4, N, K)``, and ids along the chains of colour."""
        return _momenta_and_ids(self._partons)


class CompiledFragmentation(Fragmentation):
    """The jets of N events.

    Arguments:
        partons: E, x, y, z and id, shape ``(N, K)`` each.
        number: How many there are of them, shape ``(N,)``.
        point: The parameter point of each event, shape ``(N,)``.
        function, ends, masses, stop: As for :class:`Fragmentation`.
    """

    def __init__(
        self,
        partons: Sequence[Tensor],
        number: Tensor,
        point: Tensor,
        function: LundFunction,
        ends: JetEnds,
        masses: Tensor,
        stop: float,
    ) -> None:
        self._partons, self._number = [one.detach().numpy() for one in partons], _array(number)
        self.point, self.function = point, function
        self.ends, self.masses, self.stop = ends, masses, stop
        self.events = len(point)

    def draw(self) -> Steps:
        """Fragment everything."""
        columns, counts, *_ = self._walk(None)
        return _steps(self.columns, columns, counts)

    def follow(self, steps: Steps) -> None:
        """Fragment as recorded."""
        *_, fragments, terms = self._walk(steps)
        events, share, log_mt2 = torch.from_numpy(fragments).unbind(-1)[:3]
        self.shares = [(events.long(), share, log_mt2)]
        self.terms = {self.count: torch.zeros(self.events, dtype=torch.float64)}
        for name, term in zip(self.columns, terms, strict=False):
            self.terms[name] = torch.from_numpy(term)

    def _walk(self, steps: Steps | None) -> tuple[Columns, Array, Array, Array]:
        n, drawing, ends = self.events, steps is None, self.ends
        lists = _lists(ends.menus, int(ends.menus.owner.max()) + 1)
        menu = (*lists, *(_array(x) for x in (ends.hadron, ends.left, ends.menus.log_chance)))
        state, recorded, mass = _state(steps), _recorded(steps, self.columns), _array(self.masses)
        tables, point = self._tables(), _array(self.point)
        counts, self._made = _counts(steps, n), np.zeros(n, np.int64)
        terms = np.zeros((3, 0 if drawing else n))
        columns = Columns("fragments", len(self.columns), n)
        fragments, self._hadrons, made = (
            np.empty((2 * ROOM, 4)),
            MEMORY.take("hadrons", 32 * n + ROOM, 5),
            0,
        )
        rows = fragments[:0]
        for part in parts(n, whole=not drawing):
            rows, self._hadrons, made = jets.fragment(
                state, _part(self._partons, part), self._number[part], point[part], menu, mass,
                *tables, self.stop, recorded, counts[part], self._made[part], drawing,
                fragments, self._hadrons, made, terms,
            )  # fmt: skip
            if drawing:
                columns.add(rows, counts[part])
        return columns, counts, rows, terms

    def _tables(self) -> tuple[tuple[Array, ...], tuple[float, float, int]]:
        f = self.function
        values, area = _array(f.values), _array(f.area)
        scale = (f.rows - 1) / (f.highest - f.lowest)
        return (_array(f.nodes), values, area, jets.guide(area)), (f.lowest, scale, f.rows)

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
        self._hadrons, self._made, self.species = hadrons, made, species
        self.events = len(made)

    def draw(self) -> Steps:
        """Let everything decay."""
        columns, counts, _ = self._walk(None)
        return _steps(self.columns, columns, counts)

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
        state, recorded = _state(steps), _recorded(steps, self.columns)
        counts, terms = _counts(steps, n), np.zeros(0 if drawing else n)
        self._left, self._charged = np.zeros((2, n), np.int64)
        columns, self._final = Columns("decays", len(self.columns), n), Columns("particles", 5, n)
        decayed, final = np.empty((16 * ROOM, 3)), np.empty((16 * ROOM, 5))
        ends = np.concatenate([[0], self._made.cumsum()])
        for part in parts(n, whole=not drawing):
            hadrons = self._hadrons[ends[part.start] : ends[min(part.stop, n)]]
            rows, left = decays.decay(
                state, hadrons, self._made[part], menu, kinds, recorded, counts[part],
                self._left[part], self._charged[part], drawing, decayed, final, terms,
            )  # fmt: skip
            self._final.add(left, self._left[part])
            if drawing:
                columns.add(rows, counts[part])
        return columns, counts, terms

    def padded(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Momenta ``(4, N, K)``, PDG ids ``(N, K)``, numbers and charged numbers ``(N,)``."""
        numbers = torch.from_numpy(self._left), torch.from_numpy(self._charged)
        return *_momenta_and_ids(self._final), *numbers
