"""Discrete normalizing flows: u = f(z; c) with z standard normal, built from zuko's layers.

log p(u | c) = log N(f⁻¹(u; c)) + log |det ∂f⁻¹/∂u| (Papamakarios et al., arXiv:1912.02762).
A coupling flow takes two passes a layer in both directions; an autoregressive one takes one
pass for the density and d for a sample. What maps one variable, given those before it:

- affine: z = eᵃ u + b with |a| < ln 1000 (Dinh et al., arXiv:1605.08803; Papamakarios et al.,
  arXiv:1705.07057);
- a monotonic rational-quadratic spline on [−5, 5], beyond which it is the identity (Durkan et
  al., arXiv:1906.04032);
- the integral of a positive network, see :mod:`hepgen.surrogates.monotonic`.

The first layer an event meets is z = r s asinh(u/s): linear near 0, and logarithmic in a tail. A
Gaussian in z then has tails exp(−(r s ln |u|)²/2), and an outlier a finite, moderate gradient.
Before splines r is such that the training sample fills their box, and all bins are of use. Before
other maps it is 1, and u are the normal scores of the variables, see
:mod:`hepgen.surrogates.marginals`: a few affine layers make no sharp peak.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import zuko
from torch import Tensor, nn
from torch.distributions import Transform, constraints

from hepgen.errors import SurrogateError, nearest
from hepgen.surrogates.autoregressive import Autoregressive
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality, log_normal
from hepgen.surrogates.marginals import Marginals
from hepgen.surrogates.monotonic import Monotonic
from hepgen.surrogates.splines import RationalQuadratic

LAYERS = {
    "coupling": 8, "spline-coupling": 5, "autoregressive": 5, "spline-autoregressive": 3, "umnn": 2
}  # fmt: skip
"""The kinds, and how many layers each has by default."""

_BOX, _SIGNAL = 5.0, 16


class Flow(ConditionalDensity):
    """A normalizing flow; its density is exact.

    Arguments:
        features: d.
        context: C.
        kind: One of ``coupling``, ``spline-coupling``, ``autoregressive``,
            ``spline-autoregressive``, ``umnn``.
        layers: How many transformations; by default that of :data:`LAYERS`.
        hidden: The widths of the network of each.
        bins: Of a spline.
        tail: s, in standard deviations.
        identity: Whether the networks start at zero, where affine maps and splines are the
            identity: for many variables that are nearly normal.

    >>> import torch
    >>> flow = Flow(2, 1, layers=2, hidden=(8,))
    >>> u, density = flow.generate_with_log_prob(torch.zeros(3, 2), torch.zeros(3, 1))
    >>> torch.allclose(density.value, flow.log_prob(u, torch.zeros(3, 1)).value, atol=1e-5)
    True
    """

    def __init__(
        self,
        features: int,
        context: int,
        kind: str = "spline-coupling",
        layers: int | None = None,
        hidden: Sequence[int] = (64, 64),
        bins: int = 16,
        tail: float = 3.0,
        identity: bool = False,
    ) -> None:
        super().__init__(features, context)
        if kind not in LAYERS:
            raise SurrogateError(f"no flow {kind!r}; {nearest(kind, list(LAYERS))}")
        layers = LAYERS[kind] if layers is None else layers
        if not tail > 0:
            raise SurrogateError(f"tail = {tail:g}: expected a positive number")
        self.kind = kind
        self._options = {
            "layers": layers, "hidden": list(hidden), "bins": bins, "tail": tail,
            "identity": identity,
        }  # fmt: skip
        transforms: list[Any] = [Tails(features, tail)]
        layer = _layer(kind, features)
        for order in _orders(features, layers):
            transforms.append(
                layer(
                    features,
                    context,
                    order=order,
                    hidden_features=tuple(hidden),
                    activation=nn.SiLU,
                    **_univariate(kind, hidden, bins),
                )
            )
        if identity:
            _forget(transforms[1:])
        # What is to stay as it is has no margins to be turned into normal ones.
        shaped = identity or kind.startswith("spline")
        self.marginals = None if shaped else Marginals(features)
        self.transform = zuko.lazy.LazyComposedTransform(*transforms)

    @property
    def tails(self) -> Tails:
        """The first layer an event meets."""
        first: Tails = self.transform.transforms[0]
        return first

    @property
    def options(self) -> dict[str, Any]:
        """What rebuilds it, but for the kind, which the family's name says."""
        return self._options

    @property
    def quality(self) -> Quality:
        """Exact."""
        return Quality("exact", "change of variables")

    def prepare(self, u: Tensor, context: Tensor) -> None:  # noqa: ARG002
        """Fit the sample to the box of the splines, or measure its margins."""
        if self.marginals is None:
            self.tails.fill(u)
        else:
            self.marginals.measure(u)

    def exportable(self) -> tuple[ConditionalDensity, str]:
        """Itself, but for monotonic networks, whose inverse is a search of fixed length then."""
        if self.kind != "umnn":
            return super().exportable()
        twin = copy.deepcopy(self).eval()
        for module in twin.modules():
            if isinstance(module, Monotonic):
                module.every_step = True
        return twin, "events by all steps of the search for the inverse, however close before"

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        """−log p(u | c) in nats, shape ``(B,)``."""
        return -self._log_prob(u, context)

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        """f(z; c), shape ``(B, d)``."""
        v: Tensor = self._transform(context).inv(noise)
        return v if self.marginals is None else self.marginals.inverse(v)

    def normalise(self, u: Tensor, context: Tensor) -> Tensor:
        """z = f⁻¹(u; c), shape ``(B, d)``: the noise that makes u."""
        z: Tensor = self._transform(context)(self._scores(u)[0])
        return z

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        """log p(u | c), shape ``(B,)``."""
        return LogDensity.exact(self._log_prob(u, context), self.quality.words)

    def generate_with_log_prob(self, noise: Tensor, context: Tensor) -> tuple[Tensor, LogDensity]:
        """Both in one pass."""
        v, log_jacobian = self._transform(context).inv.call_and_ladj(noise)
        value = log_normal(noise).double() - log_jacobian.double()
        if self.marginals is None:
            return v, LogDensity.exact(value, self.quality.words)
        u = self.marginals.inverse(v)
        value = value + self.marginals.with_log_slope(u)[1].double()
        return u, LogDensity.exact(value, self.quality.words)

    def _transform(self, context: Tensor) -> Any:
        return self.transform(context if self.context else None)

    def _log_prob(self, u: Tensor, context: Tensor) -> Tensor:
        v, log_slope = self._scores(u)
        z, log_jacobian = self._transform(context).call_and_ladj(v)
        value: Tensor = log_normal(z) + log_jacobian + log_slope
        return value

    def _scores(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """What the layers see of u, and the logarithm of its Jacobian, shape ``(B,)``."""
        if self.marginals is None:
            return u, u.new_zeros(u.shape[0])
        return self.marginals.with_log_slope(u)


class Tails(zuko.lazy.LazyTransform):  # type: ignore[misc]
    """z = r s asinh(u/s), with r of each variable measured by :meth:`fill`."""

    stretch: Tensor

    def __init__(self, features: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("stretch", torch.ones(features))

    def fill(self, u: Tensor) -> None:
        """Choose r so that 99.8 % of the sample u, shape ``(N, d)``, fill nine tenths of a box."""
        ends = torch.from_numpy(np.quantile(u.numpy(), [0.001, 0.999], axis=0)).to(u)
        reach = self.scale * torch.asinh(ends / self.scale).abs().amax(0)
        self.stretch.copy_(0.9 * _BOX / reach.clamp(min=0.5))  # a spike is not blown up

    def forward(self, context: Tensor | None = None) -> Transform:  # noqa: ARG002
        """The same for every context."""
        return _Asinh(self.stretch, self.scale)


class _Asinh(Transform):
    domain = codomain = constraints.real
    bijective, sign = True, +1

    def __init__(self, stretch: Tensor, scale: float) -> None:
        super().__init__()
        self.factor, self.scale = stretch * scale, scale

    def _call(self, u: Tensor) -> Tensor:
        return self.factor * torch.asinh(u / self.scale)

    def _inverse(self, z: Tensor) -> Tensor:
        return self.scale * torch.sinh(z / self.factor)

    def log_abs_det_jacobian(self, u: Tensor, z: Tensor) -> Tensor:  # noqa: ARG002
        slope = (self.factor / self.scale).log()
        return slope - 0.5 * torch.log1p((u / self.scale).square())


def _orders(features: int, layers: int) -> list[Tensor]:
    """The order of the variables in each layer: every second one is the last, backwards."""
    generator = torch.Generator().manual_seed(0)
    orders: list[Tensor] = []
    for layer in range(layers):
        if layer % 2:
            orders.append(orders[-1].flip(0))
        else:
            shuffled = torch.randperm(features, generator=generator)
            orders.append(shuffled if layer and features > 2 else torch.arange(features))
    return orders


def _forget(transforms: Sequence[nn.Module]) -> None:
    """Let the network of every transform start at zero."""
    for transform in transforms:
        linear = [module for module in transform.modules() if isinstance(module, nn.Linear)]
        # One variable without a context has no network, but its parameters.
        for parameter in [transform, *linear][-1].parameters():
            nn.init.zeros_(parameter)


def _layer(kind: str, features: int) -> Callable[..., nn.Module]:
    """Two passes of all variables in a coupling layer, and in others one of each."""
    if kind.endswith("coupling"):
        return partial(zuko.flows.MaskedAutoregressiveTransform, passes=min(2, features))
    # An affine map costs less than to take the variables apart.
    affine = kind == "autoregressive"
    return zuko.flows.MaskedAutoregressiveTransform if affine else Autoregressive


def _univariate(kind: str, hidden: Sequence[int], bins: int) -> dict[str, Any]:
    """What maps one variable, and the shapes of its parameters."""
    if kind.startswith("spline"):
        shapes = [(bins,), (bins,), (bins - 1,)]
        return {"univariate": RationalQuadratic, "shapes": shapes}
    if kind == "umnn":
        # It is evaluated at 32 points a variable: half the width is three times as fast.
        narrow = [max(16, width // 2) for width in hidden]
        return {"univariate": Monotonic(_SIGNAL, narrow), "shapes": [(_SIGNAL,), ()]}
    return {"univariate": zuko.transforms.MonotonicAffineTransform, "shapes": [(), ()]}
