"""Hadronisation: each parton fragments on its own, and hadrons decay."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.parameters import Parameter
from hepgen.simulators.compiled import compilable
from hepgen.simulators.decays import DecayChain, Particles
from hepgen.simulators.history import Recorder, Steps, Walk, gathered, rank
from hepgen.simulators.lund import LundFunction
from hepgen.simulators.species import JetEnds, Species
from hepgen.simulators.stage import Failure, Stage, State

LUND_A = Parameter("lund_a", 0.68, label=r"$a$", low=0.1, high=2.0)
LUND_B = Parameter("lund_b", 0.98, "1/GeV^2", label=r"$b$", low=0.2, high=2.0)
#: Of each component of the transverse momentum of a pair, GeV: 0.335 for both together.
SIGMA = 0.335 / math.sqrt(2)
HEAVY = 1.5  # GeV: a leading hadron above this is kept whichever way it goes


#: Kind, transverse momentum and share of hadrons, for events, slots in the record, ends of the
#: jets and the transverse momentum they carry.
Choose = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


class Fragmentation(Walk):
    r"""Hadrons come off the ends of jets, one at a time from every jet of N events.

    Arguments:
        partons: Of all events; ``species`` are rows of the lists of ``ends``.
        energy: √s of each event, GeV, shape ``(N,)``.
        point: The parameter point of each event, shape ``(N,)``.
        function: f(z).
        ends: What can come off.
        masses: Of the hadrons by index.
        stop: A jet ends where E + p is below this, GeV.
    """

    count = "fragments"
    columns = ("fragment_kind", "fragment_x", "fragment_y", "fragment_share")

    def __init__(
        self,
        partons: Particles,
        energy: Tensor,
        point: Tensor,
        function: LundFunction,
        ends: JetEnds,
        masses: Tensor,
        stop: float,
    ) -> None:
        self.partons, self.energy, self.point, self.function = partons, energy, point, function
        self.ends, self.masses, self.stop = ends, masses, stop
        self.events = len(point)

    def draw(self) -> Steps:
        """Fragment everything."""
        sampler = self.function.sampler()
        drawn: list[tuple[Tensor, ...]] = []

        def choose(
            rows: Tensor, slot: Tensor, end: Tensor, kick: Tensor
        ) -> tuple[Tensor, Tensor, Tensor]:
            u = torch.rand(len(rows), dtype=torch.float64)
            kind = self.ends.menus.draw(end, u)
            pair = SIGMA * torch.randn(2, len(rows), dtype=torch.float64)
            share = sampler.draw(self.point[rows], self._log_mt2(kind, kick + pair))
            drawn.append((rows, slot, kind, *pair, share))
            return kind, pair, share

        counts = self._run(choose)
        width = max(int(counts.max()), 1)
        places = [one[0] * width + one[1] for one in drawn]
        columns = {
            name: gathered(places, [one[k].double() for one in drawn], (self.events, width))
            for k, name in enumerate(self.columns, start=2)
        }
        return Steps(counts, columns)

    def follow(self, steps: Steps) -> None:
        """Fragment as recorded."""
        self.shares: list[tuple[Tensor, Tensor, Tensor]] = []
        zero = torch.zeros(self.events, dtype=torch.float64)
        self.terms = {name: zero.clone() for name in (self.count, *self.columns[:3])}

        def choose(
            rows: Tensor, slot: Tensor, _: Tensor, kick: Tensor
        ) -> tuple[Tensor, Tensor, Tensor]:
            kind, x, y, share = (steps.columns[n][rows, slot] for n in self.columns)
            kind, pair = kind.long(), torch.stack([x, y])
            self.terms["fragment_kind"].index_add_(0, rows, self.ends.menus.log_chance[kind])
            for name, value in (("fragment_x", x), ("fragment_y", y)):
                self.terms[name].index_add_(0, rows, _normal(value))
            self.shares.append((rows, share, self._log_mt2(kind, kick + pair)))
            return kind, pair, share

        self._run(choose)

    def log_prob(self, name: str) -> Tensor:
        """The term of a site; a and b are in that of the shares alone."""
        if name in self.terms:
            return self.terms[name]
        rows, share, log_mt2 = (torch.cat(list(one)) for one in zip(*self.shares, strict=True))
        term = self.function.log_prob(share, self.point[rows], log_mt2)
        return torch.zeros(self.events, dtype=torch.float64).index_add(0, rows, term)

    def restore(self) -> Tensor:
        """Give the hadrons the energy of their events; the events where that fails."""
        self.hadrons.momenta, failed = restored(self.hadrons, self.energy, self.masses)
        return failed

    def decays(self, species: Species) -> DecayChain:
        """The decays of the hadrons."""
        return DecayChain(self.hadrons, self.events, species)

    def _log_mt2(self, kind: Tensor, kick: Tensor) -> Tensor:
        mass = self.masses[self.ends.hadron[kind]]
        return (mass * mass + kick[0] * kick[0] + kick[1] * kick[1]).log()

    def _run(self, choose: Choose) -> Tensor:
        """Take hadrons off all jets at once, step by step; the number for each event."""
        counts = torch.zeros(self.events, dtype=torch.int64)
        rows, end = self.partons.rows, self.partons.species
        light_cone = 2 * self.partons.momenta[0]
        jet = torch.arange(len(rows))
        kick = torch.zeros(2, len(rows), dtype=torch.float64)
        made: list[tuple[Tensor, ...]] = []
        first = True
        while True:
            on = (light_cone > self.stop).nonzero().squeeze(-1)
            if not len(on):
                break
            rows, end, light_cone, jet = (one[on] for one in (rows, end, light_cone, jet))
            kick = kick.index_select(1, on)
            place, number = rank(rows, self.events)
            slot = counts[rows] + place
            counts = counts + number
            kind, pair, share = choose(rows, slot, end, kick)
            transverse = kick + pair
            hadron = self.ends.hadron[kind]
            mass = self.masses[hadron]
            mt2 = mass * mass + transverse.square().sum(0)
            plus = share * light_cone
            along = 0.5 * (plus - mt2 / plus)
            keep = along > 0
            if first:
                keep = keep | (mass > HEAVY)
                along = along.abs()
            kept = keep.nonzero().squeeze(-1)
            made.append(tuple(one[kept] for one in (jet, rows, slot, hadron, *transverse, along)))
            end, light_cone, kick = self.ends.left[kind], light_cone - plus, -pair
            first = False
        self.hadrons = self._assembled(made, counts)
        return counts

    def _assembled(self, made: Sequence[tuple[Tensor, ...]], counts: Tensor) -> Particles:
        """The hadrons in the order of their events, turned to the axes of their jets."""
        jet, rows, slot, hadron, x, y, along = (torch.cat(list(c)) for c in zip(*made, strict=True))
        width = int(counts.max())
        place = torch.full((self.events * width,), -1)
        place[rows * width + slot] = torch.arange(len(rows))
        order = place[place >= 0]
        jet, hadron, x, y, along = (one[order] for one in (jet, hadron, x, y, along))
        momentum = turned(self.partons.momenta[:, jet], x, y, along)
        mass = self.masses[hadron]
        energy = (mass * mass + momentum.square().sum(0)).sqrt()
        return Particles(rows[order], hadron, torch.cat([energy[None], momentum]))


def _normal(value: Tensor) -> Tensor:
    """Log-density of one component of a pair's transverse momentum."""
    return -0.5 * (value / SIGMA).square() - math.log(SIGMA * math.sqrt(2 * math.pi))


def turned(axis: Tensor, x: Tensor, y: Tensor, along: Tensor) -> Tensor:
    """A momentum given along and across the direction of a parton, shape ``(3, T)``."""
    energy, nx, ny, nz = axis
    nx, ny, nz = nx / energy, ny / energy, nz / energy
    # Two vectors normal to the axis, without a singular direction (Duff et al., JCGT 2017).
    sign = torch.where(nz >= 0, 1.0, -1.0).double()
    a = -1 / (sign + nz)
    sideways = sign * x * nx + y * ny
    common = along + a * sideways
    return torch.stack([nx * common + x, ny * common + sign * y, nz * along - sideways])


def restored(hadrons: Particles, energy: Tensor, masses: Tensor) -> tuple[Tensor, Tensor]:
    r"""Momenta with the energy and momentum of their events, and the events without any.

    All hadrons of an event are boosted to their common rest frame, and there their
    three-momenta are multiplied by the k with Σ√(k²p² + m²) = √s.

    Arguments:
        hadrons: Before.
        energy: √s of each event, GeV, shape ``(N,)``.
        masses: Of the hadrons by index.

    Returns:
        The momenta, shape ``(4, T)``, and the indices of the events whose hadrons are heavier
        than √s or too few: their energy is not restored.
    """
    n, rows = len(energy), hadrons.rows
    total = torch.zeros(4, n, dtype=torch.float64).index_add_(1, rows, hadrons.momenta)
    mass = (total[0].square() - total[1:].square().sum(0)).clamp_min(1e-12).sqrt()
    e, p = hadrons.momenta[0], hadrons.momenta[1:]
    frame = (total[1:] / mass).index_select(1, rows)
    gamma = (total[0] / mass).index_select(0, rows)
    p = p + ((p * frame).sum(0) / (gamma + 1) - e) * frame
    p2, m2 = p.square().sum(0), masses[hadrons.species].square()
    k = torch.ones(n, dtype=torch.float64)
    excess = torch.zeros_like(k)
    for _ in range(8):
        each = (k.index_select(0, rows).square() * p2 + m2).sqrt()
        zero = torch.zeros(n, dtype=torch.float64)
        excess = zero.index_add(0, rows, each) - energy
        slope = k * zero.index_add(0, rows, p2 / each)
        k = (k - excess / slope.clamp_min(1e-12)).clamp(1e-3, 1e3)
        if not bool((excess.abs() > 1e-3).any()):
            break
    p = p * k.index_select(0, rows)
    momenta = torch.cat([(p.square().sum(0) + m2).sqrt()[None], p])
    return momenta, (excess.abs() > 1e-3).nonzero().squeeze(-1)


class Hadronisation(Stage):
    r"""Partons to particles by independent fragmentation (Field and Feynman) with Lund's f(z).

    Every parton is a jet of its own along its direction, with W = E + p. A hadron takes the
    share z of W, f(z) ∝ z⁻¹(1 − z)^a e^{−b m_T²/z}, and the flavour and transverse momentum of a
    new pair: u : d : s : diquark = 1 : 1 : 0.217 : 0.081 of all quarks, σ = 0.335 GeV. A hadron
    that would move backwards is dropped, and the jet ends where W < ``stop``. A gluon begins as a
    light quark or antiquark. All hadrons are then boosted to their common rest frame and their
    momenta are multiplied by one number, so that energy and momentum are those of the event.
    Hadrons decay isotropically, by chains of two bodies, without widths.

    Quantum numbers are conserved at each step along a jet, not between jets; there is no string
    between partons.

    Sites: ``fragments`` and, for each, ``fragment_kind``, ``fragment_x``, ``fragment_y`` (GeV),
    ``fragment_share`` (z); ``decays`` and, for each, ``decay_channel``, ``decay_cosine``,
    ``decay_azimuth``. Kinds and channels are places in the lists of ``species``.

    Arguments:
        stop: GeV.
        decay_kaons: Whether K_S decay here; Λ always do.
    """

    name = "hadronisation"
    parameters = (LUND_A, LUND_B)
    requires = (
        "sqrt_s", "Parton_px", "Parton_py", "Parton_pz", "Parton_e", "Parton_id", "nParton",
    )  # fmt: skip
    provides = (
        "Particle_px", "Particle_py", "Particle_pz", "Particle_e", "Particle_id", "nParticle",
        "nCharged",
    )  # fmt: skip

    def __init__(self, stop: float = 1.0, decay_kaons: bool = True) -> None:
        if not 0.3 <= stop <= 5:
            raise WorkflowError(f"a jet stops at {stop} GeV: expected 0.3 to 5")
        self.stop = stop
        self.species = Species(() if decay_kaons else (310,))
        self.ends = JetEnds(self.species)
        self._failures: list[Failure] = []

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Hadronise every event."""
        shape = state["event"].shape
        fragmentation = self.fragmentation(state, parameters)
        Recorder(fragmentation, shape).run()
        failed = fragmentation.restore()
        self._failures += [
            Failure(
                self.name, event % shape[1], "hadrons are heavier than the event", retried=False
            )
            for event in failed.tolist()
        ]
        decays = fragmentation.decays(self.species)
        Recorder(decays, shape).run()
        momenta, ids, count, charged = decays.padded()
        e, x, y, z = momenta
        columns = zip(self.provides, (x, y, z, e, ids, count, charged), strict=True)
        return state | {name: value.unflatten(0, shape) for name, value in columns}

    def failures(self) -> list[Failure]:
        """Events whose energy could not be restored: rare, and rarer at higher energy."""
        handed, self._failures = self._failures, []
        return handed

    def fragmentation(self, state: State, parameters: Mapping[str, Tensor]) -> Fragmentation:
        """The walk of the jets of a block."""
        groups, n = state["event"].shape
        a, b = (parameters[p.name].reshape(-1) for p in self.parameters)
        a, b = a + 0 * b, b + 0 * a
        points = torch.arange(groups) if len(a) == groups else torch.zeros(groups, dtype=torch.long)
        columns = [state[f"Parton_{c}"].flatten(0, 1) for c in ("e", "px", "py", "pz", "id")]
        settings = (
            state["sqrt_s"].flatten(), points.repeat_interleave(n), LundFunction(a, b), self.ends,
            self.species.mass, self.stop,
        )  # fmt: skip
        if compilable(*columns):
            from hepgen.simulators.compiled.walks import CompiledFragmentation

            return CompiledFragmentation(columns, state["nParton"].flatten(), *settings)
        *momenta, ids = columns
        exists = ids != 0
        rows = exists.nonzero()[:, 0]
        packed = torch.stack([one[exists] for one in momenta])
        return Fragmentation(Particles(rows, self.ends.row(ids[exists]), packed), *settings)
