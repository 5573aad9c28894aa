"""Columns of measured events as matrices."""

from __future__ import annotations

from collections.abc import Iterable

import awkward as ak
import numpy as np
import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.events import Events


def dense_objects(events: Events, names: Iterable[str], objects: str) -> list[Tensor]:
    """Jagged columns of the same objects, padded with zeros to at least two; shape ``(N, K)``.

    Arguments:
        events: N of them.
        names: Of the columns.
        objects: What they are of, in words.

    Raises:
        DataError: A column has one number an event, or the columns do not speak of the same
            objects.

    >>> dense_objects(Events.from_columns({"Jet_pt": [[40.0], []]}), ["Jet_pt"], "jets")
    [tensor([[40.,  0.],
            [ 0.,  0.]], dtype=torch.float64)]
    """
    first, *others = names
    for name in (first, *others):
        if events[name].ndim != 2:
            raise DataError(
                f"column {name!r} has one number an event; expected a list of {objects}: map it "
                f'in the workflow, e.g. {first} = ["pt1", "pt2"]'
            )
    for name in others:
        differing = int(ak.sum(ak.num(events[name]) != ak.num(events[first])))
        if differing:
            raise DataError(
                f"columns {first!r} and {name!r} have different numbers of {objects} in "
                f"{differing} of {len(events)} events; map them from the same collection"
            )
    return [_dense(events[name]) for name in (first, *others)]


def _dense(column: ak.Array) -> Tensor:
    width = max(2, int(ak.max(ak.num(column), initial=0)))
    dense = ak.fill_none(ak.pad_none(column, width, clip=True), 0)
    return torch.from_numpy(np.asarray(ak.to_numpy(dense), dtype=np.float64))
