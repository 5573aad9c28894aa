"""Frozen records that pass between layers, and serialise to JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SCHEMA = 1


@dataclass(frozen=True)
class Check:
    """One statement on the validity of a result, with the number behind it.

    Arguments:
        name: What was checked, e.g. ``support: Dimuon_mass``.
        passed: Whether the value is on the right side of the threshold.
        value: The number.
        threshold: What it was compared with.
        meaning: One sentence for a reader who does not know the check.
    """

    name: str
    passed: bool
    value: float
    threshold: float
    meaning: str = ""


@dataclass(frozen=True)
class ParameterEstimate:
    """The marginal posterior of one parameter, in its unit.

    ``interval68`` and ``interval95`` are central: equal tails.
    """

    role: Literal["interest", "nuisance"]
    unit: str
    mean: float
    std: float
    median: float
    interval68: tuple[float, float]
    interval95: tuple[float, float]
    r_hat: float | None = None
    effective_samples: float | None = None

    @classmethod
    def from_samples(
        cls,
        samples: NDArray[np.float64],
        role: Literal["interest", "nuisance"],
        unit: str = "",
        r_hat: float | None = None,
        effective_samples: float | None = None,
    ) -> ParameterEstimate:
        """Summarise posterior draws of one parameter, shape ``(S,)``."""
        low95, low68, median, high68, high95 = np.quantile(
            samples, [0.025, 0.16, 0.5, 0.84, 0.975]
        ).tolist()
        return cls(
            role, unit, float(samples.mean()), float(samples.std(ddof=1)), median,
            (low68, high68), (low95, high95), r_hat, effective_samples,
        )  # fmt: skip


@dataclass(frozen=True)
class TrainingCurve:
    """Losses in nats per event, one entry an epoch, and what the training cost."""

    train: tuple[float, ...]
    validation: tuple[float, ...]
    learning_rate: tuple[float, ...]
    best_epoch: int
    seconds: float
    stopped: str


@dataclass(frozen=True)
class Calibration:
    """How a posterior does over pseudo-data sets whose truth is known.

    Arguments:
        method: The estimator.
        source: Where the pseudo-data came from, e.g. ``chain`` or ``pythia``.
        parameters: D names.
        events: The size of each set, M entries.
        truth: The true parameters, shape ``(M, D)``.
        mean: Posterior means, shape ``(M, D)``.
        std: Posterior standard deviations, shape ``(M, D)``.
        rank: The fraction of posterior draws below the truth, shape ``(M, D)``;
            uniform on [0, 1] for a calibrated posterior.
    """

    method: str
    source: str
    parameters: tuple[str, ...]
    events: NDArray[np.int64]
    truth: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    rank: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.truth)

    def column(self, name: str) -> int:
        """The column of the parameter ``name``."""
        return self.parameters.index(name)

    def pulls(self, name: str) -> NDArray[np.float64]:
        """(mean − truth)/std of one parameter, shape ``(M,)``."""
        i = self.column(name)
        return (self.mean[:, i] - self.truth[:, i]) / self.std[:, i]

    def coverage(self, name: str, level: float = 0.68) -> float:
        """The fraction of sets whose central interval at ``level`` holds the truth."""
        tail = (1 - level) / 2
        rank = self.rank[:, self.column(name)]
        return float(np.mean((rank >= tail) & (rank <= 1 - tail)))


@dataclass(frozen=True)
class InferenceResult:
    """p(θ | data), summarised, with the checks that say whether to believe it."""

    method: str
    events: int
    parameters: Mapping[str, ParameterEstimate]
    checks: Sequence[Check]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    selection: Mapping[str, int] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """The content of ``result.json``."""
        return {
            "schema": self.schema,
            "method": self.method,
            "events": self.events,
            "parameters": {
                name: dataclasses.asdict(estimate) for name, estimate in self.parameters.items()
            },
            "checks": [dataclasses.asdict(check) for check in self.checks],
            "passed": self.passed,
            "selection": dict(self.selection),
            "provenance": dict(self.provenance),
        }


def to_json(value: Any, indent: int | None = 2) -> str:
    """JSON of records, arrays and plain values; NaN and infinities become null.

    >>> to_json({"a": np.float64(1.0), "b": float("nan")}, indent=None)
    '{"a": 1.0, "b": null}'
    """
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
