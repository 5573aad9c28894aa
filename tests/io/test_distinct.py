"""One row for each event."""

from __future__ import annotations

import numpy as np
import pytest

from hepgen.io.distinct import Distinct


@pytest.mark.parametrize("limit", [1, 7, 1_000_000])
def test_one_row_per_key_is_the_best_wherever_it_is(limit: int) -> None:
    """Against a dictionary, for keys in any order and chunks of any size."""
    rng = np.random.default_rng(3)
    run, event = rng.integers(0, 3, 200), rng.integers(0, 20, 200)
    merit = rng.integers(0, 5, 200).astype(float)
    best: dict[tuple[int, int], int] = {}
    for row, key in enumerate(zip(run.tolist(), event.tolist(), strict=True)):
        if key not in best or merit[row] > merit[best[key]]:
            best[key] = row
    distinct = Distinct()
    distinct._limit = limit
    for low in range(0, 200, 11):
        part = slice(low, low + 11)
        distinct.add((run[part], event[part]), merit[part])
    assert distinct.rows().tolist() == sorted(best.values())


def test_distinct_of_nothing() -> None:
    assert Distinct().rows().tolist() == []
