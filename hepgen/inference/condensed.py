r"""Data sets of one feature as few weighted nodes, for likelihoods that are fitted many times.

A learned log-density is a smooth function of its feature, so that the sum over the events of a
cell of width h is a quadrature: with the two nodes and weights that keep W = Σw, and the first
three moments of the events of the cell,

.. math:: \sum_{i \in \mathrm{cell}} w_i f(x_i) = \sum_{j=1}^2 W_j f(\xi_j) + O(W h^4 f''''),

which is Gauss's rule for the measure Σ w_i δ(x − x_i) (Golub and Welsch, Math. Comp. 23 (1969)
221). Nodes lie between the events, weights are positive, and one or two events stay as they are.
The number of cells is doubled until log L agrees with that of the events at draws of the prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.inference.event_data import EventData
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.likelihood import DataSets, Likelihood

TOLERANCE = 1e-4
"""By how much a difference of log L between two θ may change."""

_CELLS = 512
_DRAWS = 8
_SEED = 3


class Condensed(Likelihood):
    """An event likelihood of one channel whose data sets are condensed where that is possible.

    It is not where events have several features, where a weight is negative, or where half as many
    nodes as there are events would not do: then the data sets are the events themselves.

    Arguments:
        likelihood: Of one channel.
        space: The bijection in which the density is smooth; see :func:`smooth_space`.

    >>> from hepgen import Feature, Parameter, ParameterSet, Uniform
    >>> from hepgen.inference.channel import Channel, Sample
    >>> from hepgen.inference.density import ClosedForm
    >>> parameters = ParameterSet([Parameter("m", 0.0, prior=Uniform(-1.0, 1.0))])
    >>> height = lambda x, v: -0.5 * (x[..., 0] - v["m"]) ** 2
    >>> sample = Sample("events", ClosedForm(parameters, ("x",), height))
    >>> events = EventLikelihood(parameters, [Channel("data", (sample,), extended=False)])
    >>> space = FeatureSpace((Feature("x"),), (0.0,), (1.0,))
    >>> x = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(1)).double()
    >>> data = Condensed(events, space).encode([x], [None])
    >>> data.channels["data"].weight.shape[1] < 2000, round(data.channels["data"].total.item())
    (True, 20000)
    """

    def __init__(self, likelihood: EventLikelihood, space: FeatureSpace) -> None:
        self.likelihood, self.space = likelihood, space
        self.parameters = likelihood.parameters

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventData:
        """S data sets of shape ``(N, d)`` each, condensed."""
        return self._condensed(self.likelihood.encode(x, weight))

    def log_likelihoods(self, sets: DataSets, theta: Tensor) -> Tensor:
        """See :class:`hepgen.inference.likelihood.Likelihood`."""
        return self.likelihood.log_likelihoods(sets, theta)

    def generate(self, theta: Tensor, seed: int) -> EventData:
        """See :class:`hepgen.inference.likelihood.Likelihood`."""
        return self._condensed(self.likelihood.generate(theta, seed))

    def asimov(self, theta: Tensor) -> EventData:
        """See :class:`hepgen.inference.likelihood.Likelihood`."""
        return self._condensed(self.likelihood.asimov(theta))

    @torch.no_grad()
    def _condensed(self, data: EventData) -> EventData:
        """With as many cells as the first of the sets needs."""
        if len(self.likelihood.channels) != 1 or not len(data):
            return data
        (channel,) = self.likelihood.channels
        own = data.channels[channel.name]
        few = own.weight.shape[1] < 4 * _CELLS
        if few or own.events.shape[-1] != 1 or bool((own.weight < 0).any()):
            return data
        theta = self._draws()
        wanted = self._heights(data[:1], theta)
        u, cells = self.space.forward(own.events)[..., 0], _CELLS
        while 4 * cells <= own.weight.shape[1]:
            nodes, weight = quadrature(u, own.weight, cells)
            made = channel.prepare(self.space.inverse(nodes[..., None]), weight)
            found = replace(data, channels={channel.name: replace(made, squares=own.squares)})
            if bool(((self._heights(found[:1], theta) - wanted).abs() < TOLERANCE).all()):
                return found
            cells *= 2
        return data

    def _draws(self) -> Tensor:
        """Of the prior, shape ``(1, K, D)``."""
        generator = torch.Generator().manual_seed(_SEED)
        return self.parameters.prior().sample((_DRAWS,), generator)[None]

    def _heights(self, data: EventData, theta: Tensor) -> Tensor:
        """log L over that of the first θ, shape ``(1, K)``."""
        height = self.likelihood.log_likelihoods(data, theta)
        return height - height[:, :1]


def smooth_space(features: Sequence[Feature], x: Tensor) -> FeatureSpace | None:
    """The bijection in which a density of one continuous feature is smooth; else ``None``."""
    if len(features) != 1 or features[0].kind != "continuous" or not bool(x.min() < x.max()):
        return None
    return FeatureSpace.from_sample(features, x)


def quadrature(x: Tensor, weight: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of S sets, two in each cell that holds several events.

    Arguments:
        x: Shape ``(S, N)``, float64.
        weight: None negative, shape ``(S, N)``.
        cells: How many between the smallest and the largest x.

    Returns:
        Both of shape ``(S, M)`` with M ≤ 2·cells, the shorter sets filled up with weights of zero.

    >>> x = torch.tensor([[0.0, 0.1, 0.2, 0.9]], dtype=torch.float64)
    >>> nodes, weight = quadrature(x, torch.ones_like(x), 2)
    >>> [round(float((weight * nodes**k).sum()), 6) for k in range(4)]
    [4.0, 1.2, 0.86, 0.738]
    """
    sets, low, high = len(x), x.min(), x.max()
    width = ((high - low) / cells).clamp(min=torch.finfo(x.dtype).tiny)
    cell = ((x - low) / width).long().clamp(0, cells - 1)

    def total(term: Tensor) -> Tensor:
        return torch.zeros(sets, cells, dtype=torch.float64).scatter_add(1, cell, term)

    number = total(weight)
    some = number.clamp(min=torch.finfo(number.dtype).tiny)
    mean = total(weight * x) / some
    apart = x - mean.gather(1, cell)
    square, cube = total(weight * apart**2) / some, total(weight * apart**3) / some
    # Of events at one place rounding leaves a width: below it they are one node.
    spread = square > (1e-9 * width) ** 2
    skew = torch.where(spread, cube / torch.where(spread, square, 1.0), 0.0)
    root = (skew**2 + 4 * square).sqrt()
    above, below = 0.5 * (skew + root), 0.5 * (skew - root)
    share = torch.where(spread, -below / torch.where(spread, root, 1.0), 1.0)
    nodes = torch.cat([mean + torch.where(spread, below, 0.0), mean + above * spread], dim=1)
    weights = torch.cat([number * (1 - share), number * share], dim=1)
    return _without_empty(nodes.clamp(low, high), weights)


def _without_empty(nodes: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The nodes of some weight first, and no more columns than the set with the most has."""
    order = torch.argsort((weight == 0).to(torch.int8), dim=1, stable=True)
    most = max(1, int((weight != 0).sum(1).max()))
    order = order[:, :most]
    kept, places = weight.gather(1, order), nodes.gather(1, order)
    # Nodes of no weight are evaluated, too: at a place where there is an event.
    return torch.where(kept > 0, places, places[:, :1]), kept
