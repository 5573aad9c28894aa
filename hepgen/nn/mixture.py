"""An autoregressive mixture of logistics: p(x | c) = ∏ᵢ Σₖ wᵢₖ logistic(xᵢ; μᵢₖ, sᵢₖ).

The weights, locations and scales of feature i are functions of the context c and of the
features before it (RNADE, Uria et al., arXiv:1306.0186, with the kernel of PixelCNN++,
Salimans et al., arXiv:1701.05517). One such layer represents any density, log_prob is exact
and infinitely differentiable in x and c, and a sample needs no root finding.

The kernel is chosen for its tails. A flat density between two bounds is exactly a logistic
after the logit that unbounds it, so that edges cost no components, and a log-density that
falls linearly keeps the gradient of an outlier finite.

For d = 1 the network sees the context only. The density of N events at K contexts then takes
K passes through the network rather than N × K.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.nn.functional import log_softmax

from hepgen.nn.mlp import ConditionedMLP

_SMALLEST_SCALE = 1e-4


class LogisticMixture(nn.Module):
    """A context to a distribution over ℝᵈ; it fits sbi's ``ZukoFlow`` as its ``net``.

    Arguments:
        features: d.
        context: The length C of the context.
        components: The number of logistics a feature.
        hidden: The widths of the network of each feature, two at least.

    >>> mixture = LogisticMixture(features=2, context=3)
    >>> distribution = mixture(torch.zeros(5, 3))
    >>> distribution.log_prob(torch.zeros(7, 1, 2)).shape
    torch.Size([7, 5])
    """

    def __init__(
        self,
        features: int,
        context: int,
        components: int = 8,
        hidden: Sequence[int] = (64, 64, 64),
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(
            ConditionedMLP(context, i, 2 + 3 * components, hidden) for i in range(features)
        )
        for network in self.networks:
            _start_spread_out(network, components)

    def forward(self, context: Tensor, widest: Tensor | None = None) -> LogisticMixtureDistribution:
        """p(· | c) with batch shape ``(*,)`` for contexts of shape ``(*, C)``.

        Arguments:
            context: c.
            widest: What no scale exceeds, shape ``(d,)``; by default nothing.
        """
        if widest is None:
            widest = context.new_full((len(self.networks),), torch.inf)
        return LogisticMixtureDistribution(self.networks, context, widest)


class LogisticMixtureDistribution(Distribution):
    """What :class:`LogisticMixture` returns: event shape ``(d,)``."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own type)
    support = constraints.real_vector
    has_rsample = False

    def __init__(self, networks: nn.ModuleList, context: Tensor, widest: Tensor) -> None:
        self.networks, self.context, self.widest = networks, context, widest
        # It knows the context only: once for all x that will be asked for.
        self._first = _Kernels(networks[0](context), widest[0])
        shape = torch.Size([len(networks)])
        super().__init__(context.shape[:-1], shape, validate_args=False)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x | c), shape ``(*,)``; x and the batch shape broadcast."""
        total = self._kernels(x[..., :0]).log_prob(x[..., 0])
        for i in range(1, len(self.networks)):
            total = total + self._kernels(x[..., :i]).log_prob(x[..., i])
        return total

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws, shape ``(*sample_shape, *batch_shape, d)``, with torch's global generator."""
        shape = (*sample_shape, *self.batch_shape)
        x = self.context.new_empty((*shape, 0))
        for _ in self.networks:
            x = torch.cat([x, self._kernels(x).sample(shape)[..., None]], dim=-1)
        return x

    def transport(self, noise: Tensor) -> Tensor:
        """Draws, shape ``(*batch_shape, d)``, from normal numbers of shape ``(*batch_shape, 2d)``.

        Of the two for a feature the first chooses the component, the second the place in it.
        """
        x = self.context.new_empty((*self.batch_shape, 0))
        for choice, place in zip(
            noise[..., ::2].unbind(-1), noise[..., 1::2].unbind(-1), strict=True
        ):
            following = self._kernels(x).transport(choice, place)
            x = torch.cat([x, following[..., None]], dim=-1)
        return x

    def _kernels(self, before: Tensor) -> _Kernels:
        """The mixture of the feature that follows those in ``before``, shape ``(*, i)``."""
        if before.shape[-1] == 0:
            return self._first
        i = before.shape[-1]
        # Compressed, so that an outlier in one feature leaves the others' networks in range.
        return _Kernels(self.networks[i](self.context, torch.asinh(before)), self.widest[i])


class _Kernels:
    """The mixture of one feature: weights, locations and scales, shape ``(*, K)``."""

    def __init__(self, output: Tensor, widest: Tensor) -> None:
        location, log_scale, rest = output[..., :1], output[..., 1:2], output[..., 2:]
        logits, locations, log_scales = rest.chunk(3, dim=-1)
        self.logits = logits
        self.location = location + log_scale.exp() * locations
        self.scale = 1 / ((-log_scale - log_scales).exp() + 1 / widest) + _SMALLEST_SCALE

    def log_prob(self, x: Tensor) -> Tensor:
        z = ((x[..., None] - self.location) / self.scale).abs()
        weights = log_softmax(self.logits, dim=-1) - self.scale.log()
        return torch.logsumexp(weights - z - 2 * torch.log1p(torch.exp(-z)), dim=-1)

    def sample(self, shape: Sequence[int]) -> Tensor:
        gumbel = -torch.log(-torch.log(_uniform(shape, self.logits)))
        k = (self.logits + gumbel).argmax(dim=-1, keepdim=True)
        location = self.location.expand(gumbel.shape).gather(-1, k).squeeze(-1)
        scale = self.scale.expand(gumbel.shape).gather(-1, k).squeeze(-1)
        return location + scale * torch.logit(_uniform(shape, self.logits[..., :1])).squeeze(-1)

    def transport(self, choice: Tensor, place: Tensor) -> Tensor:
        cumulative = self.logits.softmax(-1).cumsum(-1)[..., :-1]
        k = (torch.special.ndtr(choice)[..., None] > cumulative).sum(-1, keepdim=True)
        location, scale = self.location.gather(-1, k), self.scale.gather(-1, k)
        # The logit of Φ(z), to a relative rounding in both tails.
        quantile: Tensor = torch.special.log_ndtr(place) - torch.special.log_ndtr(-place)
        return (location + scale * quantile[..., None]).squeeze(-1)


def _uniform(shape: Sequence[int], like: Tensor) -> Tensor:
    """Uniform draws strictly inside (0, 1), drawn in float64 so that tails are reached."""
    u = torch.rand(*shape, like.shape[-1], dtype=torch.float64, device=like.device)
    return u.clamp(1e-15, 1 - 1e-15).to(like.dtype).clamp(max=1 - 2**-24)


def _start_spread_out(network: nn.Module, components: int) -> None:
    """Begin as one mixture for every context, with its kernels side by side."""
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-2]
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.zero_()
        last.bias[2 + components : 2 + 2 * components] = torch.linspace(-2, 2, components)
