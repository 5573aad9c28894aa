"""How much uproot may unpack at once: a few bytes may say that they unpack to gigabytes.

Objects, baskets, pages and their lists, from a disk or from a server, all are unpacked by one
function of uproot, which tells before each what it is about to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from uproot.compression import decompress

from hepgen.errors import FileError
from hepgen.io.packing import too_tight

MOST_UNPACKED = 2**26
"""Bytes of one basket or page that may be packed as tightly as they like."""
MOST_TOGETHER = 2**29
"""The same of all that are in memory at once."""


@dataclass
class _Step:
    """What was unpacked so far, of what is packed tightly."""

    path: str
    bytes: int = 0

    def add(self, size: int, stored: int) -> None:
        if not too_tight(size, stored, 0):
            return
        self.bytes += size
        if size > MOST_UNPACKED or self.bytes > MOST_TOGETHER:
            raise FileError(
                f"{self.path}: {stored} bytes unpack to {size}"
                + (f", and others before to {self.bytes - size}" if self.bytes > size else "")
                + f"; at most {MOST_UNPACKED} are read where they are packed so tightly, and "
                f"{MOST_TOGETHER} together: write it again with smaller baskets or clusters, or "
                "name fewer columns"
            )


_step: ContextVar[_Step | None] = ContextVar("_step", default=None)


@contextmanager
def unpacking(path: str) -> Iterator[None]:
    """A step of reading a file, of which all is in memory at its end.

    Raises:
        FileError: Something in it unpacks to far more than it is.
    """
    token = _step.set(_Step(path))
    try:
        yield
    finally:
        _step.reset(token)


def stepwise(chunks: Iterator[Any], path: str) -> Iterator[Any]:
    """The same for each of some chunks."""
    while True:
        with unpacking(path):
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk


def _before_block(
    *, compressed_bytes: int, uncompressed_bytes: int, num_blocks: int, **_: Any
) -> None:
    step = _step.get()
    if step is not None and num_blocks == 0:
        step.add(int(uncompressed_bytes), int(compressed_bytes))


decompress.hook_before_block = _before_block
