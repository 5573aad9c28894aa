"""Cores, and threads: one for each worker, and for the small networks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread inside, and as it was outside.

    The networks are small: a second thread gains little, and on a machine that others use
    too it waits for the first most of the time.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
