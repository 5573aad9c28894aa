r"""Two learned answers to one question, pooled: the default for few simulations of a vector.

From the same pairs (θ, x) one learns a posterior q(θ | x) and a likelihood p(x | θ). Which is the
better depends on the simulator: a likelihood learns little where x | θ is nearly Gaussian, and a
posterior where θ | x is. Their errors have little in common, and the logarithmic pool

.. math:: p_\beta(\theta | x) = \frac{q(\theta | x)^{1 - \beta}
          \left[ p(x | \theta)\, p(\theta) \right]^\beta}{Z_\beta(x)}
          = \frac{q(\theta | x)\, w(\theta, x)^\beta}{Z_\beta(x)}, \qquad
          w = \frac{p(x | \theta)\, p(\theta)}{q(\theta | x)}

(Genest and Zidek, Statist. Sci. 1 (1986) 114) averages them. The power β is that of the largest
mean of log p_β(θ | x) over simulations that neither was trained on: a proper score, concave in β.
β = 0 is the posterior, β = 1 the likelihood's, and no simulator needs a choice of its own.

The normalisation of a held-out pair (θ_0, x) is Z_β(x) ≈ Σ_k w(θ_k, x)^β / (K + 1) with K draws θ_k
of q and θ_0 itself, so that a pair counts log(K + 1) at most, and draws that miss the posterior do
not count in favour of w. Draws from p_β are walkers that start at draws of q, and are annealed to
it (:mod:`hepgen.inference.annealing`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.features import Feature
from hepgen.inference.annealing import anneal
from hepgen.inference.event_sets import SetLikelihood
from hepgen.inference.posterior import Posterior, PosteriorSample
from hepgen.inference.slice_sampler import Walkers, drift, ensemble_sample_size, run_slices
from hepgen.inference.unbounded import UnboundedPrior
from hepgen.inference.vector_nle import VectorNLE
from hepgen.inference.vector_npe import VectorNPE
from hepgen.nn.train import Progress
from hepgen.parameters import ParameterSet

_DRAWS = 4000
"""Of q, for the normalisation of :meth:`PooledPosterior.log_prob`."""
_ZERO = -1e4
"""log w where w is zero."""


@dataclass(frozen=True)
class PoolScore:
    """What held-out simulations say about the power.

    Arguments:
        power: The best β.
        posterior, likelihood, pool: The mean log-density at the true θ of q, of the likelihood's
            posterior and of the pool, in the unbounded space of the priors.
        pairs: Held-out simulations.
    """

    power: float
    posterior: float
    likelihood: float
    pool: float
    pairs: int


class PooledPosterior(Posterior):
    """p_β(θ | x) of one vector, a data set of shape ``(1, d)``; made by :meth:`fit`.

    Arguments:
        posterior: q, with a normalised ``log_prob``.
        likelihood: p(x | θ).
        power: β in [0, 1].
        walkers: Of the sampler.
        thin: Sweeps for each parameter before a draw of a walker. A sweep moves a walker in one
            direction: with 3 of them, in all, ten parameters of two draws had a correlation of 0.8.
        score: Where the power is from.
    """

    def __init__(
        self,
        posterior: Posterior,
        likelihood: SetLikelihood,
        *,
        power: float,
        walkers: int = 5000,
        thin: int = 2,
        score: PoolScore | None = None,
    ) -> None:
        if not 0 <= power <= 1:
            raise ParameterError(f"power = {power:g}: expected one in [0, 1]")
        super().__init__(posterior.parameters)
        self.posterior, self.likelihood = posterior, likelihood
        self.power, self.walkers, self.thin, self.score = power, walkers, thin, score
        self._unbounded = UnboundedPrior(self.parameters)

    @classmethod
    def fit(
        cls,
        x: Tensor,
        theta: Tensor,
        *,
        features: Sequence[Feature],
        parameters: ParameterSet,
        held_out: float = 0.05,
        draws: int = 256,
        seed: int = 0,
        progress: Callable[[Progress], None] | None = None,
        **settings: Any,
    ) -> PooledPosterior:
        """Learn both from simulated vectors, shape ``(N, d)``, at θ ~ p(θ), ``(N, D)``.

        Arguments:
            x, theta: The simulations.
            features, parameters: Their columns.
            held_out: The share of simulations that only choose the power.
            draws: K, of each of those.
            seed: The result is a function of it.
            progress: See :func:`hepgen.nn.train.train`.
            settings: Of :meth:`hepgen.inference.vector_npe.VectorNPE.fit` and
                :meth:`hepgen.inference.vector_nle.VectorNLE.fit`.

        Raises:
            DataError: Vectors that cannot be used, or too few.
            ParameterError: A θ outside its prior.
        """
        pairs = round(held_out * len(x))
        if not 0 < pairs < len(x):
            raise DataError(
                f"{pairs} of {len(x)} simulations held out; expected one at least, and not all"
            )
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        last, first = order[:pairs], order[pairs:]
        common: dict[str, Any] = {
            "features": features, "parameters": parameters, "seed": seed, "progress": progress,
            **settings,
        }  # fmt: skip
        posterior = VectorNPE.fit(x[first], theta[first], **common)
        likelihood = VectorNLE.fit(x[first], theta[first], **common)
        score = score_powers(posterior, likelihood, x[last], theta[last], draws=draws, seed=seed)
        return cls(posterior, likelihood, power=score.power, score=score)

    @torch.no_grad()
    def draw_batched(
        self,
        n: int,
        x: Sequence[Tensor],
        *,
        weight: Sequence[Tensor | None] | None = None,
        seed: int = 0,
    ) -> list[PosteriorSample]:
        """n draws for each vector; see :meth:`Posterior.draw_batched`."""
        weights = weight or [None] * len(x)
        if self.power == 0:
            return self.posterior.draw_batched(n, x, weight=weights, seed=seed)
        return [
            self._walk(n, one, w, seed + i)
            for i, (one, w) in enumerate(zip(x, weights, strict=True))
        ]

    @torch.no_grad()
    def log_prob(
        self, theta: Tensor, x: Tensor | None = None, *, weight: Tensor | None = None
    ) -> Tensor:
        """log p_β(θ | x), shape ``(K,)``, with the normalisation of 4000 draws; −∞ outside."""
        x = self.data(x)
        theta = theta.double().reshape(-1, len(self._unbounded))
        value = self.posterior.log_prob(theta, x, weight=weight)
        if self.power == 0:
            return value
        some = self.posterior.draw(_DRAWS, x, weight=weight).theta
        log_w = log_weights(self.posterior, self.likelihood, some, x, weight)
        log_z = (self.power * log_w).logsumexp(0) - math.log(len(log_w))
        inside = torch.isfinite(value)
        value[inside] += self.power * log_weights(
            self.posterior, self.likelihood, theta[inside], x, weight
        )
        return value - log_z

    def _walk(self, n: int, x: Tensor, weight: Tensor | None, seed: int) -> PosteriorSample:
        prior, generator = self._unbounded, torch.Generator().manual_seed(seed)
        pair = _Pair(self.posterior, self.likelihood, x, weight)

        def density(u: Tensor) -> Tensor:
            return pair.log_q(u) + self.power * pair.log_w(u)

        start = prior.unbounded(
            self.posterior.draw(self.walkers, x, weight=weight, seed=seed).theta
        )
        walkers = anneal(pair.log_w, pair.log_q, start, generator, power=self.power).u
        draws = run_slices(
            density, Walkers.at(density, walkers),
            draws=max(2, math.ceil(n / self.walkers)), thin=self.thin * len(prior),
            generator=generator,
        )  # fmt: skip
        # All walkers at each time in turn, so that the first n hold every walker alike.
        u = draws.transpose(0, 1).reshape(-1, len(prior))[:n]
        return PosteriorSample(
            prior.physical(u), prior.names, "pooled",
            tuple(ensemble_sample_size(draws).clamp(max=n).tolist()), tuple(drift(draws).tolist()),
        )  # fmt: skip


class _Pair:
    """log q and log w of one data set in the unbounded space, which are asked for together."""

    def __init__(
        self, posterior: Posterior, likelihood: SetLikelihood, x: Tensor, weight: Tensor | None
    ) -> None:
        self.posterior, self.likelihood = posterior, likelihood
        self.data = (x, weight)
        self.prior = UnboundedPrior(posterior.parameters)
        self.last: tuple[Tensor, Tensor, Tensor] | None = None

    def log_q(self, u: Tensor) -> Tensor:
        """Shape ``(1, K)``, for u of shape ``(1, K, D)``."""
        return self._both(u)[0]

    def log_w(self, u: Tensor) -> Tensor:
        """As :meth:`log_q`."""
        return self._both(u)[1]

    def _both(self, u: Tensor) -> tuple[Tensor, Tensor]:
        if self.last is None or self.last[0] is not u:
            (x, weight), theta = self.data, self.prior.physical(u[0])
            log_q = self.posterior.log_prob(theta, x, weight=weight)
            log_w = _log_weights(self.posterior, self.likelihood, theta, x, weight, log_q)
            self.last = u, (log_q + self.prior.log_jacobian(u[0]))[None], log_w[None]
        return self.last[1:]


def log_weights(
    posterior: Posterior,
    likelihood: SetLikelihood,
    theta: Tensor,
    x: Tensor,
    weight: Tensor | None = None,
) -> Tensor:
    """log w(θ, x) = log p(x | θ) + log p(θ) − log q(θ | x), shape ``(K,)`` for ``(K, D)``."""
    log_q = posterior.log_prob(theta, x, weight=weight)
    return _log_weights(posterior, likelihood, theta, x, weight, log_q)


def _log_weights(
    posterior: Posterior,
    likelihood: SetLikelihood,
    theta: Tensor,
    x: Tensor,
    weight: Tensor | None,
    log_q: Tensor,
) -> Tensor:
    sets = likelihood.encode([x], [weight])
    target = likelihood.log_likelihoods(sets, theta[None])[0] + posterior.prior.log_prob(theta)
    return (target - log_q).nan_to_num(nan=_ZERO, neginf=_ZERO, posinf=-_ZERO)


@torch.no_grad()
def score_powers(
    posterior: Posterior,
    likelihood: SetLikelihood,
    x: Tensor,
    theta: Tensor,
    *,
    draws: int = 256,
    seed: int = 0,
) -> PoolScore:
    """The best power of the pool, for held-out simulations of shapes ``(N, d)`` and ``(N, D)``."""
    prior = UnboundedPrior(posterior.parameters)
    log_q, log_w = [], []
    for i in range(len(x)):
        one = x[i : i + 1]
        some = posterior.draw(draws, one, seed=seed + i).theta
        at = torch.cat([theta[i : i + 1].double(), some])
        value = posterior.log_prob(at, one)
        log_q.append(value[0])
        log_w.append(_log_weights(posterior, likelihood, at, one, None, value))
    base = torch.stack(log_q) + prior.log_jacobian(prior.unbounded(theta))
    weights = torch.stack(log_w)
    power = best_power(weights)
    alone, other, pool = (float((base + _gain(weights, beta)).mean()) for beta in (0.0, 1.0, power))
    return PoolScore(power, alone, other, pool, len(x))


def best_power(log_w: Tensor) -> float:
    """β in [0, 1] with the largest mean gain, for log w of shape ``(N, 1 + K)``, θ_0 first.

    The mean of log w_0^β/Z_β is concave, with the derivative ⟨log w_0 − Σ_k s_k log w_k⟩ and
    s_k ∝ w_k^β; where that has no zero, β is the better end.

    >>> best_power(torch.tensor([[0.0, 1.0, -1.0, 2.0]]))
    0.0
    """

    def slope(beta: float) -> float:
        share = torch.softmax(beta * log_w, dim=-1)
        return float((log_w[:, 0] - (share * log_w).sum(-1)).mean())

    low, high = 0.0, 1.0
    if slope(low) <= 0:
        return low
    if slope(high) >= 0:
        return high
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return 0.5 * (low + high)


def _gain(log_w: Tensor, beta: float) -> Tensor:
    """log w_0^β/Z_β of each pair, shape ``(N,)``."""
    log_z = (beta * log_w).logsumexp(-1) - math.log(log_w.shape[-1])
    gain: Tensor = beta * log_w[:, 0] - log_z
    return gain
