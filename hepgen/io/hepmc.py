"""HepMC event files (Buckley et al., Comput. Phys. Commun. 260 (2021) 107310), by pyhepmc."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hepgen.errors import FileError
from hepgen.files import stdout_to_stderr
from hepgen.io.event_files import Event, EventFile, first_quark, uncompressed
from hepgen.io.hepmc_lines import END, Lines

WEIGHTS = "HepMCWeight"
STABLE, BEAM, INCOMING = 1, 4, 21


class HepMCFile(EventFile):
    """The stable particles (status 1) of a HepMC 2 or 3 file in ASCII, as ``Particle_*``.

    The event's weight is the first; all of them, relative to it, are ``HepMCWeight`` where there
    are several. σ is that of the last event that was read, as generators refine it as they go.

    Arguments:
        path: The file, possibly compressed by gzip.

    Raises:
        FileError: It is missing or broken, or pyhepmc is not installed.
    """

    prefix = "Particle"
    mark = b"E "
    kind = "a HepMC file"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self.reading(1):
            first = next(self._records(), None)
            if first is None:
                raise ValueError("no event is found in it")
            if len(first.weights) > 1:
                self.weights = {WEIGHTS: _names(first)}

    def count(self, file: Iterable[bytes]) -> int:
        """The number of events, and whether their lines are whole."""
        events, lines = 0, Lines()
        for line in file:
            if line.startswith(self.mark):
                with self.reading(events):
                    lines.complete()
                events += 1
            with self.reading(events):
                lines.add(line)
        with self.reading(events):
            lines.complete()
        if events and not lines.ended:
            raise FileError(
                f"{self.path}: truncated: it ends without {END.decode()} after event {events}"
            )
        return events

    def events(self) -> Iterator[Event]:
        """All events from the first on."""
        for record in self._records():
            yield self._event(record)

    def _records(self) -> Iterator[Any]:
        try:
            import pyhepmc
        except ImportError as error:
            raise FileError(
                f"{self.path}: reading HepMC needs pyhepmc; install it with: "
                "pip install 'hepgen[hepmc]'"
            ) from error
        with uncompressed(self.path) as stream, pyhepmc.open(stream) as file:
            events = iter(file)
            while True:
                # Its complaints are not results.
                with stdout_to_stderr():
                    record = next(events, None)
                if record is None:
                    return
                yield record

    def _event(self, record: Any) -> Event:
        table = record.numpy.particles
        status, identity = np.asarray(table.status), np.asarray(table.pid, dtype=np.int64)
        stable = status == STABLE
        momenta = np.stack([getattr(table, c) for c in ("px", "py", "pz", "e")], axis=-1)
        weights = list(record.weights) or [1.0]
        nominal = weights[0]
        relative = [w / nominal if nominal else 0.0 for w in weights]
        sigma = record.cross_section
        return Event(
            momenta[stable] * _gev(record), identity[stable],
            first_quark(identity[(status != BEAM) & (status != INCOMING)]), nominal,
            {WEIGHTS: relative} if self.weights else {},
            None if sigma is None else float(sigma.xsec()),
        )  # fmt: skip


def _gev(record: Any) -> float:
    return 1e-3 if record.momentum_unit.name == "MEV" else 1.0


def _names(record: Any) -> list[str]:
    count = len(record.weights)
    try:
        names = [str(name) for name in record.weight_names]
    except RuntimeError:  # the file does not name them
        names = []
    return names if len(names) == count else [str(i) for i in range(count)]
