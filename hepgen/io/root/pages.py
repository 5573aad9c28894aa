"""Pages of an RNTuple, which uproot unpacks by whole clusters: a few bytes may say any size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hepgen.errors import FileError
from hepgen.io.packing import too_tight

_MOST_UNPACKED = 2**29
"""Bytes of a range of clusters that may take as little of the file as they like."""


def check_pages(tree: Any, path: str, fields: set[int], clusters: range) -> None:
    """Refuse what unpacks to far more than it is, before memory is taken for it.

    Arguments:
        tree: Of uproot.
        path: Of the file.
        fields: Numbers of those that are read.
        clusters: Numbers of those that are read.

    Raises:
        FileError: They do.
    """
    size, packed = page_bytes(tree, fields, clusters)
    if too_tight(size, packed, _MOST_UNPACKED):
        raise FileError(
            f"{path}: {len(clusters)} clusters unpack from {packed} to {size} bytes; at most "
            f"{_MOST_UNPACKED} are read where they are packed so tightly: write it again with "
            "smaller clusters, or name fewer columns"
        )


def page_bytes(tree: Any, fields: set[int], clusters: range) -> tuple[int, int]:
    """Bytes of the pages of some fields in some clusters: in memory, and in the file."""
    size, stored = 0, dict[int, int]()
    for column in columns_of(tree, fields):
        width = int(tree.ntuple.get_field_metadata(column).dtype_result.itemsize)
        for page in (page for number in clusters for page in _pages(tree, number, column)):
            # Pages that are alike may be stored once.
            stored[page.locator.offset] = abs(page.locator.num_bytes)
            size += width * abs(page.num_elements)
    return size, sum(stored.values())


def columns_of(tree: Any, fields: set[int]) -> list[int]:
    """The columns in which some fields, and all fields inside them, are stored."""
    wanted = {number for number in range(len(tree.field_records)) if _within(tree, number, fields)}
    own = {c for c, record in enumerate(tree.column_records) if record.field_id in wanted}
    other = {a.physical_id for a in tree.alias_column_records if a.field_id in wanted}
    return sorted(own | other)


def _pages(tree: Any, cluster: int, column: int) -> list[Any]:
    """The pages of a column in a cluster; none where it was added later."""
    links = tree.ntuple.page_link_list[cluster]
    return list(links[column].pages) if column < len(links) else []


def _within(tree: Any, number: int, fields: set[int]) -> bool:
    """Whether a field is one of some, or inside one of them."""
    return any(one in fields for one in _upwards(tree, number))


def _upwards(tree: Any, number: int) -> Iterator[int]:
    """A field, the one around it, and so on; the outermost is in itself."""
    seen = set[int]()
    while number not in seen and number < len(tree.field_records):
        yield number
        seen.add(number)
        number = tree.field_records[number].parent_field_id
