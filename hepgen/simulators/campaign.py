"""A campaign: many blocks of events from one chain, each with a seed of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen import __version__
from hepgen.errors import InputError, SimulationError, nearest
from hepgen.events import LATENT, LOG_RATIO, SCORE, THETA, WEIGHT, Events
from hepgen.parameters import ParameterSet
from hepgen.simulators.augment import joint_log_ratio, joint_score
from hepgen.simulators.chain import Chain, Trace, stream
from hepgen.simulators.stage import Failure

#: The column that numbers the parameter point of each event.
POINT = "hepgenPoint"


@dataclass(frozen=True)
class Block:
    """The events of one block, and what normalises them.

    Arguments:
        events: Those that are kept.
        generated: How many were generated.
        selected: How many passed the selection.
        sum_weights: Σ of the signed weights of those generated.
        failures: The events that a stage could not make.
        notes: What the stages noted of the events.
    """

    events: Events
    generated: int
    selected: int
    sum_weights: float
    failures: tuple[Failure, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Campaign:
    """What to simulate. A block depends on (campaign, seed, block number) and nothing else.

    Arguments:
        chain: The simulator.
        parameters: With priors for those that vary.
        events: How many to generate.
        seed: Of the whole campaign.
        fixed: Parameters held at a value; with ``prior`` false, all others at their default.
        prior: Whether free parameters are drawn from their prior.
        theta: The parameter points themselves, shape ``(P, D)``, taken in turn, instead.
        points: Events generated at each parameter point. Two numbers give sizes in powers
            of two between them, the number of points of a size falling as 1/√size.
        block_size: Events generated in a block.
        columns: The observables to keep; all of the chain's by default.
        keep_all: Keep the events that fail the selection too.
        latents: Keep the truth of every stage, as ``latent_*``.
        as_sets: One row for each parameter point, with its events as jagged columns.
        scores: Parameters whose joint score is kept, as ``score_*``.
        ratios: Other parameter points by name, as the values that differ from the event's own
            θ: the joint log-ratio log p(x, z | θ')/p(x, z | θ) is kept, as ``logr_*``.
    """

    chain: Chain
    parameters: ParameterSet
    events: int
    seed: int = 0
    fixed: Mapping[str, float] = field(default_factory=dict)
    prior: bool = True
    theta: NDArray[np.float64] | None = None
    points: int | tuple[int, int] = 64
    block_size: int = 32_768
    columns: Sequence[str] = ()
    keep_all: bool = False
    latents: bool = False
    as_sets: bool = False
    scores: Sequence[str] = ()
    ratios: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """What its events depend on, as plain values."""
        theta = None if self.theta is None else self.theta.tolist()
        return {
            "hepgen": __version__, "seed": self.seed,
            "process": self.chain.name, "chain": dict(self.chain.options),
            "parameters": self.parameters.to_dict(), "fixed": dict(self.fixed),
            "prior": self.prior, "theta": theta, "points": self.points,
            "block_size": self.block_size, "columns": list(self.columns),
            "keep_all": self.keep_all, "latents": self.latents, "as_sets": self.as_sets,
            "scores": list(self.scores), "ratios": {n: dict(p) for n, p in self.ratios.items()},
        }  # fmt: skip

    def __post_init__(self) -> None:
        points = (self.points, self.points) if isinstance(self.points, int) else self.points
        if min(self.events, self.block_size, *points) < 1 or points[0] > points[1]:
            raise InputError(
                f"{self.events} events in blocks of {self.block_size}, {self.points} at each "
                "parameter point; expected positive numbers, the smaller before the larger"
            )
        if self.chain.available is not None and self.events > self.chain.available:
            raise InputError(
                f"the file of chain {self.chain.name!r} has {self.chain.available} events, and "
                f"{self.events} are asked for; each is used once: ask for fewer, or give a "
                "larger file"
            )

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return math.ceil(self.events / self.block_size)

    def generated(self, block: int) -> int:
        """How many events block number ``block`` generates; the last one, what is left."""
        return min(self.block_size, self.events - block * self.block_size)

    def simulate(self, block: int) -> Block:
        """The events of block number ``block``."""
        if not 0 <= block < self.blocks:
            raise SimulationError(f"block {block}: expected 0 to {self.blocks - 1}")
        per_point = self._events_per_point(block)
        theta = self._theta(math.ceil(self.block_size / per_point), block)
        values = {
            name: value[:, None] if value.dim() else value
            for name, value in self.parameters.values(theta, **self.fixed).items()
        }
        first = block * self.block_size
        trace = self.chain.simulate(values, per_point, self.seed, block, first=first)
        return self._collect(trace, values, block)

    @property
    def varies(self) -> bool:
        """Whether its parameter points differ."""
        free = set(self.parameters.free_names) - set(self.fixed)
        return bool(free) and (self.prior or self.theta is not None)

    @property
    def held(self) -> dict[str, float]:
        """The values of the parameters that are the same for all events."""
        return held(self.parameters, self.fixed, self.varies)

    def _events_per_point(self, block: int) -> int:
        if not self.varies:
            return self.block_size
        if isinstance(self.points, int):
            return min(self.points, self.block_size)
        low, high = (min(size, self.block_size) for size in self.points)
        sizes = [low << k for k in range(int(math.log2(high / low)) + 1)]
        # A block holds block_size/size points: with a chance that grows as √size, points of
        # a size are rarer by 1/√size. Large sets are costly, and contain smaller ones.
        chances = np.cumsum(np.sqrt(sizes)) / np.sum(np.sqrt(sizes))
        u = np.random.default_rng(stream(self.seed, "points", block)).random()
        return sizes[int(np.searchsorted(chances, u))]

    def _theta(self, groups: int, block: int) -> Tensor | None:
        if not self.varies:
            return None
        if self.theta is not None:
            rows = (block * groups + np.arange(groups)) % len(self.theta)
            return torch.from_numpy(self.theta[rows])
        generator = torch.Generator().manual_seed(stream(self.seed, "theta", block))
        return self.parameters.prior().sample((groups,), generator)

    def _collect(self, trace: Trace, values: Mapping[str, Tensor], block: int) -> Block:
        # The last block is generated whole and cut, so that a longer campaign begins with
        # the events of a shorter one; so is the last point where points do not fill a block.
        generated = self.generated(block)
        wanted = (torch.arange(trace.shape.numel()) < generated).reshape(trace.shape)
        # A chain without a selection selects everything.
        passed = trace.state.get("selected", torch.ones_like(wanted))
        weight = trace.state.get("weight", torch.ones(()))
        selected = passed & wanted
        sum_weights = float((weight.double() * wanted).sum())
        kept = wanted if self.keep_all else selected
        names = self.columns or self.chain.observables
        columns = {name: _column(trace.state, name, kept, selected) for name in names}
        if self.latents:
            columns |= _latents(trace, kept)
        columns |= {n: c[kept].numpy() for n, c in self._augmented(trace, values)}
        if self.keep_all:
            columns["selected"] = passed[kept].numpy()
        if "weight" in trace.state:
            columns[WEIGHT] = weight[kept].numpy()
        # Where few columns are asked for, only parameters that vary are worth one.
        shown = self.parameters.free_names if self.columns else tuple(values)
        theta = {THETA + name: values[name] for name in shown}
        if self.as_sets:
            columns = _as_sets(columns, kept) | {
                n: v.expand(trace.shape)[:, 0].numpy() for n, v in theta.items()
            }
            # A set that the end of the campaign cuts short would be of another size.
            whole = Events.from_columns(columns).select(wanted.all(-1).numpy())
            return Block(
                whole, int(wanted.sum()), int(selected.sum()), sum_weights,
                trace.failures, trace.notes,
            )  # fmt: skip
        columns |= {n: v.expand(trace.shape)[kept].numpy() for n, v in theta.items()}
        columns[POINT] = self._point_numbers(trace, kept, block)
        return Block(
            Events.from_columns(columns), int(wanted.sum()), int(selected.sum()), sum_weights,
            trace.failures, trace.notes,
        )  # fmt: skip

    def _augmented(
        self, trace: Trace, values: Mapping[str, Tensor]
    ) -> Iterator[tuple[str, Tensor]]:
        """The joint scores and log-ratios of every event, by column."""
        for name in self.scores:
            yield SCORE + name, joint_score(self.chain, trace, values, name)
        for name, changed in self.ratios.items():
            there = {n: torch.tensor(v, dtype=torch.float64) for n, v in changed.items()}
            yield LOG_RATIO + name, joint_log_ratio(self.chain, trace, {**values, **there}, values)

    def _point_numbers(self, trace: Trace, kept: Tensor, block: int) -> NDArray[np.int64]:
        groups = trace.shape[0]
        number = block * self.block_size + torch.arange(groups)[:, None].expand(trace.shape)
        return np.asarray(number[kept].numpy(), dtype=np.int64)


def held(parameters: ParameterSet, fixed: Mapping[str, float], varies: bool) -> dict[str, float]:
    """The values of the parameters that are not drawn."""
    defaults = {p.name: p.default for p in parameters if not (varies and p.free)}
    return {**defaults, **fixed}


def _column(state: Mapping[str, Tensor], name: str, kept: Tensor, selected: Tensor) -> Any:
    """A column of the kept events: flat, or jagged with the count of its collection.

    Those that are selected must be finite.
    """
    if name not in state:
        raise SimulationError(f"no column {name!r} in the events; {nearest(name, state)}")
    value = state[name]
    if value.dim() == 2:
        _refuse_non_finite(name, value, selected)
        return value[kept].numpy()
    counter = "n" + name.split("_")[0]
    if counter not in state:
        _refuse_non_finite(name, value, selected)
        return value[kept].flatten(1).numpy()
    count = state[counter]
    mask = torch.arange(value.shape[-1]) < count[..., None]
    _refuse_non_finite(name, value, selected[..., None] & mask)
    return _jagged(value, mask, kept)


def _refuse_non_finite(name: str, value: Tensor, used: Tensor) -> None:
    """Name the column and the event where a used value is NaN or infinite."""
    # A sum is finite where all are, and cheaper to look at.
    if not value.is_floating_point() or bool(value.sum().isfinite()):
        return
    used = used.reshape(used.shape + (1,) * (value.dim() - used.dim()))
    wrong = used & ~value.isfinite()
    if bool(wrong.any()):
        first = wrong.nonzero()[0].tolist()
        raise SimulationError(
            f"column {name!r} is {value[tuple(first)].item()} in event {first[1]} of parameter "
            f"point {first[0]}, which is selected ({int(wrong.sum())} such values); expected "
            "finite ones: check the stage that provides it, or do not select such events"
        )


def _jagged(value: Tensor, mask: Tensor, kept: Tensor) -> ak.Array:
    mask = mask[kept]
    return ak.unflatten(value[kept][mask].numpy(), mask.sum(-1).numpy())


def _latents(trace: Trace, kept: Tensor) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, value in trace.sites.items():
        if value.dim() == 2:
            columns[LATENT + name] = value[kept].numpy()
        else:
            mask = trace.masks.get(name, torch.ones(value.shape, dtype=torch.bool))
            columns[LATENT + name] = _jagged(value, mask, kept)
    return columns


def _as_sets(columns: Mapping[str, Any], kept: Tensor) -> dict[str, Any]:
    """One row for each parameter point, with its events, in single precision."""
    counts = kept.sum(-1).numpy()
    return {
        name: ak.unflatten(ak.values_astype(ak.Array(column), np.float32), counts)
        for name, column in columns.items()
    }
