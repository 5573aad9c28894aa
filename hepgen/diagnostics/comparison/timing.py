"""How long a surrogate takes for an event."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from hepgen.surrogates.images.surrogate import ImageSurrogate
from hepgen.surrogates.surrogate import Surrogate

_REPEATS = 5
_SECONDS = 5.0
_LONGEST_CALL = 60.0


def seconds_per_event(
    surrogate: Surrogate | ImageSurrogate,
    context: Tensor,
    batches: Sequence[int] = (1, 100, 10_000),
) -> dict[str, float]:
    """The median wall time of an event that a surrogate makes, or an image, by batch size.

    The first call, which allocates, does not count. A batch size of which one call would take
    more than a minute, by the smaller ones, is left out. The number of threads is the caller's
    choice.

    Arguments:
        surrogate: The surrogate.
        context: Shape ``(N, C)``; its rows are used in turn.
        batches: Events a call.
    """
    make = partial(surrogate.sample, 1)
    found: dict[str, float] = {}
    for batch in sorted(batches):
        if found and batch * min(found.values()) > _LONGEST_CALL:
            break
        rows = context[[i % len(context) for i in range(batch)]]
        found[str(batch)] = _median(make, rows) / batch
    return found


def _median(make: Callable[[Tensor], Tensor], rows: Tensor) -> float:
    times: list[float] = []
    while len(times) <= _REPEATS and sum(times) < _SECONDS:
        start = time.perf_counter()
        make(rows)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:] or times)
