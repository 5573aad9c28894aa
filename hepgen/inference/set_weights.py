"""Signed event weights of the data sets that an amortised posterior learns from."""

from __future__ import annotations

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.nn.sets import segment_sum

_LEAST = 25.0
"""The fewest events that the smallest set is worth: its Σw is then positive by five of its σ."""


def training_weights(
    weight: Tensor | None, counts: Tensor, smallest: int
) -> tuple[Tensor | None, Tensor]:
    """The weights, ``None`` where all are equal, and how many events each set counts as.

    A set counts as (Σw)²/Σw² events: as many of one weight have a mean of the same variance. Where
    weights cancel, those of a small part of a set may sum to nothing, and its mean is then none.

    Arguments:
        weight: Signed, of all events in order, shape ``(T,)``.
        counts: The sizes of the sets, shape ``(S,)``.
        smallest: The fewest events of a data set that is learned from.

    Returns:
        Shapes ``(T,)`` and ``(S,)``, float64.

    Raises:
        DataError: Another shape, a weight that is not finite, a set of which they sum to nothing,
            or a part of ``smallest`` events that is worth too little.
    """
    if weight is None:
        return None, counts.double()
    events = int(counts.sum())
    if weight.shape != (events,):
        raise DataError(f"weights of shape {tuple(weight.shape)}; expected ({events},)")
    w = weight.double()
    invalid = int((~torch.isfinite(w)).sum())
    if invalid:
        raise DataError(f"{invalid} of {events} event weights are NaN or infinite; expected none")
    total, square = segment_sum(w, counts), segment_sum(w.square(), counts)
    if not bool((total > 0).all()):
        raise DataError(
            f"the event weights of {int((~(total > 0)).sum())} of {len(counts)} sets sum to zero "
            "or less; expected positive sums: take larger sets"
        )
    if bool((w == w[0]).all()):
        return None, counts.double()
    effective = total.square() / square
    share = (w.sum().square() / w.square().sum()).item() / events
    if bool((w < 0).any()) and share * min(smallest, int(counts.min())) < _LEAST:
        raise DataError(
            f"weights of both signs: {smallest} events of a set are worth {share * smallest:.3g} "
            f"of one weight, expected at least {_LEAST:g}, so that no part of a set sums to "
            "nothing; raise `smallest`"
        )
    return w, effective
