r"""Averages of estimators, with their spread as the uncertainty of finite simulation.

.. math:: \text{log}: \quad \log L = \frac1M \sum_m \log L_m, \qquad
          \text{density}: \quad \log L = \sum_i w_i \log \frac1M \sum_m \hat p_m(x_i | \theta)

of M members, each from simulated events or random numbers of its own. A mean of densities is a
density; a mean of logarithms is what a ratio has, and costs least.

A learned likelihood is a random function. δ log L_m = log L_m − log L is how far a member is off,
and moves the maximum θ̂ of log L by

.. math:: \delta\theta_m = H^{-1} \nabla \delta\log L_m(\hat\theta), \qquad
          H = -\nabla\nabla^T \log L(\hat\theta).

The covariance C of δθ_m over the members is that of one member. If they are trained on disjoint
parts of the simulation, the average has C/M. If each is trained on all of it with the weights of a
bootstrap (a Poisson number of mean one for each event: Efron, Ann. Statist. 7 (1979) 1; Hanley and
MacGibbon, Comput. Methods Programs Biomed. 83 (2006) 57), the members scatter around the average as
it does around the truth, and C is its covariance. What all members have wrong in the same way,
such as a network too small, is not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.event_sets import EventSets, SetLikelihood
from hepgen.inference.finite_simulation import FiniteSimulation, finite_simulation
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.parameters import ParameterSet

Scheme = Literal["parts", "bootstrap"]
Member = TypeVar("Member", bound=SetLikelihood)
_PAIRS = 2**18


@runtime_checkable
class EventLikelihood(SetLikelihood, Protocol):
    """A likelihood that is known event by event."""

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """log p(xᵢ | θₖ) but for a term without θ, shape ``(N, K)``."""


@dataclass(frozen=True)
class MemberSets(EventSets):
    """Data sets in physical variables, and as each member has encoded them."""

    members: tuple[EventSets, ...]

    def __getitem__(self, part: slice | Tensor) -> MemberSets:
        return MemberSets(
            self.events[part], self.weight[part], self.constant[part],
            tuple(one[part] for one in self.members),
        )  # fmt: skip


class Ensemble(Generic[Member]):
    """M likelihoods of the same parameters as one.

    Arguments:
        members: Two at least.
        average: ``log``, or ``density`` for members that are known event by event.
        scheme: How the simulation was shared, see :func:`shares`; it says what the spread of the
            members means for their average.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        average: Literal["log", "density"] = "log",
        scheme: Scheme = "bootstrap",
    ) -> None:
        first = shared_parameters([one.parameters for one in members])
        if average == "density" and not all(isinstance(one, EventLikelihood) for one in members):
            raise DataError(
                "a mean of densities needs members with log_prob(x, theta); use average='log'"
            )
        self.members, self.parameters = tuple(members), first
        self.average, self.scheme = average, scheme

    @classmethod
    def fit(
        cls,
        train: Callable[[Tensor, Tensor, int], Member],
        events: int,
        *,
        members: int = 5,
        scheme: Scheme = "bootstrap",
        average: Literal["log", "density"] = "log",
        seed: int = 0,
    ) -> Ensemble[Member]:
        """Train members on shares of a simulation.

        Arguments:
            train: Indices of events, shape ``(n,)``, factors for their weights, shape ``(n,)``,
                and a seed, to a trained member.
            events: How many there are.
            members: M.
            scheme: How they are shared, see :func:`shares`.
            average: Of what.
            seed: Of the shares and of the trainings.
        """
        found = [
            train(index, factor, seed * 1000 + m)
            for m, (index, factor) in enumerate(shares(events, members, scheme, seed))
        ]
        return cls(found, average=average, scheme=scheme)

    def __len__(self) -> int:
        return len(self.members)

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> MemberSets:
        """Data sets, each of shape ``(N, d)``, as every member sees them."""
        each = tuple(one.encode(x, weight) for one in self.members)
        longest, sets = max(map(len, x)), len(x)
        events = torch.zeros(sets, longest, x[0].shape[-1], dtype=torch.float64)
        for s, one in enumerate(x):
            events[s, : len(one)], events[s, len(one) :] = one, one[0]
        constant = torch.zeros(sets, dtype=torch.float64)
        return MemberSets(events, each[0].weight, constant, each)

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        """Of S data sets at K points each, shape ``(S, K)``, for θ of shape ``(S, K, D)``."""
        if self.average == "log":
            return self.of_members(sets, theta).mean(0)
        rows = max(1, _PAIRS // (len(self) * theta.shape[1]))
        return torch.stack(
            [
                sum(
                    (w @ self.log_prob(x, at) for x, w in _chunks(events, weight, rows)),
                    torch.zeros(len(at), dtype=torch.float64),
                )
                for events, weight, at in zip(sets.events, sets.weight, theta, strict=True)
            ]
        )

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Of each event, shape ``(N, K)``, for x of shape ``(N, d)`` and θ of shape ``(K, D)``."""
        known = [one for one in self.members if isinstance(one, EventLikelihood)]
        if len(known) < len(self):
            raise DataError("the members are not known event by event; expected log_prob of all")
        each = torch.stack([one.log_prob(x, theta) for one in known])
        if self.average == "log":
            return each.mean(0)
        mean: Tensor = each.logsumexp(0) - np.log(len(self))
        return mean

    def prepare(self, x: Tensor) -> Tensor:
        """What :meth:`log_densities` wants of events ``(N, d)``: that of each member in a row."""
        return torch.cat([one.prepare(x).double() for one in self._densities()], dim=-1)

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """log p of events from :meth:`prepare` at θ ``(S, K, D)``, shape ``(S, n, K)``."""
        members = self._densities()
        parts = prepared.tensor_split(len(members), dim=-1)
        both = zip(members, parts, strict=True)
        each = torch.stack([one.log_densities(part, theta) for one, part in both])
        if self.average == "log":
            return each.mean(0)
        mean: Tensor = each.logsumexp(0) - np.log(len(self))
        return mean

    def double(self) -> Ensemble[Any]:
        """The same average with members in double precision."""
        return Ensemble(
            [one.double() for one in self._densities()], average=self.average, scheme=self.scheme
        )

    def _densities(self) -> list[Any]:
        without = [one for one in self.members if not hasattr(one, "double")]
        if without:
            raise DataError(
                f"{type(without[0]).__name__} is no density of single events that fits can use; "
                "expected members such as NLE or a ratio"
            )
        return list(self.members)

    def of_members(self, sets: EventSets, theta: Tensor) -> Tensor:
        """log L of each member, shape ``(M, S, K)``."""
        if not isinstance(sets, MemberSets):
            raise DataError(f"data sets as {type(sets).__name__}; expected those of encode()")
        both = zip(self.members, sets.members, strict=True)
        return torch.stack([one.log_likelihoods(own, theta) for one, own in both])

    def finite_simulation(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        posterior: LikelihoodPosterior | None = None,
    ) -> FiniteSimulation:
        """What the members' spread means for the maximum of the likelihood of one data set.

        The prior is in both the maximum and the curvature, as it is in a posterior: it holds
        where the data do not.

        Arguments:
            x: The data set, shape ``(N, d)``.
            weight: Event weights, shape ``(N,)``.
            posterior: Whose maximum and curvature count; by default that of the average. One with
                a rate besides has others.
        """
        whole = LikelihoodPosterior(self) if posterior is None else posterior
        theta, covariance = whole.gaussian(whole.likelihood.encode([x], [weight]))
        gradients = self._gradients(self.encode([x], [weight]), theta)
        shifts = (gradients - gradients.mean(0)) @ covariance
        return finite_simulation(
            (theta + shifts)[:, None].numpy(), covariance.diagonal().sqrt()[None].numpy(),
            self.parameters.free_names, averaged=len(self) if self.scheme == "parts" else 1,
        )  # fmt: skip

    def _gradients(self, sets: MemberSets, theta: Tensor) -> Tensor:
        """∇ log L_m at θ ``(D,)``, shape ``(M, D)``."""
        at = theta[None, None].detach().requires_grad_(True)
        with torch.enable_grad():
            each = self.of_members(sets, at)[:, 0, 0]
            rows = [torch.autograd.grad(one, at, retain_graph=True)[0][0, 0] for one in each]
        return torch.stack(rows)


def shares(events: int, members: int, scheme: Scheme, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices of the events that each member has, and factors for their weights.

    ``parts`` are disjoint. ``bootstrap`` is all events, each with a Poisson number of mean one for
    its weight; those with none are left out.
    """
    generator = torch.Generator().manual_seed(seed)
    if scheme == "parts":
        for part in torch.randperm(events, generator=generator).tensor_split(members):
            yield part, torch.ones(len(part), dtype=torch.float64)
        return
    for _ in range(members):
        factor = torch.poisson(torch.ones(events, dtype=torch.float64), generator=generator)
        index = factor.nonzero()[:, 0]
        yield index, factor[index]


def _chunks(events: Tensor, weight: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    # What fills up a short set has no weight, and is a copy: it may be evaluated, or not.
    return zip(torch.split(events, rows), torch.split(weight, rows), strict=True)


def shared_parameters(members: Sequence[ParameterSet]) -> ParameterSet:
    """The parameters that all members of an ensemble have.

    Raises:
        DataError: There are fewer than two members.
        ParameterError: They have different parameters or priors.
    """
    if len(members) < 2:
        raise DataError(f"an ensemble of {len(members)}; expected two members at least")
    first = members[0]
    for one in members[1:]:
        if one.to_dict() != first.to_dict():
            raise ParameterError(
                f"members of {', '.join(first.free_names)} and of {', '.join(one.free_names)}; "
                "expected the same parameters and priors"
            )
    return first
