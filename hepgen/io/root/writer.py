"""Events to a ROOT file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Literal

import awkward as ak
import numpy as np
import uproot

from hepgen.io.layout import Layout
from hepgen.io.root.metadata import write_metadata
from hepgen.io.writer import EventWriter

_BASKET_BYTES = {"ttree": 2**20, "rntuple": 16 * 2**20}


class RootWriter(EventWriter):
    """Writes events to a ROOT file, see :class:`~hepgen.io.writer.EventWriter`.

    Jagged columns with a common prefix have one counter (``Muon_pt``, ``Muon_eta``, ``nMuon``).
    Numbers, truth values and strings of the metadata become branches of the one-row tree
    ``Runs``. Baskets have about 1 MB.

    Arguments:
        path: The file to make, in a folder that exists.
        tree: The name of the tree.
        overwrite: Replace a file that is there.
        format: ``ttree`` (every ROOT reads it) or ``rntuple`` (ROOT 6.36 and later).

    >>> import tempfile
    >>> from hepgen.events import Events
    >>> from hepgen.io.tables import read, read_metadata
    >>> path = Path(tempfile.mkdtemp()) / "out.root"
    >>> with RootWriter(path) as writer:
    ...     writer.write(Events.from_columns({"Muon_pt": ak.Array([[40.0, 30.0], []])}))
    ...     writer.metadata({"generated": 2})
    >>> read(path).read()["Muon_pt"].tolist(), read_metadata(path)
    ([[40.0, 30.0], []], {'generated': 2})
    """

    def __init__(
        self,
        path: str | Path,
        *,
        tree: str = "Events",
        overwrite: bool = False,
        format: Literal["ttree", "rntuple"] = "ttree",
    ) -> None:
        super().__init__(path, overwrite=overwrite)
        self.tree = tree
        self.format = format
        self._chunk_bytes = _BASKET_BYTES[format]
        self._sink: Any = None

    def _open(self, handle: IO[bytes]) -> None:
        self._sink = uproot.recreate(handle)

    def _start(self, layout: Layout) -> None:
        if self.format == "rntuple":
            self._sink.mkrntuple(self.tree, dict(layout.types))
            return
        counters = layout.counters
        self._sink.mktree(self.tree, dict(layout.types), counter_name=lambda name: counters[name])

    def _extend(self, columns: Mapping[str, ak.Array], parts: int) -> None:
        rows = len(next(iter(columns.values())))
        edges = np.linspace(0, rows, min(parts, rows) + 1, dtype=np.int64)
        for low, high in itertools.pairwise(edges):
            # packed, because uproot writes strings of a slice wrongly (uproot#1646)
            part = {name: ak.to_packed(array[low:high]) for name, array in columns.items()}
            table = part if self.format == "ttree" else ak.zip(part, depth_limit=1)
            self._sink[self.tree].extend(table)

    def _end(self, metadata: Mapping[str, Any]) -> None:
        write_metadata(self._sink, metadata)
        self._sink.close()

    def _close(self) -> None:
        self._sink.close()
