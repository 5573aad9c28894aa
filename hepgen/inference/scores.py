"""Joint scores as a regression sees them: checked, and in units of their spread."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.nn.columns import Column, parts
from hepgen.parameters import ParameterSet


def check_scores(score: Column, parameters: ParameterSet) -> None:
    """Refuse scores that are not one finite number an event and free parameter.

    Arguments:
        score: Shape ``(N, D)``.
        parameters: D free ones.

    Raises:
        DataError: With the parameter that is concerned.
    """
    names = parameters.free_names
    first = score[:1]
    if first.dim() != 2 or first.shape[-1] != len(names):
        raise DataError(
            f"scores of shape {(len(score), *first.shape[1:])}; expected one column for each of "
            f"{', '.join(names)}: simulate with `hepgen simulate --augment`, or "
            "Campaign(scores=…), and fix parameters that have no score"
        )
    counts = [
        torch.stack([(~torch.isfinite(part)).sum(0), (part != first).sum(0)])
        for (part,) in parts(score)
    ]
    invalid, other = torch.stack(counts).sum(0).tolist()
    for name, value, bad, differ in zip(names, first[0].tolist(), invalid, other, strict=True):
        if bad:
            raise DataError(
                f"the joint score of {name!r} is NaN or infinite in {bad} of {len(score)} "
                "events; expected finite numbers: a parameter at the edge of its range has no score"
            )
        if not differ and len(score) > 1:
            raise DataError(
                f"the joint score of {name!r} is {value:g} in every event: nothing in "
                "the chain depends on it; fix it (no prior)"
            )


def score_variance(score: Column, weight: Column | None) -> Tensor:
    """The weighted variance of each column, shape ``(D,)``, of scores with shape ``(N, D)``."""
    variance = _variance(score, weight)
    # Negative weights may make of few events anything.
    return (
        variance
        if bool((variance > 0).all())
        else torch.where(variance > 0, variance, _variance(score, None))
    )


def _variance(score: Column, weight: Column | None) -> Tensor:
    columns = (score,) if weight is None else (score, weight)

    def mean(function: Callable[[Tensor], Tensor]) -> Tensor:
        total, norm = torch.zeros(()).double(), torch.zeros(()).double()
        for t, *given in parts(*columns):
            w = given[0].double() if given else torch.ones(len(t), dtype=torch.float64)
            total, norm = total + w @ function(t.double()), norm + w.sum()
        return total / norm

    center = mean(lambda t: t)
    return mean(lambda t: (t - center).square())
