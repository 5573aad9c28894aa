"""An RNTuple as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import awkward as ak

from hepgen.io.root.pages import check_pages, page_bytes
from hepgen.io.root.unpacking import unpacking
from hepgen.io.table import Table, column_name, empty_chunks


class RNTuple(Table):
    """An RNTuple, whose rows are stored in clusters."""

    kind = "RNTuple"

    def _keys(self) -> dict[str, str]:
        return {key: key for key in self.tree.keys()}  # noqa: SIM118 (not a dict)

    def types(self) -> dict[str, str]:
        """Column → C++ type, without the fields called ``_collection…``."""
        types = dict(self.tree.typenames())
        return {k: kind for k, kind in types.items() if not k.startswith("_collection")}

    def default(self) -> dict[str, str]:
        """hepgen's name → field, of those with no fields inside, without counters."""
        types = self.types()
        parents = {".".join(k.split(".")[:i]) for k in types for i in range(1, k.count(".") + 1)}
        return {
            column_name(key): key
            for key, kind in types.items()
            if key not in parents and "RNTupleCardinality" not in kind
        }

    def row_bytes(self, keys: Sequence[str]) -> float:
        """The mean over the tree, unpacked."""
        with unpacking(self.path):
            clusters = range(len(self.tree.cluster_summaries))
            size, _ = page_bytes(self.tree, self._fields(keys), clusters)
        return size / max(self.entries, 1)

    def chunks(
        self, keys: Sequence[str], stop: int, step: int
    ) -> Iterator[tuple[int, dict[str, ak.Array]]]:
        """Whole clusters at a time, because uproot decompresses no less than a cluster."""
        if not keys:
            yield from empty_chunks(stop, step)
            return
        fields = self._fields(keys)
        for low, high, clusters in self._cluster_ranges(stop, step):
            check_pages(self.tree, self.path, fields, clusters)
            with unpacking(self.path):
                record = self.tree.arrays(
                    filter_field=lambda field: field.field_id in fields,
                    entry_start=low,
                    entry_stop=high,
                    array_cache=None,
                )
                if wrong := ak.validity_error(record):  # offsets are as the file has them
                    raise ValueError(wrong)
            for start in range(0, high - low, step):
                part = record[start : start + step]
                yield len(part), {key: _descend(part, key.split(".")) for key in keys}

    def _fields(self, keys: Sequence[str]) -> set[int]:
        """The numbers of those that are read."""
        return {field.field_id for key, field in self.tree.iteritems() if key in keys}

    def _cluster_ranges(self, stop: int, step: int) -> Iterator[tuple[int, int, range]]:
        """Rows from and to, and the clusters that they are in."""
        low = high = first = last = 0
        for number, cluster in enumerate(self.tree.cluster_summaries):
            if cluster.num_first_entry >= stop:
                break
            high = min(cluster.num_first_entry + cluster.num_entries, stop)
            if high - low >= step:
                yield low, high, range(first, number + 1)
                low, first = high, number + 1
            last = number + 1
        if high > low:
            yield low, high, range(first, last)


def _descend(record: ak.Array, path: Sequence[str]) -> ak.Array:
    for field in path:
        record = record[field]
    return record
