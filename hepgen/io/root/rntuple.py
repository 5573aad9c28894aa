"""An RNTuple as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import awkward as ak

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

    def row_bytes(self, keys: Sequence[str]) -> float:  # noqa: ARG002
        """The least, so that steps are long: clusters set what is read at a time."""
        return 1.0

    def chunks(
        self, keys: Sequence[str], stop: int, step: int
    ) -> Iterator[tuple[int, dict[str, ak.Array]]]:
        """Whole clusters at a time, because uproot decompresses no less than a cluster."""
        if not keys:
            yield from empty_chunks(stop, step)
            return
        fields = {field.field_id for key, field in self.tree.iteritems() if key in keys}
        for low, high in self._cluster_ranges(stop, step):
            record = self.tree.arrays(
                filter_field=lambda field: field.field_id in fields,
                entry_start=low,
                entry_stop=high,
                array_cache=None,
            )
            for start in range(0, high - low, step):
                part = record[start : start + step]
                yield len(part), {key: _descend(part, key.split(".")) for key in keys}

    def _cluster_ranges(self, stop: int, step: int) -> Iterator[tuple[int, int]]:
        low = high = 0
        for cluster in self.tree.cluster_summaries:
            high = min(cluster.num_first_entry + cluster.num_entries, stop)
            if high - low >= step:
                yield low, high
                low = high
        if high > low:
            yield low, high


def _descend(record: ak.Array, path: Sequence[str]) -> ak.Array:
    for field in path:
        record = record[field]
    return record
