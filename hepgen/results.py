"""Frozen records that pass between layers, and serialise to JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SCHEMA = 1
_ARRAYS = ("truth", "mean", "std", "rank", "hpd", "tarp", "drawn", "covariance")


@dataclass(frozen=True)
class Check:
    """One statement on the validity of a result, with the number behind it.

    Arguments:
        name: What was checked, e.g. ``support: Dimuon_mass``.
        passed: Whether the value is on the right side of the threshold.
        value: The number.
        threshold: What it was compared with.
        meaning: One sentence for a reader who does not know the check.
        warning: It passed, and the meaning is what a reader must know nevertheless.
    """

    name: str
    passed: bool
    value: float
    threshold: float
    meaning: str = ""
    warning: bool = False


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
        draws: Of each posterior; 0 where that is not known.
        hpd: The fraction of draws with a higher density than the truth, shape ``(M,)``: the
            level of the smallest region of highest density that holds it.
        tarp: The fraction of draws nearer to a reference point than the truth, shape ``(M,)``.
        drawn: One of the draws, shape ``(M, D)``.
        covariance: Of the others, shape ``(M, D, D)``.
    """

    method: str
    source: str
    parameters: tuple[str, ...]
    events: NDArray[np.int64]
    truth: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    rank: NDArray[np.float64]
    draws: int = 0
    hpd: NDArray[np.float64] | None = None
    tarp: NDArray[np.float64] | None = None
    drawn: NDArray[np.float64] | None = None
    covariance: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.truth)

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Calibration:
        """A calibration from the plain values that :func:`to_json` makes of one."""
        arrays = {
            name: np.asarray(entry[name], dtype=np.float64)
            for name in _ARRAYS
            if entry.get(name) is not None
        }
        return cls(
            method=entry["method"],
            source=entry["source"],
            parameters=tuple(entry["parameters"]),
            events=np.asarray(entry["events"], dtype=np.int64),
            draws=int(entry.get("draws", 0)),
            **arrays,
        )

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

    def coverage_error(self, name: str, level: float = 0.68) -> float:
        """The binomial standard error of :meth:`coverage`, √(c(1 − c)/M)."""
        value = self.coverage(name, level)
        return math.sqrt(value * (1 - value) / len(self))

    def pull_mean(self, name: str) -> tuple[float, float]:
        """The mean of the pulls and its standard error, s/√M."""
        pulls = self.pulls(name)
        return float(pulls.mean()), float(pulls.std(ddof=1)) / math.sqrt(len(pulls))

    def pull_width(self, name: str) -> tuple[float, float]:
        """The standard deviation s of the pulls and its standard error, s/√(2(M − 1))."""
        pulls = self.pulls(name)
        width = float(pulls.std(ddof=1))
        return width, width / math.sqrt(2 * (len(pulls) - 1))


@dataclass(frozen=True)
class UniformityTest:
    """Whether M numbers are uniform on [0, 1], as those of a calibrated posterior are.

    Arguments:
        name: What the numbers are.
        levels: Where their distribution function is looked at, shape ``(K,)``.
        observed: The fraction of the numbers below each level, shape ``(K,)``.
        low, high: The band that all of it is in, with probability ``confidence``, for uniform
            numbers, shape ``(K,)``.
        sets: M.
        confidence: Of the band, all levels together.
        p_value: Of all levels together.
    """

    name: str
    levels: NDArray[np.float64]
    observed: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    sets: int
    confidence: float
    p_value: float

    @property
    def inside(self) -> bool:
        """Whether the distribution function stays within the band."""
        return bool(((self.observed >= self.low) & (self.observed <= self.high)).all())

    @property
    def excess(self) -> float:
        """∫ (observed − level): ½ − the mean of the numbers, up to the steps of the levels.

        Of regions of highest density it is positive where they hold the truth too often (a
        conservative posterior) and negative where too seldom (an overconfident one).
        """
        return float(np.mean(self.observed - self.levels))


@dataclass(frozen=True)
class FeatureComparison:
    """The data beside the posterior predictive distribution of one feature, in B bins.

    Arguments:
        name: The column.
        edges: Bin edges, shape ``(B + 1,)``.
        observed: Data per bin, shape ``(B,)``: counts, or sums of weights.
        predicted: The expected data per bin, averaged over the posterior, shape ``(B,)``.
        uncertainty: The standard deviation of that expectation over the posterior, with the
            statistics of the simulation but *without* those of the data, shape ``(B,)``:
            a data set of the same size scatters by √(predicted + uncertainty²).
        in_likelihood: Whether the feature is used in the inference, or is a control.
        p_value: Of the data under the posterior predictive; NaN where none was computed.
        label: How a plot writes the feature; the name where empty.
        unit: Of the feature; empty for a pure number.
        training: The expected data per bin over the prior, i.e. the sample that the estimator
            was trained on, scaled to the data, shape ``(B,)``.
        observed_std: The standard deviation of weighted data, shape ``(B,)``; where it is
            ``None`` the data are Poisson counts.
    """

    name: str
    edges: NDArray[np.float64]
    observed: NDArray[np.float64]
    predicted: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    in_likelihood: bool
    p_value: float = math.nan
    label: str = ""
    unit: str = ""
    training: NDArray[np.float64] | None = None
    observed_std: NDArray[np.float64] | None = None

    @property
    def axis(self) -> str:
        """Its label with the unit, for a plot's axis."""
        label = self.label or self.name
        return f"{label} [{self.unit}]" if self.unit else label

    def chi2(self) -> tuple[float, int]:
        """Σ (observed − predicted)²/(predicted + uncertainty²) and the number of bins in it.

        Bins in which nothing is expected are left out, and so are correlations between bins.
        """
        statistics = self.predicted if self.observed_std is None else self.observed_std**2
        variance = statistics + self.uncertainty**2
        used = (self.predicted > 0) & (variance > 0)
        terms = (self.observed - self.predicted)[used] ** 2 / variance[used]
        return float(terms.sum()), int(used.sum())


@dataclass(frozen=True)
class InferenceResult:
    """p(θ | data), summarised, with the checks that say whether to believe it."""

    method: str
    events: int
    parameters: Mapping[str, ParameterEstimate]
    checks: Sequence[Check]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    selection: Mapping[str, int] = field(default_factory=dict)
    statements: Mapping[str, Any] = field(default_factory=dict)
    """Intervals, scans, impacts and limits as plain values: see :mod:`hepgen.statements`."""
    schema: int = SCHEMA

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> InferenceResult:
        """The inverse of :meth:`to_dict`, as it comes back from JSON."""
        parameters = {
            name: ParameterEstimate(**_with_pairs(estimate))
            for name, estimate in entry["parameters"].items()
        }
        return cls(
            method=entry["method"],
            events=entry["events"],
            parameters=parameters,
            checks=[Check(**check) for check in entry["checks"]],
            provenance=entry["provenance"],
            selection=entry["selection"],
            statements=entry.get("statements", {}),
            schema=entry["schema"],
        )

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
            "statements": _plain(self.statements),
            "provenance": dict(self.provenance),
        }


def decimals(error: float) -> int:
    """The decimal places that an uncertainty deserves, by the rule of the PDG.

    With its three leading digits from 100 to 354 an error keeps two significant digits,
    from 355 to 949 one, and from 950 to 999 it is rounded up to 1000 and keeps two
    (Review of Particle Physics, introduction, "Rounding"). Negative for a large error.

    >>> decimals(0.123), decimals(0.456), decimals(0.98), decimals(827.0)
    (2, 1, 1, -2)
    """
    digits, exponent = f"{abs(error):.2e}".split("e")
    leading = round(100 * float(digits))
    kept = 1 if 354 < leading < 950 else 2
    return kept - 1 - int(exponent) - (leading >= 950)


def rounded(value: float, error: float) -> str:
    """``value`` with the decimal places that ``error`` deserves.

    An error of zero, or one that is not finite, leaves six significant digits.

    >>> rounded(90.9137, 0.2131), rounded(0.2131, 0.2131), rounded(12345.0, 456.0)
    ('90.91', '0.21', '12300')
    """
    if not math.isfinite(value):
        return "—"
    if not (math.isfinite(error) and error != 0):
        return f"{value:.6g}"
    places = decimals(error)
    number = round(Decimal(value), places)
    return f"{abs(number) if number == 0 else number:.{max(places, 0)}f}"


def _with_pairs(estimate: Mapping[str, Any]) -> dict[str, Any]:
    pairs = {name: tuple(estimate[name]) for name in ("interval68", "interval95")}
    return {**estimate, **pairs}


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


@dataclass(frozen=True)
class BudgetCurve:
    """How an estimator of one parameter does, by the number of simulated events.

    Arguments:
        method: The estimator.
        parameter: What it infers.
        augmented: Whether it uses the joint score or ratio.
        events: Simulated to train on, shape ``(B,)``, increasing.
        sets: How many pseudo-data sets the numbers are from.
        width: The mean standard deviation of the posterior, shape ``(B,)``.
        rms: The root mean square of posterior mean minus truth, shape ``(B,)``.
        coverage: The share of central 68 % intervals that hold the truth, shape ``(B,)``.
    """

    method: str
    parameter: str
    augmented: bool
    events: NDArray[np.int64]
    sets: int
    width: NDArray[np.float64]
    rms: NDArray[np.float64]
    coverage: NDArray[np.float64]
