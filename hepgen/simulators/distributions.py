"""Distributions of the stages that torch and Pyro do not have.

Each is normalised exactly for the density it samples, so a joint score built from its
``log_prob`` has mean zero by construction, and each is differentiable in its parameters. Outside
the support the density is zero: a proposal may try values there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import Bernoulli, Categorical, TorchDistribution
from torch import Tensor
from torch.distributions import constraints


class StageDistribution(TorchDistribution):  # type: ignore[misc]
    """A scalar distribution whose parameters broadcast, so that ``expand`` is a new shape."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own type)
    support = constraints.real

    def __init__(self, batch_shape: Sequence[int]) -> None:
        super().__init__(torch.Size(batch_shape), validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> StageDistribution:
        """The same distribution over a larger batch."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._batch_shape = torch.Size(batch_shape)
        return new

    def _uniform(self, sample_shape: Sequence[int]) -> Tensor:
        return torch.rand(*sample_shape, *self.batch_shape, dtype=torch.float64)


class Tabulated(StageDistribution):
    r"""A density given by its values at nodes and linear in between.

    .. math:: p(x) = f(x) \Big/ \sum_i \tfrac12 (f_i + f_{i+1})(x_{i+1} - x_i)

    with f the polygon through (x_i, f_i): the trapezium rule is its exact integral, and is
    differentiable in nodes and values. Sampled by inversion.

    Arguments:
        nodes: Increasing, shape ``(R, B)``: R tables of B nodes.
        values: f ≥ 0 at the nodes, shape ``(R, B)``.
        row: Which table each draw uses, shape ``(*batch)``; by default the batch is
            ``(R, 1)``, expandable to R groups of any number of draws.

    >>> ramp = Tabulated(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 1.0]]))
    >>> ramp.log_prob(torch.tensor([[0.5]])).exp()
    tensor([[1.]])
    """

    def __init__(self, nodes: Tensor, values: Tensor, row: Tensor | None = None) -> None:
        both = torch.broadcast_tensors(nodes, values)  # type: ignore[no-untyped-call]
        self.nodes, self.values = both
        area = 0.5 * (self.values[:, 1:] + self.values[:, :-1]) * self.nodes.diff(dim=-1)
        self.cumulative = torch.nn.functional.pad(area.cumsum(-1), (1, 0))
        self.row = row
        super().__init__(row.shape if row is not None else (len(self.values), 1))

    @property
    def integral(self) -> Tensor:
        """∫f dx of each table, shape ``(R,)``."""
        return self.cumulative[:, -1]

    def _rows(self, shape: Sequence[int]) -> Tensor:
        row = torch.arange(len(self.values))[:, None] if self.row is None else self.row
        return row.expand(*shape)

    def _bracket(self, tables: Tensor, x: Tensor, row: Tensor) -> Tensor:
        """The flat index of the node below x, in the table of each x."""
        # One sorted list holds all tables, each squeezed into [row, row + 1], so that one
        # search serves draws that use different tables.
        start, stop = tables[:, :1], tables[:, -1:]
        flat = (
            (tables - start) / (stop - start) * 0.5 + torch.arange(len(tables))[:, None]
        ).ravel()
        scaled = (x - start[row, 0]) / (stop - start)[row, 0] * 0.5 + row
        width = tables.shape[-1]
        below = torch.searchsorted(flat, scaled, right=True) - 1 - row * width
        return below.clamp(0, width - 2) + row * width

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, *batch)``."""
        with torch.no_grad():
            u = self._uniform(sample_shape)
            row = self._rows(u.shape)
            target = u * self.integral[row]
            i = self._bracket(self.cumulative, target, row)
            x0, f0 = self.nodes.ravel()[i], self.values.ravel()[i]
            width = self.nodes.ravel()[i + 1] - x0
            rest = (target - self.cumulative.ravel()[i]) / width
            slope = self.values.ravel()[i + 1] - f0
            root = (f0.square() + 2 * slope * rest).clamp_min(0).sqrt()
            within = (2 * rest / (f0 + root).clamp_min(1e-300)).clamp(0, 1)
            drawn: Tensor = x0 + width * within
            return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x), −∞ outside the nodes; shape of ``value`` broadcast with the batch."""
        shape = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
            value.shape, self.batch_shape
        )
        x, row = value.expand(shape), self._rows(shape)
        i = self._bracket(self.nodes.detach(), x.detach(), row)
        x0, f0 = self.nodes.ravel()[i], self.values.ravel()[i]
        t = (x - x0) / (self.nodes.ravel()[i + 1] - x0)
        density = f0 + (self.values.ravel()[i + 1] - f0) * t
        inside = (x >= self.nodes[row, 0]) & (x <= self.nodes[row, -1])
        return torch.where(inside, density, 0.0).log() - self.integral[row].log()


class Interpolated(StageDistribution):
    r"""Between two neighbouring tables: p(x) = (1 − t)·p_r(x) + t·p_{r+1}(x).

    A mixture of normalised densities, so it is normalised for every t.

    Arguments:
        nodes, values: As for :class:`Tabulated`, shape ``(R, B)``.
        row: r, shape ``(*batch)``.
        fraction: t in [0, 1], shape ``(*batch)``.
    """

    def __init__(self, nodes: Tensor, values: Tensor, row: Tensor, fraction: Tensor) -> None:
        self.nodes, self.values, self.row, self.fraction = nodes, values, row, fraction
        super().__init__(row.shape)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*batch)``."""
        upper = self._uniform(sample_shape) < self.fraction
        return Tabulated(self.nodes, self.values, row=self.row + upper.long()).sample()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log p(x)."""
        below, above = (
            Tabulated(self.nodes, self.values, row=self.row + i).log_prob(value).exp()
            for i in (0, 1)
        )
        return (below * (1 - self.fraction) + above * self.fraction).log()


class TruncatedExponential(StageDistribution):
    r"""p(x) = λ e^{−λ(x − low)} / (1 − e^{−λ(high − low)}) on (low, high), any sign of λ.

    Arguments:
        rate: λ in 1/[x], shape ``(*batch)``; zero is the uniform limit.
        low, high: The range.
    """

    def __init__(self, rate: Tensor, low: float, high: float) -> None:
        # A rate of zero is moved by a harmless amount, which leaves its gradient.
        self.rate = torch.where(rate.abs() < 1e-9, rate + 2e-9, rate)
        self.low, self.high = low, high
        super().__init__(rate.shape)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, *batch)``."""
        with torch.no_grad():
            u = self._uniform(sample_shape)
            span = torch.expm1(-self.rate * (self.high - self.low))
            return self.low - torch.log1p(u * span) / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x), −∞ outside."""
        norm = -torch.expm1(-self.rate * (self.high - self.low)) / self.rate
        inside = (value >= self.low) & (value <= self.high)
        return torch.where(inside, -self.rate * (value - self.low), -math.inf) - norm.log()


class Chance(Bernoulli):  # type: ignore[misc]
    """Yes (1) with probability p, with the exact derivative of log p also where p is 0 or 1.

    torch's own clamps p there, and its derivative is then 0: the score of a fraction at the
    edge of its range would be wrong.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """ln p or ln(1 − p); −∞ for what cannot happen."""
        return torch.where(value > 0.5, self.probs, 1 - self.probs).log()


class Few(Categorical):  # type: ignore[misc]
    """One of a few, drawn by comparing one random number with all: ten times as fast."""

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Indices, shape ``(*sample_shape, *batch)``."""
        u = torch.rand(*sample_shape, *self.batch_shape, 1, dtype=self.probs.dtype)
        drawn: Tensor = (u >= self.probs.cumsum(-1)[..., :-1]).sum(-1)
        return drawn


class Exponential(StageDistribution):
    """p(x) = λ e^{−λx} for x ≥ 0.

    Arguments:
        rate: λ in 1/[x], shape ``(*batch)``.
    """

    def __init__(self, rate: Tensor) -> None:
        self.rate = rate
        super().__init__(rate.shape)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, *batch)``."""
        with torch.no_grad():
            unit = torch.empty(*sample_shape, *self.batch_shape, dtype=torch.float64)
            return unit.exponential_() / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x), −∞ below zero."""
        return torch.where(value >= 0, self.rate.log() - self.rate * value, -math.inf)


class HelicityAngle(StageDistribution):
    r"""p(c) = ⅜ [w (1 + c)² + (1 − w)(1 − c)²], c = cos θ*, for massless fermions.

    Arguments:
        like: w, the share of equal helicities (LL + RR), shape ``(*batch)``.
    """

    def __init__(self, like: Tensor) -> None:
        self.like = like
        super().__init__(like.shape)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, *batch)``."""
        with torch.no_grad():
            c = 2 * self._uniform(sample_shape).pow(1 / 3) - 1
            return torch.where(self._uniform(sample_shape) < self.like, c, -c)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(c), −∞ beyond ±1."""
        forward, backward = (1 + value).square(), (1 - value).square()
        density = (0.375 * (self.like * forward + (1 - self.like) * backward)).log()
        return torch.where(value.abs() <= 1, density, -math.inf)


class DeadCone(StageDistribution):
    r"""The polar angle of collinear radiation off a massive leg.

    .. math:: p(\xi) \propto \frac{\xi}{(\xi + \xi_0)^2}, \quad \xi = \tfrac12(1 - \cos\theta)
              \in (0, 1), \quad \int_0^1 = \ln\frac{1 + \xi_0}{\xi_0} - \frac{1}{1 + \xi_0}

    with ξ₀ = m²/M²: the integral is the ln(M²/m²) − 1 of the collinear rate.

    Arguments:
        xi0: ξ₀, shape ``(*batch)``.
    """

    def __init__(self, xi0: Tensor) -> None:
        self.xi0 = xi0
        super().__init__(xi0.shape)

    @staticmethod
    def _primitive(w: Tensor) -> Tensor:
        return torch.log1p(w) - w / (1 + w)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, *batch)``, by Newton's method in ln(ξ/ξ₀)."""
        with torch.no_grad():
            target = self._uniform(sample_shape) * self._primitive(1 / self.xi0)
            w = torch.maximum((2 * target).sqrt(), torch.expm1(target))
            for _ in range(8):
                step = (self._primitive(w) - target) * (1 + w).square() / w.square()
                w = w * torch.exp(-step.clamp(-2, 2))
            return (w * self.xi0).clamp(max=1.0)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(ξ), −∞ outside (0, 1)."""
        inside = (value > 0) & (value <= 1)
        xi = torch.where(inside, value, 0.5)
        shape = xi.log() - 2 * (xi + self.xi0).log()
        return torch.where(inside, shape - self._primitive(1 / self.xi0).log(), -math.inf)


class RelativeLogNormal(StageDistribution):
    r"""A log-normal of given mean and relative width, as Delphes smears momenta.

    .. math:: \ln x \sim N(\ln\mu - b^2/2,\, b), \quad b^2 = \ln(1 + r^2)

    so that E[x] = μ and the standard deviation is rμ (``MomentumSmearing.cc``).

    Arguments:
        mean: μ > 0, shape ``(*batch)``.
        relative: r > 0, shape ``(*batch)``.
    """

    def __init__(self, mean: Tensor, relative: Tensor) -> None:
        variance = torch.log1p(relative.square())
        self.scale = variance.sqrt()
        self.location = mean.log() - 0.5 * variance
        super().__init__(self.location.shape)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, *batch)``."""
        with torch.no_grad():
            z = torch.randn(*sample_shape, *self.batch_shape, dtype=torch.float64)
            return (self.location + self.scale * z).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x), −∞ for x ≤ 0."""
        log = torch.where(value > 0, value, 1.0).log()
        z = (log - self.location) / self.scale
        density = -0.5 * z.square() - self.scale.log() - log - 0.5 * math.log(2 * math.pi)
        return torch.where(value > 0, density, -math.inf)


class Select(StageDistribution):
    """One distribution where a mask holds, another elsewhere: a mixture of known origin.

    Arguments:
        mask: Shape ``(*batch)``.
        where_true, where_false: Scalar distributions that broadcast with it.
    """

    def __init__(self, mask: Tensor, where_true: Any, where_false: Any) -> None:
        self.mask = mask
        self.where_true = where_true.expand(mask.shape)
        self.where_false = where_false.expand(mask.shape)
        super().__init__(mask.shape)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, *batch)``."""
        true, false = (d.sample(sample_shape) for d in (self.where_true, self.where_false))
        return torch.where(self.mask, true, false)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-density of the one that the mask names."""
        true, false = (d.log_prob(value) for d in (self.where_true, self.where_false))
        return torch.where(self.mask, true, false)


class Padded(TorchDistribution):  # type: ignore[misc]
    """Independent draws for the true entries of a mask, zero elsewhere: a jagged latent.

    Only the entries that exist are drawn and evaluated, however wide the padding.

    Arguments:
        base: A scalar distribution with batch shape ``(T,)``, T the true entries of
            ``mask`` in row-major order.
        mask: Shape ``(*batch, K)``.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own type)
    support = constraints.real_vector

    def __init__(self, base: Any, mask: Tensor) -> None:
        self.base = base.expand(torch.Size([int(mask.sum())]))
        self.mask = mask
        super().__init__(mask.shape[:-1], mask.shape[-1:], validate_args=False)

    @property
    def known_finite(self) -> bool:
        """Whether nobody has to look at what it drew for values that are not finite."""
        return False

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Padded:
        """Itself: the mask already has the whole batch."""
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError(f"a mask of batch {self.batch_shape} cannot become {batch_shape}")
        return self

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*batch, K)``."""
        if tuple(sample_shape):
            raise ValueError(f"sample_shape {sample_shape}: a jagged latent is drawn once a trace")
        drawn = self.base.sample()
        out = torch.zeros(self.mask.shape, dtype=drawn.dtype)
        return out.masked_scatter_(self.mask, drawn)

    def log_prob(self, value: Tensor) -> Tensor:
        """The sum over the true entries of each row, shape ``(*batch,)``."""
        terms = self.base.log_prob(entries(value, self.mask))
        out = torch.zeros(self.mask.shape, dtype=terms.dtype)
        return out.masked_scatter(self.mask, terms).sum(-1)


def entries(value: Tensor, mask: Tensor) -> Tensor:
    """The entries of a jagged latent that exist, however far it is padded beyond the mask."""
    return value[..., : mask.shape[-1]][mask]
