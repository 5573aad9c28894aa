r"""Expected numbers of events, λ(θ, ν) = 𝓛 σ(θ, ν) ε(θ, ν), as products of factors.

A rate is a function of the parameters by name. It may be negative, as that of an interference is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from hepgen.errors import ParameterError
from hepgen.simulators.morphing import Morphing
from hepgen.simulators.stage import Stage

Rate = Callable[[Mapping[str, Tensor]], Tensor]
"""λ of shape ``(*,)`` for parameters by name, of shape ``(*,)`` or ``()`` each."""


@dataclass(frozen=True)
class Constant:
    """A number.

    >>> Constant(3.0)({})
    tensor(3., dtype=torch.float64)
    """

    value: float

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002
        """λ, shape ``()``."""
        return torch.tensor(self.value, dtype=torch.float64)


@dataclass(frozen=True)
class Strength:
    """A parameter itself, e.g. the signal strength μ."""

    name: str

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """Its value, shape ``(*,)``."""
        return values[self.name]


@dataclass(frozen=True)
class CrossSection:
    """The cross-section that a stage states, in pb.

    Arguments:
        stage: With a :meth:`hepgen.simulators.stage.Stage.cross_section`.
    """

    stage: Stage

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """σ, shape ``(*,)``, of all parameters of the stage."""
        own = {p.name: values[p.name].double() for p in self.stage.parameters}
        like = sum(own.values(), torch.zeros((), dtype=torch.float64))
        # A stage takes one column of parameter points.
        points = {n: v.expand_as(like).reshape(-1, 1) if v.dim() else v for n, v in own.items()}
        found = self.stage.cross_section(points)
        if found is None:
            raise ParameterError(
                f"stage {self.stage.name!r} states no cross-section; expected one in pb"
            )
        return found.double().reshape(-1).expand(like.numel()).reshape(like.shape)


class Product:
    """The product of rates, numbers and names of parameters.

    >>> rate = Product(50.0, "mu", lambda v: torch.exp(0.1 * v["nu"]))
    >>> rate({"mu": torch.tensor([0.5, 2.0]), "nu": torch.tensor(0.0)})
    tensor([ 25., 100.], dtype=torch.float64)
    """

    def __init__(self, *factors: float | str | Rate) -> None:
        self.factors = tuple(as_rate(f) for f in factors)

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """λ, shape ``(*,)``."""
        factors = [f(values).double() for f in self.factors]
        return prod(factors, start=torch.ones((), dtype=torch.float64))


@dataclass(frozen=True)
class MorphedRate:
    r"""A cross-section that is quadratic in couplings, times a luminosity: 𝓛 Σᵢ wᵢ(c) σ(cᵢ).

    Arguments:
        morphing: The basis cᵢ.
        couplings: The names of c.
        cross_sections: σ(cᵢ), or those of selected events σ(cᵢ)ε(cᵢ), shape ``(n,)``.
        luminosity: 𝓛, in the inverse of their unit.

    >>> rate = MorphedRate(Morphing.around([1.0]), ("c",), torch.tensor([1.0, 4.0, 2.0]))
    >>> rate({"c": torch.tensor([2.0])})  # 1 + c + 2c²
    tensor([11.], dtype=torch.float64)
    """

    morphing: Morphing
    couplings: tuple[str, ...]
    cross_sections: Tensor
    luminosity: float = 1.0

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """λ, shape ``(*,)``."""
        return self.luminosity * self.parts(values) @ torch.ones_like(self.cross_sections).double()

    def of(self, i: int) -> Rate:
        """𝓛 wᵢ(c) σ(cᵢ): of the events simulated at basis point i, as a sample of their own.

        The samples of all basis points are the density at any c; some have negative rates.
        """
        return lambda values: self.luminosity * self.parts(values)[..., i]

    def parts(self, values: Mapping[str, Tensor]) -> Tensor:
        """wᵢ(c) σ(cᵢ), shape ``(*, n)``; some are negative."""
        columns = [values[name].double() for name in self.couplings]
        like = sum(columns, torch.zeros((), dtype=torch.float64))
        c = torch.stack([c.expand_as(like) for c in columns], dim=-1)
        return self.morphing.weights(c) * self.cross_sections


def as_rate(factor: float | str | Rate) -> Rate:
    """A number, or the name of a parameter, as a rate."""
    if isinstance(factor, str):
        return Strength(factor)
    return Constant(float(factor)) if isinstance(factor, (int, float)) else factor
