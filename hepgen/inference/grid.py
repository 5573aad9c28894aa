"""The marginal posterior of one or two parameters on a grid: a check on a sampler.

The grid covers the parameters of interest; at each of its points the others are integrated
out by importance sampling around their conditional mode. With two free parameters or fewer
all are on the grid, and nothing is random.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from torch import Tensor

from hepgen.errors import ParameterError
from hepgen.inference.importance import importance_draws
from hepgen.inference.laplace import Laplace, LogDensity, laplace
from hepgen.inference.likelihood import DataSets
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.inference.posterior import PosteriorSample

_REACH = 5.5
_POINTS = {1: 61, 2: 21}
_FINE = 601
_DRAWS = 256


@dataclass(frozen=True)
class GridMarginal:
    """The marginal posterior of one parameter, tabulated.

    Arguments:
        name: The parameter.
        theta: Increasing physical values, shape ``(G,)``.
        cdf: The posterior probability below each, shape ``(G,)``.
    """

    name: str
    theta: NDArray[np.float64]
    cdf: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """The posterior mean."""
        return float(np.sum(self._middle() * np.diff(self.cdf)))

    @property
    def std(self) -> float:
        """The posterior standard deviation."""
        square = np.sum((self._middle() - self.mean) ** 2 * np.diff(self.cdf))
        return float(np.sqrt(square))

    def distance(self, draws: NDArray[np.float64]) -> float:
        """max |ΔCDF| between this and posterior draws, shape ``(S,)`` (Kolmogorov, Smirnov)."""
        ordered = np.sort(draws)
        here = np.interp(ordered, self.theta, self.cdf)
        steps = np.arange(len(ordered) + 1) / len(ordered)
        return float(max(np.max(here - steps[:-1]), np.max(steps[1:] - here)))

    def _middle(self) -> NDArray[np.float64]:
        middle: NDArray[np.float64] = 0.5 * (self.theta[1:] + self.theta[:-1])
        return middle


@dataclass(frozen=True)
class GridComparison:
    """How far draws are from the grid.

    Arguments:
        name: The parameter.
        distance: max |ΔCDF|; sampling noise alone makes it about 0.9/√(effective draws).
        mean_shift: (mean of the draws − mean of the grid)/standard deviation of the grid.
        std_ratio: Standard deviation of the draws over that of the grid.
    """

    name: str
    distance: float
    mean_shift: float
    std_ratio: float


def compare_with_grid(
    sample: PosteriorSample, marginals: Sequence[GridMarginal]
) -> list[GridComparison]:
    """Set posterior draws beside :func:`grid_marginals`, parameter by parameter."""
    return [_compare(sample.column(marginal.name).numpy(), marginal) for marginal in marginals]


def grid_marginals(
    posterior: LikelihoodPosterior,
    x: Tensor | None = None,
    *,
    weight: Tensor | None = None,
    sets: DataSets | None = None,
    names: Sequence[str] | None = None,
    points: int | None = None,
    seed: int = 0,
) -> list[GridMarginal]:
    """The marginal posteriors of ``names``, by default of the parameters of interest.

    Arguments:
        posterior: Of a likelihood.
        x: The data set, shape ``(N, d)``.
        weight: Event weights, shape ``(N,)``.
        sets: Instead of both, one data set as the likelihood keeps it.
        names: One or two parameters.
        points: An axis.
        seed: Of the draws that integrate the other parameters.

    Raises:
        ParameterError: Fewer than one or more than two parameters, or one that is not free.
    """
    parameters = posterior.parameters
    chosen = parameters.interest if names is None else tuple(names)
    for name in chosen:
        if name not in parameters.free_names:
            raise ParameterError(f"parameter {name!r} is not free; expected one that has a prior")
    if not 1 <= len(chosen) <= 2:
        raise ParameterError(f"a grid over {len(chosen)} parameters; expected one or two")
    if sets is None:
        sets = posterior.likelihood.encode([posterior.data(x)], [weight])
    density, joint = posterior.log_density(sets), posterior.laplace(sets)
    axes = [parameters.free_names.index(name) for name in chosen]
    if len(parameters.free) <= 2:
        axes = sorted({*axes, *range(len(parameters.free))})
    lines = [_axis(joint, axis, points or _POINTS[len(axes)]) for axis in axes]
    heights = _heights(density, joint, axes, lines, seed)
    mass = torch.softmax(heights.flatten(), dim=0).reshape(heights.shape)
    return [
        _marginal(posterior, name, axes.index(parameters.free_names.index(name)), lines, mass)
        for name in chosen
    ]


def _axis(joint: Laplace, axis: int, points: int) -> Tensor:
    spread = joint.scale_tril[0, axis].square().sum().sqrt()
    steps = torch.linspace(-_REACH, _REACH, points, dtype=torch.float64)
    return joint.mode[0, axis] + spread * steps


@torch.no_grad()
def _heights(
    density: LogDensity, joint: Laplace, axes: list[int], lines: list[Tensor], seed: int
) -> Tensor:
    """The marginal log-density, up to a constant, on the grid of ``lines``."""
    shape = [len(line) for line in lines]
    grid = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1).reshape(-1, len(axes))
    others = [i for i in range(joint.mode.shape[-1]) if i not in axes]
    if not others:
        return density(grid[None])[0].reshape(tuple(shape))

    def conditional(v: Tensor) -> Tensor:
        """B points of the grid with K values of the other parameters each."""
        b, k, _ = v.shape
        u = v.new_empty((b, k, joint.mode.shape[-1]))
        u = u.index_copy(2, torch.tensor(axes), grid[:, None].expand(b, k, len(axes)))
        u = u.index_copy(2, torch.tensor(others), v)
        return density(u.reshape(1, b * k, -1)).reshape(b, k)

    start = laplace(conditional, _conditional_mean(joint, axes, others, grid))
    generator = torch.Generator().manual_seed(seed)
    return importance_draws(conditional, start, _DRAWS, generator).log_evidence.reshape(shape)


def _conditional_mean(joint: Laplace, axes: list[int], others: list[int], grid: Tensor) -> Tensor:
    """Where the Gaussian approximation expects the other parameters at each point."""
    mode, covariance = joint.mode[0], joint.scale_tril[0] @ joint.scale_tril[0].mT
    slope: Tensor = torch.linalg.solve(covariance[axes][:, axes], covariance[axes][:, others])
    return mode[others] + (grid - mode[axes]) @ slope


def _marginal(
    posterior: LikelihoodPosterior, name: str, axis: int, lines: list[Tensor], mass: Tensor
) -> GridMarginal:
    free = posterior.parameters.free_names
    density = mass.sum([i for i in range(mass.ndim) if i != axis]) if mass.ndim > 1 else mass
    line, density = _refined(lines[axis], density)
    cdf = torch.cat([density.new_zeros(1), (0.5 * (density[1:] + density[:-1])).cumsum(0)])
    u = torch.zeros(len(line), len(free), dtype=torch.float64)
    u[:, free.index(name)] = line
    theta = posterior.unbounded.physical(u)[:, free.index(name)]
    return GridMarginal(name, theta.numpy(), (cdf / cdf[-1]).numpy())


def _refined(line: Tensor, density: Tensor) -> tuple[Tensor, Tensor]:
    """A density on more points, by a spline of its logarithm."""
    height = np.log(np.maximum(density.numpy(), 1e-300))
    fine = np.linspace(float(line[0]), float(line[-1]), _FINE)
    values = np.exp(CubicSpline(line.numpy(), height)(fine))
    return torch.from_numpy(fine), torch.from_numpy(values)


def _compare(draws: NDArray[np.float64], marginal: GridMarginal) -> GridComparison:
    std = marginal.std if marginal.std > 0 else math.nan
    return GridComparison(
        name=marginal.name,
        distance=marginal.distance(draws),
        mean_shift=(float(draws.mean()) - marginal.mean) / std,
        std_ratio=float(draws.std(ddof=1)) / std,
    )
