r"""Efficiencies and cross-sections as smooth functions of the parameters, fitted to a simulation.

.. math:: \ln\frac{\varepsilon}{1 - \varepsilon} = \sum_k c_k P_k(\theta), \quad
          k_p \sim \mathrm{Bin}(n_p, \varepsilon(\theta_p)) \qquad\text{or}\qquad
          \ln\sigma = \sum_k c_k P_k(\theta), \quad y_p \sim \mathcal{N}(\sigma(\theta_p), s_p)

with products of Legendre polynomials over the range of the priors, up to a total degree. A part of
the points chooses the degree, and another, which nothing was fitted to, says how good it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi2 as chi2_distribution
from torch import Tensor

from hepgen.errors import DataError, FileError, ParameterError, TrainingError
from hepgen.events import Events
from hepgen.nn.number_files import read_numbers, write_numbers
from hepgen.parameters import ParameterSet
from hepgen.simulators.campaign import POINT

_STEPS = 100
_LARGEST_DEGREE = 8
_ENOUGH = 4.0
"""A deviance of two standard deviations."""
_CELL = 25.0
"""The least variance of a count whose distribution is taken as Gaussian."""

Kind = Literal["efficiency", "cross-section"]


@dataclass(frozen=True)
class Points:
    """What a simulation found at P parameter points.

    Arguments:
        theta: Shape ``(P, D)``.
        value: How many were selected, or the cross-section, shape ``(P,)``.
        total: Of how many; for a cross-section its standard error, shape ``(P,)``.
    """

    theta: Tensor
    value: Tensor
    total: Tensor

    def __post_init__(self) -> None:
        columns = (self.value, self.total)
        shapes = [tuple(c.shape) for c in columns]
        finite = all(bool(torch.isfinite(c).all()) for c in (self.theta, *columns))
        if any(s != (len(self.theta),) for s in shapes) or not finite:
            raise DataError(
                f"{len(self.theta)} parameter points with values of shapes {shapes}; expected as "
                "many finite numbers as points"
            )
        if not bool((self.total > 0).all()):
            raise DataError(
                f"{int((self.total <= 0).sum())} parameter points without events or without an "
                "error; expected positive numbers"
            )

    def __len__(self) -> int:
        return len(self.theta)

    def __getitem__(self, part: Tensor) -> Points:
        return Points(self.theta[part], self.value[part], self.total[part])


def selected_counts(events: Events, parameters: ParameterSet) -> Points:
    """How many of the events at each parameter point are selected.

    Where events have weights, counts are effective ones: n = (Σw)²/Σw², and k = n Σ_selected w/Σw.

    Arguments:
        events: All that were generated (``keep_all`` of a
            :class:`hepgen.simulators.campaign.Campaign`, ``--all`` on the command line), with the
            column ``selected``.
        parameters: The free ones are the columns of θ.
    """
    number = np.asarray(events[POINT])
    passed, weight = np.asarray(events["selected"], dtype=np.float64), events.weight
    _, first, point = np.unique(number, return_index=True, return_inverse=True)
    theta = events.theta(parameters.free_names)[first]
    total, squares, kept = (
        np.bincount(point, w) for w in (weight, weight**2, weight * passed)
    )  # fmt: skip
    effective = total**2 / squares
    return Points(*(torch.from_numpy(a) for a in (theta, effective * kept / total, effective)))


@dataclass(frozen=True)
class Goodness:
    """How well a fitted rate describes points that it was not fitted to.

    Arguments:
        chi2, ndf, p_value: Of those points; of small counts, of groups of neighbours.
        excess: The root mean square of the relative deviation beyond the points' own fluctuation.
        statistical: The relative standard error of the fit, its root mean square over the points.
        degree: The total degree that was chosen.
    """

    chi2: float
    ndf: int
    p_value: float
    excess: float
    statistical: float
    degree: int

    @property
    def relative_error(self) -> float:
        """What the fit leaves: both of them."""
        return float(np.hypot(self.excess, self.statistical))

    def __str__(self) -> str:
        return (
            f"χ²/ndf = {self.chi2:.1f}/{self.ndf} (p = {self.p_value:.2g}), degree {self.degree}, "
            f"relative error {self.relative_error:.2g}"
        )


class LearnedRate:
    """A rate fitted to a simulation; made by :meth:`fit`.

    >>> from hepgen import Parameter, Uniform
    >>> a = ParameterSet([Parameter("a", 0.0, prior=Uniform(-1.0, 1.0))])
    >>> theta = torch.linspace(-1, 1, 200).double()[:, None]
    >>> truth = torch.sigmoid(0.5 + theta[:, 0])
    >>> rate = LearnedRate.fit(Points(theta, (1e4 * truth).round(), torch.full((200,), 1e4)), a)
    >>> round(rate({"a": torch.tensor(0.5)}).item(), 3)  # σ(1) = 0.731
    0.731
    """

    def __init__(
        self,
        parameters: ParameterSet,
        kind: Kind,
        coefficients: Tensor,
        covariance: Tensor,
        degree: int,
        goodness: Goodness | None = None,
    ) -> None:
        self.parameters, self.kind, self.degree = parameters, kind, degree
        self.coefficients, self.covariance, self.goodness = coefficients, covariance, goodness

    @classmethod
    def fit(
        cls,
        points: Points,
        parameters: ParameterSet,
        kind: Kind = "efficiency",
        *,
        degree: int | None = None,
        seed: int = 0,
    ) -> LearnedRate:
        """Fit, choose the degree, and judge.

        Arguments:
            points: Spread over the prior. A fifth chooses the degree, a fifth judges.
            parameters: The free ones are the columns of θ, with a prior that is bounded or normal.
            kind: An efficiency, from counts, or a cross-section, from values and errors.
            degree: The total degree; by default the best.
            seed: Of the division of the points.

        Raises:
            DataError: Too few points.
            TrainingError: A fit that does not converge.
        """
        order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))
        fifth = len(points) // 5
        if fifth < 2:
            raise DataError(f"{len(points)} parameter points to fit a rate; expected 10 at least")
        judged, chosen, fitted = order[:fifth], order[fifth : 2 * fifth], order[2 * fifth :]
        if degree is None:
            degree = _best_degree(points[fitted], points[chosen], parameters, kind)
        rate = cls(
            parameters, kind, *_solve(points[order[fifth:]], parameters, kind, degree), degree
        )
        rate.goodness = rate.judge(points[judged])
        return rate

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """ε or σ, shape ``(*,)``, of parameters by name, ``(*,)`` or ``()`` each."""
        columns = [values[name].double() for name in self.parameters.free_names]
        like = sum(columns, torch.zeros((), dtype=torch.float64))
        theta = torch.stack([c.expand_as(like) for c in columns], dim=-1)
        height = legendre_products(theta, self.parameters, self.degree) @ self.coefficients
        return torch.sigmoid(height) if self.kind == "efficiency" else height.exp()

    def judge(self, points: Points) -> Goodness:
        """Compare with points that it was not fitted to."""
        basis = legendre_products(points.theta, self.parameters, self.degree)
        mean, variance, slope = _moments(basis @ self.coefficients, points, self.kind)
        cell = _cells(points.theta.numpy(), variance.numpy()) if self.kind == "efficiency" else None
        number = torch.arange(len(points)) if cell is None else torch.from_numpy(cell)
        size = int(number.max()) + 1
        seen, expected, spread = (
            torch.zeros(size).double().index_add_(0, number, v.double())
            for v in (points.value, mean, variance)
        )
        chi2 = float(((seen - expected).square() / spread).sum())
        relative = ((seen - expected).square() - spread) / expected.square()
        fit = (basis @ self.covariance * basis).sum(-1) * (slope / mean).square()
        return Goodness(
            chi2, size, float(chi2_distribution.sf(chi2, size)),
            float(relative.mean().clamp_min(0).sqrt()), float(fit.mean().sqrt()), self.degree,
        )  # fmt: skip

    def save(self, folder: Path | str) -> None:
        """Write ``model.json`` and ``weights.safetensors`` into ``folder``."""
        goodness = None if self.goodness is None else dataclasses.asdict(self.goodness)
        write_numbers(
            Path(folder),
            "rate",
            {"parameters": self.parameters.to_dict(), "rate": self.kind, "degree": self.degree,
             "goodness": goodness},
            {"coefficients": self.coefficients, "covariance": self.covariance},
        )  # fmt: skip

    @classmethod
    def load(cls, folder: Path | str) -> LearnedRate:
        """Read what :meth:`save` wrote; nothing from the files is executed.

        Raises:
            FileError: The files are missing, truncated, edited, or from a newer version.
        """
        entry, numbers = read_numbers(Path(folder), "rate")
        try:
            goodness = entry["goodness"]
            return cls(
                ParameterSet.from_dict(entry["parameters"]), entry["rate"],
                numbers["coefficients"], numbers["covariance"], int(entry["degree"]),
                None if goodness is None else Goodness(**goodness),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, ParameterError) as error:
            raise FileError(f"{folder}/model.json does not describe a rate: {error!r}") from error


def legendre_products(theta: Tensor, parameters: ParameterSet, degree: int) -> Tensor:
    """∏_d P_{k_d}(t_d) of all Σk ≤ ``degree``, shape ``(*, terms)``, for θ ``(*, D)``."""
    reach = torch.tensor([p.reach for p in parameters.priors], dtype=torch.float64)
    t = (2 * theta.double() - reach.sum(-1)) / (reach[:, 1] - reach[:, 0])
    lines = [torch.ones_like(t), t]
    for k in range(1, degree):
        lines.append(((2 * k + 1) * t * lines[-1] - k * lines[-2]) / (k + 1))
    terms = []
    for powers in product(range(degree + 1), repeat=t.shape[-1]):
        if sum(powers) <= degree:
            columns = [lines[power][..., d] for d, power in enumerate(powers)]
            terms.append(torch.stack(columns, -1).prod(-1))
    return torch.stack(terms, dim=-1)


def _best_degree(fitted: Points, chosen: Points, parameters: ParameterSet, kind: Kind) -> int:
    """The lowest degree that describes the points that choose as well as any, to two σ."""
    deviance: list[float] = []
    for degree in range(_LARGEST_DEGREE + 1):
        basis = legendre_products(chosen.theta, parameters, degree)
        if basis.shape[1] > len(fitted) // 2:
            break
        coefficients, _ = _solve(fitted, parameters, kind, degree)
        deviance.append(_deviance(basis @ coefficients, chosen, kind))
    return next(d for d, found in enumerate(deviance) if found <= min(deviance) + _ENOUGH)


def _deviance(height: Tensor, points: Points, kind: Kind) -> float:
    """−2 log L, up to a constant."""
    k, n = points.value, points.total
    if kind == "efficiency":
        soft = torch.nn.functional.softplus
        return float(2 * (k * soft(-height) + (n - k) * soft(height)).sum())
    return float(((k - height.exp()) / n).square().sum())


def _moments(height: Tensor, points: Points, kind: Kind) -> tuple[Tensor, Tensor, Tensor]:
    """The mean of the values, their variance, and the derivative of the mean by the height."""
    if kind == "efficiency":
        share = torch.sigmoid(height)
        mean = points.total * share
        return mean, mean * (1 - share), mean * (1 - share)
    return height.exp(), points.total.double().square(), height.exp()


def _solve(
    points: Points, parameters: ParameterSet, kind: Kind, degree: int
) -> tuple[Tensor, Tensor]:
    """The coefficients of the largest likelihood, and their covariance (Fisher scoring)."""
    basis = legendre_products(points.theta, parameters, degree)
    c = torch.zeros(basis.shape[1], dtype=torch.float64)
    share = points.value.sum() / (points.total.sum() if kind == "efficiency" else len(points))
    if kind == "cross-section" and not share > 0:
        raise DataError(f"cross-sections with the mean {share.item():g}; expected a positive one")
    share = share.double().clamp(1e-6, 1 - 1e-6) if kind == "efficiency" else share.double()
    c[0] = torch.logit(share) if kind == "efficiency" else share.log()
    for _ in range(_STEPS):
        mean, variance, slope = _moments(basis @ c, points, kind)
        weighted = basis * (slope.square() / variance)[:, None]
        matrix = weighted.mT @ basis
        gradient = basis.mT @ (slope * (points.value - mean) / variance)
        step = torch.linalg.lstsq(matrix, gradient[:, None]).solution[:, 0]
        # A step across ten units of the logarithm leaves where a quadratic form describes it.
        c = c + step * (10 / (basis @ step).abs().max().clamp_min(10))
        if float(gradient @ step) < 1e-8:
            return c, torch.linalg.pinv(matrix, hermitian=True)
    raise TrainingError(
        f"a rate of degree {degree} does not converge in {_STEPS} steps, the last of "
        f"{float(gradient @ step):.2g} in log L: is it 0 or 1 in a part of the range? Take a lower "
        "degree, or more points"
    )


def _cells(theta: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.int64]:
    """A number for each point: groups of neighbours with a variance that is large enough."""
    number = np.zeros(len(theta), dtype=np.int64)
    width = np.ptp(theta, axis=0)
    width[width == 0] = 1.0
    open_cells, found = [np.arange(len(theta))], 0
    while open_cells:
        rows = open_cells.pop()
        column = np.argmax(np.ptp(theta[rows] / width, axis=0))
        order = rows[np.argsort(theta[rows, column], kind="stable")]
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        if all(len(half) and variance[half].sum() >= _CELL for half in halves):
            open_cells.extend(halves)
            continue
        number[rows] = found
        found += 1
    return number
