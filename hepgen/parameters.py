"""Parameters of a model: names, units, roles, priors, and the map to an unbounded space."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from hepgen.errors import ParameterError, nearest

Role = Literal["interest", "nuisance"]


class Prior(ABC):
    """A one-dimensional prior and a bijection u = b(θ) of its support onto the real line."""

    low: float = -math.inf
    high: float = math.inf

    @property
    def reach(self) -> tuple[float, float]:
        """The range in which draws are to be expected: its support, where that is bounded."""
        return self.low, self.high

    @abstractmethod
    def sample(self, shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        """Draws in float64, of the given shape."""

    @abstractmethod
    def log_prob(self, theta: Tensor) -> Tensor:
        """log p(θ), −∞ outside the support; shape as θ."""

    @abstractmethod
    def unbounded(self, theta: Tensor) -> Tensor:
        """u = b(θ), of unit scale over the prior; shape as θ."""

    @abstractmethod
    def physical(self, u: Tensor) -> Tensor:
        """θ = b⁻¹(u); shape as u."""

    @abstractmethod
    def log_jacobian(self, u: Tensor) -> Tensor:
        """log |dθ/du| at u; shape as u."""


@dataclass(frozen=True)
class Uniform(Prior):
    """A flat prior on (low, high); b is the logit of the fraction of the range."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ParameterError(
                f"uniform prior ({self.low}, {self.high}): expected finite low < high"
            )

    def sample(self, shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        """Draws in float64, of the given shape."""
        u = torch.rand(tuple(shape), generator=generator, dtype=torch.float64)
        return self.low + (self.high - self.low) * u

    def log_prob(self, theta: Tensor) -> Tensor:
        """−log(high − low) inside."""
        inside = (theta >= self.low) & (theta <= self.high)
        density = torch.full_like(theta, -math.log(self.high - self.low))
        return torch.where(inside, density, -math.inf)

    def unbounded(self, theta: Tensor) -> Tensor:
        """u = logit((θ − low)/(high − low))."""
        return torch.logit((theta - self.low) / (self.high - self.low))

    def physical(self, u: Tensor) -> Tensor:
        """θ = low + (high − low)·sigmoid(u)."""
        return self.low + (self.high - self.low) * torch.sigmoid(u)

    def log_jacobian(self, u: Tensor) -> Tensor:
        """log[(high − low)·s(1 − s)], s = sigmoid(u)."""
        soft = torch.nn.functional.softplus
        return math.log(self.high - self.low) - soft(u) - soft(-u)


@dataclass(frozen=True)
class Normal(Prior):
    """A Gaussian prior, e.g. the constraint of a nuisance parameter; b standardises."""

    mean: float
    std: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise ParameterError(
                f"normal prior ({self.mean}, {self.std}): expected a finite mean and std > 0"
            )

    @property
    def reach(self) -> tuple[float, float]:
        """Five standard deviations either side: one draw in two million lies beyond."""
        return self.mean - 5 * self.std, self.mean + 5 * self.std

    def sample(self, shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        """Draws in float64, of the given shape."""
        z = torch.randn(tuple(shape), generator=generator, dtype=torch.float64)
        return self.mean + self.std * z

    def log_prob(self, theta: Tensor) -> Tensor:
        """−z²/2 − log(σ√2π), z = (θ − μ)/σ."""
        z = (theta - self.mean) / self.std
        return -0.5 * z.square() - math.log(self.std * math.sqrt(2 * math.pi))

    def unbounded(self, theta: Tensor) -> Tensor:
        """u = (θ − μ)/σ."""
        return (theta - self.mean) / self.std

    def physical(self, u: Tensor) -> Tensor:
        """θ = μ + σu."""
        return self.mean + self.std * u

    def log_jacobian(self, u: Tensor) -> Tensor:
        """Log σ, everywhere."""
        return torch.full_like(u, math.log(self.std))


@dataclass(frozen=True)
class Parameter:
    """One parameter of a model.

    Arguments:
        name: As in the stage that uses it.
        default: The value where none is asked for.
        unit: e.g. ``GeV``; empty for a pure number.
        role: ``interest`` or ``nuisance``.
        prior: Its prior (for a nuisance: its constraint); ``None`` fixes it at the default.
        label: How a plot writes it (LaTeX); the name where empty.
        reference, reference_error: A value to mark in plots, e.g. a world average.
        low, high: Where the physics of the stages makes sense.
        moves_support: Which events are possible depends on it (a cutoff, a threshold), so the
            joint density has no derivative with respect to it.
    """

    name: str
    default: float
    unit: str = ""
    role: Role = "nuisance"
    prior: Prior | None = None
    label: str = ""
    reference: float | None = None
    reference_error: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    moves_support: bool = False

    def __post_init__(self) -> None:
        self.check(self.default)
        if self.prior is None:
            return
        low, high = self.prior.reach
        if low < self.low or high > self.high:
            raise ParameterError(
                f"parameter {self.name!r}: its prior reaches from {low:g} to {high:g} and leaves "
                f"the range [{self.low:g}, {self.high:g}] in which the model is valid; "
                "choose a narrower one"
            )

    @property
    def free(self) -> bool:
        """Whether it has a prior, and so is inferred."""
        return self.prior is not None

    @property
    def axis(self) -> str:
        """Its label with the unit, for a plot's axis."""
        label = self.label or self.name
        return f"{label} [{self.unit}]" if self.unit else label

    def check(self, value: float) -> None:
        """Refuse a value at which the model makes no sense."""
        if not (self.low <= value <= self.high):
            raise ParameterError(
                f"parameter {self.name!r} = {value:g}: expected a value in "
                f"[{self.low:g}, {self.high:g}]{' ' + self.unit if self.unit else ''}"
            )

    def check_prior(self, value: float) -> None:
        """Refuse a value outside the support of the prior."""
        self.check(value)
        if self.prior is not None and not (self.prior.low <= value <= self.prior.high):
            raise ParameterError(
                f"parameter {self.name!r} = {value:g} is outside its prior; expected a value in "
                f"[{self.prior.low:g}, {self.prior.high:g}]; widen the prior in the workflow, "
                "or choose a value inside"
            )


class ParameterSet:
    """The parameters of a model, in order; the free ones make the vector θ.

    θ has shape ``(*, D)`` with D the number of free parameters.

    >>> mass = Parameter("m_z", 91.19, "GeV", "interest", Uniform(88.0, 94.0))
    >>> width = Parameter("gamma_z", 2.4952, "GeV")
    >>> parameters = ParameterSet([mass, width])
    >>> parameters.names, parameters.free_names
    (('m_z', 'gamma_z'), ('m_z',))
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._by_name = {p.name: p for p in parameters}
        if len(self._by_name) != len(parameters):
            names = [p.name for p in parameters]
            twice = sorted({n for n in names if names.count(n) > 1})
            raise ParameterError(f"parameters named more than once: {', '.join(twice)}")

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Parameter:
        if name not in self._by_name:
            raise ParameterError(f"no parameter {name!r}; {nearest(name, self._by_name)}")
        return self._by_name[name]

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self._by_name)

    @property
    def free(self) -> tuple[Parameter, ...]:
        """The parameters that have a prior."""
        return tuple(p for p in self if p.free)

    @property
    def free_names(self) -> tuple[str, ...]:
        """The names of the free parameters: the columns of θ."""
        return tuple(p.name for p in self.free)

    @property
    def interest(self) -> tuple[str, ...]:
        """The names of the free parameters of interest."""
        return tuple(p.name for p in self.free if p.role == "interest")

    @property
    def priors(self) -> tuple[Prior, ...]:
        """The priors of the free parameters."""
        return tuple(p.prior for p in self if p.prior is not None)

    def prior(self) -> PriorDistribution:
        """The joint prior over θ, as a torch distribution with event shape ``(D,)``."""
        return PriorDistribution(self.priors)

    def only(self, name: str) -> ParameterSet:
        """One free parameter; all others are fixed at their defaults."""
        self[name]  # refuses an unknown name
        return ParameterSet([p if p.name == name else replace(p, prior=None) for p in self])

    def values(self, theta: Tensor | None = None, **fixed: float) -> dict[str, Tensor]:
        """A value for every parameter: θ where given, ``fixed`` ones, defaults.

        Arguments:
            theta: Shape ``(*, D)``.
            fixed: Values by name, which win.

        Returns:
            A tensor for each name: shape ``(*,)`` for those from θ, ``()`` for the others.
        """
        values = {p.name: torch.tensor(p.default, dtype=torch.float64) for p in self}
        if theta is not None:
            if theta.shape[-1] != len(self.free):
                raise ParameterError(
                    f"θ has {theta.shape[-1]} columns; expected {len(self.free)}: "
                    f"{', '.join(self.free_names)}"
                )
            values |= dict(zip(self.free_names, theta.unbind(-1), strict=True))
        for name, value in fixed.items():
            self[name].check(value)
            values[name] = torch.tensor(value, dtype=torch.float64)
        return values

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain values, for provenance and model files; see :meth:`from_dict`."""
        return [_to_dict(p) for p in self]

    @classmethod
    def from_dict(cls, entries: Sequence[Mapping[str, Any]]) -> ParameterSet:
        """The inverse of :meth:`to_dict`."""
        return cls([_from_dict(entry) for entry in entries])


class PriorDistribution(Distribution):
    """The product of one-dimensional priors over θ, event shape ``(D,)``.

    It is the prior that sbi and Pyro expect, and it knows the bijection to ℝᴰ in which
    densities are trained and sampled, so nothing can leave a bounded range.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own type)

    def __init__(self, priors: Sequence[Prior]) -> None:
        self.priors = tuple(priors)
        super().__init__(event_shape=torch.Size([len(self.priors)]), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """The box that the priors allow."""
        low = torch.tensor([p.low for p in self.priors], dtype=torch.float64)
        high = torch.tensor([p.high for p in self.priors], dtype=torch.float64)
        box = constraints.interval(low, high)  # type: ignore[no-untyped-call]
        return constraints.independent(box, 1)  # type: ignore[no-untyped-call]

    @property
    def mean(self) -> Tensor:
        """The prior mean, shape ``(D,)``."""
        return self.physical(torch.zeros(len(self.priors), dtype=torch.float64))

    def sample(
        self,
        sample_shape: Any = torch.Size(),  # noqa: B008
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draws in float64, shape ``(*sample_shape, D)``."""
        return torch.stack([p.sample(sample_shape, generator) for p in self.priors], dim=-1)

    def log_prob(self, theta: Tensor) -> Tensor:
        """log p(θ), shape ``(*,)`` for θ of shape ``(*, D)``."""
        columns = zip(self.priors, theta.unbind(-1), strict=True)
        return torch.stack([p.log_prob(t) for p, t in columns], dim=-1).sum(-1)

    def unbounded(self, theta: Tensor) -> Tensor:
        """u = b(θ), shape ``(*, D)``."""
        columns = zip(self.priors, theta.unbind(-1), strict=True)
        return torch.stack([p.unbounded(t) for p, t in columns], dim=-1)

    def physical(self, u: Tensor) -> Tensor:
        """θ = b⁻¹(u), shape ``(*, D)``."""
        columns = zip(self.priors, u.unbind(-1), strict=True)
        return torch.stack([p.physical(t) for p, t in columns], dim=-1)

    def log_jacobian(self, u: Tensor) -> Tensor:
        """log |dθ/du|, summed over the parameters, shape ``(*,)``."""
        columns = zip(self.priors, u.unbind(-1), strict=True)
        return torch.stack([p.log_jacobian(t) for p, t in columns], dim=-1).sum(-1)


def _to_dict(parameter: Parameter) -> dict[str, Any]:
    prior = parameter.prior
    entry: dict[str, Any] = {
        "name": parameter.name,
        "default": parameter.default,
        "unit": parameter.unit,
        "role": parameter.role,
        "label": parameter.label,
        "reference": parameter.reference,
        "reference_error": parameter.reference_error,
        "low": parameter.low if math.isfinite(parameter.low) else None,
        "high": parameter.high if math.isfinite(parameter.high) else None,
        "prior": None,
    }
    if isinstance(prior, Uniform):
        entry["prior"] = {"uniform": [prior.low, prior.high]}
    elif isinstance(prior, Normal):
        entry["prior"] = {"normal": [prior.mean, prior.std]}
    return entry


def prior_from_dict(entry: Mapping[str, Sequence[float]] | None) -> Prior | None:
    """A prior from ``{"uniform": [low, high]}`` or ``{"normal": [mean, std]}``.

    >>> prior_from_dict({"normal": [0.0, 0.002]})
    Normal(mean=0.0, std=0.002)
    """
    if entry is None:
        return None
    kinds: dict[str, type[Uniform] | type[Normal]] = {"uniform": Uniform, "normal": Normal}
    if len(entry) != 1 or next(iter(entry)) not in kinds:
        raise ParameterError(f"prior {dict(entry)}: expected one of {', '.join(kinds)}")
    kind, numbers = next(iter(entry.items()))
    if len(numbers) != 2:
        raise ParameterError(f"prior {kind} = {list(numbers)}: expected two numbers")
    return kinds[kind](float(numbers[0]), float(numbers[1]))


def _from_dict(entry: Mapping[str, Any]) -> Parameter:
    values = dict(entry)
    values["prior"] = prior_from_dict(values.get("prior"))
    for bound, default in (("low", -math.inf), ("high", math.inf)):
        if values.get(bound) is None:
            values[bound] = default
    return Parameter(**values)
