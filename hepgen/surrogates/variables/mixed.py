r"""Any family for mixed variables: a categorical head times a conditional density.

.. math:: p(k, z, x, \varphi \mid c) = P(k, z \mid c)\; q(v \mid c, k, z)

k are counts and z says which of the components that may be zero are not. Both are categorical, and
the density q of what remains is conditioned on them. Angles enter q by
:mod:`hepgen.surrogates.variables.circular`. All of this is exact. Two things are not:

- A component that is zero has no density, but q has a fixed dimension. In training and sampling a
  standard normal number η stands for it, and p(v | …) = ∫ q(v, η) dη is estimated with K draws of
  η, as log (1/K) Σ q(v, η)/N(η): a bound, exact in the limit of many draws or where q has learned
  that η is independent and normal.
- A count with more than 64 values is dequantised (Theis et al., arXiv:1511.01844): k + u with u
  uniform in [0, 1) has a density, and P(k) = ∫ q(k + u) du is estimated with the same K draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hepgen.feature_space import FeatureSpace
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality
from hepgen.surrogates.variables.categorical import CategoricalHead
from hepgen.surrogates.variables.circular import inside, lifted, lowered, other, weight

MOST_LEVELS = 64
"""Of a count that is categorical."""
_LOG_2PI = math.log(math.tau)
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Layout:
    """Which columns of an event are what.

    Arguments:
        continuous, circular, dequantised, zero: Columns that have a density, in the order in
            which the family sees them.
        categorical: The columns of counts.
        levels: How many values each of these has.
        values: How many values each dequantised one has.
    """

    continuous: tuple[int, ...]
    circular: tuple[int, ...]
    dequantised: tuple[int, ...]
    zero: tuple[int, ...]
    categorical: tuple[int, ...]
    levels: tuple[int, ...]
    values: tuple[int, ...]

    @classmethod
    def of(cls, space: FeatureSpace) -> Layout:
        """That of the features of a space."""
        values = [int(f.high - f.low) + 1 if f.kind == "discrete" else 0 for f in space.features]
        kinds = [f.kind for f in space.features]
        places = range(len(kinds))
        many = tuple(i for i in places if values[i] > MOST_LEVELS)
        few = tuple(i for i in places if 0 < values[i] <= MOST_LEVELS)
        named = {k: tuple(i for i in places if kinds[i] == k) for k in dict.fromkeys(kinds)}
        return cls(
            named.get("continuous", ()), named.get("circular", ()), many,
            named.get("zero_inflated", ()), few,
            tuple(values[i] for i in few), tuple(values[i] for i in many),
        )  # fmt: skip

    @property
    def smooth(self) -> tuple[int, ...]:
        """All columns that the family sees."""
        return (*self.continuous, *self.circular, *self.dequantised, *self.zero)

    @property
    def order(self) -> list[int]:
        """Where each column of an event is, behind one another: smooth ones, then categorical."""
        columns = (*self.smooth, *self.categorical)
        return sorted(range(len(columns)), key=columns.__getitem__)

    @property
    def random(self) -> bool:
        """Whether a density is an integral over what is drawn beside."""
        return bool(self.zero or self.dequantised)


class Mixed(ConditionalDensity):
    """Mixed variables, as :class:`hepgen.feature_space.FeatureSpace` standardises them.

    Arguments:
        layout: Which columns are what.
        context: C.
        build: The dimension and the context of the family's part to its untrained model.
        hidden: The widths of the networks of the categorical head.
        draws: K, for a density that is an integral.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        layout: Layout,
        context: int,
        build: Callable[[int, int], ConditionalDensity],
        hidden: Sequence[int] = (64, 64),
        draws: int = 16,
    ) -> None:
        super().__init__(len(layout.smooth) + len(layout.categorical), context)
        self.layout, self.draws = layout, draws
        levels = (*layout.levels, *(2 for _ in layout.zero))
        self.head = CategoricalHead(levels, context, hidden)
        self.base = build(len(layout.smooth), context + self.head.width) if layout.smooth else None
        self.noise = len(levels) + (self.base.noise if self.base else 0)
        self.register_buffer("mean", torch.zeros(len(layout.dequantised)))
        self.register_buffer("scale", torch.ones(len(layout.dequantised)))

    @property
    def options(self) -> dict[str, Any]:
        """Those of the family; the layout follows from the features."""
        return self.base.options if self.base else {}

    @property
    def quality(self) -> Quality:
        """That of the family, and a bound where a component is zero or dequantised."""
        found = self.base.quality if self.base else Quality("exact", "categorical")
        if found.kind == "none":
            return found
        layout = self.layout
        words = [found.words]
        words += ["sum over windings"] if layout.circular else []
        if not layout.random:
            return Quality(found.kind, ", ".join(words))
        if layout.zero:
            words += [f"where components are zero a bound from {self.draws} draws"]
        if layout.dequantised:
            words += [f"dequantised counts: a bound from {self.draws} draws"]
        return Quality("bound", ", ".join(words))

    def prepare(self, u: Tensor, context: Tensor) -> None:
        """Location and scale of dequantised counts, then what the family measures."""
        if self.layout.dequantised:
            counts = u[:, list(self.layout.dequantised)] + 0.5
            self.mean.copy_(counts.mean(0))
            self.scale.copy_(counts.std(0))
        if self.base is None:
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            v, _ = self._drawn(u)
            self.base.prepare(v, self._extended(self._categories(u), context))

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        """A bound on −log p(u | c) in nats where the family's loss is one, shape ``(B,)``."""
        k = self._categories(u)
        total = -self.head.log_prob(k, context)
        if self.base is None:
            return total
        v, log_weight = self._drawn(u)
        return total + self.base.loss(v, self._extended(k, context)) + log_weight

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        """Events, shape ``(B, d)``; NaN in the components that are zero."""
        levels, counts = len(self.head.levels), len(self.layout.categorical)
        k = self.head.generate(noise[:, :levels], context)
        u = k[:, :counts].to(noise)
        if self.base is not None:
            v = self.base.generate(noise[:, levels:], self._extended(k, context))
            plain, circular, counted, zero = self._parts(v)
            zero = zero.masked_fill(k[:, counts:] == 0, math.nan)
            u = torch.cat((plain, lowered(circular), self._quantised(counted), zero, u), -1)
        return u[:, self.layout.order]

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        """log p(u | c), shape ``(B,)``."""
        k = self._categories(u)
        head = self.head.log_prob(k, context).double()
        if self.base is None:
            return LogDensity.exact(head, self.quality.words)
        extended = self._extended(k, context)
        if not self.layout.random:
            found = self._integrated(u, extended, 1)
            return LogDensity(head + found[0], found[1], self.quality)
        random = u[:, list(self.layout.zero)].isnan().any(-1) | bool(self.layout.dequantised)
        value, error = head.clone(), torch.zeros_like(head)
        for rows, draws in ((~random, 1), (random, self.draws)):
            if bool(rows.any()):
                found = self._integrated(u[rows], extended[rows], draws)
                value = value.index_put((rows,), head[rows] + found[0])
                error = error.index_put((rows,), found[1])
        return LogDensity(value, error, self.quality)

    def exportable(self) -> tuple[ConditionalDensity, str]:
        """Itself around what the family gives for its own part; integrals at fixed points."""
        if self.base is None:
            return self, ""
        base, words = self.base.exportable()
        twin = copy(self)
        twin._modules = {**self._modules, "base": base}
        if not self.layout.random or base.quality.kind == "none":
            return twin, words
        from hepgen.surrogates.variables.fixed_points import FixedPoints

        fixed = FixedPoints(twin)
        return fixed, "; ".join(filter(None, (words, fixed.words)))

    def log_integrand(self, u: Tensor, context: Tensor, fill: Tensor, uniform: Tensor) -> Tensor:
        """log of what a density is the average of, shape ``(B,)``.

        Arguments:
            u, context: As of :meth:`log_prob`.
            fill: What stands for the components that are zero, shape ``(B, zeros)``, of a normal
                distribution.
            uniform: What is added to the dequantised counts, shape ``(B, counts)``, in [0, 1).
        """
        k = self._categories(u)
        filled, log_fill = self._filled(u, fill, uniform)
        found, _ = self._over_windings(filled, self._extended(k, context))
        return self.head.log_prob(k, context).double() + found - log_fill

    def _integrated(self, u: Tensor, context: Tensor, draws: int) -> tuple[Tensor, Tensor]:
        """log (1/K) Σ over draws Σ over windings of q/r, and its error; shape ``(B,)`` each."""
        terms, errors = [], []
        for _ in range(draws):
            filled, log_fill = self._filled(u, *self._beside(u))
            found, error = self._over_windings(filled, context)
            terms.append(found - log_fill)
            errors.append(error)
        term = torch.stack(terms)
        value = term.logsumexp(0) - math.log(draws)
        of_family = _of_sum(term, torch.stack(errors))
        if draws == 1:
            return value, of_family
        scatter = (term - value).detach().exp().std(0) / math.sqrt(draws)
        return value, torch.hypot(scatter, of_family)

    def _over_windings(self, filled: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """log Σ_k q(v(φ + 2πk)) dv/dt over all combinations of windings, and its error."""
        assert self.base is not None
        plain, phi, counted, zero = self._parts(filled)
        angles = torch.stack((phi, other(phi)))
        terms, errors = [], []
        for winding in range(2 ** len(self.layout.circular)):
            choice = [(winding >> j) & 1 for j in range(phi.shape[-1])]
            t = torch.stack([angles[s, :, j] for j, s in enumerate(choice)], -1) if choice else phi
            v, slope = lifted(t)
            density = self.base.log_prob(torch.cat((plain, v, counted, zero), -1), context)
            value = density.value + slope.double().sum(-1)
            terms.append(value.masked_fill(~inside(t).all(-1), -math.inf))
            errors.append(density.error)
        term = torch.stack(terms)
        return term.logsumexp(0), _of_sum(term, torch.stack(errors))

    def _drawn(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """What the family is trained on, and the log-weight of what was drawn beside."""
        filled, log_fill = self._filled(u, *self._beside(u))
        plain, phi, counted, zero = self._parts(filled)
        second = torch.rand_like(phi) > weight(phi)
        t = torch.where(second, other(phi), phi)
        v, slope = lifted(t)
        chosen = (weight(t).clamp_min(_SMALLEST).log() - slope).sum(-1)
        return torch.cat((plain, v, counted, zero), -1), log_fill.to(u) + chosen

    def _beside(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """What is drawn for the components that may be zero, and for the dequantised counts."""
        zero, counts = u[:, list(self.layout.zero)], u[:, list(self.layout.dequantised)]
        return torch.randn_like(zero), torch.rand_like(counts)

    def _filled(self, u: Tensor, fill: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Columns with a density: filled where a component is zero or a count; and log r."""
        layout = self.layout
        zero = u[:, list(layout.zero)]
        absent = zero.isnan()
        log_fill = (-0.5 * (fill.square() + _LOG_2PI) * absent).double().sum(-1)
        counts = u[:, list(layout.dequantised)]
        counts = (counts + uniform - self.mean) / self.scale
        log_fill = log_fill + self.scale.double().log().sum()
        columns = (u[:, list(layout.continuous)], u[:, list(layout.circular)], counts)
        return torch.cat((*columns, torch.where(absent, fill, zero)), -1), log_fill

    def _parts(self, v: Tensor) -> tuple[Tensor, ...]:
        layout = self.layout
        columns = (layout.continuous, layout.circular, layout.dequantised, layout.zero)
        return torch.split(v, [len(part) for part in columns], dim=-1)

    def _quantised(self, v: Tensor) -> Tensor:
        last = torch.tensor(self.layout.values).to(v) - 1
        return (v * self.scale + self.mean).floor().clamp(min=0).minimum(last)

    def _categories(self, u: Tensor) -> Tensor:
        counts = u[:, list(self.layout.categorical)].round()
        present = ~u[:, list(self.layout.zero)].isnan()
        return torch.cat((counts.long(), present.long()), -1)

    def _extended(self, k: Tensor, context: Tensor) -> Tensor:
        return torch.cat((context, self.head.encoded(k, context.dtype)), -1)


def _of_sum(terms: Tensor, errors: Tensor) -> Tensor:
    """The error of log Σ exp of terms with errors that may have one sign, shape ``(B,)``."""
    share = terms.detach().softmax(0)
    return torch.where(share > 0, share * errors.detach(), 0.0).sum(0)


def mixed_model(
    space: FeatureSpace,
    context: int,
    build: Callable[[int, int], ConditionalDensity],
) -> ConditionalDensity:
    """The family itself where all features are continuous, else :class:`Mixed` around it."""
    if space.continuous:
        return build(len(space), context)
    return Mixed(Layout.of(space), context, build)
