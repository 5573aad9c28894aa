"""Memory of a worker, which is kept between blocks."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of the GNU C library
_LARGEST = 32 * 2**20
"""Bytes: the largest threshold that the library takes."""


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed, for the next block of events, where it can.

    Each stage allocates arrays of a megabyte and frees them. Where each is given back to the
    system, all of its pages are mapped and cleared again for the next one, which can take longer
    than the physics. Dask starts its workers so (``MALLOC_TRIM_THRESHOLD_``). A process keeps up
    to 64 MiB more this way.

    Returns:
        Whether the library has taken it; only that of GNU has such a setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    taken = (mallopt(_M_MMAP_THRESHOLD, _LARGEST), mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST))
    return all(taken)
