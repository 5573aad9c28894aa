r"""Distributions of a test statistic by pseudo-experiments.

A toy of the hypothesis μ is drawn at :math:`(\mu, \hat{\hat\nu}(\mu))`, with the nuisance
parameters at their conditional best fit to the data, and its auxiliary measurements fluctuate
like its events. (The alternative, to draw ν from a prior, mixes Bayes in.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.test_statistics import conditional_point, evaluate
from hepgen.statements import Statistic, TestStatistic

Progress = Callable[[int, int], None]
"""Called with how many toys are done, and of how many."""

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""How calls are made: ``map``, or one over workers, in order, too. Calls can be pickled."""

BLOCK = 500
"""Toys that are fitted at once; each block has a seed of its own."""

MOST_FAILED = 0.1
"""The largest share of toys that may be left out because a fit did not converge."""


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
    over: Map = map,
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
        over: Makes the calls, one for each block.
    """
    sizes = [min(block, toys - begin) for begin in range(0, toys, block)]
    call = _ToyBlock(likelihood, theta, parameter, values, statistic, seed)
    parts: list[Toys] = []
    for part in over(call, list(enumerate(sizes))):
        parts.append(part)
        if progress is not None:
            progress(sum(len(p.best) for p in parts), toys)
    return Toys(
        torch.cat([p.statistic for p in parts]),
        torch.cat([p.best for p in parts]),
        torch.cat([p.converged for p in parts]),
    )


@dataclass(frozen=True)
class _ToyBlock:
    """The call for a block of toys: its number, from which its seed is, and how many they are."""

    likelihood: Likelihood
    theta: Tensor
    parameter: str
    values: Tensor
    statistic: Statistic
    seed: int

    def __call__(self, block: tuple[int, int]) -> Toys:
        number, size = block
        sets = self.likelihood.generate(self.theta.expand(size, -1), self.seed + 7919 * number)
        found = evaluate(self.statistic, self.likelihood, sets, self.parameter, self.values)
        return Toys(found.statistic, found.best.column(self.parameter), found.converged)


def left_out(failed: int, toys: int) -> tuple[str, ...]:
    """The warning that toys were left out because a fit of theirs did not converge, if any.

    Raises:
        DataError: They are more than :data:`MOST_FAILED`: the others may not stand for them.
    """
    if failed > MOST_FAILED * toys:
        raise DataError(
            f"{failed} of {toys} toys have a fit that did not converge; expected {MOST_FAILED:.0%} "
            "at most, since the others do not stand for them: look at such a fit (Fit.warnings), "
            "give it narrower priors, or fix what data do not determine"
        )
    if not failed:
        return ()
    return (
        f"{failed} of {toys} toys ({failed / toys:.1%}) have a fit that did not converge, and are "
        "left out",
    )


def count_above(toys: Tensor, observed: float) -> int:
    """How many toys, shape ``(T,)``, have q ≥ the observed one.

    Fits are exact to about 10⁻⁵ in q, so toys that far below count as equal.
    """
    return int((toys >= observed - 1e-5).sum())


def fraction_above(toys: Tensor, observed: float) -> tuple[float, float]:
    """The fraction of toys, shape ``(T,)``, with q ≥ the observed one, and its binomial error.

    Where there is none it is 1/(T + 1), with the data as one more toy, which is an upper limit in
    the mean: P(p ≤ α) ≤ α over data and toys (Davison and Hinkley, Bootstrap Methods, section 4.2).
    No number of toys says that a p-value is 0. Its error is that of one toy.

    >>> p, error = fraction_above(torch.tensor([0.0, 1.0, 2.0, 3.0]), 2.0)
    >>> p, error
    (0.5, 0.25)
    """
    t, above = len(toys), count_above(toys, observed)
    p = above / t if above else 1 / (t + 1)
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
    over: Map = map,
    start: Tensor | None = None,
) -> TestStatistic:
    """A test with its p-value by toys at the hypothesis, whose fit begins at ``start``."""
    theta = conditional_point(likelihood, data, test.parameter, test.value, start)
    tested = torch.tensor([test.value], dtype=torch.float64)
    drawn = toy_statistics(
        likelihood, theta, test.parameter, tested, test.statistic,
        toys=toys, seed=seed, progress=progress, over=over,
    )  # fmt: skip
    p, error = fraction_above(drawn.statistic[:, 0], test.observed)
    words = list(test.warnings)
    if drawn.failed:
        words.append(f"{drawn.failed} of {toys} toys have a fit that did not converge")
    above = count_above(drawn.statistic[:, 0], test.observed)
    if above < 10:
        limit = f"an upper limit, 1/{toys + 1} (and below {3 / toys:.2g} at 95 % confidence)"
        words.append(
            f"only {above} of {toys} toys are as extreme as the data, so the p-value is "
            f"{'rough' if above else limit}; draw more toys"
        )
    return replace(
        test, method="toys", p_value=p, p_value_error=error,
        toys=drawn.statistic[:, 0].numpy(), warnings=tuple(words),
    )  # fmt: skip
