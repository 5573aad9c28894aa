"""Columns of many blocks of events as training rows: in memory, or on disk where they are many."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError
from hepgen.nn import rows as training_rows
from hepgen.nn.row_file import RowFile

_PART = 2**20
Columns = tuple[NDArray[Any], ...]


def gather(blocks: Iterable[Columns], rows: int, folder: Path) -> tuple[Tensor, ...]:
    """One tensor for each of the columns, shape ``(N, *)``.

    Arguments:
        blocks: Columns of the same number of rows.
        rows: How many there are at most.
        folder: Of the run; with more than :data:`hepgen.nn.rows.IN_MEMORY` bytes they are in a
            file there.

    Raises:
        DataError: There is no row.
        FileError: The disk is full.
    """
    several = iter(blocks)
    first = next(several, ())
    if not first:
        raise DataError("no events to train on; expected some")
    several = chain([first], several)
    if _too_many(rows, first):
        return _on_disk(several, len(first), folder)
    return tuple(torch.from_numpy(np.concatenate(parts)) for parts in zip(*several, strict=True))


def shared(columns: Sequence[Tensor], index: Tensor, folder: Path) -> tuple[Tensor, ...]:
    """The rows ``index``, shape ``(n,)``, of each column; where they are, see :func:`gather`.

    Raises:
        FileError: The disk is full.
    """
    if not _too_many(len(index), [column[:1].numpy() for column in columns]):
        return tuple(column[index] for column in columns)
    # In the order in which they lie on the disk, of which a training makes one of its own.
    several = (tuple(c[rows].numpy() for c in columns) for rows in torch.split(index, _PART))
    return _on_disk(several, len(columns), folder)


def _too_many(rows: int, columns: Sequence[NDArray[Any]]) -> bool:
    """Whether so many rows of columns like these are more than are kept in memory."""
    one = sum(column.itemsize * math.prod(column.shape[1:]) for column in columns)
    return rows * one > training_rows.IN_MEMORY


def _on_disk(blocks: Iterator[Columns], columns: int, folder: Path) -> tuple[Tensor, ...]:
    with ExitStack() as stack:
        files = [stack.enter_context(RowFile(folder)) for _ in range(columns)]
        for block in blocks:
            for file, column in zip(files, block, strict=True):
                file.append(column)
        return tuple(file.mapped() for file in files)
