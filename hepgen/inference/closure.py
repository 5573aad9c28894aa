"""Closure: the posterior that a surrogate gives, beside that of another likelihood."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.event_sets import SetLikelihood
from hepgen.inference.grid import grid_marginals
from hepgen.inference.likelihood_posterior import LikelihoodPosterior
from hepgen.judgement import Closure

_GRID = 2
_GROUP = 10


def closure(
    likelihood: SetLikelihood,
    reference: SetLikelihood,
    sets: Sequence[Tensor],
    *,
    name: str,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[Closure, ...]:
    """Mean and width of both posteriors of the same data sets, by parameter of interest.

    Up to two free parameters are on a grid, and nothing is random. More are sampled by
    importance with the same seed: the draws scatter a mean by about 1/√draws of a width and a
    width by 1/√(2·draws) of itself, which is part of the difference.

    Arguments:
        likelihood: That of a surrogate.
        reference: The exact one, or that of another estimator, of the same parameters.
        sets: Pseudo-data, each of shape ``(N, d)``.
        name: What the reference is, in words.
        draws: Of each posterior, where there is no grid.
        seed: Of the draws.

    Raises:
        DataError: No data sets, or likelihoods of other parameters.
    """
    free = likelihood.parameters.free_names
    if not sets or free != reference.parameters.free_names:
        raise DataError(
            f"{len(sets)} data sets, likelihoods of {', '.join(free)} and of "
            f"{', '.join(reference.parameters.free_names)}; expected data, and the same parameters"
        )
    names = likelihood.parameters.interest or free
    found, expected = (
        np.stack(list(_moments(LikelihoodPosterior(one), sets, names, draws, seed)))
        for one in (likelihood, reference)
    )
    return tuple(
        Closure(
            parameter,
            name,
            shifts=(found[:, 0, i] - expected[:, 0, i]) / expected[:, 1, i],
            widths=found[:, 1, i] / expected[:, 1, i],
            label=likelihood.parameters[parameter].label,
        )
        for i, parameter in enumerate(names)
    )


def _moments(
    posterior: LikelihoodPosterior,
    sets: Sequence[Tensor],
    names: Sequence[str],
    draws: int,
    seed: int,
) -> Iterator[NDArray[np.float64]]:
    """Mean and standard deviation of each named parameter, shape ``(2, names)``, by data set."""
    if len(posterior.parameters.free) <= _GRID:
        for x in sets:
            marginals = grid_marginals(posterior, x, names=names)
            yield np.array([[one.mean for one in marginals], [one.std for one in marginals]])
        return
    for start in range(0, len(sets), _GROUP):
        for sample in posterior.draw_batched(draws, sets[start : start + _GROUP], seed=seed):
            columns = torch.stack([sample.column(one) for one in names])
            yield torch.stack([columns.mean(1), columns.std(1)]).numpy()
