"""What an exported surrogate computes: from noise to events, from events to log p.

Both are modules of tensor operations without a branch on a value, so that they become a graph.
Physical quantities are float64 outside, and the family computes in the precision of its weights. A
graph cannot refuse: a context outside the range of the training gives NaN,
or, of a surrogate that extrapolates, is marked by a second output, ``extrapolated``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from hepgen.feature_space import FeatureSpace
from hepgen.surrogates.conditional import ConditionalDensity
from hepgen.surrogates.surrogate import Domain, Surrogate

_FAR = 1e300
"""The reach of a column that has none."""


class Bijection(nn.Module):
    """u = (b(x) − mean)/std of a :class:`~hepgen.feature_space.FeatureSpace`, of all columns.

    >>> from hepgen.features import Feature
    >>> space = FeatureSpace((Feature("m", low=60.0, high=120.0), Feature("y")), (0, 1), (0.5, 2))
    >>> x = torch.tensor([[91.2, 0.3]], dtype=torch.float64)
    >>> torch.allclose(Bijection(space).standardised(x), space.forward(x))
    True
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    below: Tensor
    above: Tensor
    circular: Tensor
    discrete: Tensor
    zero: Tensor
    reach: Tensor
    log_std: Tensor

    def __init__(self, space: FeatureSpace) -> None:
        super().__init__()
        low = torch.tensor([f.low for f in space.features], dtype=torch.float64)
        high = torch.tensor([f.high for f in space.features], dtype=torch.float64)
        circular, discrete, zero = (
            torch.tensor([f.kind == kind for f in space.features])
            for kind in ("circular", "discrete", "zero_inflated")
        )
        # Of angles and counts they are no edges of a density.
        below, above = (e.isfinite() & ~circular & ~discrete for e in (low, high))
        self.register_buffer("mean", torch.tensor(space.mean, dtype=torch.float64))
        self.register_buffer("std", torch.tensor(space.std, dtype=torch.float64))
        self.register_buffer("low", torch.where(low.isfinite(), low, 0.0))
        self.register_buffer("high", torch.where(high.isfinite(), high, 0.0))
        self.register_buffer("below", below)
        self.register_buffer("above", above)
        self.register_buffer("circular", circular)
        self.register_buffer("discrete", discrete)
        self.register_buffer("zero", zero)
        reach = torch.tensor([min(f.reach, _FAR) for f in space.features], dtype=torch.float64)
        self.register_buffer("reach", torch.where(below ^ above, reach, _FAR))
        # Known before the graph is made: what no column needs is not in it.
        self._both, self._low, self._high = (
            bool(columns.any()) for columns in (below & above, below & ~above, ~below & above)
        )
        self._circular, self._discrete, self._zero = (
            bool(columns.any()) for columns in (circular, discrete, zero)
        )
        widths = (high - low)[below & above].tolist()
        self._volume = sum(map(math.log, widths))
        self.register_buffer("log_std", self.std.log())

    def physical(self, u: Tensor) -> Tensor:
        """x of u, shape ``(B, d)``, float64."""
        v = self.mean + self.std * u.double()
        x = v
        if self._both:
            between = self.low + (self.high - self.low) * torch.sigmoid(v)
            x = torch.where(self.below & self.above, between, x)
        if self._low:
            x = torch.where(self.below & ~self.above, self.low + self._exp(v), x)
        if self._high:
            x = torch.where(~self.below & self.above, self.high - self._exp(-v), x)
        if self._circular:
            x = torch.where(self.circular, self._wrapped(v), x)
        if self._discrete:
            x = torch.where(self.discrete, torch.round(v), x)
        return torch.where(self.zero & torch.isnan(v), 0.0, x) if self._zero else x

    def standardised(self, x: Tensor) -> Tensor:
        """u of x, shape ``(B, d)``, float64; of no meaning where x is not :meth:`inside`."""
        v = x
        if self._both:
            between = torch.log((x - self.low) / (self.high - x))
            v = torch.where(self.below & self.above, between, v)
        if self._low:
            v = torch.where(self.below & ~self.above, self._log(x - self.low), v)
        if self._high:
            v = torch.where(~self.below & self.above, -self._log(self.high - x), v)
        if self._circular:
            v = torch.where(self.circular, self._wrapped(x), v)
        if self._zero:
            v = torch.where(self.zero & (x == 0), math.nan, v)
        return (v - self.mean) / self.std

    def inside(self, x: Tensor) -> Tensor:
        """Whether x is a value of its columns, strictly inside their bounds, shape ``(B,)``."""
        inside = ((x > self.low) | ~self.below) & ((x < self.high) | ~self.above)
        if self._discrete:
            counted = (x == torch.round(x)) & (x >= self.low) & (x <= self.high)
            inside = inside & (counted | ~self.discrete)
        if self._zero:
            inside = inside | (self.zero & (x == 0))
        return inside.all(-1)

    def log_jacobian(self, x: Tensor) -> Tensor:
        """log |du/dx|, shape ``(B,)``."""
        terms = torch.zeros_like(x)
        if self._both or self._low:
            terms = torch.where(self.below, -self._near(x - self.low).log(), terms)
        if self._both or self._high:
            terms = torch.where(self.above, terms - self._near(self.high - x).log(), terms)
        terms = terms - self.log_std
        if self._zero:
            # A zero has a probability, and no density.
            terms = torch.where(self.zero & (x == 0), 0.0, terms)
        return terms.sum(-1) + self._volume

    def _wrapped(self, x: Tensor) -> Tensor:
        """The same angle, in [low, high)."""
        period = torch.where(self.circular, self.high - self.low, 1.0)
        return x - period * torch.floor((x - self.low) / period)

    def _log(self, y: Tensor) -> Tensor:
        """The logarithm up to the reach, and a straight line beyond."""
        near = self._near(y)
        return torch.log(near) + (y - near) / self.reach

    def _exp(self, v: Tensor) -> Tensor:
        near = torch.minimum(v, torch.log(self.reach))
        return torch.exp(near) + self.reach * (v - near)

    def _near(self, y: Tensor) -> Tensor:
        return torch.minimum(y, self.reach)


class _Context(nn.Module):
    """The standardised context, and whether it is where the surrogate was trained."""

    low: Tensor
    high: Tensor

    def __init__(self, space: FeatureSpace, domain: Domain, extrapolate: bool) -> None:
        super().__init__()
        self.bijection = Bijection(space)
        self.extrapolate = extrapolate
        self.register_buffer("low", torch.tensor(domain.low, dtype=torch.float64))
        self.register_buffer("high", torch.tensor(domain.high, dtype=torch.float64))

    def forward(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Shapes ``(B, C)``, float64, and ``(B,)``."""
        inside = ((context >= self.low) & (context <= self.high)).all(-1)
        return self.bijection.standardised(context), inside


class Graph(nn.Module):
    """What the sampler and the density of one surrogate share.

    Arguments:
        surrogate: Whose spaces and range they are.
        model: The family's own computation, or a twin of it that can be exported.
    """

    def __init__(self, surrogate: Surrogate, model: ConditionalDensity) -> None:
        super().__init__()
        self.model = model
        self.space = Bijection(surrogate.features)
        self.context = None
        if surrogate.inputs is not None:
            self.context = _Context(surrogate.inputs, surrogate.domain, surrogate.extrapolate)

    @property
    def marks(self) -> bool:
        """Whether there is the second output, ``extrapolated``, shape ``(B,)``."""
        return self.context is not None and self.context.extrapolate

    def _given(self, like: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if self.context is None or context is None:
            return like[:, :0].to(self.model.precision), None
        c, inside = self.context(context)
        return c.to(self.model.precision), inside

    def _answer(self, value: Tensor, inside: Tensor | None) -> Any:
        """What a graph gives: the value, NaN where it must not answer, or marked."""
        if inside is None:
            return value
        if self.marks:
            return value, ~inside
        known = inside.reshape(-1, *(1,) * (value.dim() - 1))
        return torch.where(known, value, math.nan)


class SamplerGraph(Graph):
    """x(noise, context): events of shape ``(B, d)`` in physical variables."""

    def forward(self, noise: Tensor, context: Tensor | None = None) -> Any:
        """Of noise, shape ``(B, M)``, float32, and contexts, shape ``(B, C)``, float64."""
        c, inside = self._given(noise, context)
        return self._answer(self.space.physical(self.model.generate(noise, c)), inside)


class DensityGraph(Graph):
    """log p(x | context) in the density of physical variables; −∞ outside their bounds."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Any:
        """Shape ``(B,)``, of shapes ``(B, d)`` and ``(B, C)``, all float64."""
        c, inside = self._given(x, context)
        possible = self.space.inside(x)
        u = self.space.standardised(x).to(self.model.precision)
        value = self.model.log_prob(u, c).value
        value = value + self.space.log_jacobian(x)
        return self._answer(torch.where(possible, value, -math.inf), inside)
