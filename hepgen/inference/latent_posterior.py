r"""Posteriors of a chain's latents where its density is known: weights and bounds.

A learned q(z | x, θ) is a proposal (:mod:`hepgen.inference.marginal`): importance sampling with it
gives log p(x | θ), and how good q is, by its effective sample size. Where the chain's density is
differentiable in its latents, q can also be refined on the very events that are asked about, by
the bound with the chain as decoder,

.. math:: \max_q E_q\left[\log \frac1K \sum_k \frac{p(x, z_k | \theta)}{q(z_k | x, \theta)}\right]

(K = 1: the ELBO, Kingma and Welling, arXiv:1312.6114; K > 1: Burda, Grosse and Salakhutdinov,
arXiv:1509.00519).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from hepgen.errors import DataError
from hepgen.inference.observation import Observation
from hepgen.inference.proposal import LearnedProposal
from hepgen.nn.rows import Table
from hepgen.nn.train import Progress, train
from hepgen.simulators.chain import Chain
from hepgen.surrogates.surrogate import Surrogate


def refine(
    proposal: LearnedProposal,
    chain: Chain,
    observed: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    *,
    importance: int = 1,
    batch_size: int = 256,
    epochs: int = 20,
    max_learning_rate: float = 1e-3,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> LearnedProposal:
    """A proposal whose bound on these events is higher; the given one stays as it is.

    The reverse divergence, which the bound has, covers less than the posterior where q cannot be
    it: look at the effective sample size before and after.

    Arguments:
        proposal: Where to start.
        chain, observed, parameters: Of B events, see
            :func:`~hepgen.inference.marginal.prior_likelihood`.
        importance: K.
        batch_size, epochs, max_learning_rate, seed, progress: See
            :func:`hepgen.nn.train.train`.
    """
    if importance < 1:
        raise DataError(f"importance = {importance}: expected a positive number")
    observation = Observation.of(chain, observed, parameters)
    refined = deepcopy(proposal)

    def loss(batch: tuple[Tensor, ...]) -> Tensor:
        weights = observation.take(batch[0]).weights(refined, importance)
        return math.log(importance) - weights.logsumexp(-1)

    refined.curve = train(
        refined.network, loss, Table(torch.arange(len(observation))), batch_size=batch_size,
        epochs=epochs, max_learning_rate=max_learning_rate, patience=None, seed=seed,
        progress=progress,
    )  # fmt: skip
    return refined


class SurrogateProposal:
    """A surrogate of the latents as a proposal q(z | x, θ).

    Arguments:
        surrogate: Of all latents of a chain in a row, given the observed sites in a row and the
            parameters ``names``, as :func:`~hepgen.surrogates.latent_posterior
            .learn_latent_posterior` makes it; one with an exact density.
        names: The parameters among its inputs, in order.
    """

    def __init__(self, surrogate: Surrogate, names: Sequence[str] = ()) -> None:
        if surrogate.quality.kind != "exact":
            raise DataError(
                f"a proposal needs its exact density; that of {surrogate} is {surrogate.quality}: "
                "take a flow"
            )
        self.surrogate, self.names = surrogate, tuple(names)

    def __call__(self, x: Tensor, parameters: Mapping[str, Tensor]) -> Distribution:
        """q at each event, batch shape ``(B,)``."""
        theta = [parameters[name].expand(len(x), 1) for name in self.names]
        return _AtContext(self.surrogate, torch.cat([x, *theta], dim=-1))


class _AtContext(Distribution):
    """A surrogate at B contexts."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own type)

    def __init__(self, surrogate: Surrogate, context: Tensor) -> None:
        self.surrogate, self.context = surrogate, context
        size = torch.Size([len(surrogate.features)])
        super().__init__(context.shape[:1], size, validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        n = torch.Size(sample_shape).numel()
        seed = int(torch.randint(2**62, ()))
        z = self.surrogate.sample(n, self.context, seed)
        return z.reshape(*sample_shape, *z.shape[1:])

    @torch.no_grad()
    def log_prob(self, value: Tensor) -> Tensor:
        shape = value.shape[:-1]
        context = self.context.expand(*shape, self.context.shape[-1])
        flat = self.surrogate.log_prob(value.flatten(0, -2), context.flatten(0, -2))
        return flat.reshape(shape)
