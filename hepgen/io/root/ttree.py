"""A TTree as a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import awkward as ak
import uproot

from hepgen.errors import DataError
from hepgen.io.root.unpacking import stepwise
from hepgen.io.table import Table, column_name, empty_chunks


class TTree(Table):
    """A TTree, whose branches are read one by one."""

    kind = "TTree"

    def _keys(self) -> dict[str, str]:
        columns = dict(_columns(self.tree))
        short = Counter(path.rpartition("/")[2] for path in columns)
        keys = {full: path for path, full in columns.items()}
        return keys | {p.rpartition("/")[2]: p for p in columns if short[p.rpartition("/")[2]] == 1}

    def _readable(self) -> dict[str, Any]:
        """Column → branch, of those that uproot can read."""
        unknown = uproot.interpretation.identify.UnknownInterpretation
        names = {path: name for name, path in self.keys.items()}
        branches = {name: self.tree[path] for path, name in names.items()}
        return {n: b for n, b in branches.items() if not isinstance(b.interpretation, unknown)}

    def types(self) -> dict[str, str]:
        """Column → C++ type, of the branches that uproot can interpret."""
        return {name: branch.typename for name, branch in self._readable().items()}

    def default(self) -> dict[str, str]:
        """hepgen's name → branch, of numbers or text and lists of them, without counters."""
        readable = self._readable()
        counters = {b.count_branch.name for b in readable.values() if b.count_branch is not None}
        plain = {name for name, b in readable.items() if _is_plain(b.interpretation)}
        return {column_name(n): n for n in readable if n in plain and n not in counters}

    def row_bytes(self, keys: Sequence[str]) -> float:
        """The mean over the tree, uncompressed."""
        total = sum(self.tree[key].uncompressed_bytes for key in keys)
        return float(total) / max(self.entries, 1)

    def chunks(
        self, keys: Sequence[str], stop: int, step: int
    ) -> Iterator[tuple[int, dict[str, ak.Array]]]:
        """``step`` rows at a time."""
        if not keys:
            yield from empty_chunks(stop, step)
            return
        wanted = {key: self._interpretation(key) for key in keys}
        chunks = self.tree.iterate(wanted, entry_stop=stop, step_size=step, how=dict)
        for arrays in stepwise(chunks, self.path):
            yield len(arrays[keys[0]]), arrays

    def _interpretation(self, key: str) -> Any:
        branch = self.tree[key]
        if isinstance(branch.interpretation, uproot.interpretation.identify.UnknownInterpretation):
            raise DataError(
                f"{self.path}: branch {key!r} has the type {branch.typename}, which cannot be read"
            )
        return branch.interpretation


def _columns(tree: Any, path: str = "", name: str = "") -> Iterator[tuple[str, str]]:
    """(path, dotted name) of the branches that have values of their own.

    Split objects repeat the name of the parent, or not: ``Jet/Jet.PT`` is ``Jet.PT``, and
    so would be ``Jet/PT``.
    """
    for branch in tree.branches:
        below = path + branch.name
        own = branch.name.rstrip(".")
        last = name.rpartition(".")[2]
        full = f"{name}.{own.removeprefix(f'{last}.')}" if name else own
        if branch.branches and isinstance(branch.interpretation, uproot.AsGrouped):
            yield from _columns(branch, f"{below}/", full)
        else:
            yield below, full


def _is_plain(interpretation: Any) -> bool:
    """Whether a branch holds numbers or text, or lists of them, and no records."""
    if isinstance(interpretation, uproot.AsJagged):
        interpretation = interpretation.content
    if isinstance(interpretation, uproot.AsDtype):
        return interpretation.from_dtype.names is None
    if isinstance(interpretation, uproot.AsStrings):
        return True
    simple = r"(std::)?(vector|string)\b[\w<>:,* ]*"
    return isinstance(interpretation, uproot.AsObjects) and bool(
        re.fullmatch(simple, interpretation.typename)
    )
