r"""A learned log-ratio of one event, log r̂(x | θ), as the likelihood of event sets.

A density ratio with a denominator that does not know θ, p(x | θ)/p(x) or p(x | θ)/p(x | θ_ref), is
a likelihood up to a factor without θ:

.. math:: \log L(\theta) = \sum_i w_i \log\hat r(x_i | \theta) + \mathrm{const.}

The network is a smooth function f(x, θ) of the standardised features, whose outliers are
compressed, and of θ in units of its spread over the training sample. Where the denominator is that
of a reference, log r̂ = f(x, θ) − f(x, θ_ref): exactly zero there.

A factor of θ alone would count N times in the likelihood of N events: what training left of one is
taken off as a polynomial in θ (:mod:`hepgen.inference.ratio_norm`).
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from hepgen.errors import DataError, FileError, ParameterError
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature, as_continuous
from hepgen.inference.event_sets import EventSets, pad
from hepgen.inference.monomials import polynomial, powers_of
from hepgen.inference.nle import check_columns, check_theta
from hepgen.inference.training_options import TrainingOptions, seeded
from hepgen.nn.columns import Column, Derived, Joined
from hepgen.nn.mlp import ConditionedMLP
from hepgen.nn.model_files import curve_from_dict, load_weights, read_model, write_model
from hepgen.parameters import ParameterSet
from hepgen.results import TrainingCurve

DEGREE, DEGREES = 2, (1, 2, 3, 4)
"""Of the polynomial that is subtracted: of older models, and those that there are."""
_PAIRS = 2**15
"""How many (event, θ) pairs are evaluated at once: what fits a processor's cache."""
AnyRatio = TypeVar("AnyRatio", bound="Ratio")


class RatioNetwork(nn.Module):
    """log r̂ from standardised u, shape ``(*, d)``, and c, shape ``(*, D)``, which broadcast.

    Arguments:
        features: d.
        parameters: D.
        hidden: The widths, two at least.
        reference: Of c, shape ``(D,)``, where log r̂ is zero; ``None`` for nowhere.
        degree: Of the polynomial in c that is subtracted, a factor of θ alone; it begins as zero.
    """

    reference: Tensor | None
    shift: Tensor

    def __init__(
        self,
        features: int,
        parameters: int,
        hidden: Sequence[int],
        reference: Tensor | None,
        degree: int = DEGREE,
    ) -> None:
        super().__init__()
        self.f = ConditionedMLP(parameters, features, 1, tuple(hidden))
        self.register_buffer("reference", reference)
        self._dimension, self.degree = parameters, degree
        self.register_buffer("shift", torch.zeros(1 + len(self._powers)))

    @property
    def _powers(self) -> list[tuple[int, ...]]:
        # Also where a network without numbers is made, to be loaded into.
        return powers_of(torch.ones(self._dimension, dtype=torch.bool, device="cpu"), self.degree)

    def subtract(self, degree: int, coefficients: Tensor) -> None:
        """Take a polynomial in c as what is subtracted: of 1 and the monomials to a degree."""
        self.degree, self.shift = degree, coefficients.to(self.shift)

    def subtracted(self, c: Tensor) -> Tensor:
        """Its value in double precision, ``(*, D)`` to ``(*,)``."""
        return polynomial(c.double(), self._powers) @ self.shift.double()

    def forward(self, u: Tensor, c: Tensor) -> Tensor:
        """Shape ``(*,)``."""
        u = torch.asinh(u)
        value: Tensor = self.f(c, u).squeeze(-1)
        if self.reference is not None:
            value = value - self.f(self.reference.to(c), u).squeeze(-1)
        return value

    def scored(self, u: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """log r̂, shape ``(B,)``, and its gradient in c, shape ``(B, D)``; both can be trained."""
        with torch.enable_grad():
            c = c.detach().requires_grad_(True)
            value = self(u, c)
            (slope,) = torch.autograd.grad(value.sum(), c, create_graph=True)
        return value, slope


class Ratio(ABC):
    """log r̂(x | θ) per event, made by ``fit`` of a subclass, or by :meth:`load`."""

    kind: ClassVar[str]

    def __init__(
        self,
        network: RatioNetwork,
        features: FeatureSpace,
        parameters: ParameterSet,
        *,
        location: Tensor,
        scale: Tensor,
        hidden: Sequence[int],
        curve: TrainingCurve,
    ) -> None:
        self.network = network
        self.features = features
        self.parameters = parameters
        self.curve = curve
        self._location, self._scale, self._hidden = location, scale, tuple(hidden)

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """log r̂(xᵢ | θₖ), shape ``(N, K)``, float64: log p(xᵢ | θₖ) but for a term without θ.

        Arguments:
            x: Shape ``(N, d)``.
            theta: Shape ``(K, D)``.
        """
        self.features.check(x)
        events = self.features.forward(x)
        parts = torch.split(events, max(1, _PAIRS // len(theta)))
        return torch.cat([self._pairs(part[None], theta[None])[0] for part in parts])

    def prepare(self, x: Tensor) -> Tensor:
        """Events ``(N, d)``, checked, in the space of the network: shape ``(N, d)``, float64."""
        self.features.check(x)
        return self.features.forward(x)

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """log r̂ of events from :meth:`prepare`, ``(S, n, d)``, at θ ``(S, K, D)``.

        Returns:
            Shape ``(S, n, K)``, float64, all at once: a density but for a factor of x, which is as
            good where a channel has one sample only.
        """
        return self._pairs(prepared, theta)

    def double(self: AnyRatio) -> AnyRatio:
        """The same ratio in double precision: smooth enough for fits to end at a gradient of 0."""
        return type(self)(
            deepcopy(self.network).double(), self.features, self.parameters,
            location=self._location, scale=self._scale, hidden=self._hidden, curve=self.curve,
        )  # fmt: skip

    def log_likelihood(self, x: Tensor, theta: Tensor, weight: Tensor | None = None) -> Tensor:
        """Σᵢ wᵢ log r̂(xᵢ | θₖ), shape ``(K,)``, float64, differentiable in θ."""
        return self.log_likelihoods(self.encode([x], [weight]), theta[None])[0]

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        """Data sets, each of shape ``(N, d)``, checked, in the space of the network."""
        for one in x:
            self.features.check(one)
        events = [self.features.forward(one).to(self._dtype) for one in x]
        return pad(events, weight, [torch.zeros(len(one), dtype=torch.float64) for one in x])

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        """Of S data sets at K points each, shape ``(S, K)``, float64.

        Memory does not grow with N × K: the sum runs over chunks, which are computed again for a
        gradient.

        Arguments:
            sets: From :meth:`encode`.
            theta: Shape ``(S, K, D)``.
        """
        points = max(1, _PAIRS // 16)
        if theta.shape[1] > points:
            parts = [self.log_likelihoods(sets, part) for part in torch.split(theta, points, dim=1)]
            return torch.cat(parts, dim=1)
        group = max(1, _PAIRS // (sets.events.shape[1] * theta.shape[1]))
        totals = [
            self._sum(sets[s : s + group], theta[s : s + group]) for s in range(0, len(sets), group)
        ]
        return torch.cat(totals) if len(totals) > 1 else totals[0]

    def save(self, folder: Path | str) -> None:
        """Write ``model.json`` and ``weights.safetensors`` into ``folder``."""
        description = {
            "hidden": list(self._hidden),
            "relative": self.network.reference is not None,
            "degree": self.network.degree,
            "features": self.features.to_dict(),
            "parameters": self.parameters.to_dict(),
            "theta": {"location": self._location.tolist(), "scale": self._scale.tolist()},
            "training": self.curve,
        }
        write_model(Path(folder), self.kind, description, self.network)

    @classmethod
    def load(cls: type[AnyRatio], folder: Path | str) -> AnyRatio:
        """Read what :meth:`save` wrote; nothing from the files is executed.

        Raises:
            FileError: The files are missing, truncated, edited, or from a newer version.
        """
        entry = read_model(Path(folder), cls.kind)
        try:
            parameters = ParameterSet.from_dict(entry["parameters"])
            features = FeatureSpace.from_dict(entry["features"])
            hidden, curve = tuple(map(int, entry["hidden"])), curve_from_dict(entry["training"])
            location, scale = (
                torch.tensor(entry["theta"][key], dtype=torch.float64)
                for key in ("location", "scale")
            )
            size = len(parameters.free)
            reference = torch.zeros(size) if entry["relative"] else None
            degree = entry.get("degree", DEGREE)
            if degree not in DEGREES:
                raise ValueError(f"degree {degree!r}; expected one of {DEGREES}")
            with torch.device("meta"):
                network = RatioNetwork(len(features), size, hidden, reference, degree)
        except (KeyError, TypeError, ValueError, DataError, ParameterError) as error:
            raise FileError(
                f"{folder}/model.json does not describe a model of kind {cls.kind!r}: {error!r}"
            ) from error
        load_weights(Path(folder), network)
        return cls(
            network, features, parameters,
            location=location, scale=scale, hidden=hidden, curve=curve,
        )  # fmt: skip

    def __repr__(self) -> str:
        names = ", ".join(self.features.names)
        return f"{type(self).__name__}({names} | {', '.join(self.parameters.free_names)})"

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    def _pairs(self, events: Tensor, theta: Tensor) -> Tensor:
        """Shape ``(S, n, K)`` in float64, for events ``(S, n, d)`` and θ ``(S, K, D)``."""
        check_columns(theta, self.parameters)
        c = (theta - self._location) / self._scale
        u = events.to(self._dtype)
        value: Tensor = self.network(u[:, :, None], c[:, None].to(self._dtype)).double()
        return value - self.network.subtracted(c)[:, None]

    def _weighted(self, events: Tensor, weight: Tensor, theta: Tensor) -> Tensor:
        return torch.einsum("snk,sn->sk", self._pairs(events, theta), weight)

    def _sum(self, sets: EventSets, theta: Tensor) -> Tensor:
        rows = max(1, _PAIRS // (len(sets) * theta.shape[1]))
        events, weights = (torch.split(t, rows, dim=1) for t in (sets.events, sets.weight))
        total = sets.constant[:, None].expand(theta.shape[:2])
        for part, weight in zip(events, weights, strict=True):
            if len(events) > 1 and torch.is_grad_enabled() and theta.requires_grad:
                term = recompute(self._weighted, part, weight, theta, use_reentrant=False)
            else:
                term = self._weighted(part, weight, theta)
            total = total + term
        return total


@dataclass(frozen=True)
class Prepared:
    """A training sample in the units of a network, and the network.

    Arguments:
        network: Untrained.
        u: Standardised features, shape ``(N, d)``.
        c: θ in units of its spread, a row for each event that has one, shape ``(M, D)``.
        space, location, scale: Of these units.
        hidden: The widths of the network.
        parameters: What θ is.
    """

    network: RatioNetwork
    u: Column
    c: Column
    space: FeatureSpace
    location: Tensor
    scale: Tensor
    hidden: tuple[int, ...]
    parameters: ParameterSet

    @classmethod
    def of(
        cls,
        x: Tensor,
        theta: Tensor,
        features: Sequence[Feature],
        parameters: ParameterSet,
        hidden: Sequence[int],
        options: TrainingOptions,
        reference: Tensor | None = None,
        others: Tensor | None = None,
    ) -> Prepared:
        """Check the sample, and set the network up with the seed of the training.

        Arguments:
            x, theta: Events, shape ``(M, d)``, and their parameters, ``(M, D)``.
            features, parameters: Their columns.
            hidden: The widths of the network.
            options: Of the training.
            reference: θ_ref, shape ``(D,)``.
            others: Events that come after them and have no θ, shape ``(L, d)``.
        """
        samples = (x,) if others is None else (x, others)
        space = FeatureSpace.from_sample(as_continuous(features), *samples)
        check_theta(theta, parameters, len(x))
        location, scale = theta.double().mean(0), theta.double().std(0)
        start = None
        if reference is not None:
            check_columns(reference, parameters)
            start = ((reference.double() - location) / scale).float()
        sizes = len(space), len(parameters.free)
        network = cast(RatioNetwork, seeded(lambda: RatioNetwork(*sizes, hidden, start), options))
        c = Derived(lambda one: (one.double() - location) / scale, theta)
        u = Derived(space.forward, x if others is None else Joined(x, others))
        return cls(network, u, c, space, location, scale, tuple(hidden), parameters)

    def arguments(self, curve: TrainingCurve) -> dict[str, Any]:
        """What the constructor of a :class:`Ratio` takes."""
        return {
            "network": self.network, "features": self.space, "parameters": self.parameters,
            "location": self.location, "scale": self.scale, "hidden": self.hidden, "curve": curve,
        }  # fmt: skip
