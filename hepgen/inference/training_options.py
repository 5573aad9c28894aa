"""What every estimator passes on to the one training loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from hepgen.nn.device import choose, trained_on
from hepgen.nn.rows import Rows
from hepgen.nn.train import Loss, Progress, train
from hepgen.results import TrainingCurve


class TrainingOptions(TypedDict, total=False):
    """Arguments of :func:`hepgen.nn.train.train`, and where to train.

    An estimator has defaults of its own for those that are not given.
    """

    validation_fraction: float
    batch_size: int
    epochs: int
    max_learning_rate: float
    patience: int | None
    seed: int
    checkpoint: Path | None
    progress: Callable[[Progress], None] | None
    time_budget: float | None
    device: str


def seeded(build: Callable[[], nn.Module], options: TrainingOptions) -> nn.Module:
    """An untrained network that is a function of the seed; the global generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.get("seed", 0))
        return build()


def fit_network(
    network: nn.Module,
    loss: Loss,
    rows: Rows,
    weight: Tensor | None,
    defaults: TrainingOptions,
    options: TrainingOptions,
) -> TrainingCurve:
    """Train in place; ``options`` win over ``defaults``."""
    chosen: dict[str, Any] = {**defaults, **options}
    device = choose(chosen.pop("device", "auto"))
    with trained_on(network, device):
        return train(network, loss, rows, weight=weight, **chosen)
