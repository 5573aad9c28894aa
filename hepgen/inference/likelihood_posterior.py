"""The posterior of a likelihood: p(θ | x) ∝ p(x | θ) p(θ), by importance sampling or NUTS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from hepgen.errors import SamplingError
from hepgen.inference.event_sets import SetLikelihood
from hepgen.inference.importance import WeightedDraws, importance_draws
from hepgen.inference.laplace import Laplace, LogDensity, laplace
from hepgen.inference.likelihood import DataSets
from hepgen.inference.nuts import effective_sample_size, run_nuts, split_r_hat
from hepgen.inference.posterior import Posterior, PosteriorSample
from hepgen.inference.unbounded import UnboundedPrior

Method = Literal["nuts", "importance"]

_STARTS = 64


class LikelihoodPosterior(Posterior):
    """The posterior of a likelihood over event sets, such as :class:`hepgen.inference.nle.NLE`.

    Everything happens in the unbounded space u of the priors, where log p(u | x) =
    log p(x | θ(u)) + log p(θ(u)) + log |dθ/du| has no edges. Its mode and curvature give a
    Gaussian, which is the proposal of importance sampling and the metric of the Markov chains.

    Arguments:
        likelihood: log p(x | θ) of event sets.
        method: How :meth:`sample` draws. ``nuts`` is for one data set, with diagnostics of
            convergence. ``importance`` is faster and does many data sets at once.
        chains: Of NUTS.
        warmup: Of each chain.
        proposals: Draws of importance sampling, for each draw that is asked for.
    """

    def __init__(
        self,
        likelihood: SetLikelihood,
        *,
        method: Method = "importance",
        chains: int = 4,
        warmup: int = 40,
        proposals: float = 2.0,
    ) -> None:
        super().__init__(likelihood.parameters)
        self.likelihood = likelihood
        self.method = method
        self.chains, self.warmup, self.proposals = chains, warmup, proposals
        self.unbounded = UnboundedPrior(likelihood.parameters)

    def draw_batched(
        self,
        n: int,
        x: Sequence[Tensor],
        *,
        weight: Sequence[Tensor | None] | None = None,
        seed: int = 0,
        method: Method | None = None,
    ) -> list[PosteriorSample]:
        """n draws with diagnostics for each data set; see :meth:`Posterior.draw_batched`."""
        weights = [None] * len(x) if weight is None else list(weight)
        return self.draw_sets(n, self.likelihood.encode(x, weights), seed=seed, method=method)

    def draw_sets(
        self, n: int, sets: DataSets, *, seed: int = 0, method: Method | None = None
    ) -> list[PosteriorSample]:
        """As :meth:`draw_batched`, for data sets as the likelihood keeps them."""
        if (method or self.method) == "importance":
            return self._importance(n, sets, seed)
        return [self._nuts(n, sets[s : s + 1], seed + s) for s in range(len(sets))]

    def log_density(self, sets: DataSets) -> LogDensity:
        """log p(x, u), shape ``(S, K)``, as a function of u, shape ``(S, K, D)``."""

        def evaluate(u: Tensor) -> Tensor:
            prior = self.unbounded
            return self.likelihood.log_likelihoods(sets, prior.physical(u)) + prior.log_prob(u)

        return evaluate

    def laplace(self, sets: DataSets) -> Laplace:
        """The Gaussian approximation of each posterior in the unbounded space."""
        density = self.log_density(sets)
        generator = torch.Generator().manual_seed(0)
        u = self.unbounded.sample(_STARTS, generator).clamp(-4, 4)
        with torch.no_grad():
            best = density(u.expand(len(sets), -1, -1)).argmax(-1)
        return laplace(density, u[best])

    def mode(self, x: Tensor | None = None, *, weight: Tensor | None = None) -> Tensor:
        """The physical θ at the mode of the density in the unbounded space, shape ``(D,)``."""
        sets = self.likelihood.encode([self.data(x)], [weight])
        return self.unbounded.physical(self.laplace(sets).mode[0])

    def log_prob(
        self, theta: Tensor, x: Tensor | None = None, *, weight: Tensor | None = None
    ) -> Tensor:
        """log p(θ | x), shape ``(K,)``, normalised by importance sampling to about 2 %."""
        sets = self.likelihood.encode([self.data(x)], [weight])
        theta = theta.double().reshape(-1, len(self.unbounded))
        evidence = self._weighted(sets, 4000, seed=0).log_evidence
        prior = self.prior.log_prob(theta)
        inside = torch.isfinite(prior)
        values = torch.full_like(prior, -torch.inf)
        if bool(inside.any()):
            likelihood = self.likelihood.log_likelihoods(sets, theta[inside][None])[0]
            values = values.masked_scatter(inside, likelihood + prior[inside] - evidence)
        return values

    def _weighted(self, sets: DataSets, draws: int, seed: int) -> WeightedDraws:
        generator = torch.Generator().manual_seed(seed)
        return importance_draws(self.log_density(sets), self.laplace(sets), draws, generator)

    def _importance(self, n: int, sets: DataSets, seed: int) -> list[PosteriorSample]:
        weighted = self._weighted(sets, math.ceil(self.proposals * n), seed)
        if not bool(torch.isfinite(weighted.log_weight).any(-1).all()):
            raise SamplingError("a posterior is zero wherever it was looked for; see its data")
        generator = torch.Generator().manual_seed(seed + 1)
        theta = self.unbounded.physical(weighted.resample(n, generator))
        sizes = weighted.effective_samples.clamp(max=n).tolist()
        names = self.unbounded.names
        return [
            PosteriorSample(one, names, "importance", (size,) * len(names))
            for one, size in zip(theta, sizes, strict=True)
        ]

    def _nuts(self, n: int, sets: DataSets, seed: int) -> PosteriorSample:
        draws = math.ceil(n / self.chains)
        result = run_nuts(
            self.log_density(sets),
            self.laplace(sets),
            draws=draws,
            chains=self.chains,
            warmup=self.warmup,
            seed=seed,
        )
        # Interleaved, so that the first n draws hold every chain alike.
        theta = self.unbounded.physical(result.u.transpose(0, 1).reshape(-1, len(self.unbounded)))
        return PosteriorSample(
            theta[:n],
            self.unbounded.names,
            "nuts",
            tuple(effective_sample_size(result.u).tolist()),
            tuple(split_r_hat(result.u).tolist()),
            result.divergences,
        )
