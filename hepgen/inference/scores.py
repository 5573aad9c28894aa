"""Joint scores as a regression sees them: checked, and in units of their spread."""

from __future__ import annotations

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.parameters import ParameterSet


def check_scores(score: Tensor, parameters: ParameterSet) -> None:
    """Refuse scores that are not one finite number an event and free parameter.

    Raises:
        DataError: With the parameter that is concerned.
    """
    names = parameters.free_names
    if score.dim() != 2 or score.shape[-1] != len(names):
        raise DataError(
            f"scores of shape {tuple(score.shape)}; expected one column for each of "
            f"{', '.join(names)}: simulate with `hepgen simulate --augment`, or "
            "Campaign(scores=…), and fix parameters that have no score"
        )
    for name, column in zip(names, score.unbind(-1), strict=True):
        invalid = int((~torch.isfinite(column)).sum())
        if invalid:
            raise DataError(
                f"the joint score of {name!r} is NaN or infinite in {invalid} of {len(column)} "
                "events; expected finite numbers: a parameter at the edge of its range has no score"
            )
        if bool((column == column[0]).all()) and len(column) > 1:
            raise DataError(
                f"the joint score of {name!r} is {column[0].item():g} in every event: nothing in "
                "the chain depends on it; fix it (no prior)"
            )


def score_variance(score: Tensor, weight: Tensor | None) -> Tensor:
    """The weighted variance of each column, shape ``(D,)``, of scores with shape ``(N, D)``."""
    w = torch.ones(len(score), dtype=torch.float64) if weight is None else weight.double()
    mean = w @ score.double() / w.sum()
    variance: Tensor = w @ (score.double() - mean).square() / w.sum()
    # Negative weights may make of few events anything.
    return torch.where(variance > 0, variance, score.double().var(0))
