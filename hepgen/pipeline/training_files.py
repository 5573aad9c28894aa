"""Simulated events in files of the user's, to train on instead of a campaign."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hepgen.events import THETA, WEIGHT, Events
from hepgen.features import check_features
from hepgen.io.description import describe
from hepgen.io.reader import EventReader, read
from hepgen.io.sources import Source, resolve

if TYPE_CHECKING:
    from hepgen.pipeline.session import Session


@dataclass(frozen=True)
class TrainingFiles:
    """Files with the features and, as ``theta_NAME``, the parameters of each event.

    Arguments:
        sources: The files.
        session: Whose features and free parameters they have.
        columns: Of the events.
    """

    sources: Sequence[Source]
    session: Session
    columns: Sequence[str]

    @classmethod
    def of(cls, session: Session, columns: Sequence[str]) -> TrainingFiles | None:
        """Those of ``simulation.files``; ``None`` where there are none.

        Raises:
            FileError: A file is missing or broken.
        """
        names = session.workflow.simulation.files
        if not names:
            return None
        return cls(resolve([session.near(name) for name in names]), session, columns)

    def identity(self) -> dict[str, Any]:
        """The files, with their sizes and times where they are on a disk."""
        return {"files": [facts_of(source) for source in self.sources]}

    @property
    def events(self) -> int:
        """How many rows they have."""
        return self._reader().entries

    def read(self) -> Iterator[Events]:
        """The events, a chunk at a time.

        Raises:
            FileError: A file is missing or broken.
            DataError: A column is missing, or has values that a feature cannot have.
        """
        features = [f for f in self.session.features if f.name in self.columns]
        names = [feature.name for feature in features]
        with self.session.monitor.task("read events", float(self.events), "events") as update:
            done = 0
            for chunk in self._reader():
                check_features(torch.from_numpy(chunk.flat(names)), features)
                yield chunk
                done += len(chunk)
                update(float(done))

    def _reader(self) -> EventReader:
        theta = [THETA + name for name in self.session.parameters.free_names]
        columns = [*self.columns, *theta]
        weighted = _has(self.sources[0], WEIGHT)
        return read(self.sources, columns, weight=WEIGHT if weighted else None)


def _has(source: Source, column: str) -> bool:
    trees = describe(source).trees
    return any(column in t.branches for t in trees if source.tree in (None, t.name))


def facts_of(source: Source) -> list[Any]:
    """A file with its size and time, where it is on a disk."""
    if source.remote:
        return [str(source)]
    path = Path(source.path).resolve()
    status = path.stat()
    return [str(path), source.tree, status.st_size, status.st_mtime_ns]
