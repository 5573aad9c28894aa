"""The posterior of a likelihood: p(θ | x) ∝ p(x | θ) p(θ), by importance sampling, NUTS, slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from hepgen.errors import SamplingError
from hepgen.inference.annealing import Annealed, anneal
from hepgen.inference.event_sets import SetLikelihood
from hepgen.inference.importance import WeightedDraws, importance_draws
from hepgen.inference.laplace import Laplace, LogDensity, laplace
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.nuts import effective_sample_size, run_nuts, split_r_hat
from hepgen.inference.posterior import Posterior, PosteriorSample
from hepgen.inference.prior_free import prior_free
from hepgen.inference.region import Region
from hepgen.inference.slice_sampler import (
    Walkers,
    drift,
    ensemble_sample_size,
    run_slices,
)
from hepgen.inference.unbounded import UnboundedPrior

Method = Literal["nuts", "importance", "slice"]

_STARTS = 64


class LikelihoodPosterior(Posterior):
    """The posterior of a likelihood over event sets, such as :class:`hepgen.inference.nle.NLE`.

    Everything happens in the unbounded space u of the priors, where log p(u | x) =
    log p(x | θ(u)) + log p(θ(u)) + log |dθ/du| has no edges. Its mode and curvature give a
    Gaussian, which is the proposal of importance sampling and the metric of the Markov chains.

    Arguments:
        likelihood: log p(x | θ) of event sets. One with constraints, a
            :class:`hepgen.inference.likelihood.Likelihood`, is taken without those that the priors
            bring, see :class:`hepgen.inference.prior_free.PriorFree`.
        method: How :meth:`sample` draws. ``nuts`` is for one data set, with diagnostics of
            convergence. ``importance`` is faster and does many data sets at once. ``slice`` is
            for one data set whose posterior may have several modes: walkers are annealed from the
            prior to the posterior, and make slices there. Its r̂ is between sweeps, see
            :func:`hepgen.inference.slice_sampler.drift`.
        chains: Of NUTS.
        warmup: Of each chain.
        proposals: Draws of importance sampling, for each draw that is asked for.
        walkers: Of the slices.
        thin: Sweeps of the slices between two draws of a walker.
        region: For the slices, where the likelihood is known; by default everywhere.
    """

    def __init__(
        self,
        likelihood: SetLikelihood | Likelihood,
        *,
        method: Method = "importance",
        chains: int = 4,
        warmup: int = 40,
        proposals: float = 2.0,
        walkers: int = 2000,
        thin: int = 3,
        region: Region | None = None,
    ) -> None:
        super().__init__(likelihood.parameters)
        self.likelihood = prior_free(likelihood)
        self.method = method
        self.chains, self.warmup, self.proposals = chains, warmup, proposals
        self.walkers, self.thin = walkers, thin
        self.unbounded = UnboundedPrior(likelihood.parameters)
        self.region = region or Region.everywhere(len(self.unbounded))

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
        one = self._slice if (method or self.method) == "slice" else self._nuts
        return [one(n, sets[s : s + 1], seed + s) for s in range(len(sets))]

    def log_density(self, sets: DataSets) -> LogDensity:
        """log p(x, u), shape ``(S, K)``, as a function of u, shape ``(S, K, D)``."""

        def evaluate(u: Tensor) -> Tensor:
            prior = self.unbounded
            return self.likelihood.log_likelihoods(sets, prior.physical(u)) + prior.log_prob(u)

        return evaluate

    def annealed(self, sets: DataSets, seed: int = 0, power: float = 1.0) -> Annealed:
        """Walkers at p(u) L(u)^power of one data set; see :mod:`hepgen.inference.annealing`.

        The evidence is that of the prior inside the region.
        """
        generator = torch.Generator().manual_seed(seed)
        start = self.region.sample(self.walkers, generator)
        return anneal(
            lambda u: self.likelihood.log_likelihoods(sets, self.unbounded.physical(u)),
            lambda u: self.region.log_prior(self.unbounded, u),
            start,
            generator,
            power=power,
        )

    def walk(self, n: int, sets: DataSets, seed: int = 0, power: float = 1.0) -> Tensor:
        """Draws of the annealed walkers of one data set, shape ``(K, S, D)`` with KS ≥ n."""

        def density(u: Tensor) -> Tensor:
            likelihood = self.likelihood.log_likelihoods(sets, self.unbounded.physical(u))
            return self.region.log_prior(self.unbounded, u) + power * likelihood

        return run_slices(
            density,
            Walkers.at(density, self.annealed(sets, seed, power).u),
            draws=max(2, math.ceil(n / self.walkers)),
            thin=self.thin,
            generator=torch.Generator().manual_seed(seed + 1),
        )

    def laplace(self, sets: DataSets) -> Laplace:
        """The Gaussian approximation of each posterior in the unbounded space."""
        density = self.log_density(sets)
        generator = torch.Generator().manual_seed(0)
        u = self.unbounded.sample(_STARTS, generator).clamp(-4, 4)
        with torch.no_grad():
            best = density(u.expand(len(sets), -1, -1)).argmax(-1)
        return laplace(density, u[best])

    def gaussian(self, sets: DataSets) -> tuple[Tensor, Tensor]:
        """θ̂ at the mode in the unbounded space u, and the covariance J H⁻¹ J of one data set.

        H is the curvature at the mode in u, and J = dθ/du, which is diagonal.

        Returns:
            Shapes ``(D,)`` and ``(D, D)``.
        """
        found = self.laplace(sets)
        factor = _slopes(self.unbounded.physical, found.mode)[0, :, None] * found.scale_tril[0]
        return self.unbounded.physical(found.mode)[0], factor @ factor.mT

    def mode(self, x: Tensor | None = None, *, weight: Tensor | None = None) -> Tensor:
        """The physical θ at the mode of the density in the unbounded space, shape ``(D,)``."""
        sets = self.likelihood.encode([self.data(x)], [weight])
        return self.unbounded.physical(self.laplace(sets).mode[0])

    def log_prob(
        self, theta: Tensor, x: Tensor | None = None, *, weight: Tensor | None = None
    ) -> Tensor:
        """log p(θ | x), shape ``(K,)``, normalised by importance sampling to about 2 %.

        With the method ``slice`` by annealing, to some 5 % with the default number of walkers.
        """
        sets = self.likelihood.encode([self.data(x)], [weight])
        theta = theta.double().reshape(-1, len(self.unbounded))
        evidence = self._log_evidence(sets)
        prior = self.prior.log_prob(theta)
        inside = torch.isfinite(prior)
        values = torch.full_like(prior, -torch.inf)
        if bool(inside.any()):
            likelihood = self.likelihood.log_likelihoods(sets, theta[inside][None])[0]
            values = values.masked_scatter(inside, likelihood + prior[inside] - evidence)
        return values

    def _log_evidence(self, sets: DataSets) -> Tensor:
        if self.method == "slice":
            return torch.tensor([self.annealed(sets).log_evidence + self.region.log_mass()])
        return self._weighted(sets, 4000, seed=0).log_evidence

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

    def _slice(self, n: int, sets: DataSets, seed: int) -> PosteriorSample:
        draws = self.walk(n, sets, seed)
        # All walkers at each time in turn, so that the first n hold every walker alike.
        u = draws.transpose(0, 1).reshape(-1, len(self.unbounded))[:n]
        return PosteriorSample(
            self.unbounded.physical(u),
            self.unbounded.names,
            "slice",
            tuple(ensemble_sample_size(draws).clamp(max=n).tolist()),
            tuple(drift(draws).tolist()),
        )


def _slopes(function: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
    """The derivative of an elementwise function, shape as u."""
    with torch.enable_grad():
        at = u.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(function(at).sum(), at)
    return slope
