"""What hepgen notes in a file beside the events: counts, sums of weights, provenance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from hepgen.files import parse_json
from hepgen.io.failures import reading
from hepgen.io.layout import Layout
from hepgen.io.root.opening import open_file, open_tree, tree_kinds
from hepgen.io.root.unpacking import unpacking
from hepgen.io.sources import Source
from hepgen.results import to_json

PROVENANCE = "hepgen_provenance"
RUNS = "Runs"


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What :meth:`RootWriter.metadata` wrote, or the tree ``Runs`` of another NanoAOD file.

    Numbers of a ``Runs`` with several rows (files joined by hadd) are lists.

    Raises:
        FileError: The file is missing or broken.
    """
    with open_file(str(path)) as directory, reading(str(path)), unpacking(str(path)):
        names = directory.keys(recursive=False, cycle=False)
        noted = parse_json(str(directory[PROVENANCE])) if PROVENANCE in names else {}
        runs = RUNS in tree_kinds(directory)
    return dict(noted) | _runs(str(path), several_only=bool(noted)) if runs else dict(noted)


def _runs(path: str, several_only: bool) -> dict[str, Any]:
    with open_tree(Source(path, RUNS)) as tree:
        if tree.entries == 0 or (several_only and tree.entries == 1):
            return {}
        columns = tree.default()
        if not columns:  # its rows would be counted, however many it says there are
            return {}
        chunks = [arrays for _, arrays in tree.read(list(columns.values()), tree.entries, None)]
        lists = {n: ak.to_list(ak.concatenate([c[k] for c in chunks])) for n, k in columns.items()}
        return {name: rows[0] if len(rows) == 1 else rows for name, rows in lists.items()}


def write_metadata(sink: Any, entries: Mapping[str, Any]) -> None:
    """Put ``entries`` into the uproot file ``sink``: all as JSON, the scalars also in ``Runs``."""
    if not entries:
        return
    sink[PROVENANCE] = to_json(entries, indent=None)
    scalars = {_branch_name(k): v for k, v in entries.items() if _is_scalar(v)}
    if scalars:
        row = {name: ak.Array([value]) for name, value in scalars.items()}
        sink.mktree(RUNS, {n: Layout.of({n: a}).types[n] for n, a in row.items()})
        sink[RUNS].extend(row)


def _branch_name(key: str) -> str:
    return re.sub(r"\W", "_", key)


def _is_scalar(value: Any) -> bool:
    if isinstance(value, (int, np.integer)):
        return -(2**63) <= int(value) < 2**63
    return isinstance(value, (bool, np.bool_, float, np.floating, str))
