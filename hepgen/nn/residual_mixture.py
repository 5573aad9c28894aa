"""A conditional density for few simulations: what is simple about x | c is measured, not learned.

Three maps, each with little left to do for the next:

1. x ↦ r = W (x − A c − b), the least-squares regression of x on c and the whitening of what it
   leaves: closed forms of the training sample;
2. r ↦ z = (r − m(c)) / s(c), with a perceptron for location and scale that starts at m = 0, s = 1;
3. z has a density ∏ᵢ Σₖ wᵢₖ N(zᵢ; μᵢₖ, σᵢₖ), whose parameters are functions of c and of the z
   before (RNADE, Uria et al., arXiv:1306.0186, with the masks of MADE, Germain et al.,
   arXiv:1502.03509). It starts very near a standard normal one.

Untrained, it is nearly the linear Gaussian model of the sample. Where x is a location c plus a
noise that does not depend on c, whatever its shape, the last map need not look at c.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import zuko
from torch import Tensor, nn
from torch.nn.functional import log_softmax

_LARGEST = 8.0
"""The largest |log s| and |log σ|."""
_SPREAD = 0.5
"""Where the components start: from −½ to ½."""
_FLOOR = 1e-3
"""The smallest part of the whole spread of x that the regression may leave."""


class ResidualMixture(nn.Module):
    """p(x | c) over ℝᵈ for contexts in ℝᶜ.

    Arguments:
        features: d.
        context: C.
        components: The number of Gaussians a variable.
        hidden: The widths of both networks.

    >>> density = ResidualMixture(2, 3)
    >>> density.log_prob(torch.zeros(5, 2), torch.zeros(5, 3)).shape
    torch.Size([5])
    """

    slope: Tensor
    intercept: Tensor
    whitening: Tensor

    def __init__(
        self,
        features: int,
        context: int,
        components: int = 8,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        self.features, self.components = features, components
        self.register_buffer("slope", torch.zeros(features, context))
        self.register_buffer("intercept", torch.zeros(features))
        self.register_buffer("whitening", torch.eye(features))
        self.first = zuko.nn.MLP(context, 2 * features, tuple(hidden), activation=nn.SiLU)
        before = torch.ones(features, features, dtype=torch.bool).tril(-1)
        sees = torch.cat([torch.ones(features, context, dtype=torch.bool), before], -1)
        self.second = zuko.nn.MaskedMLP(
            sees.repeat_interleave(3 * components, 0), tuple(hidden), activation=nn.SiLU
        )
        self._start()

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor) -> None:
        """Measure the first map on a sample, shapes ``(N, d)`` and ``(N, C)``."""
        columns = torch.cat([context, torch.ones_like(context[:, :1])], -1).double()
        solution = torch.linalg.lstsq(columns, x.double()).solution
        rest = x.double() - columns @ solution
        spread = x.double().std(0) * _FLOOR
        covariance = rest.T @ rest / len(x) + (spread.square() + 1e-12).diag()
        factor = torch.linalg.cholesky(covariance)
        identity = torch.eye(self.features, dtype=torch.float64)
        self.slope.copy_(solution[:-1].T)
        self.intercept.copy_(solution[-1])
        self.whitening.copy_(torch.linalg.solve_triangular(factor, identity, upper=False))

    @torch.no_grad()
    def become_linear(self) -> None:
        """The linear Gaussian model of the sample, exactly: the last two maps do nothing.

        The last map starts from a mixture that is a standard normal density but for its fourth
        moments and small weights, without which its components would never part. In ten variables
        these are 0.003 nats of two components, where the regression of 10,000 rows is off by 0.008.
        """
        for last in (self.first[-1], self.second[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        """log p(x | c), shape ``(*,)``, for shapes ``(*, d)`` and ``(*, C)``."""
        rest = (x - context @ self.slope.T - self.intercept) @ self.whitening.T
        location, log_scale = self.first(context).chunk(2, -1)
        log_scale = _limited(log_scale)
        z = (rest - location) * (-log_scale).exp()
        logits, means, log_sigmas = self._components(z, context)
        pull = (z[..., None] - means) * (-log_sigmas).exp()
        terms = log_softmax(logits, -1) - log_sigmas - 0.5 * pull.square()
        log_density = terms.logsumexp(-1) - 0.5 * math.log(2 * math.pi) - log_scale
        volume = self.whitening.diagonal().log().sum()
        total: Tensor = log_density.sum(-1) + volume
        return total

    @torch.no_grad()
    def sample(self, context: Tensor) -> Tensor:
        """One x a context, shape ``(N, d)`` for ``(N, C)``, with torch's global generator."""
        z = context.new_zeros(len(context), self.features)
        for i in range(self.features):
            logits, means, log_sigmas = (part[:, i] for part in self._components(z, context))
            k = torch.multinomial(logits.softmax(-1), 1)
            mean, log_sigma = means.gather(-1, k)[:, 0], log_sigmas.gather(-1, k)[:, 0]
            z[:, i] = mean + log_sigma.exp() * torch.randn_like(mean)
        location, log_scale = self.first(context).chunk(2, -1)
        rest = location + _limited(log_scale).exp() * z
        r = torch.linalg.solve_triangular(self.whitening, rest.T, upper=False).T
        x: Tensor = r + context @ self.slope.T + self.intercept
        return x

    def _components(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Compressed, so that an outlier leaves the others' networks in range.
        output = self.second(torch.cat([context, torch.asinh(z)], -1))
        logits, means, log_sigmas = output.unflatten(-1, (self.features, 3, -1)).unbind(-2)
        return logits, means, _limited(log_sigmas)

    @torch.no_grad()
    def _start(self) -> None:
        last = self.first[-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        last = self.second[-1]
        last.weight.mul_(0.1)
        bias = last.bias.view(self.features, 3, self.components)
        bias.zero_()
        if self.components > 1:
            means = torch.linspace(-_SPREAD, _SPREAD, self.components)
            bias[:, 1] = means
            bias[:, 2] = 0.5 * (1 - means.square().mean()).log()


def _limited(x: Tensor) -> Tensor:
    return x / (1 + (x / _LARGEST).square()).sqrt()
