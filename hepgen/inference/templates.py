r"""The likelihood of one parameter by templates: histograms of the simulator, without a network.

Events are simulated at M nodes of θ, as many at each. By the joint density of its history z, which
the chain knows, each of them stands at every node:

.. math:: p(b | \theta_k) \propto \sum_{i:\,x_i \in b} w_{ik}, \qquad
          w_{ik} = \frac{p(x_i, z_i | \theta_k)}{\frac{1}{M}\sum_j p(x_i, z_i | \theta_j)}

over the selected events (the balance heuristic of Veach and Guibas, SIGGRAPH 1995, p. 419). All
nodes have the same events, so that most of their fluctuation cancels in the slope of ln p, which is
what a posterior sees. Between the nodes, which are those of Chebyshev, ln p(b | θ) is the
polynomial through them (Trefethen, Approximation Theory and Approximation Practice (2013)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.events import LOG_RATIO, Events
from hepgen.inference.event_sets import EventSets, pad
from hepgen.parameters import ParameterSet
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain

_POINTS = 64


@dataclass
class Templates:
    r"""ln L(θ) = Σ wᵢ ln p(bin of xᵢ | θ), for one free parameter.

    Against the likelihood of x itself it loses what a bin does not resolve: bins are to be narrow
    beside the structures that move with θ.

    Arguments:
        parameters: One is free, and its nodes reach over its prior; the others stand at their
            defaults.
        edges: Of the bins of each column, increasing; the outermost may be infinite.
        counts: Σ wᵢₖ, shape ``(M, B)``, B the product of the numbers of bins. Those of two
            simulations may be added.

    Raises:
        ParameterError: Not one free parameter.

    >>> import dataclasses, hepgen
    >>> chain = hepgen.process("ee_mumu", energies=(89.0,))
    >>> prior = hepgen.Uniform(0.2, 0.25)
    >>> angle = dataclasses.replace(chain.parameters["sin2_theta_w"], prior=prior)
    >>> others = [p for p in chain.parameters if p.name != angle.name]
    >>> templates = Templates.simulate(
    ...     chain, ParameterSet([angle, *others]), {"Dimuon_cos_theta": np.linspace(-1, 1, 21)},
    ...     events=5000, nodes=3,
    ... )
    >>> templates.log_probabilities(torch.tensor([0.21, 0.2312])).shape
    torch.Size([2, 20])
    """

    parameters: ParameterSet
    edges: Mapping[str, NDArray[np.float64]]
    counts: Tensor

    def __post_init__(self) -> None:
        self._low, self._high = _range(self.parameters)

    @classmethod
    def simulate(
        cls,
        chain: Chain,
        parameters: ParameterSet,
        edges: Mapping[str, NDArray[np.float64]],
        events: int,
        *,
        nodes: int = 9,
        seed: int = 0,
        block_size: int = 32_768,
    ) -> Templates:
        """Templates from ``events`` generated events or a few more, shared among the nodes.

        Nodes are close enough where the next one reweights well: look at more of them, and at two
        simulations of another seed, for what their number and the events' leave open.

        Raises:
            ParameterError: The parameter has no joint density, see
                :func:`hepgen.simulators.augment.joint_log_ratio`.
        """
        theta = _nodes(parameters, nodes)
        (name,) = parameters.free_names
        campaign = Campaign(
            chain, parameters, -(-events // (nodes * _POINTS)) * nodes * _POINTS, seed,
            theta=theta[:, None], points=_POINTS, block_size=block_size, columns=list(edges),
            ratios={str(k): {name: float(value)} for k, value in enumerate(theta)},
        )  # fmt: skip
        counts = torch.zeros(nodes, number_of_bins(edges), dtype=torch.float64)
        for block in range(campaign.blocks):
            counts += _histograms(campaign.simulate(block).events, edges, nodes)
        return cls(parameters, edges, counts)

    @property
    def nodes(self) -> NDArray[np.float64]:
        """θ of each template, shape ``(M,)``."""
        return _nodes(self.parameters, len(self.counts))

    def log_probabilities(self, theta: Tensor) -> Tensor:
        """ln p(b | θ) of all bins, shape ``(*, B)``, for θ of shape ``(*,)``; differentiable."""
        t = (2 * theta.double() - self._low - self._high) / (self._high - self._low)
        powers = [torch.ones_like(t), t]
        while len(powers) < len(self._coefficients):
            powers.append(2 * t * powers[-1] - powers[-2])
        basis = torch.stack(powers[: len(self._coefficients)], dim=-1)
        return torch.log_softmax(basis @ self._coefficients, dim=-1)

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        """Data sets, each of shape ``(N, d)``, as the number of each event's bin.

        Raises:
            DataError: Events outside of the bins, or with other columns.
        """
        return pad(
            list(map(self.prepare, x)),
            weight,
            [torch.zeros(len(one), dtype=torch.float64) for one in x],
        )

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        """log L of S data sets at K points each, shape ``(S, K)``, for θ ``(S, K, 1)``."""
        data = torch.zeros(len(sets), self.counts.shape[1], dtype=torch.float64)
        data = data.scatter_add(1, sets.events[..., 0], sets.weight)
        found = torch.einsum("sb,skb->sk", data, self.log_probabilities(theta[..., 0]))
        outside = (theta[..., 0] < self._low) | (theta[..., 0] > self._high)
        return torch.where(outside, -torch.inf, found)

    def prepare(self, x: Tensor) -> Tensor:
        """The number of the bin of each event ``(N, d)``, shape ``(N, 1)``, int64."""
        return bin_numbers(x, self.edges)[:, None]

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """ln p(bin | θ) of bins ``(S, n, 1)`` at θ ``(S, K, 1)``, shape ``(S, n, K)``.

        It is the probability of a bin, not a density in x: all samples of a channel have the same
        bins.
        """
        line = theta[..., 0]
        table = self.log_probabilities(line).mT
        found = table.gather(1, prepared.long().expand(-1, -1, table.shape[-1]))
        outside = (line < self._low) | (line > self._high)
        return torch.where(outside[:, None], -torch.inf, found)

    def wider(self) -> Templates:
        """The same in bins twice as wide in each column, of which there must be an even number."""
        shape = [size for line in self.edges.values() for size in (len(line) // 2, 2)]
        counts = self.counts.reshape(-1, *shape).sum(tuple(range(2, len(shape) + 1, 2)))
        edges = {name: line[::2] for name, line in self.edges.items()}
        return Templates(self.parameters, edges, counts.flatten(1))

    @cached_property
    def _coefficients(self) -> Tensor:
        """Of the Chebyshev polynomials, shape ``(M, B)``."""
        # A bin that no event reached knows nothing of θ.
        counts = torch.where(self.counts > 0, self.counts, 0.5).numpy()
        height = np.log(counts / counts.sum(1, keepdims=True))
        nodes = chebyshev.chebpts2(len(counts))
        return torch.from_numpy(chebyshev.chebfit(nodes, height, len(counts) - 1))


def _range(parameters: ParameterSet) -> tuple[float, float]:
    if len(parameters.free) != 1:
        raise ParameterError(
            f"templates of {', '.join(parameters.free_names) or 'no parameter'}; expected one "
            "free parameter: fix the others"
        )
    low, high = parameters.priors[0].reach
    return low, high


def _nodes(parameters: ParameterSet, nodes: int) -> NDArray[np.float64]:
    if nodes < 2:
        raise ParameterError(f"{nodes} nodes; expected two at least")
    low, high = _range(parameters)
    line = 0.5 * (low + high) + 0.5 * (high - low) * chebyshev.chebpts2(nodes)
    # Rounding must not carry the outermost across the bounds.
    return np.asarray(np.clip(line, low, high), dtype=np.float64)


def _histograms(events: Events, edges: Mapping[str, NDArray[np.float64]], nodes: int) -> Tensor:
    """Σ wᵢₖ, shape ``(M, B)``: a softmax over the nodes, whatever node an event is from."""
    x = torch.from_numpy(events.flat(list(edges)))
    log_ratio = torch.from_numpy(events.flat([f"{LOG_RATIO}{k}" for k in range(nodes)]))
    weight = nodes * log_ratio.softmax(-1) * torch.from_numpy(events.weight)[:, None]
    empty = torch.zeros(number_of_bins(edges), nodes, dtype=torch.float64)
    return empty.index_add_(0, bin_numbers(x, edges), weight).T


def number_of_bins(edges: Mapping[str, NDArray[np.float64]]) -> int:
    """B, of all columns together."""
    return int(np.prod([len(line) - 1 for line in edges.values()]))


def bin_numbers(x: Tensor, edges: Mapping[str, NDArray[np.float64]]) -> Tensor:
    """The number of the bin of each event ``(N, d)``, shape ``(N,)``; the last column runs first.

    Raises:
        DataError: Events outside of the bins, or with other columns.
    """
    if x.dim() != 2 or x.shape[-1] != len(edges):
        raise DataError(
            f"events of shape {tuple(x.shape)}; expected (N, {len(edges)}): {', '.join(edges)}"
        )
    number = torch.zeros(len(x), dtype=torch.int64)
    for (name, line), column in zip(edges.items(), x.double().unbind(-1), strict=True):
        found = torch.bucketize(column.contiguous(), torch.tensor(line), right=True) - 1
        wrong = (found < 0) | (found >= len(line) - 1)
        if bool(wrong.any()):
            raise DataError(
                f"{name} = {column[wrong][0].item():g} ({int(wrong.sum())} of {len(x)}) is in no "
                f"bin; expected values in [{line[0]:g}, {line[-1]:g})"
            )
        number = number * (len(line) - 1) + found
    return number
