r"""Distributions of a test statistic by pseudo-experiments.

A toy of the hypothesis μ is drawn at :math:`(\mu, \hat{\hat\nu}(\mu))`, with the nuisance
parameters at their conditional best fit to the data, and its auxiliary measurements fluctuate
like its events. (The alternative, to draw ν from a prior, mixes Bayes in.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.test_statistics import conditional_point, evaluate
from hepgen.statements import Statistic, TestStatistic

Progress = Callable[[int, int], None]
"""Called with how many toys are done, and of how many."""

BLOCK = 500
"""Toys that are fitted at once; each block has a seed of its own."""


@dataclass(frozen=True)
class Toys:
    """A test statistic of T toys at K values.

    Arguments:
        statistic: Shape ``(T, K)``.
        best: The best fits of the parameter, shape ``(T,)``.
        converged: Whether all fits of a toy and a value did, shape ``(T, K)``.
    """

    statistic: Tensor
    best: Tensor
    converged: Tensor

    @property
    def failed(self) -> int:
        """Toys with a fit that did not converge."""
        return int((~self.converged).any(1).sum())


def toy_statistics(
    likelihood: Likelihood,
    theta: Tensor,
    parameter: str,
    values: Tensor,
    statistic: Statistic,
    *,
    toys: int,
    seed: int = 0,
    progress: Progress | None = None,
    block: int = BLOCK,
) -> Toys:
    """A test statistic of toys at θ, shape ``(D,)``, for each of K tested values.

    Toys that could not be fitted are kept and counted: to drop them would bias the p-value.

    Arguments:
        likelihood: That generates and that is fitted.
        theta: The truth of the toys.
        parameter, values, statistic: What is tested; values of shape ``(K,)``.
        toys: T.
        seed: The result is a function of it and of the block.
        progress: Called after each block.
        block: How many toys are fitted at once.
    """
    parts = []
    for b, begin in enumerate(range(0, toys, block)):
        size = min(block, toys - begin)
        sets = likelihood.generate(theta.expand(size, -1), seed + 7919 * b)
        found = evaluate(statistic, likelihood, sets, parameter, values)
        parts.append(Toys(found.statistic, found.best.column(parameter), found.converged))
        if progress is not None:
            progress(begin + size, toys)
    return Toys(
        torch.cat([p.statistic for p in parts]),
        torch.cat([p.best for p in parts]),
        torch.cat([p.converged for p in parts]),
    )


def fraction_above(toys: Tensor, observed: float) -> tuple[float, float]:
    """The fraction of toys, shape ``(T,)``, with q ≥ the observed one, and its binomial error.

    Fits are exact to about 10⁻⁵ in q, so toys that far below count as equal. The error of a
    fraction of zero is that of one toy.

    >>> p, error = fraction_above(torch.tensor([0.0, 1.0, 2.0, 3.0]), 2.0)
    >>> p, error
    (0.5, 0.25)
    """
    t = len(toys)
    p = float((toys >= observed - 1e-5).double().mean())
    counted = min(max(p, 1 / t), 1 - 1 / t) if t > 1 else 0.5
    return p, math.sqrt(counted * (1 - counted) / t)


def toy_test(
    likelihood: Likelihood,
    data: DataSets,
    test: TestStatistic,
    *,
    toys: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> TestStatistic:
    """A test with its p-value by toys at the hypothesis."""
    theta = conditional_point(likelihood, data, test.parameter, test.value)
    tested = torch.tensor([test.value], dtype=torch.float64)
    drawn = toy_statistics(
        likelihood, theta, test.parameter, tested, test.statistic,
        toys=toys, seed=seed, progress=progress,
    )  # fmt: skip
    p, error = fraction_above(drawn.statistic[:, 0], test.observed)
    words = list(test.warnings)
    if drawn.failed:
        words.append(f"{drawn.failed} of {toys} toys have a fit that did not converge")
    if p * toys < 10:
        words.append(
            f"only {round(p * toys)} of {toys} toys are as extreme as the data, so the p-value is "
            f"{'below ' + format(3 / toys, '.2g') + ' at 95 % confidence' if p == 0 else 'rough'}; "
            "draw more toys"
        )
    return replace(
        test, method="toys", p_value=p, p_value_error=error,
        toys=drawn.statistic[:, 0].numpy(), warnings=tuple(words),
    )  # fmt: skip
