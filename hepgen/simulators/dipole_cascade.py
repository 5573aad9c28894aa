"""The walk of a dipole shower: trials, what each may become, and the chain of colour."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from hepgen.simulators.coupling import Coupling
from hepgen.simulators.dipole_kinematics import branch
from hepgen.simulators.history import Steps, Walk, gathered

GLUON = 21
C_F, C_A = 4 / 3, 3.0
#: c of the clock: a trial's rate is α_over·(C_A/2π) for each unit of t and of rapidity.
RATE = C_A / (2 * math.pi)
#: Half the mass that a pair from a gluon must have, GeV: d, u, s, c, b.
THRESHOLDS = torch.tensor([0.33, 0.33, 0.5, 1.5, 4.8], dtype=torch.float64)
VETO, EMISSION = 0, 1
#: A gap between two colour chains: a dipole that does not radiate.
CLOSED = -1e9


@dataclass
class Trial:
    """One trial in each of T events.

    Arguments:
        rows: Which events.
        dipole: Its place in the chain of colour.
        t: ln k_T².
        taken_left, taken_right: 1 − x of the partons at its ends.
        emission: The weight of a gluon, relative to the overestimate with the same coupling.
        right, left: The weight of each flavour from the gluon at an end.
        flavours_right, flavours_left: How many flavours are open; 0 where there is no gluon.
    """

    rows: Tensor
    dipole: Tensor
    t: Tensor
    taken_left: Tensor
    taken_right: Tensor
    emission: Tensor
    right: Tensor
    left: Tensor
    flavours_right: Tensor
    flavours_left: Tensor

    @property
    def total(self) -> Tensor:
        """The weight of anything but a veto, at most 1."""
        return self.emission + self.right * self.flavours_right + self.left * self.flavours_left

    def choose(self, u: Tensor) -> Tensor:
        """An outcome for a number in units of the weights."""
        above = u - self.emission
        right = torch.floor(above / self.right.clamp_min(1e-30)).clamp(-1, 1e6)
        further = above - self.right * self.flavours_right
        left = torch.floor(further / self.left.clamp_min(1e-30)).clamp(-1, 1e6)
        outcome = torch.where(left < self.flavours_left, 7 + left, VETO)
        outcome = torch.where(right < self.flavours_right, 2 + right, outcome)
        return torch.where(above < 0, EMISSION, outcome).long()

    def weight(self, outcome: Tensor) -> Tensor:
        """The weight of an outcome that is not a veto."""
        split = torch.where(outcome < 7, self.right, self.left)
        return torch.where(outcome == EMISSION, self.emission, split)


@dataclass
class Branching:
    """The trials that were kept: what a :class:`Trial` has of them, and the outcome."""

    rows: Tensor
    dipole: Tensor
    t: Tensor
    left: Tensor
    right: Tensor
    outcome: Tensor

    @property
    def from_left(self) -> Tensor:
        """Whether the left end splits: it is nearer, or the gluon that becomes a pair."""
        return torch.where(self.outcome == EMISSION, self.left > self.right, self.outcome >= 7)

    @property
    def kept(self) -> Tensor:
        """x of the end that does not split."""
        return 1 - torch.where(self.from_left, self.right, self.left)


class DipoleCascade(Walk):
    r"""The shower of N pairs, as a walk whose steps are the trials.

    Arguments:
        energy: √s of each, GeV, shape ``(N,)``.
        flavour: Of the quark, 1 to 5, shape ``(N,)``.
        direction: Of the quark, shape ``(3, N)``.
        alpha_s: α_s(m_Z), shape ``(N,)``.
        cutoff: The smallest k_T, GeV, shape ``(N,)``.
        coupling: The overestimate.
    """

    count = "shower_trials"
    columns = ("shower_scale", "shower_position", "shower_azimuth", "shower_outcome")

    def __init__(
        self,
        energy: Tensor,
        flavour: Tensor,
        direction: Tensor,
        alpha_s: Tensor,
        cutoff: Tensor,
        coupling: Coupling,
    ) -> None:
        self.alpha_s, self.coupling = alpha_s, coupling
        self.cutoff = 2 * cutoff.detach().log()
        self.energy, self.flavour, self.direction = energy, flavour, direction
        self.events = len(energy)

    def _start(self) -> None:
        n, width = self.events, 12
        half = 0.5 * self.energy
        forward = torch.cat([half[None], half * self.direction])
        back = torch.cat([half[None], -half * self.direction])
        self.t = 2 * self.energy.log()
        self.length = self.t - self.t  # no rapidity is open where k_T² = s
        self.dipoles = torch.ones(n, dtype=torch.float64)
        self.partons = torch.full((n,), 2)
        self.momenta = torch.zeros(4, n, width, dtype=torch.float64)
        self.momenta[:, :, 0], self.momenta[:, :, 1] = forward, back
        self.id = torch.zeros(n, width, dtype=torch.int64)
        self.id[:, 0], self.id[:, 1] = self.flavour, -self.flavour
        # By place in the chain of colour: the parton, and the dipole to its right.
        self.order = torch.arange(width).expand(n, width).contiguous()
        self.log_s = torch.full((n, width), CLOSED, dtype=torch.float64)
        self.reach = self.log_s.clone()
        self.log_s[:, 0] = self.reach[:, 0] = self.t

    def draw(self) -> Steps:
        """Run the shower."""
        self._start()
        rows = torch.arange(self.events)
        counts = torch.zeros(self.events, dtype=torch.int64)
        places: list[Tensor] = []
        drawn: dict[str, list[Tensor]] = {name: [] for name in self.columns}
        for step in count():
            u = torch.rand(4, len(rows), dtype=torch.float64)
            t = self._next(rows, u[0])
            alive = (t > self.cutoff[rows]).nonzero().squeeze(-1)
            rows, t = rows[alive], t[alive]
            if not len(rows):
                break
            position, azimuth, v = (one[alive] for one in u[1:])
            trial = self._trial(rows, t, position)
            outcome = trial.choose(v / self.coupling.ratio(self.alpha_s[rows], t))
            azimuth = (2 * azimuth - 1) * math.pi
            self._apply(trial, outcome, azimuth)
            counts[rows] = step + 1
            places.append(rows)
            for name, value in zip(
                self.columns, (t, position, azimuth, outcome.double()), strict=True
            ):
                drawn[name].append(value)
        shape = (self.events, max(len(places), 1))
        flat = [one * shape[1] + step for step, one in enumerate(places)]
        return Steps(counts, {n: gathered(flat, v, shape) for n, v in drawn.items()})

    def _next(self, rows: Tensor, u: Tensor) -> Tensor:
        area = -u.clamp_min(1e-300).log() / RATE
        open_ = self.t[rows], self.length[rows], self.dipoles[rows]
        return self.coupling.next_scale(*open_, area)

    def follow(self, steps: Steps) -> None:
        """Run along recorded trials, and keep the terms of the density."""
        self._start()
        scale, position, azimuth, outcome = (steps.columns[n] for n in self.columns)
        n = self.events
        self.terms = {
            name: torch.zeros(n, dtype=torch.float64)
            for name in (self.count, "shower_scale", "shower_position")
        }
        self.terms["shower_azimuth"] = -math.log(2 * math.pi) * steps.count
        self.choices: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for step in range(int(steps.count.max())):
            rows = (steps.count > step).nonzero().squeeze(-1)
            t, chosen = scale[rows, step], outcome[rows, step].long()
            self._pass(rows, t)
            trial = self._trial(rows, t, position[rows, step])
            rate = RATE * self.coupling.over(t) * self.length[rows]
            self.terms["shower_scale"][rows] += rate.log()
            taken = torch.where(chosen == VETO, trial.total, trial.weight(chosen))
            self.choices.append((rows, t, chosen == VETO, taken))
            self._apply(trial, chosen, azimuth[rows, step])
        self._pass(torch.arange(n), self.cutoff)

    def _pass(self, rows: Tensor, t: Tensor) -> None:
        """No trial between the last scale and this one."""
        open_ = self.t[rows], t, self.length[rows], self.dipoles[rows]
        none = -RATE * self.coupling.integral(*open_)
        self.terms[self.count][rows] += torch.where(t <= self.t[rows], none, -math.inf)

    def log_prob(self, name: str) -> Tensor:
        """The term of a site; α_s is in that of the outcomes alone."""
        if name in self.terms:
            return self.terms[name]
        out = torch.zeros(self.events, dtype=torch.float64)
        if not self.choices:
            return out + 0 * self.alpha_s
        rows, t, vetoed, weight = (torch.cat(list(one)) for one in zip(*self.choices, strict=True))
        chance = self.coupling.ratio(self.alpha_s[rows], t) * weight
        inner = torch.where(vetoed, 0.5, chance)
        term = torch.where(vetoed, torch.log1p(-torch.where(vetoed, chance, 0.5)), inner.log())
        return out.index_add(0, rows, term)

    def _trial(self, rows: Tensor, t: Tensor, position: Tensor) -> Trial:
        """The dipole and the rapidity of a trial, and the weights of what can happen there."""
        used = int(self.partons.max()) - 1
        lengths = (self.reach[rows, :used] - t[:, None]).clamp_min(0)
        ends = lengths.cumsum(-1)
        total = ends[:, -1]
        self.t[rows], self.length[rows] = t, total
        along = position * total
        dipole = (ends < along[:, None]).sum(-1).clamp_max(used - 1)
        at = dipole[:, None]
        own, end = lengths.gather(1, at).squeeze(1), ends.gather(1, at).squeeze(1)
        # The rapidity, positive towards the left end.
        y = 0.5 * own - (along - (end - own))
        scaled = torch.exp(0.5 * (t - self.log_s[rows, dipole]))
        tilt = torch.exp(y)
        return self._weighted(rows, dipole, t, scaled * tilt, scaled / tilt)

    def _weighted(
        self, rows: Tensor, dipole: Tensor, t: Tensor, left: Tensor, right: Tensor
    ) -> Trial:
        is_left, is_right = (
            self.id[rows, self.order[rows, place]] == GLUON for place in (dipole, dipole + 1)
        )
        inside = left + right < 1
        x_left, x_right = 1 - left, 1 - right
        near = torch.where(left > right, is_left, is_right)
        # Two numbers alone would be float32.
        colour = C_F / C_A + (0.5 - C_F / C_A) * near.double()
        shape = x_left * x_left * torch.where(is_left, x_left, 1.0)
        shape = shape + x_right * x_right * torch.where(is_right, x_right, 1.0)
        other = (1 - left - right).square()
        mass2 = torch.exp(self.log_s[rows, dipole])
        open_right = is_right & inside
        open_left = is_left & inside
        return Trial(
            rows, dipole, t, left, right,
            emission=torch.where(inside, colour * shape, 0.0),
            right=right * (other + right.square()) / 12,
            left=left * (other + left.square()) / 12,
            flavours_right=_open_flavours(left * mass2) * open_right,
            flavours_left=_open_flavours(right * mass2) * open_left,
        )  # fmt: skip

    def _apply(self, trial: Trial, outcome: Tensor, azimuth: Tensor) -> None:
        """Let what is not vetoed happen."""
        happens = (outcome != VETO).nonzero().squeeze(-1)
        if not len(happens):
            return
        step = Branching(
            *(
                one[happens]
                for one in (
                    trial.rows, trial.dipole, trial.t, trial.taken_left, trial.taken_right, outcome
                )
            )
        )  # fmt: skip
        self._reserve(step.rows)
        a, b = (self.order[step.rows, step.dipole + i] for i in (0, 1))
        new = self.partons[step.rows]
        self.partons[step.rows] = new + 1
        emitter, spectator = (torch.where(step.from_left, x, y) for x, y in ((a, b), (b, a)))
        flat, base = self.momenta.view(4, -1), step.rows * self.id.shape[1]
        momenta = branch(
            flat.index_select(1, base + emitter), flat.index_select(1, base + spectator),
            step.kept, (1 - step.left - step.right) / step.kept, azimuth[happens],
        )  # fmt: skip
        for slot, momentum in zip((emitter, spectator, new), momenta, strict=True):
            flat.index_copy_(1, base + slot, momentum)
        self._recolour(step, emitter, new)
        self._remeasure(step, momenta[0])

    def _reserve(self, rows: Tensor) -> None:
        """Room for one more parton."""
        width = self.id.shape[1]
        if int(self.partons[rows].max()) + 1 <= width:
            return
        more = width // 2
        pad = torch.nn.functional.pad
        self.momenta, self.id = pad(self.momenta, (0, more)), pad(self.id, (0, more))
        self.log_s, self.reach = (pad(x, (0, more), value=CLOSED) for x in (self.log_s, self.reach))
        self.order = pad(self.order, (0, more))

    def _recolour(self, step: Branching, split: Tensor, new: Tensor) -> None:
        """Put the new parton into the chain, between the ends of its dipole."""
        rows, emission = step.rows, step.outcome == EMISSION
        flavour = torch.where(step.outcome >= 7, step.outcome - 6, step.outcome - 1)
        # A chain ends with an antiquark and the next begins with a quark: the new parton is on
        # the right of a gluon at the left end, and the other way round.
        flavour = torch.where(step.outcome >= 7, flavour, -flavour)
        self.id[rows, new] = torch.where(emission, GLUON, flavour)
        self.id[rows, split] = torch.where(emission, self.id[rows, split], -flavour)
        self.order[rows] = _inserted(self.order[rows], step.dipole, new)
        self.dipoles[rows] += emission.double()

    def _remeasure(self, step: Branching, emitter: Tensor) -> None:
        """The masses of the dipoles whose ends have changed."""
        rows, place = step.rows, step.dipole[:, None]
        old = self.log_s[rows, step.dipole]
        # s' = (1 − x)s towards the end on the other side.
        log_s = _inserted(self.log_s[rows], step.dipole, old + step.left.log())
        log_s.scatter_(1, place, (old + step.right.log())[:, None])
        # A gluon that became a pair leaves a gap between two chains.
        gap = place + (step.outcome < 7).long()[:, None]
        closed = torch.where(step.outcome == EMISSION, torch.inf, CLOSED)[:, None]
        log_s.scatter_(1, gap, torch.minimum(log_s.gather(1, gap), closed))
        self._remeasure_outside(step, emitter, log_s)
        reach = torch.maximum(log_s, step.t[:, None])
        reach = torch.where(log_s > 0.5 * CLOSED, reach, CLOSED)
        self.log_s[rows], self.reach[rows] = log_s, reach
        self.length[rows] = (reach - step.t[:, None]).clamp_min(0).sum(-1)

    def _remeasure_outside(self, step: Branching, emitter: Tensor, log_s: Tensor) -> None:
        """Beyond the spectator a dipole shrinks with it; beyond the emitter it is measured."""
        last = self.partons[step.rows] - 1
        outer = step.dipole + torch.where(step.from_left, 2, -1)
        exists = (outer >= 0) & (outer < last)
        shrunk = torch.where(exists, step.kept.log(), 0.0)
        log_s.scatter_add_(1, outer.clamp_min(0)[:, None], shrunk[:, None])
        outer = step.dipole + torch.where(step.from_left, -1, 2)
        exists = (outer >= 0) & (outer < last)
        neighbour = (outer + (~step.from_left).long()).clamp(0, log_s.shape[1] - 1)
        other = self.momenta[:, step.rows, self.order[step.rows, neighbour]]
        at = outer.clamp_min(0)[:, None]
        was = log_s.gather(1, at).squeeze(1)
        mass2 = (2 * _product(emitter, other)).clamp_min(1e-30)
        value = torch.where(exists & (was > 0.5 * CLOSED), mass2.log(), was)
        log_s.scatter_(1, at, value[:, None])

    def ordered(self) -> tuple[Tensor, Tensor]:
        """Momenta, shape ``(4, N, K)``, and ids along the chains of colour."""
        used = int(self.partons.max())
        order = self.order[:, :used]
        exists = torch.arange(used) < self.partons[:, None]
        momenta = self.momenta.gather(2, order.expand(4, *order.shape))
        return momenta * exists, self.id.gather(1, order) * exists


def _open_flavours(mass2: Tensor) -> Tensor:
    """How many flavours a pair of this squared mass can have."""
    return (mass2[:, None] > 4 * THRESHOLDS.square()).sum(-1).double()


def _inserted(rows: Tensor, place: Tensor, value: Tensor) -> Tensor:
    """Rows with a value put after a place, the rest moved on by one."""
    index = torch.arange(rows.shape[1])
    moved = rows.gather(1, index - (index > place[:, None]).long())
    return moved.scatter_(1, place[:, None] + 1, value[:, None])


def _product(p: Tensor, q: Tensor) -> Tensor:
    """p·q."""
    return p[0] * q[0] - p[1] * q[1] - p[2] * q[2] - p[3] * q[3]
