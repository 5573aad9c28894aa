"""What unpacks to far more than it is: a few bytes of a file may say any size."""

from __future__ import annotations

MOST_TIMES = 200
"""So tightly no events are packed; beyond it are only constants."""


def too_tight(size: int, stored: int, least: int) -> bool:
    """Whether ``stored`` bytes unpack to more than is believed.

    Arguments:
        size: Unpacked.
        stored: In the file.
        least: So much is taken from any number of bytes.

    >>> too_tight(10**9, 10**5, 2**27), too_tight(10**6, 10, 2**27), too_tight(10**9, 10**8, 2**27)
    (True, False, False)
    """
    return size > max(least, MOST_TIMES * stored)
