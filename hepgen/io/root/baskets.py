"""Baskets, which uproot unpacks whole: a few bytes may say that they unpack to gigabytes."""

from __future__ import annotations

from typing import Any

from hepgen.errors import FileError
from hepgen.io.packing import too_tight

MOST_UNPACKED = 2**26
"""Bytes of a basket that may be packed as tightly as it likes."""


def check_baskets(branch: Any, path: str, stop: int) -> None:
    """Refuse what unpacks to far more than it is, before it is read.

    Arguments:
        branch: Of uproot.
        path: Of the file.
        stop: The row before which it is read.

    Raises:
        FileError: A basket does.
    """
    # Those inside the tree were read with it, and take no more than the file.
    starts = branch.entry_offsets
    for number in range(branch.num_baskets - len(branch.embedded_baskets)):
        if starts[number] >= stop:
            return
        key = branch.basket_key(number)
        size, stored = key.data_uncompressed_bytes, key.data_compressed_bytes
        if too_tight(size, stored, MOST_UNPACKED):
            raise FileError(
                f"{path}: a basket of the branch {branch.name!r} unpacks from {stored} to {size} "
                f"bytes; at most {MOST_UNPACKED} are read where they are packed so tightly: write "
                "it again with smaller baskets"
            )
