"""Linear-Gaussian auto-encoders, whose likelihood and posterior are known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from hepgen.surrogates.vae.model import VAE


def raw(scale: Tensor) -> Tensor:
    """What a network has to give for a scale."""
    return 6 * torch.atanh(scale.log() / 6)


def module(model: nn.Module, path: str) -> nn.Linear:
    found = model.get_submodule(path)
    assert isinstance(found, nn.Linear)
    return found


@torch.no_grad()
def set_linear(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Columns that are not given, of the constant context, are zero."""
    layer.weight.zero_()
    layer.weight[: len(weight), : weight.shape[1]] = weight
    layer.bias.copy_(bias)


@dataclass(frozen=True)
class PrincipalComponents:
    """x = Wz + μ + σε with q latents (Tipping and Bishop, J. R. Stat. Soc. B 61 (1999) 611)."""

    weight: Tensor
    mean: Tensor
    variance: float

    @classmethod
    def optimum(cls, x: Tensor, latent: int) -> PrincipalComponents:
        """Of maximum likelihood."""
        covariance = torch.cov(x.T, correction=0)
        values, vectors = torch.linalg.eigh(covariance)
        variance = float(values[:-latent].mean())
        return cls(vectors[:, -latent:] * (values[-latent:] - variance).sqrt(), x.mean(0), variance)

    @property
    def features(self) -> int:
        return len(self.mean)

    @property
    def latent(self) -> int:
        return self.weight.shape[1]

    @property
    def precision(self) -> Tensor:
        """Of z given x: M/σ²."""
        m = self.weight.T @ self.weight + self.variance * torch.eye(self.latent).double()
        return m / self.variance

    def log_prob(self, x: Tensor) -> Tensor:
        noise = self.variance * torch.eye(self.features).double()
        marginal = MultivariateNormal(self.mean, self.weight @ self.weight.T + noise)
        value: Tensor = marginal.log_prob(x)  # type: ignore[no-untyped-call]
        return value

    def posterior(self, x: Tensor) -> MultivariateNormal:
        slope = torch.linalg.solve(self.precision, self.weight.T) / self.variance
        return MultivariateNormal((x - self.mean) @ slope.T, torch.linalg.inv(self.precision))

    def auto_encoder(self, posterior: str = "full", **options: object) -> VAE:
        """The same model, with the exact posterior where it is of full covariance."""
        model = VAE(
            self.features, 0, latent=self.latent, hidden=(), posterior=posterior,
            variance="shared", **options,  # type: ignore[arg-type]
        ).double()  # fmt: skip
        set_linear(module(model, "decoder.mean.linear"), self.weight, self.mean)
        with torch.no_grad():
            model.get_parameter("decoder.scale.log_scale").fill_(0.5 * math.log(self.variance))
        if posterior == "full":
            self.set_posterior(model)
        return model

    def set_posterior(self, model: VAE, shift: float = 0.0, widen: float = 1.0) -> None:
        zero = torch.zeros(self.features).double()
        slope = self.posterior(zero + torch.eye(self.features)).mean - self.posterior(zero).mean
        factor = widen * self.posterior(zero).scale_tril
        rows, columns = torch.tril_indices(self.latent, self.latent, -1)
        bias = torch.cat(
            [
                self.posterior(zero).mean + shift,
                raw(factor.diagonal()),
                factor[rows, columns],
            ]
        )
        set_linear(module(model, "hierarchy.posteriors.0.network.linear"), slope.T, bias)


def sample(n: int = 3000, seed: int = 0) -> Tensor:
    """Correlated Gaussian data in four dimensions, float64."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(4, 4, generator=generator).double()
    scale = torch.tensor([2.0, 1.2, 0.5, 0.4]).double()
    return (torch.randn(n, 4, generator=generator).double() * scale) @ mixing + 0.3
