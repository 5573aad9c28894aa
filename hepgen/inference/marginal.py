r"""The marginal likelihood of a chain, by averaging over its latents.

.. math:: p(x | \theta) = \int p(x, z | \theta)\, dz = E_q\left[w\right], \qquad
          w = \frac{p(x, z | \theta)}{q(z | x)}

Three answers, and what each is worth:

* :func:`prior_likelihood` draws z from the chain itself: then w is the density of x given z. It
  works for every chain and needs no proposal, and fails as soon as few of the draws could have
  made x.
* :func:`importance_likelihood` draws z from a proposal q(z | x, θ), given or learned. The error
  is that of how far q is from p(z | x, θ), and zero where they are equal.
* :func:`likelihood_bound` averages log w instead (the ELBO, Jordan et al., Mach. Learn. 37 (1999)
  183), or the logarithm of the mean of K weights (Burda, Grosse and Salakhutdinov,
  arXiv:1509.00519): below log p(x | θ) on average, and nearer the larger K.

The number of draws that an average needs grows as exp KL(p(z | x, θ) ‖ q) (Chatterjee and
Diaconis, arXiv:1511.01437). With too few, the weights that matter are not among those drawn: the
answer is too low, and neither its standard error nor the effective sample size can know by how
much. Hence :attr:`MarginalLikelihood.trusted`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

from hepgen.errors import DataError
from hepgen.inference.observation import Observation
from hepgen.simulators.chain import Chain

Proposal = Callable[[Tensor, Mapping[str, Tensor]], Distribution]
"""q(z | x, θ): x of shape ``(B, X)`` and θ of shape ``(B, 1)`` each to a distribution of batch
shape ``(B,)`` over the latent sites in a row, event shape ``(Z,)``."""

#: The fewest effective draws, or terms of a bound, with which a standard error means something.
ENOUGH = 100
_ROWS = 65_536


@dataclass(frozen=True)
class MarginalLikelihood:
    r"""log p(x | θ) in nats of B observed events, each by itself: arrays of shape ``(B,)``.

    Arguments:
        value: The estimate, or the bound. −∞ where no draw could have made the event.
        error: Its standard error. Of an estimate by the delta method: the relative error of the
            mean weight, :math:`\sqrt{(1/\mathrm{ESS} - 1/N)\,N/(N - 1)}`, at most 1.
        effective_samples: :math:`(\sum w)^2 / \sum w^2` (Kish), N for equal weights.
        draws: N.
        kind: Whether the mean of ``exp(value)`` is p(x | θ), or that of ``value`` below its
            logarithm.
        method: ``prior``, ``importance``, or ``bound of K`` draws.
        terms: How many independent terms the average has: N, or N/K.
    """

    value: NDArray[np.float64]
    error: NDArray[np.float64]
    effective_samples: NDArray[np.float64]
    draws: int
    kind: Literal["estimate", "bound"]
    method: str
    terms: int

    @property
    def trusted(self) -> NDArray[np.bool_]:
        """Whether ``error`` can be believed: at least 100 effective draws, or terms of a bound.

        Where not, an estimate is more likely too low than too high, and by more than its error.
        """
        number = self.effective_samples if self.kind == "estimate" else np.float64(self.terms)
        enough: NDArray[np.bool_] = np.isfinite(self.value) & (number >= ENOUGH)
        return enough


def prior_likelihood(
    chain: Chain,
    observed: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    draws: int = 10_000,
    *,
    seed: int = 0,
    rows: int = _ROWS,
) -> MarginalLikelihood:
    """log p(x | θ) with latents drawn from the chain: for every chain, jagged latents too.

    The observed sites are held, so that latents which come after one are drawn given it.

    Arguments:
        chain: The simulator.
        observed: Values of sites for B events, shape ``(B,)`` or ``(B, K)``. All other sites are
            latent.
        parameters: θ, shape ``()`` or ``(B, 1)``: one for all events, or one for each.
        draws: N for each event.
        seed: Of the draws. The result depends on it and on ``rows``.
        rows: How many pairs of event and draw are in memory at once.

    Raises:
        DataError: An observed site that does not exist or has another shape, or is jagged with a
            number of entries that is latent.

    >>> from hepgen.simulators.processes.registry import process
    >>> chain = process("gaussian", depth=1)
    >>> x = torch.tensor([[0.3, -0.2]])
    >>> found = prior_likelihood(chain, {"x": x}, chain.parameters.values(), draws=20_000)
    >>> found.value.round(1), bool(found.trusted)
    (array([-2.1]), True)
    """
    observation = Observation.of(chain, observed, parameters)
    parts = (
        observation.prior_weights(n, number, seed)
        for number, n in _chunks(draws, len(observation), rows)
    )
    return _average(parts, draws, "prior")


def importance_likelihood(
    chain: Chain,
    observed: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    proposal: Proposal,
    draws: int = 10_000,
    *,
    seed: int = 0,
    rows: int = _ROWS,
) -> MarginalLikelihood:
    """log p(x | θ) with latents drawn from a proposal q(z | x, θ).

    A proposal with lighter tails than p(z | x, θ) gives weights without a variance: where in
    doubt, make it wider.

    Arguments:
        proposal: See :data:`Proposal`; or a :class:`~hepgen.inference.proposal.LearnedProposal`.
        chain, observed, parameters, draws, seed, rows: See :func:`prior_likelihood`.

    Raises:
        DataError: As there; or a latent is jagged or only takes whole numbers, so that no density
            of fixed length can propose it; or the proposal has another shape.
    """
    observation = Observation.of(chain, observed, parameters)
    parts = (
        observation.proposal_weights(proposal, n, number, seed)
        for number, n in _chunks(draws, len(observation), rows)
    )
    return _average(parts, draws, "importance")


def likelihood_bound(
    chain: Chain,
    observed: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    proposal: Proposal,
    draws: int = 10_000,
    *,
    importance: int = 1,
    seed: int = 0,
    rows: int = _ROWS,
) -> MarginalLikelihood:
    r"""A lower bound of log p(x | θ), :math:`E[\log\frac1K\sum_{k=1}^K w_k]`.

    K = 1 is the ELBO, log p(x | θ) − KL(q ‖ p(z | x, θ)).

    Arguments:
        importance: K; ``draws`` is a multiple of it.
        chain, observed, parameters, proposal, draws, seed, rows: See
            :func:`importance_likelihood`.
    """
    if importance < 1 or draws % importance:
        raise DataError(
            f"{draws} draws in groups of {importance}: expected a multiple of a positive number"
        )
    observation = Observation.of(chain, observed, parameters)
    weights = _Weights()
    terms = _Moments()
    for number, n in _chunks(draws, len(observation), rows, importance):
        part = observation.proposal_weights(proposal, n, number, seed)
        weights.add(part)
        groups = part.unflatten(-1, (-1, importance))  # type: ignore[no-untyped-call]
        terms.add(groups.logsumexp(-1) - math.log(importance))
    return MarginalLikelihood(
        terms.mean.numpy(), terms.error.numpy(), weights.effective.numpy(), draws, "bound",
        f"bound of {importance}", draws // importance,
    )  # fmt: skip


def _average(parts: Iterator[Tensor], draws: int, method: str) -> MarginalLikelihood:
    weights = _Weights()
    for part in parts:
        weights.add(part)
    value = weights.first - math.log(draws)
    effective = weights.effective
    spread = (1 / effective - 1 / draws).clamp_min(0) * draws / max(draws - 1, 1)
    # A single draw says nothing of its error.
    error = spread.sqrt() if draws > 1 else torch.full_like(value, torch.inf)
    return MarginalLikelihood(
        value.numpy(), error.numpy(), effective.numpy(), draws, "estimate", method, draws
    )


class _Weights:
    """The logarithms of Σw and Σw², shape ``(B,)``."""

    def __init__(self) -> None:
        self.first = self.second = torch.tensor(-torch.inf, dtype=torch.float64)

    def add(self, log_weight: Tensor) -> None:
        """More draws, shape ``(B, n)``."""
        self.first = torch.logaddexp(self.first, log_weight.logsumexp(-1))
        self.second = torch.logaddexp(self.second, (2 * log_weight).logsumexp(-1))

    @property
    def effective(self) -> Tensor:
        """(Σw)²/Σw²; zero where all weights are."""
        return (2 * self.first - self.second).exp().nan_to_num(nan=0.0)


class _Moments:
    """Mean and standard error of terms that come in parts, shape ``(B,)`` (Chan et al., 1979)."""

    def __init__(self) -> None:
        self.number = 0
        self.mean = self.squares = torch.zeros((), dtype=torch.float64)

    def add(self, terms: Tensor) -> None:
        """More terms, shape ``(B, n)``."""
        n, mean = terms.shape[-1], terms.mean(-1)
        step, total = mean - self.mean, self.number + n
        within = (terms - mean[..., None]).square().sum(-1)
        self.squares = self.squares + within + step.square() * self.number * n / total
        # Once −∞, a mean stays there; ∞ − ∞ would not say so.
        lost = torch.isneginf(self.mean) | torch.isneginf(mean)
        self.mean = torch.where(lost, -torch.inf, self.mean + step * n / total)
        self.number = total

    @property
    def error(self) -> Tensor:
        """√(variance/N); infinite where a term is, or there is one only."""
        variance = self.squares / max(self.number - 1, 1) / self.number
        known = variance.sqrt() if self.number > 1 else torch.full_like(variance, torch.inf)
        return known.nan_to_num(nan=torch.inf, posinf=torch.inf)


def _chunks(draws: int, events: int, rows: int, multiple: int = 1) -> Iterator[tuple[int, int]]:
    """(number, draws) of each part, such that memory does not depend on the draws."""
    for name, value in (("draws", draws), ("rows", rows)):
        if value < 1:
            raise DataError(f"{name} = {value}: expected a positive number")
    size = max(rows // events // multiple, 1) * multiple
    for number, start in enumerate(range(0, draws, size)):
        yield number, min(size, draws - start)
