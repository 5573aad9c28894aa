"""The No-U-Turn sampler of Pyro, in coordinates where the density is nearly a unit Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.errors import SamplingError
from hepgen.inference.laplace import Laplace, LogDensity


@dataclass(frozen=True)
class Chains:
    """Draws of C chains, shape ``(C, S, D)``, with their diagnostics a coordinate."""

    u: Tensor
    divergences: int


def run_nuts(
    log_density: LogDensity,
    start: Laplace,
    *,
    draws: int,
    chains: int = 4,
    warmup: int = 40,
    seed: int = 0,
) -> Chains:
    """``draws`` from each of several chains (Hoffman and Gelman, arXiv:1111.4246).

    The chains run in z = L⁻¹(u − mode), with the mode and the covariance LLᵀ of ``start``:
    there the density is near a unit Gaussian, a trajectory takes few steps, and the warm-up
    has only the step size to learn. Each chain starts at a draw from twice that Gaussian.

    Arguments:
        log_density: Of one density: ``(1, K, D)`` to ``(1, K)``.
        start: Of one density.
        draws, chains, warmup: Draws kept a chain, chains, and steps before the first kept one.
        seed: The result is a function of it; the global generator is left as it was.
    """
    mode, scale_tril = start.mode[0], start.scale_tril[0]

    def potential(site: dict[str, Tensor]) -> Tensor:
        u = mode + scale_tril @ site["z"]
        return -log_density(u[None, None])[0, 0]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        origins = 2 * torch.randn(chains, len(mode), dtype=torch.float64)
        runs = [_chain(potential, origin, draws, warmup) for origin in origins]
    z = torch.stack([draws for draws, _ in runs])
    return Chains(mode + z @ scale_tril.mT, sum(divergences for _, divergences in runs))


def _chain(potential: object, origin: Tensor, draws: int, warmup: int) -> tuple[Tensor, int]:
    from pyro.infer import MCMC, NUTS  # takes a second to import

    kernel = NUTS(
        potential_fn=potential,
        step_size=0.8,
        adapt_mass_matrix=False,
        full_mass=False,
        target_accept_prob=0.55,
        max_tree_depth=7,
    )
    chain = MCMC(
        kernel,
        num_samples=draws,
        warmup_steps=warmup,
        initial_params={"z": origin},
        disable_progbar=True,
    )
    try:
        chain.run()
    except ValueError as error:
        raise SamplingError(f"a Markov chain could not start at {origin.tolist()}: {error}") from (
            error
        )
    divergences = chain.diagnostics().get("divergences", {})
    return chain.get_samples()["z"], sum(len(steps) for steps in divergences.values())


def split_r_hat(draws: Tensor) -> Tensor:
    """R̂ with each chain split in two, shape ``(D,)`` for draws of shape ``(C, S, D)``.

    √(((n − 1)/n W + B/n) / W) with W the mean variance within half-chains and B/n the
    variance of their means (Gelman et al., Bayesian Data Analysis, section 11.4).

    >>> generator = torch.Generator().manual_seed(0)
    >>> bool(split_r_hat(torch.randn(4, 500, 1, generator=generator)) < 1.02)
    True
    """
    n = draws.shape[1] // 2
    halves = draws[:, : 2 * n].reshape(-1, n, draws.shape[-1])
    within = halves.var(dim=1).mean(0)
    between = halves.mean(1).var(dim=0)
    return torch.sqrt((n - 1) / n + between / within)


def effective_sample_size(draws: Tensor) -> Tensor:
    """How many independent draws the chains are worth, shape ``(D,)``.

    C·S/(1 + 2 Σ ρ(t)) with the autocorrelation combined over chains and truncated where the
    sum of neighbouring pairs turns negative (Geyer 1992; Stan Reference Manual, chapter 15).

    Arguments:
        draws: Shape ``(C, S, D)``.
    """
    from pyro.ops.stats import effective_sample_size as pyro_size

    size: Tensor = pyro_size(draws, chain_dim=0, sample_dim=1)
    return size
