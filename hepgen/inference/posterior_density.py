r"""Densities of the unbounded parameters u given the embedding c of a data set.

.. code-block:: text

    mixture        an autoregressive mixture of logistics, by maximum likelihood     NPE
    flow-matching  a velocity field that carries N(0, 1) to it                       FMPE
    diffusion      a denoiser that takes the noise away                              NPSE

(Papamakarios and Murray, arXiv:1605.06376; Wildberger et al., arXiv:2305.17161; Sharrock et al.,
arXiv:2210.04872). The fields are the families of surrogates, here of parameters in place of events.

A posterior of N events is √N times narrower than the prior, and a field that would have to draw it
at every N from one standard normal would learn little else. It therefore moves

.. math:: v = L(c)^{-1} (u - \mu(c)), \qquad \log p(u | c) = \log p(v | c) - \log |L(c)|,

with the mean μ and the Cholesky factor L of a Gaussian that is learned before it by maximum
likelihood. v is near a standard normal at every N, and the field learns what is not Gaussian.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from hepgen.errors import ParameterError, nearest
from hepgen.nn.mixture import LogisticMixture
from hepgen.nn.mlp import ConditionedMLP
from hepgen.surrogates import families
from hepgen.surrogates.conditional import ConditionalDensity

METHODS = {"mixture": "npe", "flow-matching": "fmpe", "diffusion": "npse"}
"""The densities, and what a posterior with each is called."""
_FASTER: dict[str, dict[str, Any]] = {
    "flow-matching": {"tolerance": 1e-4}, "diffusion": {"steps": 8, "likelihood_steps": 8},
}  # fmt: skip
"""v is near a standard normal, whose paths are all but straight."""
_TIMES = 8
"""Times and noises for each row of a step: data sets are few, and one draw of each is noisy."""
_ROWS = 2**15


class Gaussian(nn.Module):
    """N(u; μ(c), LLᵀ(c)) over ℝᴰ.

    Arguments:
        parameters: D.
        condition: The length C of the condition.
        hidden: Widths of the network, two at least.
    """

    def __init__(self, parameters: int, condition: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = (parameters, parameters, parameters * (parameters - 1) // 2)
        self.network = ConditionedMLP(condition, 0, sum(self.sizes), hidden)

    def forward(self, condition: Tensor) -> MultivariateNormal:
        """The distribution, of batch shape ``(*,)``, for conditions ``(*, C)``."""
        d = self.sizes[0]
        location, log_scale, below = self.network(condition).split(self.sizes, -1)
        unit = torch.diag_embed(torch.ones_like(log_scale))
        row, column = torch.tril_indices(d, d, -1)
        unit[..., row, column] = below
        factor = log_scale.exp()[..., None] * unit
        return MultivariateNormal(location, scale_tril=factor, validate_args=False)

    def loss(self, u: Tensor, condition: Tensor) -> Tensor:
        """−log N, shape ``(B,)``."""
        loss: Tensor = -self(condition).log_prob(u)
        return loss


class WhitenedField(nn.Module):
    """A field in the coordinates of a Gaussian; see above.

    Arguments:
        gaussian: Learned before the field.
        field: Of v.
    """

    def __init__(self, gaussian: Gaussian, field: ConditionalDensity) -> None:
        super().__init__()
        self.gaussian, self.field = gaussian, field

    def loss(self, u: Tensor, condition: Tensor) -> Tensor:
        """That of the field, shape ``(B,)``; no bound on −log p."""
        with torch.no_grad():
            v = _whitened(self.gaussian(condition), u)
        each = self.field.loss(v.repeat(_TIMES, 1), condition.repeat(_TIMES, 1))
        return each.reshape(_TIMES, len(u)).mean(0)

    def sample(self, shape: torch.Size, condition: Tensor) -> Tensor:
        """Draws, shape ``(n, S, D)``, for conditions ``(S, C)``, with torch's global generator."""
        rows = condition.expand(*shape, *condition.shape).flatten(0, -2)
        noise = torch.randn(len(rows), self.field.noise)
        parts = zip(torch.split(noise, _ROWS), torch.split(rows, _ROWS), strict=True)
        v = torch.cat([self.field.generate(z, c) for z, c in parts])
        normal = self.gaussian(rows)
        u: Tensor = normal.loc + (normal.scale_tril @ v[..., None])[..., 0]
        return u.reshape(*shape, len(condition), -1)

    def log_prob(self, u: Tensor, condition: Tensor) -> Tensor:
        """log p, shape ``(K, S)``, of u of shape ``(K, S, D)`` or ``(K, 1, D)``."""
        shape = (len(u), len(condition))
        rows = condition.expand(*shape, -1).flatten(0, 1)
        normal = self.gaussian(rows)
        v = _whitened(normal, u.expand(*shape, -1).flatten(0, 1))
        parts = zip(torch.split(v, _ROWS), torch.split(rows, _ROWS), strict=True)
        value = torch.cat([self.field.log_prob(one, c).value for one, c in parts])
        scale = normal.scale_tril.diagonal(dim1=-2, dim2=-1)
        found: Tensor = value - scale.double().log().sum(-1)
        return found.reshape(shape)


def _whitened(normal: MultivariateNormal, u: Tensor) -> Tensor:
    shift = (u - normal.loc)[..., None]
    v: Tensor = torch.linalg.solve_triangular(normal.scale_tril, shift, upper=False)
    return v[..., 0]


def _mixture(parameters: int, condition: int, architecture: Mapping[str, Any]) -> nn.Module:
    from sbi.neural_nets.estimators import ZukoFlow  # takes seconds to import

    components, hidden = int(architecture["components"]), _widths(architecture)
    flow: nn.Module = ZukoFlow(
        LogisticMixture(parameters, condition, components, hidden),
        nn.Identity(),
        input_shape=torch.Size([parameters]),
        condition_shape=torch.Size([condition]),
    )
    return flow


def _field(parameters: int, condition: int, architecture: Mapping[str, Any]) -> nn.Module:
    density, width = str(architecture["density"]), int(architecture["width"])
    options = {
        {"flow-matching": "width", "diffusion": "hidden"}[density]: width,
        "blocks": int(architecture["blocks"]), **_FASTER[density],
    }  # fmt: skip
    field = families.family(density)(parameters, condition, options)
    return WhitenedField(Gaussian(parameters, condition, _widths(architecture)), field)


def _widths(architecture: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(map(int, architecture["hidden"]))


_BUILD: dict[str, Callable[[int, int, Mapping[str, Any]], nn.Module]] = {
    "mixture": _mixture, "flow-matching": _field, "diffusion": _field,
}  # fmt: skip


def build_density(parameters: int, condition: int, architecture: Mapping[str, Any]) -> Any:
    """The untrained density of D parameters, given C numbers.

    It answers ``loss(u, c)``, shape ``(B,)``, ``sample(shape, c)`` and ``log_prob(u, c)``; its
    parts are trained in the order of :func:`training_parts`.

    Arguments:
        parameters: D.
        condition: C.
        architecture: ``density``, one of :data:`METHODS`, and what it is made of: ``hidden``, and
            ``components`` of a mixture, or ``width`` and ``blocks`` of a field.
    """
    # Of models that were saved before there was a choice.
    return _BUILD[architecture.get("density", "mixture")](parameters, condition, architecture)


def training_parts(density: Any) -> list[tuple[str, nn.Module, Any]]:
    """What of a density is trained after one another: a name, a module, and the loss of both."""
    if isinstance(density, WhitenedField):
        gaussian = density.gaussian
        return [("gaussian", gaussian, gaussian.loss), ("density", density.field, density.loss)]
    return [("density", density, density.loss)]


def check_density(density: str) -> None:
    """Refuse a density that is none.

    >>> check_density("mixtur")
    Traceback (most recent call last):
    hepgen.errors.ParameterError: no density 'mixtur'; did you mean 'mixture'?
    """
    if density not in METHODS:
        raise ParameterError(f"no density {density!r}; {nearest(density, list(METHODS))}")
