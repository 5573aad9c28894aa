r"""Nuisance parameters that are given as up and down variations, of a rate or of a shape.

A rate is multiplied by I(ν; κ₊, κ₋) of :mod:`hepgen.inference.interpolation`. A shape is given by
two further densities, at ν = ±1, and is

.. math:: p(x | \theta, \nu) = \frac{p_0(x | \theta)}{Z(\theta, \nu)}
          \prod_j I\Big(\nu_j; \frac{p_j^+(x)}{p_0(x)}, \frac{p_j^-(x)}{p_0(x)}\Big), \qquad
          p_0 + \sum_j \Delta(\nu_j; p_j^+ - p_0, p_j^- - p_0) \text{ for code4p.}

The second is normalised as it is, and becomes negative far enough from ν = 0; the first needs the
integral Z, and with ``log4p`` or ``code1`` is positive everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.inference.density import Density
from hepgen.inference.interpolation import Code, difference, factor
from hepgen.parameters import ParameterSet


@dataclass(frozen=True)
class Normalisation:
    """A factor I(ν) of a rate, with κ₊ at ν = 1 and κ₋ at ν = −1.

    Arguments:
        name: ν.
        up, down: κ₊ and κ₋, positive. ``down`` is 1/κ₊ where it is not given.
        code: How to interpolate.

    >>> luminosity = Normalisation("luminosity", 1.02)
    >>> luminosity({"luminosity": torch.tensor(-1.0).double()})
    tensor(0.9804, dtype=torch.float64)
    """

    name: str
    up: float
    down: float | None = None
    code: Code = "code4"

    def __post_init__(self) -> None:
        lowest = min(self.up, self.up if self.down is None else self.down)
        if not lowest > 0:
            raise ParameterError(
                f"normalisation of {self.name!r}: a factor of {lowest:g}; expected a positive "
                "one: 1.02 is an increase by two percent"
            )

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """The factor, shape ``(*,)``."""
        down = 1 / self.up if self.down is None else self.down
        high, low = torch.tensor([self.up, down], dtype=torch.float64)
        return factor(values[self.name].double(), high, low, self.code)


@dataclass(frozen=True)
class Quadrature:
    """Points and weights with ∫ g(x) dx ≈ Σ v_m g(x_m).

    Arguments:
        points: Shape ``(M, d)``.
        log_weight: ln v, shape ``(M,)``.
    """

    points: Tensor
    log_weight: Tensor

    @classmethod
    def line(cls, low: float, high: float, nodes: int = 200) -> Quadrature:
        """Of Gauss and Legendre, for one variable between two bounds.

        >>> line = Quadrature.line(0.0, 2.0, 5)
        >>> (line.log_weight.exp() * line.points[:, 0] ** 8).sum().round(decimals=9)
        tensor(56.8889, dtype=torch.float64)
        """
        x, w = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(nodes))
        half = 0.5 * (high - low)
        return cls((low + half * (x + 1))[:, None], (half * w).log())

    @classmethod
    def of_sample(cls, density: Density, x: Tensor, theta: Tensor | None = None) -> Quadrature:
        """Of M events drawn from a density at θ, shape ``(D,)``: v = 1/(M p(x))."""
        at = torch.zeros(1, 1, 0).double() if theta is None else theta.double()[None, None]
        with torch.no_grad():
            height = density.log_densities(density.prepare(x)[None], at)[0, :, 0]
        return cls(x, -height - np.log(len(x)))


class Varied:
    """A density with shape variations, see the module.

    Arguments:
        nominal: p₀.
        variations: (p₊, p₋) of each nuisance parameter. They may depend on θ, too.
        nuisances: Those parameters.
        quadrature: For the integral Z; not wanted for ``code4p``.
        code: How to interpolate.

    Raises:
        ParameterError: A variation of a parameter that is not among the nuisances, or the other
            way round, or no quadrature where one is needed.

    >>> from hepgen import Normal, Parameter
    >>> from hepgen.inference.density import ClosedForm
    >>> def exponential(r):
    ...     return ClosedForm(ParameterSet([]), ("t",), lambda x, _: np.log(r) - r * x[..., 0])
    >>> nu = ParameterSet([Parameter("nu", 0.0, prior=Normal(0.0, 1.0))])
    >>> varied = Varied(
    ...     exponential(1.0), {"nu": (exponential(1.1), exponential(0.9))}, nu,
    ...     Quadrature.line(0.0, 60.0), "code1",
    ... )
    >>> t, one = torch.tensor([[2.0]]), torch.tensor([[[1.0]]]).double()
    >>> round(float(varied.log_densities(varied.prepare(t)[None], one).exp() / np.exp(-2.2)), 9)
    1.1
    """

    def __init__(
        self,
        nominal: Density,
        variations: Mapping[str, tuple[Density, Density]],
        nuisances: ParameterSet,
        quadrature: Quadrature | None = None,
        code: Code = "log4p",
    ) -> None:
        if set(variations) != set(nuisances.free_names):
            raise ParameterError(
                f"shape variations of {', '.join(variations)} for the nuisance parameters "
                f"{', '.join(nuisances.free_names)}; expected one of each"
            )
        if quadrature is None and code != "code4p":
            raise ParameterError(
                f"shape variations interpolated by {code!r} need a quadrature, because the product "
                "of ratios is not normalised; give one, or take code4p"
            )
        self.code = code
        self._nuisances = tuple(variations)
        self._densities = (nominal, *(d for pair in variations.values() for d in pair))
        owned = {p.name: p for d in self._densities for p in d.parameters.free}
        self.parameters = ParameterSet(list((owned | {p.name: p for p in nuisances.free}).values()))
        self._widths: list[int] = []
        self._quadrature = quadrature
        self._integrand = None if quadrature is None else self.prepare(quadrature.points)

    def prepare(self, x: Tensor) -> Tensor:
        """What each of the densities wants, side by side: shape ``(n, e)``, float64."""
        parts = [density.prepare(x).double() for density in self._densities]
        self._widths = [part.shape[-1] for part in parts]
        return torch.cat(parts, dim=-1)

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """See :class:`hepgen.inference.density.Density`."""
        values = dict(zip(self.parameters.free_names, theta.double().unbind(-1), strict=True))
        heights = self._heights(prepared, values)
        if self.code == "code4p":
            return self._sum(heights, values)
        product = self._product(heights, values)
        return product - self._log_integral(values, theta.shape[:2])[:, None]

    def _heights(self, prepared: Tensor, values: Mapping[str, Tensor]) -> list[Tensor]:
        """log p of each of the densities, shape ``(S, n, K)``."""
        like = next(iter(values.values()))
        found = []
        for density, part in zip(
            self._densities, torch.split(prepared, self._widths, -1), strict=True
        ):
            columns = [values[name] for name in density.parameters.free_names]
            theta = torch.stack(columns, -1) if columns else like.new_zeros((*like.shape, 0))
            found.append(density.log_densities(part, theta).double())
        return found

    def _pairs(self, heights: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        return list(zip(heights[1::2], heights[2::2], strict=True))

    def _product(self, heights: Sequence[Tensor], values: Mapping[str, Tensor]) -> Tensor:
        total = heights[0]
        for name, (up, down) in zip(self._nuisances, self._pairs(heights), strict=True):
            nu = values[name][:, None]
            higher, lower = up - heights[0], down - heights[0]
            if self.code == "log4p":
                total = total + difference(nu, higher, lower)
            elif self.code == "code1":
                total = total + nu.abs() * torch.where(nu > 0, higher, lower)
            else:
                total = total + _log(factor(nu, higher.exp(), lower.exp(), self.code))
        # Where the nominal density is zero, no ratio is defined.
        return torch.where(torch.isneginf(heights[0]), -torch.inf, total)

    def _sum(self, heights: Sequence[Tensor], values: Mapping[str, Tensor]) -> Tensor:
        top = torch.stack(list(heights)).detach().amax(0)
        top = torch.where(torch.isfinite(top), top, 0.0)
        nominal, *others = (torch.exp(h - top) for h in heights)
        total = nominal
        for name, (up, down) in zip(self._nuisances, self._pairs([nominal, *others]), strict=True):
            total = total + difference(values[name][:, None], up - nominal, down - nominal)
        return top + _log(total)

    def _log_integral(self, values: Mapping[str, Tensor], shape: torch.Size) -> Tensor:
        """ln Z, shape ``(S, K)``."""
        if self._quadrature is None or self._integrand is None:
            raise DataError("no quadrature")
        points = self._integrand.expand(shape[0], -1, -1)
        height = self._product(self._heights(points, values), values)
        return (height + self._quadrature.log_weight[:, None]).logsumexp(1)


def _log(value: Tensor) -> Tensor:
    """The logarithm, −∞ where the value is not positive."""
    positive = value > 0
    return torch.where(positive, torch.where(positive, value, 1.0).log(), -torch.inf)
