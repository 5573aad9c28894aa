"""x = Aθ + noise with θ ~ N(0, 1): posterior and evidence in closed form, for any estimator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hepgen.features import Feature
from hepgen.inference.event_sets import EventSets, pad
from hepgen.inference.posterior import Posterior, PosteriorSample
from hepgen.parameters import Normal, Parameter, ParameterSet

A = torch.tensor([[1.0, 0.5], [-0.3, 1.2]], dtype=torch.float64)
NOISE = 0.5
PARAMETERS = ParameterSet(
    [Parameter(name, 0.0, role="interest", prior=Normal(0.0, 1.0)) for name in ("a", "b")]
)
FEATURES = (Feature("x"), Feature("y"))
OBSERVED = torch.tensor([[0.9, -0.6]], dtype=torch.float64)


def simulate(theta: Tensor, seed: int) -> Tensor:
    """A vector at each θ, shape ``(N, 2)``."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(theta), 2, generator=generator, dtype=torch.float64)
    return theta.double() @ A.mT + NOISE * noise


def simulations(number: int, seed: int) -> tuple[Tensor, Tensor]:
    """x and θ ~ p(θ)."""
    theta = PARAMETERS.prior().sample((number,), torch.Generator().manual_seed(seed))
    return simulate(theta, seed + 1), theta


def posterior(x: Tensor) -> torch.distributions.MultivariateNormal:
    """p(θ | x) of one vector, shape ``(1, 2)``: precision 1 + AᵀA/σ²."""
    precision = torch.eye(2, dtype=torch.float64) + A.mT @ A / NOISE**2
    covariance = torch.linalg.inv(precision)
    return torch.distributions.MultivariateNormal(covariance @ A.mT @ x[0] / NOISE**2, covariance)


def log_evidence(x: Tensor) -> float:
    """log N(x; 0, AAᵀ + σ²)."""
    covariance = A @ A.mT + NOISE**2 * torch.eye(2, dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    marginal = torch.distributions.MultivariateNormal(zero, covariance)
    return float(marginal.log_prob(x[0]))  # type: ignore[no-untyped-call]


class Exact:
    """p(x | θ) as a likelihood of sets of vectors."""

    parameters = PARAMETERS

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        return pad(list(x), weight, [torch.zeros(len(one), dtype=torch.float64) for one in x])

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        noise = torch.distributions.Normal(0.0, NOISE)
        apart = sets.events[:, :, None].double() - (theta.double() @ A.mT)[:, None]
        height = noise.log_prob(apart).sum(-1)  # type: ignore[no-untyped-call]
        return torch.einsum("snk,sn->sk", height, sets.weight)


class Proposal(Posterior):
    """The posterior, moved and widened: N(mean + shift · σ, width² · covariance)."""

    def __init__(self, width: float = 1.0, shift: float = 0.0) -> None:
        super().__init__(PARAMETERS)
        self.width, self.shift = width, shift

    def of(self, x: Tensor) -> torch.distributions.MultivariateNormal:
        right = posterior(x)
        mean = right.mean + self.shift * right.covariance_matrix.diagonal().sqrt()
        return torch.distributions.MultivariateNormal(mean, self.width**2 * right.covariance_matrix)

    def draw_batched(
        self,
        n: int,
        x: Sequence[Tensor],
        *,
        weight: Sequence[Tensor | None] | None = None,  # noqa: ARG002
        seed: int = 0,
    ) -> list[PosteriorSample]:
        generator = torch.Generator().manual_seed(seed)
        samples = []
        for one in x:
            z = torch.randn(n, 2, generator=generator, dtype=torch.float64)
            theta = self.of(one).mean + z @ self.of(one).scale_tril.mT
            samples.append(PosteriorSample(theta, ("a", "b"), "proposal", (float(n),) * 2))
        return samples

    def log_prob(
        self,
        theta: Tensor,
        x: Tensor | None = None,
        *,
        weight: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:
        at = theta.double().reshape(-1, 2)
        found: Tensor = self.of(self.data(x)).log_prob(at)  # type: ignore[no-untyped-call]
        return found
