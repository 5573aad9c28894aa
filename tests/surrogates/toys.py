"""Families whose answers are known, for what is built around a family."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from hepgen.errors import SurrogateError
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.results import TrainingCurve
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality
from hepgen.surrogates.families import Family
from hepgen.surrogates.surrogate import Domain, Surrogate

TITLE = "a family for tests"


class Gaussian(ConditionalDensity):
    """u ~ N(s Σc, s²)."""

    def __init__(
        self, features: int, context: int, scale: float = 1.0, kind: str = "exact"
    ) -> None:
        super().__init__(features, context)
        self.scale = nn.Parameter(torch.tensor(scale))
        self.kind = kind

    @property
    def options(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @property
    def quality(self) -> Quality:
        return Quality(self.kind, "for tests")  # type: ignore[arg-type]

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        return -self.log_prob(u, context).value

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        return self.scale * (noise + context.sum(-1, keepdim=True))

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        z = u / self.scale - context.sum(-1, keepdim=True)
        normal = -0.5 * z.square().sum(-1) - 0.5 * self.features * math.log(2 * math.pi)
        value = normal - self.features * self.scale.log()
        return LogDensity(value.double(), torch.zeros_like(value).double(), self.quality)


class Noisy(Gaussian):
    """Its density draws random numbers."""

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        exact = super().log_prob(u, context)
        value = exact.value + torch.randn(u.shape[0])
        return LogDensity(value, torch.ones_like(value), self.quality)


class Adaptive(Gaussian):
    """Halves until it has converged, which no graph can; its twin halves ten times."""

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        step, total = noise, torch.zeros_like(noise)
        while bool((step.abs() > 1e-7).any()):
            step = 0.5 * step
            total = total + step
        return super().generate(total, context)

    def exportable(self) -> tuple[ConditionalDensity, str]:
        twin = TenSteps(self.features, self.context, kind=self.kind)
        twin.scale = self.scale
        return twin, "10 halvings, where the family halves to 1e-7"


class TenSteps(Gaussian):
    """Ten of its steps."""

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        return super().generate(noise * (1 - 0.5**10), context)


class Branching(Adaptive):
    """Has no twin."""

    def exportable(self) -> tuple[ConditionalDensity, str]:
        return self, ""


class Counting(Gaussian):
    """Takes the size of the batch for a constant."""

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        return super().generate(noise.reshape(len(noise), -1), context)


class Searching(Gaussian):
    """Its density branches on values; there is a sampler to export."""

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        exact = super().log_prob(u, context)
        while bool((u.abs() > 1e-3).any()):
            u = 0.5 * u
        return LogDensity(exact.value + u.sum(-1), exact.error, self.quality)


class Refusing(Gaussian):
    """Cannot be exported, and says so."""

    def exportable(self) -> tuple[ConditionalDensity, str]:
        raise SurrogateError("refusing: it cannot be exported; use a coupling flow")


FAMILIES = {
    kind.__name__.lower(): Family(kind, TITLE)
    for kind in (Gaussian, Noisy, Adaptive, Branching, Counting, Searching, Refusing)
}

MASS = (Feature("mass", "GeV"),)
SHIFT = (Feature("shift", "GeV", r"$\theta$"),)


def toy(method: str = "gaussian", **options: Any) -> Surrogate:
    """x ~ N(θ, s²) in one dimension, for θ in [−2, 2]."""
    model = FAMILIES[method](1, 1, options)
    space = FeatureSpace(MASS, (0.0,), (1.0,))
    return Surrogate(
        model.eval(), method, space, FeatureSpace(SHIFT, (0.0,), (1.0,)),
        Domain(("shift",), (-2.0,), (2.0,)),
        TrainingCurve((1.0,), (1.0,), (1.0,), 0, 1.0, "epochs"), {"process": "toy"},
    )  # fmt: skip
