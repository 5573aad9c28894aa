"""A posterior refined by a likelihood: importance sampling, with its effective sample size.

Draws θ ~ q(θ | x) of a posterior that was learned have the weights w = p(x | θ) p(θ) / q(θ | x).
Their mean is the evidence p(x), resampling them gives the posterior of the likelihood, and
(Σw)²/(K Σw²), the efficiency, says how good the proposal was (Dax et al., arXiv:2210.05686). With
an exact likelihood the result is exact, whatever q was, as long as q is nowhere far too small; a
low efficiency is the sign of that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.errors import SamplingError
from hepgen.inference.event_sets import SetLikelihood
from hepgen.inference.importance import WeightedDraws
from hepgen.inference.likelihood import Likelihood
from hepgen.inference.posterior import Posterior, PosteriorSample
from hepgen.inference.prior_free import prior_free


@dataclass(frozen=True)
class Refined:
    """Weighted draws.

    Arguments:
        theta: Shape ``(K, D)``.
        log_weight: log w, shape ``(K,)``.
    """

    theta: Tensor
    log_weight: Tensor

    @property
    def effective_samples(self) -> float:
        """(Σw)²/Σw² (Kish)."""
        return float(self._draws.effective_samples)

    @property
    def efficiency(self) -> float:
        """The effective sample size a draw."""
        return self.effective_samples / len(self.theta)

    @property
    def log_evidence(self) -> float:
        """log p(x)."""
        return float(self._draws.log_evidence)

    @property
    def log_evidence_error(self) -> float:
        """Its standard error, √((1/efficiency − 1)/K)."""
        return math.sqrt(max(0.0, 1 / self.efficiency - 1) / len(self.theta))

    def resample(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws of equal weight, shape ``(n, D)``."""
        return self._draws.resample(n, generator)[0]

    @property
    def _draws(self) -> WeightedDraws:
        return WeightedDraws(self.theta[None], self.log_weight[None])


class RefinedPosterior(Posterior):
    """The posterior of a likelihood, with the draws of another posterior as its proposals.

    Arguments:
        proposal: q, with a normalised ``log_prob``, such as a
            :class:`hepgen.inference.vector_npe.VectorNPE` or an NPE's posterior.
        likelihood: p(x | θ), exact or learned; without its constraints, as in
            :class:`hepgen.inference.likelihood_posterior.LikelihoodPosterior`.
        proposals: Draws of q, for each draw that is asked for.
        least: The lowest efficiency that is accepted.
    """

    def __init__(
        self,
        proposal: Posterior,
        likelihood: SetLikelihood | Likelihood,
        *,
        proposals: float = 4.0,
        least: float = 0.01,
    ) -> None:
        super().__init__(likelihood.parameters)
        self.proposal, self.likelihood = proposal, prior_free(likelihood)
        self.proposals, self.least = proposals, least

    @torch.no_grad()
    def refine(
        self, n: int, x: Tensor | None = None, *, weight: Tensor | None = None, seed: int = 0
    ) -> Refined:
        """n weighted draws of q for one data set.

        Raises:
            SamplingError: The efficiency is below the least.
        """
        x = self.data(x)
        theta = self.proposal.draw(n, x, weight=weight, seed=seed).theta
        sets = self.likelihood.encode([x], [weight])
        target = self.likelihood.log_likelihoods(sets, theta[None])[0] + self.prior.log_prob(theta)
        log_weight = target - self.proposal.log_prob(theta, x, weight=weight)
        refined = Refined(theta, log_weight.nan_to_num(nan=-torch.inf, neginf=-torch.inf))
        if not bool(torch.isfinite(refined.log_weight).any()):
            raise SamplingError(
                f"the likelihood is zero at all {n} draws of the proposal; it is another posterior"
            )
        if refined.efficiency < self.least:
            raise SamplingError(
                f"the weights of {n} proposals are worth {refined.effective_samples:.1f} draws; "
                f"expected {self.least * n:.0f} at least: the proposal misses a part of the "
                "posterior. Train it with more simulations, or sample the likelihood by slices"
            )
        return refined

    def draw_batched(
        self,
        n: int,
        x: Sequence[Tensor],
        *,
        weight: Sequence[Tensor | None] | None = None,
        seed: int = 0,
    ) -> list[PosteriorSample]:
        """n draws for each data set; see :meth:`Posterior.draw_batched`."""
        names, samples = self.parameters.free_names, []
        for i, (one, w) in enumerate(zip(x, weight or [None] * len(x), strict=True)):
            refined = self.refine(math.ceil(self.proposals * n), one, weight=w, seed=seed + i)
            generator = torch.Generator().manual_seed(seed + i)
            size = min(float(n), refined.effective_samples)
            samples.append(
                PosteriorSample(
                    refined.resample(n, generator), names, "refined", (size,) * len(names)
                )
            )
        return samples

    def log_prob(
        self, theta: Tensor, x: Tensor | None = None, *, weight: Tensor | None = None
    ) -> Tensor:
        """log p(θ | x), shape ``(K,)``, with the evidence of 4000 proposals."""
        x = self.data(x)
        theta = theta.double().reshape(-1, len(self.parameters.free))
        evidence = self.refine(4000, x, weight=weight).log_evidence
        prior = self.prior.log_prob(theta)
        inside = torch.isfinite(prior)
        values = torch.full_like(prior, -torch.inf)
        if bool(inside.any()):
            sets = self.likelihood.encode([x], [weight])
            likelihood = self.likelihood.log_likelihoods(sets, theta[inside][None])[0]
            values[inside] = likelihood + prior[inside] - evidence
        return values
