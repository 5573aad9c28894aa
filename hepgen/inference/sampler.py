"""Where the events of pseudo-data come from: an estimator, a surrogate, a chain, a pool.

A sampler draws as many events as each of several data sets wants, at the parameters of each, and
for an Asimov data set a weighted sample that stands for the density itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hepgen.errors import DataError, SimulationError
from hepgen.inference.density import Density
from hepgen.parameters import ParameterSet
from hepgen.simulators.chain import Chain, stream

_ASIMOV = 50_000
_NODES = 2**13
_BLOCKS = 1000
_ROWS = 2**15


@runtime_checkable
class Sampler(Protocol):
    """Events of one sample."""

    def draw(self, counts: Tensor, values: Mapping[str, Tensor], seed: int) -> Tensor:
        """Events of S data sets, those of the first set first: shape ``(Σ counts, d)``.

        Arguments:
            counts: How many each set wants, shape ``(S,)``, int64.
            values: The parameters by name, shape ``(S,)`` or ``()`` each.
            seed: The events are a function of it.
        """

    def expected(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Events ``(M, d)`` with weights ``(M,)`` of sum one, whose sums stand for integrals.

        Arguments:
            values: The parameters by name, shape ``()`` each.
        """


@runtime_checkable
class Drawable(Protocol):
    """A density that draws from itself, such as :class:`hepgen.inference.nle.NLE`."""

    def sample(self, n: int, theta: Tensor, seed: int = 0) -> Tensor:
        """n events at each θ, shape ``(n, *, d)`` for θ of shape ``(*, D)``."""


class FromDensity:
    """Draws of an estimator or a surrogate itself.

    Arguments:
        density: e.g. an :class:`hepgen.inference.nle.NLE` or a
            :class:`hepgen.inference.surrogate_likelihood.SurrogateLikelihood`.
        names: Its free parameters.
        size: Events that stand for the density in an Asimov data set.
        seed: Of those.
    """

    def __init__(
        self, density: Drawable, names: tuple[str, ...], size: int = _ASIMOV, seed: int = 0
    ) -> None:
        self.density, self.names, self.size, self.seed = density, names, size, seed

    def draw(self, counts: Tensor, values: Mapping[str, Tensor], seed: int) -> Tensor:
        """See :class:`Sampler`."""
        theta = self._theta(values, len(counts))
        if bool((theta == theta[:1]).all()):
            return self.density.sample(int(counts.sum()), theta[0], seed)
        return self.density.sample(1, theta.repeat_interleave(counts, dim=0), seed)[0]

    def expected(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """See :class:`Sampler`."""
        events = self.density.sample(self.size, self._theta(values, 1)[0], self.seed)
        return events, torch.full((self.size,), 1 / self.size, dtype=torch.float64)

    def _theta(self, values: Mapping[str, Tensor], sets: int) -> Tensor:
        columns = [values[name].double().expand(sets) for name in self.names]
        return torch.stack(columns, dim=-1) if columns else torch.zeros(sets, 0).double()


class Inverse:
    """Draws of a density of one variable between two bounds, by its tabulated distribution.

    Between the nodes the density is taken as flat, at its value in the middle: with n nodes the
    error is of order 1/n². The Asimov sample is the middles with their probabilities.

    Arguments:
        density: Of one column.
        low, high: Its support.
        nodes: How many cells.

    >>> from hepgen.inference.density import ClosedForm
    >>> from hepgen.parameters import ParameterSet
    >>> rising = ClosedForm(ParameterSet([]), ("x",), lambda x, _: torch.log(2 * x[..., 0]))
    >>> x = Inverse(rising, 0.0, 1.0).draw(torch.tensor([20_000]), {}, seed=0)
    >>> abs(x.mean().item() - 2 / 3) < 0.01
    True
    """

    def __init__(self, density: Density, low: float, high: float, nodes: int = _NODES) -> None:
        self.density, self.low, self.high, self.nodes = density, low, high, nodes
        self._edges = torch.linspace(low, high, nodes + 1, dtype=torch.float64)
        middle = 0.5 * (self._edges[1:] + self._edges[:-1])
        self._middle = middle[:, None]
        self._prepared = density.prepare(self._middle)

    def draw(self, counts: Tensor, values: Mapping[str, Tensor], seed: int) -> Tensor:
        """See :class:`Sampler`."""
        u = torch.rand(int(counts.sum()), generator=generator_of(seed, "x"), dtype=torch.float64)
        theta = self._theta(values, len(counts))
        if bool((theta == theta[:1]).all()):
            return self._invert(self._probability(theta[:1])[0], u)[:, None]
        parts = torch.split(u, counts.tolist())
        drawn = [
            self._invert(self._probability(t[None])[0], p)
            for t, p in zip(theta, parts, strict=True)
        ]
        return torch.cat(drawn)[:, None]

    def expected(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """See :class:`Sampler`."""
        return self._middle, self._probability(self._theta(values, 1))[0]

    def _theta(self, values: Mapping[str, Tensor], sets: int) -> Tensor:
        names = self.density.parameters.free_names
        columns = [values[name].detach().double().expand(sets) for name in names]
        return torch.stack(columns, dim=-1) if columns else torch.zeros(sets, 0).double()

    @torch.no_grad()
    def _probability(self, theta: Tensor) -> Tensor:
        """Of each cell, shape ``(K, nodes)`` for θ ``(K, D)``."""
        return self.density.log_densities(self._prepared[None], theta[None])[0].mT.softmax(-1)

    def _invert(self, probability: Tensor, u: Tensor) -> Tensor:
        cumulative = torch.cat([probability.new_zeros(1), probability.cumsum(0)])
        u = u * cumulative[-1]
        cell = (torch.searchsorted(cumulative, u, right=True) - 1).clamp(0, self.nodes - 1)
        inside = (u - cumulative[cell]) / probability[cell].clamp_min(1e-300)
        return self._edges[cell] + (self._edges[cell + 1] - self._edges[cell]) * inside.clamp(0, 1)


class FromChain:
    """Events of a simulator, those that its selection keeps.

    Arguments:
        chain: The simulator.
        parameters: Of the chain; those that the likelihood does not have stand at their defaults.
        columns: The observables.
        size: Generated events that stand for the density in an Asimov data set.
        seed: Of those.
    """

    def __init__(
        self,
        chain: Chain,
        parameters: ParameterSet,
        columns: Sequence[str],
        size: int = 2 * _ASIMOV,
        seed: int = 0,
    ) -> None:
        self.chain, self.parameters, self.columns = chain, parameters, tuple(columns)
        self.size, self.seed = size, seed

    def draw(self, counts: Tensor, values: Mapping[str, Tensor], seed: int) -> Tensor:
        """See :class:`Sampler`.

        Raises:
            SimulationError: The events of the chain have weights, or too few are selected.
        """
        found: list[list[Tensor]] = [[] for _ in counts]
        missing = counts.clone()
        per_block = max(64, int(1.2 * counts.max()))
        for block in range(_BLOCKS):
            open_sets = missing.nonzero()[:, 0]
            if not len(open_sets):
                return torch.cat([x for one in found for x in one])
            events = self._simulate(values, open_sets, len(counts), per_block, seed, block)
            for s, x in zip(open_sets.tolist(), events, strict=True):
                found[s].append(x[: int(missing[s])])
                missing[s] -= len(found[s][-1])
        raise SimulationError(
            f"chain {self.chain.name!r}: {int(missing.max())} of {int(counts.max())} events are "
            f"missing after {_BLOCKS} blocks of {per_block}; its selection keeps too few"
        )

    def expected(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """See :class:`Sampler`."""
        (events,) = self._simulate(values, torch.zeros(1).long(), 1, self.size, self.seed, 0)
        return events, torch.full((len(events),), 1 / len(events), dtype=torch.float64)

    def _simulate(
        self, values: Mapping[str, Tensor], which: Tensor, sets: int, n: int, seed: int, block: int
    ) -> list[Tensor]:
        """The selected ones of n events for each of some sets."""
        known = {k: v.detach().double().expand(sets)[which] for k, v in values.items()
                 if k in self.parameters}  # fmt: skip
        theta = {k: v.expand(len(which))[:, None] for k, v in
                 (self.parameters.values() | known).items()}  # fmt: skip
        state = self.chain.simulate(theta, n, seed, block).state
        if "weight" in state:
            raise SimulationError(
                f"the events of chain {self.chain.name!r} have weights, and pseudo-data have none; "
                "resample them: hepgen.inference.sampler.FromPool"
            )
        x = torch.stack([state[name].double() for name in self.columns], dim=-1)
        kept = state.get("selected", torch.ones(x.shape[:-1], dtype=torch.bool))
        return [one[mask] for one, mask in zip(x, kept, strict=True)]


class FromPool:
    """Simulated events, drawn again with the probability that their weights give them.

    Pseudo-data share events, so that toys fluctuate less than they should where they draw a good
    part of the pool: :meth:`effective` is to be many times the number of events of a toy.

    Arguments:
        events: Shape ``(M, d)``.
        weight: At the θ that made them, shape ``(M,)``, none negative; ones by default.
        density: To reweight to another θ, by p(x | θ)/p(x | θ₀). Without it the events are the
            same at every θ.
        theta: θ₀ of the density's free parameters: shape ``(D,)``, or ``(M, D)`` for each event.
        fewest: Below how many effective events the pool is refused.

    Raises:
        DataError: Weights that are negative, or of another shape.
    """

    def __init__(
        self,
        events: Tensor,
        weight: Tensor | None = None,
        density: Density | None = None,
        theta: Tensor | None = None,
        fewest: float = 1000.0,
    ) -> None:
        self.events, self.density, self.fewest = events.double(), density, fewest
        self.weight = torch.ones(len(events)).double() if weight is None else weight.double()
        if self.weight.shape != (len(events),) or not bool((self.weight >= 0).all()):
            raise DataError(
                f"a pool of {len(events)} events with weights of shape {tuple(self.weight.shape)}, "
                f"{int((self.weight < 0).sum())} of them negative; a negative weight is no "
                "probability: give those events as a sample of their own, with a negative rate"
            )
        if density is not None:
            self._prepared = density.prepare(self.events)
            at = torch.zeros(0) if theta is None else theta.double()
            self._origin = _own_heights(density, self._prepared, at.expand(len(events), -1))

    def draw(self, counts: Tensor, values: Mapping[str, Tensor], seed: int) -> Tensor:
        """See :class:`Sampler`."""
        generator, names = generator_of(seed, "pool"), self._names
        columns = [values[name].detach().double().expand(len(counts)) for name in names]
        theta = torch.stack(columns, -1) if columns else torch.zeros(len(counts), 0).double()
        points, which = theta.unique(dim=0, return_inverse=True)  # type: ignore[no-untyped-call]
        cumulative = [self._probability(point).cumsum(0) for point in points]
        drawn = []
        for point, n in zip(which.tolist(), counts.tolist(), strict=True):
            u = torch.rand(n, generator=generator, dtype=torch.float64) * cumulative[point][-1]
            row = torch.searchsorted(cumulative[point], u, right=True)
            drawn.append(self.events[row.clamp(max=len(self.events) - 1)])
        return torch.cat(drawn)

    def expected(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """All events, with their probabilities."""
        return self.events, self._probability(self._point(values))

    def effective(self, values: Mapping[str, Tensor]) -> float:
        """(Σw)²/Σw² at the parameters, shape ``()`` each: how many events it is worth (Kish)."""
        return float(1 / self._shares(self._point(values)).square().sum())

    @property
    def _names(self) -> tuple[str, ...]:
        return () if self.density is None else self.density.parameters.free_names

    def _point(self, values: Mapping[str, Tensor]) -> Tensor:
        columns = [values[name].detach().double() for name in self._names]
        return torch.stack(columns) if columns else torch.zeros(0).double()

    def _probability(self, theta: Tensor) -> Tensor:
        share = self._shares(theta)
        effective = float(1 / share.square().sum())
        if not effective >= self.fewest:
            raise DataError(
                f"a pool of {len(share)} events is worth {effective:.0f} at "
                f"{dict(zip(self._names, theta.tolist(), strict=True))}; expected {self.fewest:g} "
                "at least: simulate more, or nearer to these parameters"
            )
        return share

    def _shares(self, theta: Tensor) -> Tensor:
        """The probability of each event at θ, shape ``(M,)``."""
        if self.density is None:
            return self.weight / self.weight.sum()
        height = _own_heights(self.density, self._prepared, theta.expand(len(self.events), -1))
        ratio = height - self._origin
        return (self.weight.log() + ratio).softmax(0)


@torch.no_grad()
def _own_heights(density: Density, prepared: Tensor, theta: Tensor) -> Tensor:
    """log p of each event at a θ of its own, shape ``(M,)`` for ``(M, D)``."""
    pairs = zip(torch.split(prepared, _ROWS), torch.split(theta, _ROWS), strict=True)
    return torch.cat([density.log_densities(x[:, None], t[:, None])[:, 0, 0] for x, t in pairs])


def generator_of(seed: int, name: str) -> torch.Generator:
    """A generator for one purpose, a function of the seed and of the name."""
    return torch.Generator().manual_seed(stream(seed, name, 0))
