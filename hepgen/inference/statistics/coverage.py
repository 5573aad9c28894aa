r"""How often sets hold the truth, over the parameters: by toys at points, and learned between them.

The second is the diagnostic of arXiv:2107.03920, section 3.3: toys that no set was made with, each
at a θ of its own, and a regression of whether its set holds θ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.statistics.neyman import (
    Generate,
    Measured,
    Neyman,
    Statistic,
    columns,
    statistics_of_toys,
)
from hepgen.inference.statistics.toys import Map, left_out
from hepgen.statements import CoverageMap

ONE_SIGMA = 0.6827


def coverage_maps(
    neyman: Neyman,
    generate: Generate,
    theta: Tensor,
    *,
    toys: int = 1000,
    levels: Sequence[float] = (0.6827, 0.9545),
    seed: int = 1,
    over: Map = map,
) -> tuple[CoverageMap, ...]:
    """The coverage at each of P points, by so many toys, one map a level.

    Arguments:
        neyman: The construction. Sets are those of :meth:`Neyman.region`, at the truth alone.
        generate: What the data would be; the seed is to be another than the construction's.
        theta: All free parameters, shape ``(P, D)``.
        toys: Data sets a point.
        levels: Of the sets.
        seed: The result is a function of it.
        over: Makes the calls, one for each point.

    Raises:
        DataError: More than a tenth of the toys have a fit that did not converge; fewer are left
            out, with a warning.
    """
    held = {level: [] for level in levels}  # type: dict[float, list[float]]
    failed = 0
    call = _ToysAtPoint(neyman.statistic, generate, toys, seed)
    for found in over(call, list(enumerate(theta.double()))):
        lost = int((~found.known).sum())
        left_out(lost, toys)  # of this point alone
        failed += lost
        for level in levels:
            inside = found.statistic <= neyman.critical(found.conditions, level)
            held[level].append(inside[found.known].double().mean().item())
    words = left_out(failed, toys * len(theta))
    names = neyman.statistic.parameters.free_names
    maps = [from_fractions(names, theta, at, held[at], toys, "neyman") for at in levels]
    return tuple(replace(one, warnings=words) for one in maps)


@dataclass(frozen=True)
class _ToysAtPoint:
    """The call for the toys of a point: its number and θ to the statistic at the truth."""

    statistic: Statistic
    generate: Generate
    toys: int
    seed: int

    def __call__(self, point: tuple[int, Tensor]) -> Measured:
        number, theta = point
        sets = self.generate(theta.expand(self.toys, -1), self.seed * 1_000_003 + number)
        own = columns(self.statistic.parameters, self.statistic.interest, theta)
        return self.statistic(sets, own.expand(self.toys, 1, -1))


def from_fractions(
    names: Sequence[str], theta: Tensor, level: float, fractions: ArrayLike, toys: int, method: str
) -> CoverageMap:
    """A map from the fractions of toys whose sets hold the truth, with Wilson's errors.

    Those do not vanish where all sets hold it (Wilson, J. Am. Stat. Assoc. 22 (1927) 209).
    """
    c = np.asarray(fractions, dtype=np.float64)
    error = np.sqrt(c * (1 - c) / toys + 1 / (4 * toys**2)) / (1 + 1 / toys)
    return CoverageMap(tuple(names), theta.double().numpy(), level, c, error, toys, method)


def learned_coverage(
    neyman: Neyman,
    generate: Generate,
    theta: Tensor,
    at: Tensor,
    *,
    level: float = 0.6827,
    degree: int = 4,
    seed: int = 2,
) -> CoverageMap:
    r"""The coverage at any points, from toys at others: a logistic regression.

    .. math:: \mathrm{logit}\, P(\theta \in C(X) | \theta) = \sum_k b_k \phi_k(\theta)

    with polynomials φ up to a degree; the error is that of the fit, by its information matrix.

    Arguments:
        neyman: The construction.
        generate: What the data would be.
        theta: A point for each of N toys, shape ``(N, D)``.
        at: Where the coverage is wanted, shape ``(P, D)``.
        level: Of the sets.
        degree: Of the polynomial in all parameters together.
        seed: The result is a function of it; another than the construction's.
    """
    values, known, words = statistics_of_toys(neyman.statistic, generate, theta, seed=seed)
    values, theta = values[known], theta[known]
    names = neyman.statistic.conditions
    parameters = neyman.statistic.parameters
    critical = neyman.critical(columns(parameters, names, theta), level)
    inside = (values <= critical).double()
    # Only what the toys vary can be learned.
    varied = theta.double().std(0) > 0
    low, high = theta.double().amin(0)[varied], theta.double().amax(0)[varied]
    chosen, error = _logistic(
        _polynomials(2 * (theta.double()[:, varied] - low) / (high - low) - 1, degree), inside,
        _polynomials(2 * (at.double()[:, varied] - low) / (high - low) - 1, degree),
    )  # fmt: skip
    return CoverageMap(
        parameters.free_names, at.double().numpy(), level, chosen.numpy(), error.numpy(),
        len(theta), "neyman, learned", warnings=words,
    )  # fmt: skip


def interval_score(width: ArrayLike, held: ArrayLike) -> float:
    r"""The score of the FAIR Universe challenge for 68 % intervals; larger is better.

    .. math:: s = -\ln[(\langle w \rangle + 10^{-3})\, f(c)]

    with f = 1 for a coverage c within 2 σ of 0.6827, σ = √(0.6827 · 0.3173/n), and beyond that
    1 + d⁴ below and 1 + d³ above, d the distance from that band in units of σ (arXiv:2410.02867,
    and the challenge's ``scoring_program/score.py``).

    Arguments:
        width: Of each of n intervals.
        held: Whether each holds the truth.

    >>> round(interval_score([1.0] * 1000, [True] * 683 + [False] * 317), 3)
    -0.001
    """
    w, h = np.asarray(width, dtype=np.float64), np.asarray(held, dtype=bool)
    if w.shape != h.shape or w.size == 0:
        raise DataError(f"{w.size} widths and {h.size} coverages; expected as many, one at least")
    sigma = math.sqrt(ONE_SIGMA * (1 - ONE_SIGMA) / h.size)
    off = (h.mean() - ONE_SIGMA) / sigma
    penalty = 1 + max(0.0, -off - 2) ** 4 + max(0.0, off - 2) ** 3
    return float(-np.log((w.mean() + 1e-3) * penalty))


def _polynomials(x: Tensor, degree: int) -> Tensor:
    """All products of powers of the columns up to a total degree, shape ``(N, K)``."""
    terms = [torch.ones(len(x), dtype=torch.float64)]
    last = [(terms[0], 0)]
    for _ in range(degree):
        last = [(t * x[:, j], j) for t, first in last for j in range(first, x.shape[1])]
        terms += [t for t, _ in last]
    return torch.stack(terms, -1)


def _logistic(x: Tensor, y: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and their errors at other points, by Newton's method with a weak ridge."""
    ridge = 1e-3 * torch.eye(x.shape[1], dtype=torch.float64)
    b = torch.zeros(x.shape[1], dtype=torch.float64)
    b[0] = torch.logit(y.mean().clamp(1e-3, 1 - 1e-3))
    for _ in range(30):
        p = torch.sigmoid(x @ b)
        information = x.T @ (x * (p * (1 - p))[:, None]) + ridge
        step = torch.linalg.solve(information, x.T @ (y - p) - ridge @ b)
        b = b + step
        if step.abs().max() < 1e-8:
            break
    p = torch.sigmoid(at @ b)
    spread = torch.einsum("pk,kl,pl->p", at, torch.linalg.inv(information), at)
    return p, p * (1 - p) * spread.sqrt()
