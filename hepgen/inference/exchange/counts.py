r"""Expected events in the bins of one observable, from whatever knows them.

.. math:: \lambda_b(\theta) = L\,\sigma(\theta)\,\varepsilon(\theta) \int_b p(x | \theta)\,dx

A filler maps K points θ to the counts of B bins: by quadrature of a density, exact or learned; by
the events that a surrogate draws; or by those of the simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.events import LOG_RATIO
from hepgen.parameters import ParameterSet
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain

_POINTS = 64

Rate = Callable[[Tensor], Tensor]
"""The number of selected events that is expected, shape ``(K,)``, for θ of shape ``(K, D)``."""


@dataclass(frozen=True)
class Counts:
    """Expected counts at K points.

    Arguments:
        mean: Shape ``(K, B)``.
        variance: Of the first point, from the finite simulation, shape ``(B,)``; ``None`` where
            the mean is exact.
    """

    mean: Tensor
    variance: Tensor | None = None


Filler = Callable[[Tensor, Tensor], Counts]
"""What knows the counts: those at θ of shape ``(K, D)``, between edges ``(B + 1,)``."""


@runtime_checkable
class Density(Protocol):
    """What has a density of one observable: ``NLE``, ``ExactLikelihood``, and those like them."""

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """log p(xᵢ | θₖ), shape ``(N, K)``, for x ``(N, d)`` and θ ``(K, D)``."""


@runtime_checkable
class Sampler(Protocol):
    """What draws events: ``NLE``, ``Surrogate``."""

    def sample(self, n: int, theta: Tensor, seed: int = 0) -> Tensor:
        """n events at each θ, shape ``(n, K, d)`` for θ of shape ``(K, D)``."""


@dataclass(frozen=True)
class DensityCounts:
    """Counts by Gauss–Legendre quadrature of a density of one observable in each bin.

    Arguments:
        density: Exact or learned.
        rate: L σ ε.
        nodes: Of the quadrature, in a bin.
    """

    density: Density
    rate: Rate
    nodes: int = 6

    def __call__(self, theta: Tensor, edges: Tensor) -> Counts:
        """See :data:`Filler`."""
        place, weight = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(self.nodes))
        half = 0.5 * edges.diff()[:, None]
        x = 0.5 * (edges[1:] + edges[:-1])[:, None] + half * place
        with torch.no_grad():
            height = self.density.log_prob(x.reshape(-1, 1), theta).exp()
        share = (height.reshape(*x.shape, -1) * (half * weight)[..., None]).sum(1)
        return Counts((share * self.rate(theta)).T)


@dataclass(frozen=True)
class SampledCounts:
    """Counts by events of a surrogate, of which the observable is one column.

    The same random numbers at each θ: most of their fluctuation is common to all points.

    Arguments:
        sampler: Draws selected events.
        rate: L σ ε.
        events: Drawn at each point.
        column: That of the observable.
        seed: Of the draws.
    """

    sampler: Sampler
    rate: Rate
    events: int = 100_000
    column: int = 0
    seed: int = 0

    def __call__(self, theta: Tensor, edges: Tensor) -> Counts:
        """See :data:`Filler`."""
        drawn = self.sampler.sample(self.events, theta, seed=self.seed)[..., self.column].double()
        counts = torch.stack([_histogram(one, edges) for one in drawn.unbind(1)])
        each = self.rate(theta)[:, None] / self.events
        return Counts(counts * each, counts[0] * each[0] ** 2)


@dataclass(frozen=True)
class SpectrumCounts:
    """Counts from a function that gives cross-sections of bins, such as ``DijetSpectrum``.

    Arguments:
        spectrum: From parameters of shape ``()`` and edges to pb in each bin, shape ``(B,)``.
        parameters: The free ones make θ.
        luminosity: 𝓛 in 1/pb.
        fixed: Values that differ from the defaults, also of free parameters.
    """

    spectrum: Callable[[Mapping[str, Tensor], Tensor], Tensor]
    parameters: ParameterSet
    luminosity: float
    fixed: Mapping[str, float] | None = None

    def __call__(self, theta: Tensor, edges: Tensor) -> Counts:
        """See :data:`Filler`."""
        values = (self.parameters.values(one, **(self.fixed or {})) for one in theta.double())
        return Counts(self.luminosity * torch.stack([self.spectrum(v, edges) for v in values]))


@dataclass(frozen=True)
class SimulatedCounts:
    r"""Counts by events of a chain, all of which stand at every point.

    .. math:: \lambda_b(\theta_k) = \frac{L\,\sigma(\theta_k)}{N} \sum_{i \in b} w_{ik}, \qquad
              w_{ik} = \frac{p(x_i, z_i | \theta_k)}{\frac{1}{K}\sum_j p(x_i, z_i | \theta_j)}

    over the selected of N generated events, drawn in equal parts at the K points (the balance
    heuristic, as in :class:`hepgen.inference.templates.Templates`).

    Arguments:
        chain: The simulator.
        parameters: The free ones make θ.
        column: The observable.
        luminosity: 𝓛 in 1/pb.
        events: Generated in all, or a few more.
        seed: Of the campaign.
    """

    chain: Chain
    parameters: ParameterSet
    column: str
    luminosity: float
    events: int
    seed: int = 0

    def __call__(self, theta: Tensor, edges: Tensor) -> Counts:
        """See :data:`Filler`.

        Raises:
            ParameterError: A parameter without joint density, or a chain without cross-section.
        """
        points, names, group = len(theta), self.parameters.free_names, len(theta) * _POINTS
        others = [dict(zip(names, one, strict=True)) for one in theta.tolist()]
        campaign = Campaign(
            self.chain, self.parameters, -(-self.events // group) * group, self.seed,
            theta=theta.double().numpy(), points=_POINTS, columns=[self.column],
            ratios={str(k): other for k, other in enumerate(others)},
        )  # fmt: skip
        bins = len(edges) - 1
        total, square = torch.zeros(points, bins).double(), torch.zeros(bins).double()
        for block in range(campaign.blocks):
            events = campaign.simulate(block).events
            ratio = torch.from_numpy(events.flat([f"{LOG_RATIO}{k}" for k in range(points)]))
            weight = points * ratio.softmax(-1) * torch.from_numpy(events.weight)[:, None]
            x = torch.from_numpy(events.flat([self.column]))[:, 0].double()
            total += torch.stack([_histogram(x, edges, one) for one in weight.T])
            square += _histogram(x, edges, weight[:, 0] ** 2)
        each = self._rates(theta)[:, None] / campaign.events
        return Counts(total * each, square * each[0] ** 2)

    def _rates(self, theta: Tensor) -> Tensor:
        """L σ of all generated events, shape ``(K,)``."""
        values = {n: v.expand(len(theta), 1) if v.dim() == 0 else v[:, None]
                  for n, v in self.parameters.values(theta.double()).items()}  # fmt: skip
        known = (stage.cross_section(values) for stage in self.chain.stages)
        sigma = next((value for value in known if value is not None), None)
        if sigma is None:
            raise ParameterError(
                f"chain {self.chain.name!r} knows no cross-section, so no number of events is "
                "expected; fill the templates by a density and a rate"
            )
        return self.luminosity * sigma.reshape(-1)


@dataclass(frozen=True)
class Difference:
    """What a filler expects more with a parameter at one value than at another.

    The signal of a rate μ S + B is that at μ = 1 without that at μ = 0:
    ``Difference(filler, parameters, "signal_strength", 1.0, 0.0)``.

    Arguments:
        filler: Of the sum.
        parameters: The free ones make θ.
        name: A free parameter.
        high, low: Its two values.
    """

    filler: Filler
    parameters: ParameterSet
    name: str
    high: float = 1.0
    low: float = 0.0

    def __call__(self, theta: Tensor, edges: Tensor) -> Counts:
        """See :data:`Filler`."""
        ends = [at(self.parameters, theta, self.name, value) for value in (self.high, self.low)]
        both = self.filler(torch.cat(ends), edges).mean
        return Counts(both[: len(theta)] - both[len(theta) :])


@dataclass(frozen=True)
class At:
    """A filler with one parameter held, e.g. the background: the strength at 0.

    Arguments:
        filler: Of all.
        parameters: The free ones make θ.
        name: A free parameter.
        value: At which it is held.
    """

    filler: Filler
    parameters: ParameterSet
    name: str
    value: float = 0.0

    def __call__(self, theta: Tensor, edges: Tensor) -> Counts:
        """See :data:`Filler`."""
        return self.filler(at(self.parameters, theta, self.name, self.value), edges)


def at(parameters: ParameterSet, theta: Tensor, name: str, value: float) -> Tensor:
    """θ with one column at a value."""
    if name not in parameters.free_names:
        raise ParameterError(
            f"parameter {name!r} is not free; the columns of θ are "
            f"{', '.join(parameters.free_names)}"
        )
    column = torch.tensor([n == name for n in parameters.free_names])
    return torch.where(column, torch.tensor(value, dtype=torch.float64), theta.double())


def histogram(x: Tensor, edges: Tensor, weight: Tensor | None = None) -> Tensor:
    """Σ w of the events in each bin [low, high), the last one closed, shape ``(B,)``.

    Raises:
        DataError: Events outside of the bins.
    """
    outside = (x < edges[0]) | (x > edges[-1])
    if bool(outside.any()):
        raise DataError(
            f"{int(outside.sum())} of {len(x)} events, e.g. {x[outside][0].item():g}, are in no "
            f"bin; expected values in [{edges[0].item():g}, {edges[-1].item():g}]"
        )
    return _histogram(x, edges, weight)


def _histogram(x: Tensor, edges: Tensor, weight: Tensor | None = None) -> Tensor:
    weights = None if weight is None else weight.numpy()
    counts, _ = np.histogram(x.numpy(), edges.numpy(), weights=weights)
    return torch.from_numpy(counts.astype(np.float64))
