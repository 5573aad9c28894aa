"""Diffusions whose velocity is known: of Gaussian events, and of mixtures of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hepgen.surrogates.diffusion.log_snr import alpha_sigma
from hepgen.surrogates.diffusion.prediction import velocity


class Gaussian:
    """Events N(0, s²) in each of d dimensions: E[x₀ | x] = α s² x / (α² s² + σ²)."""

    def __init__(self, variance: float) -> None:
        self.variance = variance

    def __call__(self, x: Tensor, gamma: Tensor) -> Tensor:
        alpha, _ = alpha_sigma(gamma)
        x0 = alpha * self.variance / self.diffused(gamma) * x
        v: Tensor = velocity("x0", x0, x, gamma)
        return v

    def diffused(self, gamma: Tensor) -> Tensor:
        """v = α² s² + σ², shape ``(B, 1)``."""
        alpha, sigma = alpha_sigma(gamma)
        return alpha**2 * self.variance + sigma**2

    @property
    def entropy(self) -> float:
        return 0.5 * math.log(2 * math.pi * math.e * self.variance)

    def log_prob(self, x: Tensor) -> Tensor:
        log_density = -0.5 * (x**2 / self.variance + math.log(2 * math.pi * self.variance))
        return log_density.sum(-1)


class Mixture:
    """Σ_k w_k N(μ_k, Σ_k); diffused: Σ_k w_k N(α μ_k, α² Σ_k + σ² 1)."""

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        self.weights, self.means, self.covariances = weights, means, covariances

    def at(self, alpha: Tensor, sigma: Tensor) -> torch.distributions.Distribution:
        """The density at one noise level."""
        eye = torch.eye(self.means.shape[-1]).to(self.means)
        parts = torch.distributions.MultivariateNormal(
            alpha * self.means, alpha**2 * self.covariances + sigma**2 * eye
        )
        return torch.distributions.MixtureSameFamily(
            torch.distributions.Categorical(self.weights), parts
        )

    def __call__(self, x: Tensor, gamma: Tensor) -> Tensor:
        """From the score by differentiation: the rows of γ are all the same."""
        alpha, sigma = (column[0, 0] for column in alpha_sigma(gamma))
        density = self.at(alpha, sigma)
        score = torch.func.grad(lambda y: density.log_prob(y).sum())(x)
        v: Tensor = velocity("score", score, x, gamma)
        return v

    def log_prob(self, x: Tensor) -> Tensor:
        one = torch.ones((), dtype=x.dtype)
        value: Tensor = self.at(one, 0 * one).log_prob(x)
        return value

    def sample(self, n: int) -> Tensor:
        one = torch.ones((), dtype=self.means.dtype)
        value: Tensor = self.at(one, 0 * one).sample((n,))
        return value


def quadrature(variance: float) -> tuple[Tensor, Tensor]:
    """Four pairs (x₀, ε) over which the mean of any quadratic form is the expectation."""
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    return math.sqrt(variance) * signs[:, :1], signs[:, 1:]


class Network(torch.nn.Module):
    """An oracle in the place of a network."""

    def __init__(self, oracle: Gaussian) -> None:
        super().__init__()
        self.oracle = oracle

    def forward(self, x: Tensor, gamma: Tensor, context: Tensor) -> Tensor:  # noqa: ARG002
        return self.oracle(x, gamma)
