"""Frozen records of how a surrogate compares with what it stands for; they serialise to JSON."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Record = TypeVar("Record")
SCHEMA = 1


@dataclass(frozen=True)
class Measured:
    """A number with its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.error:.2g}"


@dataclass(frozen=True)
class TwoSampleTest:
    """How well a trained classifier tells two samples apart, on events it was not trained on.

    Arguments:
        accuracy: The fraction it names right (C2ST): 1/2 where the samples are alike.
        auc: The probability that it ranks an event of the second sample above one of the first.
        jsd: (ln 2 − BCE)/ln 2 of the calibrated output: a lower bound, up to its error, of the
            Jensen–Shannon divergence in bits; 0 alike, 1 disjoint.
        p_value: Of the AUC, one-sided, over permutations of the labels.
        events: Tested, of each sample.
        edges: Of the bins of the calibrated output, shape ``(B + 1,)``.
        first, second: Events of each sample in them, shape ``(B,)``.
        false_positive, true_positive: The receiver operating characteristic.
    """

    accuracy: Measured
    auc: Measured
    jsd: Measured
    p_value: float
    events: int
    edges: Array
    first: Array
    second: Array
    false_positive: Array
    true_positive: Array


@dataclass(frozen=True)
class ClassifierJudgement:
    """One kind of classifier: on the surrogate, on the null, and on a shift that was planted.

    Arguments:
        name: The classifier, in words.
        surrogate: Simulation against surrogate.
        null: Simulation against simulation, of the same size.
        planted: The null with one more standard normal column, which in the second sample is
            shifted by ``shift``.
        shift: δ; the best possible AUC is Φ(δ/√2), the best accuracy Φ(δ/2).
    """

    name: str
    surrogate: TwoSampleTest
    null: TwoSampleTest
    planted: TwoSampleTest | None = None
    shift: float = math.nan

    @property
    def optimum(self) -> float:
        """The AUC of the likelihood ratio of the planted shift, Φ(δ/√2)."""
        return 0.5 * (1 + math.erf(self.shift / 2))

    @property
    def best_accuracy(self) -> float:
        """The accuracy of the likelihood ratio of the planted shift, Φ(δ/2)."""
        return 0.5 * (1 + math.erf(self.shift / math.sqrt(8)))


@dataclass(frozen=True)
class Tail:
    """The fraction of events beyond a quantile of the simulation.

    Arguments:
        level: The quantile; below 1/2 it is the lower tail.
        threshold: Its value.
        truth, surrogate: The fraction beyond it, with binomial errors.
    """

    level: float
    threshold: float
    truth: Measured
    surrogate: Measured

    @property
    def pull(self) -> float:
        """(surrogate − truth)/σ."""
        error = math.hypot(self.truth.error, self.surrogate.error)
        return (self.surrogate.value - self.truth.value) / error if error else 0.0


@dataclass(frozen=True)
class FeatureJudgement:
    """One column of simulation and surrogate.

    Arguments:
        name, label, unit: Of the column.
        edges: Of the bins, shape ``(B + 1,)``.
        truth, surrogate: Events in them, scaled to the same total, shape ``(B,)``.
        truth_std, surrogate_std: Their statistical errors, shape ``(B,)``.
        wasserstein: W₁ in units of the column's standard deviation.
        wasserstein_null: The same of simulation against simulation: mean, and scatter.
        separation: ½ Σ (p − q)²/(p + q), 0 to 1.
        separation_null: The same of simulation against simulation.
        chi2, ndf, p_value: Of the two histograms, with both statistical errors.
        tails: Fractions beyond quantiles.
    """

    name: str
    label: str
    unit: str
    edges: Array
    truth: Array
    surrogate: Array
    truth_std: Array
    surrogate_std: Array
    wasserstein: float
    wasserstein_null: Measured
    separation: float
    separation_null: float
    chi2: float
    ndf: int
    p_value: float
    tails: tuple[Tail, ...] = ()

    @property
    def axis(self) -> str:
        """Its label with the unit, for a plot's axis."""
        label = self.label or self.name
        return f"{label} [{self.unit}]" if self.unit else label


@dataclass(frozen=True)
class Correlations:
    """Correlations of the normal scores of the columns, d × d.

    Arguments:
        names: The d columns.
        truth, surrogate: Coefficients, shape ``(d, d)``.
        error: The standard error of their difference, shape ``(d, d)``.
    """

    names: tuple[str, ...]
    truth: Array
    surrogate: Array
    error: Array

    @property
    def pulls(self) -> Array:
        """(surrogate − truth)/error, 0 on the diagonal, shape ``(d, d)``."""
        safe = np.where(self.error > 0, self.error, 1.0)
        return np.where(self.error > 0, (self.surrogate - self.truth) / safe, 0.0)

    @property
    def largest(self) -> Measured:
        """The largest difference of a correlation, by size, with its error."""
        difference = np.abs(self.surrogate - self.truth)
        at = np.unravel_index(int(difference.argmax()), difference.shape)
        return Measured(float(difference[at]), float(self.error[at]))


@dataclass(frozen=True)
class Distance:
    """A distance of two samples, extrapolated to infinitely many events, beside the null."""

    surrogate: Measured
    null: Measured


@dataclass(frozen=True)
class Closure:
    """The posteriors of one parameter with the surrogate's likelihood and with another one.

    Arguments:
        name: The parameter.
        reference: What the other likelihood is.
        shifts: (mean − reference mean)/reference standard deviation of each data set, ``(M,)``.
        widths: Ratios of the standard deviations, shape ``(M,)``.
        reference_error: By how many σ the reference's own means are off, rms; 0 where it is exact.
        label: Of the parameter, for a plot.
    """

    name: str
    reference: str
    shifts: Array
    widths: Array
    reference_error: float = 0.0
    label: str = ""

    @property
    def shift(self) -> Measured:
        """The mean shift in σ, and its standard error."""
        return _mean(self.shifts)

    @property
    def rms(self) -> float:
        """The root of the mean square of the shifts."""
        return math.sqrt(float(np.mean(self.shifts**2)))

    @property
    def excess(self) -> float:
        """The rms shift without what the reference's own error makes of it, in quadrature."""
        return math.sqrt(max(self.rms**2 - self.reference_error**2, 0.0))

    @property
    def largest(self) -> float:
        """The largest shift, by size."""
        return float(np.abs(self.shifts).max())

    @property
    def width(self) -> Measured:
        """The mean ratio of the widths, and its standard error."""
        return _mean(self.widths)


@dataclass(frozen=True)
class SurrogateJudgement:
    """Everything that was measured of one surrogate.

    Arguments:
        method: Its family.
        quality: What kind of number its density is.
        events: Of each sample, simulation and surrogate.
        classifiers: Two-sample tests.
        features: Column by column.
        correlations: Between columns; ``None`` where there is one column, or too many.
        frechet: The Fréchet distance.
        kernel: The unbiased MMD² of a polynomial kernel.
        nll: −log p(x | c) of held-out events in nats, in physical variables.
        seconds_per_event: By batch size.
        training_seconds: Of its training.
        domain: The range of each context column in training.
        closure: Posteriors with it and without it.
        no_closure: Why there are none, in words.
        manifest: What it stands for.
    """

    method: str
    quality: str
    events: int
    classifiers: tuple[ClassifierJudgement, ...]
    features: tuple[FeatureJudgement, ...]
    correlations: Correlations | None = None
    frechet: Distance | None = None
    kernel: Distance | None = None
    nll: Measured | None = None
    seconds_per_event: Mapping[str, float] = field(default_factory=dict)
    training_seconds: float = math.nan
    domain: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    closure: tuple[Closure, ...] = ()
    no_closure: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> SurrogateJudgement:
        """The inverse of :func:`hepgen.results.to_json`, as it comes back from JSON."""
        return _record(cls, entry)

    @property
    def verdict(self) -> str:
        """One sentence on the classifier that tells most, beside its null."""
        judged = max(self.classifiers, key=lambda one: one.surrogate.auc.value)
        auc, null = judged.surrogate.auc, judged.null.auc
        excess, error = auc.value - null.value, math.hypot(auc.error, null.error)
        words = f"{judged.name}: AUC {auc}, simulation against itself {null}"
        if judged.surrogate.p_value > 0.01 or excess < 2 * error:
            return f"Not told apart from the simulation with {self.events:,} events ({words})."
        if judged.surrogate.accuracy.value <= 0.55:
            return f"Told apart, but hardly: few events give it away ({words})."
        if judged.surrogate.accuracy.value <= 0.75:
            return f"Told apart: use it where the plots below agree ({words})."
        return f"Does not stand for the simulation ({words})."


@dataclass(frozen=True)
class Rank:
    """One line of a table of several surrogates of the same events.

    Arguments:
        method: The family.
        judgement: What was measured; ``None`` where it failed.
        onnx: What of it can be exported: ``sampler, density``, ``sampler`` or ``no``.
        failed: Why there is no judgement.
        exit_code: Of what failed.
    """

    method: str
    judgement: SurrogateJudgement | None = None
    onnx: str = ""
    failed: str = ""
    exit_code: int = 0


def _mean(values: Array) -> Measured:
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Measured(float(values.mean()), error)


def _record(kind: type[Record], entry: Mapping[str, Any]) -> Record:
    """A dataclass from plain values, by the annotations of its fields."""
    hints = typing.get_type_hints(kind)
    names = [one.name for one in dataclasses.fields(kind) if one.name in entry]  # type: ignore[arg-type]
    return kind(**{name: _typed(hints[name], entry[name]) for name in names})


def _typed(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _typed(arguments[0], value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _record(hint, value)
    if origin is tuple:
        return tuple(_typed(arguments[0], item) for item in value)
    if origin is np.ndarray:
        return np.asarray(value, dtype=np.float64)
    if isinstance(value, Mapping) and arguments and typing.get_origin(arguments[1]) is tuple:
        return {name: _typed(arguments[1], item) for name, item in value.items()}
    return math.nan if hint is float and value is None else value
