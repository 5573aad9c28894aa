"""What a training is set to do, and where it stands: what its checkpoint holds beside tensors."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from hepgen.errors import TrainingError


@dataclass(frozen=True)
class TrainingSettings:
    """What determines the course of a training; part of a checkpoint's fingerprint."""

    validation_fraction: float
    batch_size: int
    epochs: int
    max_learning_rate: float
    weight_decay: float
    clip: float
    patience: int | None
    seed: int
    time_budget: float | None
    untrained: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.validation_fraction < 1:
            raise TrainingError(
                f"validation_fraction = {self.validation_fraction:g}: expected one in (0, 1)"
            )
        for name in ("batch_size", "epochs", "max_learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise TrainingError(f"{name} = {getattr(self, name):g}: expected a positive number")


@dataclass
class TrainingState:
    """Where the loop is, apart from the weights and the optimiser; ``rate``: of the last step."""

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    weight: float = 0.0
    seconds: float = 0.0
    rate: float = 0.0
    best_epoch: int = -1
    stopped: str = ""
    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)

    @property
    def best(self) -> float:
        """The lowest validation loss so far."""
        return self.validation[self.best_epoch] if self.best_epoch >= 0 else math.inf


def state_from(entries: dict[str, Any]) -> TrainingState:
    """Where a training stood, as a checkpoint has it.

    Raises:
        ValueError: An entry has another type, or no sense; TypeError where it has another name.
    """
    for name, usual in asdict(TrainingState()).items():
        value = entries.get(name, usual)
        numbers = value if isinstance(usual, list) else []
        kinds = (int, float) if isinstance(usual, float) else type(usual)
        if not isinstance(value, kinds) or not all(isinstance(n, (int, float)) for n in numbers):
            raise ValueError(f"{name} = {value!r}; expected {type(usual).__name__}")
    state = TrainingState(**entries)
    if min(state.epoch, state.step, state.best_epoch + 1) < 0:
        raise ValueError("a negative epoch or step")
    series = {len(state.train), len(state.validation), len(state.learning_rate)}
    if len(series) > 1 or state.best_epoch >= min(series):
        raise ValueError("its curve has not one entry for each epoch")
    return state
