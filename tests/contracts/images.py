"""Surrogates of images for the laws in ``test_surrogates``: two layers of four cells."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from hepgen.features import Feature
from hepgen.surrogates.images.surrogate import ImageSurrogate

SHAPE = (2, 2, 2)
_QUICK: dict[str, Any] = {"batch_size": 200, "epochs": 2, "patience": None, "device": "cpu"}


def showers(n: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Images and c ~ U(1, 3): cells of about c/8 GeV, in counts, read above 0.1 GeV."""
    generator = torch.Generator().manual_seed(seed)
    c = 1 + 2 * torch.rand(n, 1, generator=generator, dtype=torch.float64)
    z = torch.randn(n, 8, generator=generator, dtype=torch.float64)
    counts = (1000 * c / 8 * (0.4 * z).exp()).round()
    return torch.where(counts > 100, 0.001 * counts, 0.0), c


@cache
def images() -> ImageSurrogate:
    """Cells by a diffusion."""
    seen, c = showers(2000)
    return ImageSurrogate.fit(
        seen, c, inputs=(Feature("energy", "GeV"),), shape=SHAPE, step=0.001, method="diffusion",
        options={"hidden": 16, "blocks": 1, "steps": 4},
        energies={"method": "coupling", "options": {"layers": 2, "hidden": [8]}, **_QUICK},
        manifest={"process": "toy"}, **_QUICK,
    )  # fmt: skip


@cache
def distilled_images() -> ImageSurrogate:
    """Cells in two evaluations of a network."""
    return images().distilled(2, events=400, **_QUICK)
