"""What each family is, and how it is trained, where it learns the cells of an image.

An image has a thousand numbers and more: the networks that suit a few columns are too large for
it, and its cells are nearly normal already (:mod:`hepgen.surrogates.images.law`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NEARLY_NORMAL: dict[str, Any] = {"tail": 100.0, "identity": True}
_UNET: dict[str, Any] = {
    "network": "unet", "hidden": 16, "blocks": 1, "whiten": False, "probes": 2,
    "sampler": "dpm", "steps": 64, "solver": "linear", "high": 8.0,
}  # fmt: skip
_FEW: dict[str, Any] = {"hidden": [128], "posterior": "diagonal", "importance": 1}
_OPTIONS: dict[str, Mapping[str, Any]] = {
    "coupling": {"layers": 4, "hidden": [128], **_NEARLY_NORMAL},
    "flow": {"layers": 2, "hidden": [64], "bins": 4, **_NEARLY_NORMAL},
    "diffusion": _UNET,
    "vae": {"latent": 16, **_FEW},
    "hvae": {"latent": 8, **_FEW},
}
_TRAINING = {"epochs": 40, "patience": None, "validation_fraction": 0.03}
_FLOW = {**_TRAINING, "batch_size": 256, "max_learning_rate": 1e-3, "time_budget": 75.0}
_TRAININGS: dict[str, Mapping[str, Any]] = {
    "coupling": _FLOW,
    "flow": _FLOW,
    "vae": _FLOW,
    "hvae": _FLOW,
    "diffusion": {
        **_TRAINING, "batch_size": 128, "max_learning_rate": 2e-3, "time_budget": 300.0
    },
    "distilled": {"time_budget": 75.0},
}  # fmt: skip
ENERGIES: Mapping[str, Any] = {
    "options": {"layers": 2}, "batch_size": 512, "epochs": 40, "time_budget": 50.0
}  # fmt: skip
"""Of the flow that learns the energies of the layers."""


def image_options(method: str, shape: tuple[int, int, int]) -> dict[str, Any]:
    """The options of a family for images of this shape; none where it has no special ones.

    >>> image_options("diffusion", (3, 4, 4))["architecture"]
    {'shape': [3, 4, 4]}
    """
    options = dict(_OPTIONS.get(method, {}))
    return options | ({"architecture": {"shape": list(shape)}} if "network" in options else {})


def image_training(method: str) -> dict[str, Any]:
    """The settings of :func:`hepgen.nn.train.train`, of minutes on one core."""
    return dict(_TRAININGS.get(method, {}))
