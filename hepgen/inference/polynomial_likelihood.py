r"""The likelihood of events as a polynomial in θ, for many fits: each data set is a few numbers.

.. math:: \ln r(x | \theta) \approx \sum_j a_j(x)\, \phi_j(\theta), \qquad
          \log L(\theta) = \sum_j \Bigl(\sum_i w_i a_j(x_i)\Bigr) \phi_j(\theta) - \lambda(\theta)
          + \text{constraints}

with r the density of an event, or its rate where the number of events says something too; λ is
its integral then. φ are the monomials up to a total degree, over the range of each parameter, which
is 4 σ of a constraint. A data set enters by J sums, however many events it has, and a fit costs
nothing: toys by the hundred thousand. ``residual`` says how far the polynomial is from r.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from hepgen.errors import DataError, ParameterError
from hepgen.inference.likelihood import Likelihood
from hepgen.parameters import Normal, ParameterSet

LogRate = Callable[[Tensor], Tensor]
"""ln r of B kinds of events at K points, ``(K, D)`` to ``(K, B)``."""


@dataclass(frozen=True)
class PolynomialSets:
    """S data sets.

    Arguments:
        sums: Σ w a(x), shape ``(S, J)``.
        auxiliary: The auxiliary measurement of each parameter, shape ``(S, D)``; of those without
            one it means nothing.
    """

    sums: Tensor
    auxiliary: Tensor

    def __len__(self) -> int:
        return len(self.sums)

    def __getitem__(self, part: slice | Tensor) -> PolynomialSets:
        return PolynomialSets(self.sums[part], self.auxiliary[part])


@runtime_checkable
class Events(Protocol):
    """Where toys come from."""

    def __call__(self, theta: Tensor, seed: int) -> Tensor:
        """The kinds of the events of a data set at each θ of shape ``(S, D)``.

        Returns:
            Shape ``(S, N)``, int64, of which −1 is no event.
        """


class PolynomialLikelihood(Likelihood):
    """log L by polynomials, of events of B kinds: narrow bins, or the events of a pool.

    Arguments:
        parameters: D free ones.
        log_rate: ln r of each kind. Of a density it may lack what does not depend on θ.
        degree: The largest total degree.
        rate: Whether r is a rate: then Σ r over the kinds is the expected number of events.
        events: The toys of :meth:`generate`; those of the polynomial itself where there is none.
        nodes: Points to each term at which ``log_rate`` is evaluated, quasi-random.

    >>> from hepgen.parameters import Parameter, Uniform
    >>> slope = ParameterSet([Parameter("b", 0.1, prior=Uniform(-0.5, 0.5))])
    >>> x = torch.linspace(-0.95, 0.95, 20, dtype=torch.float64)
    >>> line = PolynomialLikelihood(slope, lambda b: torch.log((1 + b * x) / 20), degree=6)
    >>> line.residual < 1e-4
    True
    """

    def __init__(
        self,
        parameters: ParameterSet,
        log_rate: LogRate,
        *,
        degree: int,
        rate: bool = False,
        events: Events | None = None,
        nodes: float = 3.0,
    ) -> None:
        self.parameters, self.events, self.rate = _within_reach(parameters), events, rate
        self._centre, self._half = _ranges(parameters)
        self._parents, self._factors = _terms(len(parameters.free), degree)
        count = 1 + sum(len(p) for p in self._parents)
        theta = self._design(max(8, int(nodes * count)))
        values = log_rate(theta).double()
        if not bool(torch.isfinite(values).all()):
            raise DataError(
                "the log-density is NaN or infinite somewhere in the range of the parameters: "
                "choose a narrower range, or leave out events that are impossible somewhere"
            )
        solved = torch.linalg.lstsq(self._basis(theta), values)
        #: a_j of each kind, shape ``(B, J)``, and a row of zeros for no event.
        self.coefficients = torch.cat([solved.solution.T, torch.zeros(1, count).double()])
        again = self._design(64, seed=1)
        weight = log_rate(again).double()
        apart = (self._basis(again) @ self.coefficients[:-1].T - weight).square()
        share = weight.softmax(-1)
        #: The root mean square error of ln r over events and θ.
        self.residual = float((apart * share).sum(-1).mean().sqrt())

    def encode(self, kinds: Tensor, auxiliary: Tensor | None = None) -> PolynomialSets:
        """Data sets from the kinds of their events, shape ``(S, N)``, −1 for none.

        Arguments:
            kinds: Of the events.
            auxiliary: The auxiliary measurements, shape ``(S, D)``; the nominal ones without.
        """
        sums = torch.stack([self.coefficients[row].sum(0) for row in kinds])
        if auxiliary is None:
            auxiliary = self._nominal().expand(len(kinds), -1)
        return PolynomialSets(sums, auxiliary)

    def log_likelihoods(self, sets: PolynomialSets, theta: Tensor) -> Tensor:  # type: ignore[override]
        """See :class:`hepgen.inference.likelihood.Likelihood`; −∞ beyond the polynomial's range."""
        total = torch.einsum("skj,sj->sk", self._basis(theta), sets.sums)
        if self.rate:
            total = total - self.expected(theta)
        total = total + self._constraints(theta, sets.auxiliary)
        t = (theta.double() - self._centre) / self._half
        return torch.where((t.abs() > 1 + 1e-9).any(-1), -torch.inf, total)

    def log_rates(self, theta: Tensor) -> Tensor:
        """ln r of each kind, ``(*, D)`` to ``(*, B)``."""
        return self._basis(theta) @ self.coefficients[:-1].T

    def expected(self, theta: Tensor) -> Tensor:
        """λ(θ) = Σ r, shape ``(*,)``."""
        return self.log_rates(theta).logsumexp(-1).exp()

    def generate(self, theta: Tensor, seed: int) -> PolynomialSets:
        """See :class:`hepgen.inference.likelihood.Likelihood`; a rate is needed, or events."""
        auxiliary = self.auxiliary(theta, seed)
        if self.events is not None:
            return self.encode(self.events(theta, seed), auxiliary)
        if not self.rate:
            raise DataError("a density does not say how many events there are: give events")
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            counts = torch.poisson(self.log_rates(theta).exp())
        return PolynomialSets(counts @ self.coefficients[:-1], auxiliary)

    def asimov(self, theta: Tensor) -> PolynomialSets:
        """See :class:`hepgen.inference.likelihood.Likelihood`; one event in all of a density."""
        with torch.no_grad():
            rates = self.log_rates(theta[None]).exp()
        rates = rates if self.rate else rates / rates.sum(-1, keepdim=True)
        return PolynomialSets(rates @ self.coefficients[:-1], theta.double()[None])

    def auxiliary(self, theta: Tensor, seed: int) -> Tensor:
        """Auxiliary measurements at each θ, shape ``(S, D)``, of their σ around it."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(theta.shape, generator=generator, dtype=torch.float64)
        return theta.double() + noise * self._sigma()

    def _constraints(self, theta: Tensor, auxiliary: Tensor) -> Tensor:
        sigma = self._sigma()
        held = sigma > 0
        z = (theta - auxiliary[:, None])[..., held] / sigma[held]
        return (-0.5 * z.square() - (sigma[held] * math.sqrt(2 * math.pi)).log()).sum(-1)

    def _sigma(self) -> Tensor:
        """σ of the constraints, zero where there is none, shape ``(D,)``."""
        widths = [p.std if isinstance(p, Normal) else 0.0 for p in self.parameters.priors]
        return torch.tensor(widths, dtype=torch.float64)

    def _nominal(self) -> Tensor:
        values = [
            p.mean if isinstance(p, Normal) else q.default
            for p, q in zip(self.parameters.priors, self.parameters.free, strict=True)
        ]
        return torch.tensor(values, dtype=torch.float64)

    def _design(self, points: int, seed: int = 0) -> Tensor:
        """Points over the ranges, denser at their ends as Chebyshev's nodes are, ``(M, D)``."""
        d = len(self.parameters.free)
        engine = SobolEngine(d, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
        share: Tensor = engine.draw(points, dtype=torch.float64)
        return self._centre - self._half * torch.cos(torch.pi * share)

    def _basis(self, theta: Tensor) -> Tensor:
        """φ of θ, ``(*, D)`` to ``(*, J)``: by degree, each term a parent times a factor."""
        t = (theta.double() - self._centre) / self._half
        blocks = [torch.ones_like(t[..., :1])]
        for parents, factors in zip(self._parents, self._factors, strict=True):
            blocks.append(blocks[-1][..., parents] * t[..., factors])
        return torch.cat(blocks, dim=-1)


def _terms(dimensions: int, degree: int) -> tuple[list[Tensor], list[Tensor]]:
    """For each degree from one: the parent of each monomial in the degree below, and its factor."""
    parents, factors, last = [], [], [0]
    for number in range(degree):
        pairs = [
            (i, d)
            for i, first in enumerate(last)
            for d in range(first if number else 0, dimensions)
        ]
        parents.append(torch.tensor([i for i, _ in pairs]))
        factors.append(torch.tensor([d for _, d in pairs]))
        last = [d for _, d in pairs]
    return parents, factors


def _within_reach(parameters: ParameterSet) -> ParameterSet:
    """The same, valid where the polynomial is: a best fit may lie at such an end."""
    ends = {p.name: p.prior.reach for p in parameters.free if p.prior is not None}
    return ParameterSet(
        [
            replace(p, low=ends[p.name][0], high=ends[p.name][1]) if p.name in ends else p
            for p in parameters
        ]
    )


def _ranges(parameters: ParameterSet) -> tuple[Tensor, Tensor]:
    """The middle and half of the range of each free parameter, shapes ``(D,)``."""
    if not parameters.free:
        raise ParameterError("no free parameter; expected one at least")
    ends = [prior.reach for prior in parameters.priors]
    low, high = torch.tensor(ends, dtype=torch.float64).unbind(-1)
    return 0.5 * (low + high), 0.5 * (high - low)
