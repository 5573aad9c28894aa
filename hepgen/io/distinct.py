"""One row for each event, wherever in the files its rows are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Distinct:
    """The rows to keep, one for each key: the one of the largest merit, then the first.

    Exact for any order of the rows. Holds the best row of each key seen, 8 bytes for every
    column of the key and 16 more.

    >>> distinct = Distinct()
    >>> distinct.add((np.array([7, 7, 8]),), np.array([1.0, 2.0, 0.0]))
    >>> distinct.rows().tolist()
    [1, 2]
    """

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[Any], ...]] = []
        self._count = 0
        self._pending = 0
        self._limit = 1_000_000

    def add(self, keys: tuple[NDArray[Any], ...], merit: NDArray[np.float64]) -> None:
        """Take note of further rows, in their order."""
        rows = np.arange(self._count, self._count + len(merit))
        self._parts.append((rows, -merit, *keys))
        self._count += len(merit)
        self._pending += len(merit)
        if self._pending > self._limit:
            self._compact()
            self._limit = max(self._limit, 2 * self._pending)

    def rows(self) -> NDArray[np.int64]:
        """The rows to keep, in order, counted over all that were added."""
        self._compact()
        return np.sort(self._parts[0][0]) if self._parts else np.empty(0, dtype=np.int64)

    def _compact(self) -> None:
        if not self._parts:
            return
        table = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
        order = np.lexsort(table)  # the last column of the key first, the row last
        keys = [column[order] for column in table[2:]]
        first = np.ones(len(order), dtype=np.bool_)
        first[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
        chosen = order[first]
        self._parts = [tuple(column[chosen] for column in table)]
        self._pending = len(chosen)
