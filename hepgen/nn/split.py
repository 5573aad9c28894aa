"""Which rows a training learns from and which only measure, and what their weights are."""

from __future__ import annotations

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.nn.streams import SPLIT, stream


def split(rows: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """The numbers of the rows that train and of a ``fraction`` that measures, in random order.

    Raises:
        DataError: Too few rows for both.

    >>> [len(part) for part in split(10, 0.2, seed=1)]
    [8, 2]
    """
    held_out = max(1, round(rows * fraction))
    if rows < 2 or held_out >= rows:
        raise DataError(f"{rows} rows to train on; expected at least two")
    order = torch.randperm(rows, generator=stream(seed, SPLIT, 0))
    return order[held_out:], order[:held_out]


def normalised(weight: Tensor | None, rows: int, training: Tensor) -> Tensor | None:
    """Signed weights, shape ``(rows,)``, over their mean of the rows that train, in float64.

    Raises:
        DataError: Another shape, a weight that is not finite, or a mean that is not positive.
    """
    if weight is None:
        return None
    if weight.shape != (rows,):
        raise DataError(f"weights of shape {tuple(weight.shape)}; expected ({rows},)")
    invalid = int((~torch.isfinite(weight)).sum())
    if invalid:
        raise DataError(f"{invalid} of {rows} weights are NaN or infinite; expected none")
    mean = weight.double()[training].mean()
    if not mean > 0:
        raise DataError(
            f"the weights have mean {mean.item():g}; expected a positive one, so that the "
            "weighted sample is a density"
        )
    return weight.double() / mean
