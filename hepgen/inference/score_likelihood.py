r"""Likelihoods of the score observables of SALLY at any θ, from events made there.

The observables t̂(x) are D numbers an event. They are optimal at the reference; away from it they
remain observables, whose distribution at θ can be had from simulation, and a measurement with them
is right at every θ, and less than optimal only. It needs no joint scores, and puts right what is
wrong with t̂.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from hepgen.errors import DataError, FileError, ParameterError
from hepgen.inference.event_sets import EventSets, event_weights, pad
from hepgen.inference.nle import check_columns, check_theta
from hepgen.inference.sally import SALLY, encode_scores
from hepgen.nn.model_files import model_kind
from hepgen.nn.number_files import read_numbers, write_numbers
from hepgen.parameters import ParameterSet
from hepgen.results import TrainingCurve

_NEWTON = 12
AnyScore = TypeVar("AnyScore", bound="ScoreLikelihood")

FOLDER = "likelihood"
"""Where a likelihood of the observables is, in the folder of these."""


@dataclass(frozen=True)
class _Basis:
    """Monomials up to an order in (θ − location)/scale, the constant first."""

    location: Tensor
    scale: Tensor
    degree: int

    @classmethod
    def of(cls, theta: Tensor, degree: int) -> _Basis:
        return cls(theta.mean(0), theta.std(0), degree)

    @classmethod
    def from_numbers(cls, numbers: dict[str, Tensor], name: str, degree: int) -> _Basis:
        return cls(numbers[f"{name}_location"], numbers[f"{name}_scale"], degree)

    def numbers(self, name: str) -> dict[str, Tensor]:
        return {f"{name}_location": self.location, f"{name}_scale": self.scale}

    def __call__(self, theta: Tensor) -> Tensor:
        """Shape ``(*, M)`` for θ of shape ``(*, D)``."""
        c = (theta.double() - self.location) / self.scale
        columns = range(c.shape[-1])
        terms = [torch.ones_like(c[..., 0])]
        for order in range(1, self.degree + 1):
            for which in combinations_with_replacement(columns, order):
                terms.append(c[..., list(which)].prod(-1))
        return torch.stack(terms, dim=-1)


class ScoreLikelihood(ABC):
    """A likelihood of the observables t̂: one way to know their distribution at any θ.

    Arguments:
        sally: The observables.
        parameters: The free ones make θ; they may be more than those of ``sally``.
    """

    kind: ClassVar[str]

    def __init__(self, sally: SALLY, parameters: ParameterSet) -> None:
        self.sally, self.parameters = sally, parameters

    @abstractmethod
    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        """Data sets, each of shape ``(N, d)``, as what is known of them."""

    @abstractmethod
    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        """Of S data sets at K points each, shape ``(S, K)``, float64, for θ ``(S, K, D)``."""

    @property
    def curve(self) -> TrainingCurve:
        """The training of the observables."""
        return self.sally.curve

    def save(self, folder: Path | str) -> None:
        """Write the observables into ``folder``, and this into ``folder/likelihood``."""
        self.sally.save(folder)
        degree, numbers = self._fitted()
        description = {"parameters": self.parameters.to_dict(), "degree": degree}
        write_numbers(Path(folder) / FOLDER, self.kind, description, numbers)

    @classmethod
    def load(cls: type[AnyScore], folder: Path | str) -> AnyScore:
        """Read what :meth:`save` wrote; nothing from the files is executed.

        Raises:
            FileError: The files are missing, truncated, edited, or from a newer version.
        """
        sally = SALLY.load(folder)
        try:
            entry, numbers = read_numbers(Path(folder) / FOLDER, cls.kind)
            parameters = ParameterSet.from_dict(entry["parameters"])
            return cls._from_fitted(sally, parameters, int(entry["degree"]), numbers)
        except (KeyError, TypeError, ValueError, ParameterError) as error:
            raise FileError(
                f"{folder}/{FOLDER}/model.json does not describe a likelihood of score "
                f"observables: {error!r}"
            ) from error

    @abstractmethod
    def _fitted(self) -> tuple[int, dict[str, Tensor]]:
        """The degree of its polynomials, and its numbers by name."""

    @classmethod
    @abstractmethod
    def _from_fitted(
        cls: type[AnyScore],
        sally: SALLY,
        parameters: ParameterSet,
        degree: int,
        numbers: dict[str, Tensor],
    ) -> AnyScore:
        """The inverse of :meth:`_fitted`."""


class ScoreMean(ScoreLikelihood):
    r"""The likelihood of the mean observable of a data set, a Gaussian by the central limit.

    .. math:: \bar t = \frac{\sum_i w_i \hat t(x_i)}{\sum_i w_i} \sim
              \mathcal{N}\Big(\mu(\theta), \frac{\sum_i w_i^2}{(\sum_i w_i)^2} \Sigma(\theta)\Big)

    μ is a polynomial in θ by least squares. Σ has the axes of its mean, and along each of them the
    logarithm of the variance is a polynomial of second degree by maximum likelihood. The number of
    events is what makes it a Gaussian: a few tens at least.

    Arguments:
        sally: The observables.
        parameters: The free ones make θ; they may be more than those of ``sally``.
    """

    kind = "score-mean"

    def __init__(
        self,
        sally: SALLY,
        parameters: ParameterSet,
        mean: tuple[_Basis, Tensor],
        axes: Tensor,
        log_variance: tuple[_Basis, Tensor],
    ) -> None:
        super().__init__(sally, parameters)
        self._mean, self._axes, self._log_variance = mean, axes, log_variance

    @classmethod
    def fit(
        cls,
        sally: SALLY,
        x: Tensor,
        theta: Tensor,
        *,
        parameters: ParameterSet | None = None,
        weight: Tensor | None = None,
        degree: int = 3,
    ) -> ScoreMean:
        """From simulated events with θ's of their own.

        Arguments:
            sally: The observables.
            x: Events, shape ``(N, d)``.
            theta: What made them, shape ``(N, D)``.
            parameters: What the columns of θ are; by default those of ``sally``.
            weight: Signed event weights, shape ``(N,)``.
            degree: Of the polynomial μ.

        Raises:
            DataError: Too few events for so many coefficients.
        """
        parameters = parameters or sally.parameters
        check_theta(theta, parameters, len(x))
        t, w = sally.score(x), event_weights(weight, len(x))
        mean, second = _Basis.of(theta.double(), degree), _Basis.of(theta.double(), 2)
        design = mean(theta)
        if len(x) < 10 * design.shape[1]:
            raise DataError(
                f"{len(x)} events for {design.shape[1]} coefficients; expected ten times as many: "
                "simulate more, or lower the degree"
            )
        coefficients = _least_squares(design, t, w)
        residual = t - design @ coefficients
        covariance = torch.einsum("n,ni,nj->ij", w, residual, residual) / w.sum()
        values, vectors = torch.linalg.eigh(covariance)
        if not bool((values > 0).all()):
            raise DataError(
                f"the covariance of the observables has the eigenvalue {values.min().item():g}; "
                "expected positive ones: more events, or fewer parameters"
            )
        axes = vectors / values.sqrt()
        log_variance = _log_variance(second(theta), residual @ axes, w)
        return cls(sally, parameters, (mean, coefficients), axes, (second, log_variance))

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        """Data sets, each of shape ``(N, d)``, as their observables."""
        return encode_scores(self.sally, x, weight)

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        """Of S data sets at K points each, shape ``(S, K)``, float64, for θ ``(S, K, D)``."""
        check_columns(theta, self.parameters)
        sum_w = sets.weight.sum(-1)
        mean = torch.einsum("snd,sn->sd", sets.events, sets.weight) / sum_w[:, None]
        spread = (sets.weight.square().sum(-1) / sum_w.square())[:, None, None]
        basis, coefficients = self._mean
        pull = (mean[:, None] - basis(theta) @ coefficients) @ self._axes
        second, shape = self._log_variance
        log_variance = second(theta) @ shape + spread.log()
        terms = pull.square() * (-log_variance).exp() + log_variance + math.log(math.tau)
        return -0.5 * terms.sum(-1)

    def _fitted(self) -> tuple[int, dict[str, Tensor]]:
        (mean, coefficients), (second, shape) = self._mean, self._log_variance
        return mean.degree, {
            **mean.numbers("mean"), **second.numbers("variance"), "coefficients": coefficients,
            "axes": self._axes, "log_variance": shape,
        }  # fmt: skip

    @classmethod
    def _from_fitted(
        cls, sally: SALLY, parameters: ParameterSet, degree: int, numbers: dict[str, Tensor]
    ) -> ScoreMean:
        mean = _Basis.from_numbers(numbers, "mean", degree)
        second = _Basis.from_numbers(numbers, "variance", 2)
        return cls(
            sally, parameters, (mean, numbers["coefficients"]), numbers["axes"],
            (second, numbers["log_variance"]),
        )  # fmt: skip


class ScoreHistogram(ScoreLikelihood):
    r"""The likelihood of event sets from a histogram of the observables, of one or two parameters.

    .. math:: \log L(\theta) = \sum_i w_i \log p(b_i | \theta), \qquad
              p(b | \theta) \propto \exp\Big(\sum_m \beta_{bm} \phi_m(\theta)\Big)

    over bins b of equal numbers of events of t̂, with polynomials φ of θ, by maximum likelihood.
    """

    kind = "score-histogram"

    def __init__(
        self,
        sally: SALLY,
        parameters: ParameterSet,
        edges: Sequence[Tensor],
        basis: _Basis,
        coefficients: Tensor,
    ) -> None:
        super().__init__(sally, parameters)
        self.edges, self._basis, self._coefficients = tuple(edges), basis, coefficients

    @classmethod
    def fit(
        cls,
        sally: SALLY,
        x: Tensor,
        theta: Tensor,
        *,
        weight: Tensor | None = None,
        bins: int = 20,
        degree: int = 3,
    ) -> ScoreHistogram:
        """From simulated events with θ's of their own; arguments as of :meth:`ScoreMean.fit`.

        Raises:
            DataError: More than two parameters, or a bin whose weights sum to nothing positive.
        """
        parameters = sally.parameters
        check_theta(theta, parameters, len(x))
        if len(parameters.free) > 2:
            raise DataError(
                f"a histogram of {len(parameters.free)} observables; expected one or two: use "
                "ScoreMean, or fix nuisance parameters"
            )
        t, w = sally.score(x), event_weights(weight, len(x))
        quantiles = torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1]
        # Quantiles of an even subsample: torch sorts 16 million numbers at most.
        some = t[:: max(1, len(t) // 1_000_000)]
        edges = [torch.quantile(column, quantiles) for column in some.unbind(-1)]
        number, total = _bins(t, edges), (bins ** t.shape[1])
        sums = torch.zeros(total, dtype=torch.float64).index_add_(0, number, w)
        if not bool((sums > 0).all()):
            raise DataError(
                f"{int((sums <= 0).sum())} of {total} bins have no positive sum of weights; "
                "expected none: give more events, or fewer bins"
            )
        basis = _Basis.of(theta.double(), degree)
        start = torch.zeros(basis(theta[:1]).shape[1], total, dtype=torch.float64)
        start[0] = sums.log() - sums.log().mean()
        coefficients = _softmax_regression(basis(theta), number, w, start)
        return cls(sally, parameters, edges, basis, coefficients)

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        """Data sets, each of shape ``(N, d)``, as the numbers of their events' bins."""
        bins = [_bins(self.sally.score(one), self.edges)[:, None] for one in x]
        return pad(bins, weight, [torch.zeros(len(one), dtype=torch.float64) for one in x])

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        """Of S data sets at K points each, shape ``(S, K)``, float64, for θ ``(S, K, D)``."""
        check_columns(theta, self.parameters)
        total = self._coefficients.shape[1]
        data = torch.zeros(len(sets), total, dtype=torch.float64)
        data = data.scatter_add(1, sets.events[..., 0], sets.weight)
        return torch.einsum("sb,skb->sk", data, self._log_p(theta))

    def prepare(self, x: Tensor) -> Tensor:
        """The number of the bin of each event, shape ``(N, 1)``, for x of shape ``(N, d)``."""
        return _bins(self.sally.score(x), self.edges)[:, None]

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        """log p of prepared events, ``(S, n, 1)``, at θ ``(S, K, D)``: shape ``(S, n, K)``."""
        check_columns(theta, self.parameters)
        index = prepared.long().expand(-1, -1, theta.shape[1])
        return self._log_p(theta).mT.gather(1, index)

    def double(self) -> ScoreHistogram:
        """Itself: its numbers have double precision."""
        return self

    def _fitted(self) -> tuple[int, dict[str, Tensor]]:
        numbers = {"coefficients": self._coefficients, "edges": torch.stack(list(self.edges))}
        return self._basis.degree, {**self._basis.numbers("basis"), **numbers}

    @classmethod
    def _from_fitted(
        cls, sally: SALLY, parameters: ParameterSet, degree: int, numbers: dict[str, Tensor]
    ) -> ScoreHistogram:
        basis = _Basis.from_numbers(numbers, "basis", degree)
        return cls(sally, parameters, numbers["edges"].unbind(0), basis, numbers["coefficients"])

    def _log_p(self, theta: Tensor) -> Tensor:
        """Of each bin, shape ``(S, K, B)``."""
        return torch.log_softmax(self._basis(theta) @ self._coefficients, dim=-1)


def load_score_likelihood(folder: Path | str) -> ScoreMean | ScoreHistogram:
    """The one of the two that is in a folder.

    Raises:
        FileError: There is none, or its files are truncated, edited, or from a newer version.
    """
    kind = model_kind(Path(folder) / FOLDER)
    return ScoreMean.load(folder) if kind == ScoreMean.kind else ScoreHistogram.load(folder)


def _least_squares(design: Tensor, t: Tensor, w: Tensor) -> Tensor:
    """β with the smallest Σ w |t − Xβ|², shape ``(M, D)``."""
    gram = torch.einsum("n,nm,nk->mk", w, design, design)
    right = torch.einsum("n,nm,nd->md", w, design, t)
    found: Tensor = torch.linalg.lstsq(gram, right, driver="gelsd").solution
    return found


def _log_variance(design: Tensor, z: Tensor, w: Tensor) -> Tensor:
    """γ with the smallest Σ w [Xγ + z² exp(−Xγ)], shape ``(M, D)``: Newton's method from 0."""
    found = torch.zeros(design.shape[1], z.shape[1], dtype=torch.float64)
    for column in range(z.shape[1]):
        for _ in range(_NEWTON):
            share = z[:, column].square() * (-design @ found[:, column]).exp() * w
            gradient = design.T @ (w - share)
            curvature = torch.einsum("n,nm,nk->mk", share, design, design)
            step = torch.linalg.lstsq(curvature, gradient[:, None], driver="gelsd").solution[:, 0]
            found[:, column] -= step * (1 / step.abs().max()).clamp(max=1)
    return found


def _softmax_regression(design: Tensor, number: Tensor, w: Tensor, start: Tensor) -> Tensor:
    """The maximum of Σ w log softmax(Xβ)[b], shape ``(M, B)``, by L-BFGS."""
    beta = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [beta], max_iter=200, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        log_p = torch.log_softmax(design @ beta, dim=-1).gather(1, number[:, None])[:, 0]
        # A little of a prior: the constant of all bins is free, and a bin may be empty at the edge.
        loss = -(w * log_p).sum() / w.sum() + 1e-8 * beta.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return beta.detach()


def _bins(t: Tensor, edges: Sequence[Tensor]) -> Tensor:
    """The number of the bin of each event, shape ``(N,)``."""
    number = torch.zeros(len(t), dtype=torch.int64)
    for column, line in zip(t.unbind(-1), edges, strict=True):
        number = number * (len(line) + 1) + torch.bucketize(column.contiguous(), line)
    return number
