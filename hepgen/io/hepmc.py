"""HepMC event files (Buckley et al., Comput. Phys. Commun. 260 (2021) 107310), by pyhepmc."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hepgen.errors import FileError
from hepgen.io.event_files import MOST_PARTICLES, Event, EventFile, first_quark, uncompressed

WEIGHTS = "HepMCWeight"
STABLE, BEAM, INCOMING = 1, 4, 21
NUMBERS = re.compile(rb"[EPV] [-+.0-9eE\s@\[\],]*")
UNSAID = -(10**12)


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
        """The number of events, and whether their lines are whole.

        HepMC's own reader takes what is no number for 0, makes room for as many particles as a
        line asks for, and stops at an event that is cut off as if that were the end.
        """
        events = left = 0
        for line in file:
            letter = line[:2]
            if letter not in (b"E ", b"P ", b"V "):
                continue
            if letter == b"E ":
                self._complete(events, left)
                events, left = events + 1, UNSAID
            with self.reading(events):
                if not NUMBERS.fullmatch(line):
                    raise ValueError(f"expected numbers in the line {line[:80]!r}")
                left = _declared(line) if letter == b"E " else left - (letter == b"P ")
        self._complete(events, left)
        return events

    def _complete(self, event: int, left: int) -> None:
        """Refuse an event with more or fewer particles than its first line announced."""
        with self.reading(event):
            if left and left > UNSAID // 2:
                raise ValueError(
                    f"{abs(left)} particles {'fewer' if left > 0 else 'more'} than it says"
                )

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
            yield from file

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


def _declared(line: bytes) -> int:
    """How many particles the first line of an event of HepMC 3 announces; HepMC 2 does not."""
    words = line.split()
    if len(words) < 4 or not words[3].isdigit() or len(words) > 10:
        return UNSAID
    if int(words[3]) > MOST_PARTICLES or int(words[2]) > MOST_PARTICLES:
        raise ValueError(f"{int(words[3])} particles; at most {MOST_PARTICLES} are read")
    return int(words[3])


def _gev(record: Any) -> float:
    return 1e-3 if record.momentum_unit.name == "MEV" else 1.0


def _names(record: Any) -> list[str]:
    count = len(record.weights)
    try:
        names = [str(name) for name in record.weight_names]
    except RuntimeError:  # the file does not name them
        names = []
    return names if len(names) == count else [str(i) for i in range(count)]
