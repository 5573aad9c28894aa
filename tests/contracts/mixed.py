"""Events of mixed variables whose density is known, and families to learn them with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hepgen.features import Feature
from tests.contracts.families import FamilyCase

FEATURES = (
    Feature("count", kind="discrete", low=0.0, high=12.0),
    Feature("phi", low=-math.pi, high=math.pi, kind="circular"),
    Feature("energy", "GeV", low=0.0, kind="zero_inflated"),
)
INPUTS = (Feature("rate"),)
#: The width of φ, whose mean is at the seam and moves with the count; the chance of no energy.
WIDTH, NOTHING = 0.5, 0.4

TRAINING = {"batch_size": 250, "epochs": 12, "max_learning_rate": 8e-3, "patience": None}
#: ``agreement`` is the largest divergence from the truth in nats. φ and its copy one winding away
#: are two bumps, which affine layers do not become in so short a training.
CASES = (
    FamilyCase("flow", {"layers": 1, "hidden": [24], "bins": 6}, TRAINING, agreement=0.2),
    FamilyCase("mixture", {"components": 6, "hidden": [24, 24]}, TRAINING, agreement=0.15),
    FamilyCase("autoregressive", {"layers": 3, "hidden": [24]}, TRAINING, agreement=1.0),
)


def events(n: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """x of shape ``(n, 3)`` and c of shape ``(n, 1)``, c ~ U(1, 3).

    count ~ Poisson(c) up to 12, φ ~ N(2.8 + count/5, WIDTH²) on the circle, energy = 0 with the
    chance NOTHING, else exponential with mean c/2 GeV.
    """
    generator = torch.Generator().manual_seed(seed)
    c = 1 + 2 * torch.rand(n, 1, generator=generator, dtype=torch.float64)
    count = torch.poisson(c[:, 0], generator=generator).clamp(max=12)
    normal, uniform = torch.randn(n, generator=generator), torch.rand(2, n, generator=generator)
    phi = 2.8 + count / 5 + WIDTH * normal
    phi = torch.remainder(phi + math.pi, math.tau) - math.pi
    energy = -0.5 * c[:, 0] * torch.log1p(-uniform[0].double())
    return torch.stack([count, phi, torch.where(uniform[1] < NOTHING, 0.0, energy)], -1), c


def log_prob(x: Tensor, c: Tensor) -> Tensor:
    """log p(x | c) in closed form, shape ``(N,)``."""
    count, phi, energy = x.unbind(-1)
    pull = torch.stack([phi - 2.8 - count / 5 + math.tau * k for k in range(-3, 4)]) / WIDTH
    angle = torch.logsumexp(-0.5 * pull.square(), 0) - math.log(WIDTH * math.sqrt(math.tau))
    mean = 0.5 * c[:, 0]
    some = math.log(1 - NOTHING) - mean.log() - energy / mean
    poisson = count * c[:, 0].log() - c[:, 0] - torch.lgamma(count + 1)
    return poisson + angle + torch.where(energy == 0, math.log(NOTHING), some)
