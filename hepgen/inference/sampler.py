"""Where the events of pseudo-data come from: an estimator, a surrogate, a chain, a pool.

A sampler draws as many events as each of several data sets wants, at the parameters of each, and
for an Asimov data set a weighted sample that stands for the density itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hepgen.inference.density import Density
from hepgen.simulators.chain import stream

_ASIMOV = 50_000
_NODES = 2**13


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


def generator_of(seed: int, name: str) -> torch.Generator:
    """A generator for one purpose, a function of the seed and of the name."""
    return torch.Generator().manual_seed(stream(seed, name, 0))
