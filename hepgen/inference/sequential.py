r"""Simulations where one observation needs them: rounds of neural likelihood estimation.

1. Simulate at θ from the prior.
2. Learn p(x | θ) from all simulations so far, inside the region.
3. Draw θ from p(θ) p(x_o | θ)^β with β < 1, which is wider than the posterior; the region is the
   box around the draws, with a margin; simulate there, and go to 2.

A likelihood needs no correction for where its θ came from (SNLE, Papamakarios, Sterratt and Murray,
arXiv:1805.07226), and a power of it forgives what a round has wrong. Outside of the region, which
shrinks as those of truncated rounds do (Deistler, Goncalves and Macke, arXiv:2210.04815), nothing
needs to be learned: inside of a small one, x | θ is nearly linear and Gaussian. The result is good
for the one observation, and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.features import Feature
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.region import Region
from hepgen.inference.unbounded import UnboundedPrior
from hepgen.inference.vector_nle import VectorNLE
from hepgen.parameters import ParameterSet

Simulate = Callable[[Tensor, int], Tensor]
"""θ of shape ``(N, D)`` and a seed to x of shape ``(N, d)``."""


@dataclass(frozen=True)
class Round:
    """What one round had.

    Arguments:
        simulations: Made in it.
        inside: Of all simulations so far, those inside the region.
        region: Where the likelihood was learned.
        validation: The mean −log p(x | θ) of the held-out simulations, over the members.
    """

    simulations: int
    inside: int
    region: Region
    validation: float


@dataclass(frozen=True)
class SequentialResult:
    """The likelihood of the last round, and what led to it.

    Arguments:
        likelihood: Of the last round, −∞ outside of its region.
        theta, x: All simulations, shapes ``(N, D)`` and ``(N, d)``.
        rounds: In order.
        observed: x_o, shape ``(1, d)``.
    """

    likelihood: VectorNLE
    theta: Tensor
    x: Tensor
    rounds: tuple[Round, ...]
    observed: Tensor

    def posterior(self, walkers: int = 2000) -> LikelihoodPosterior:
        """That of the observation."""
        posterior = _posterior(self.likelihood, walkers)
        posterior.set_default_x(self.observed)
        return posterior


def infer_sequentially(
    simulate: Simulate,
    observed: Tensor,
    *,
    features: Sequence[Feature],
    parameters: ParameterSet,
    budget: int = 10_000,
    rounds: int = 3,
    power: float = 0.5,
    walkers: int = 2000,
    seed: int = 0,
    progress: Callable[[Round], None] | None = None,
    **settings: Any,
) -> SequentialResult:
    """Learn the likelihood near one observation, with ``budget`` simulations in all.

    Arguments:
        simulate: θ and a seed to x.
        observed: x_o, shape ``(1, d)``; or independent vectors at one θ, shape ``(n, d)``.
        features, parameters: The columns of x and of θ.
        budget: Simulations in all rounds together; each has an equal share.
        rounds: How many.
        power: β of the proposal.
        walkers: Of the sampler, see
            :class:`hepgen.inference.likelihood_posterior.LikelihoodPosterior`.
        seed: The result is a function of it.
        progress: Called after each round.
        settings: Of :meth:`hepgen.inference.vector_nle.VectorNLE.fit`, in the last round. The
            others have a single member.

    Raises:
        DataError: The observation has another shape than the simulations.
        ParameterError: Numbers that make no rounds.
    """
    if rounds < 1 or budget < rounds or not 0 < power <= 1:
        raise ParameterError(
            f"{budget} simulations in {rounds} rounds, power {power:g}: expected one simulation a "
            "round at least, and a power in (0, 1]"
        )
    prior, generator = UnboundedPrior(parameters), torch.Generator().manual_seed(seed)
    region = Region.everywhere(len(prior))
    u = region.sample(_shares(budget, rounds)[0], generator)
    theta, x, done = [], [], []
    for r, share in enumerate(_shares(budget, rounds)):
        last = r == rounds - 1
        theta.append(prior.physical(u))
        x.append(simulate(theta[-1], seed + r))
        _check(observed, x[-1], share)
        likelihood = VectorNLE.fit(
            torch.cat(x), torch.cat(theta), features=features, parameters=parameters,
            region=region, seed=seed + 100 * r,
            **(settings if last else {**settings, "members": 1}),
        )  # fmt: skip
        done.append(_summary(likelihood, share, torch.cat(theta), prior))
        if progress is not None:
            progress(done[-1])
        if not last:
            posterior = _posterior(likelihood, walkers)
            sets = likelihood.encode([observed], [None])
            following = _shares(budget, rounds)[r + 1]
            draws = posterior.walk(following, sets, seed + r, power)
            u = draws.transpose(0, 1).reshape(-1, len(prior))
            region, u = region.around(u), u[:following]
    return SequentialResult(likelihood, torch.cat(theta), torch.cat(x), tuple(done), observed)


def _posterior(likelihood: VectorNLE, walkers: int) -> LikelihoodPosterior:
    return LikelihoodPosterior(
        likelihood, method="slice", region=likelihood.region, walkers=walkers
    )


def _shares(budget: int, rounds: int) -> list[int]:
    """Equal ones; the last has the rest."""
    share = budget // rounds
    return [share] * (rounds - 1) + [budget - share * (rounds - 1)]


def _check(observed: Tensor, x: Tensor, simulations: int) -> None:
    if observed.ndim != 2 or x.ndim != 2 or x.shape != (simulations, observed.shape[1]):
        raise DataError(
            f"an observation of shape {tuple(observed.shape)} and simulations of shape "
            f"{tuple(x.shape)}; expected (1, d) and ({simulations}, d)"
        )


def _summary(likelihood: VectorNLE, share: int, theta: Tensor, prior: UnboundedPrior) -> Round:
    inside = int(likelihood.region.contains(prior.unbounded(theta)).sum())
    losses = [curve.validation[curve.best_epoch] for curve in likelihood.curves]
    return Round(share, inside, likelihood.region, sum(losses) / len(losses))
