"""Les Houches event files (Alwall et al., Comput. Phys. Commun. 176 (2007) 300), by pylhe."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hepgen.errors import FileError
from hepgen.io.event_files import Event, EventFile, first_quark, uncompressed

#: The column of an event's own weight XWGTUP, and those of the others, by their group's name.
ORIGINAL = "LHEWeight_originalXWGTUP"
SCALE, PDF, OTHER = "LHEScaleWeight", "LHEPdfWeight", "LHEReweightingWeight"
OUTGOING, END = 1, b"</LesHouchesEvents>"


class LHEFile(EventFile):
    """The outgoing particles of an LHE file, as ``Parton_*``.

    The event's weight is XWGTUP. The named weights of a file, relative to it, are
    ``LHEScaleWeight``, ``LHEPdfWeight`` and ``LHEReweightingWeight``, as the name of their group
    speaks of scales, of densities, or of neither. σ is the sum over the processes of XSECUP.

    Arguments:
        path: The file, possibly compressed by gzip.

    Raises:
        FileError: It is missing or broken, or pylhe is not installed.
    """

    prefix = "Parton"
    mark = b"<event"
    kind = "an LHE file"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self.reading(0), _opened(path) as opened:
            pass
        self._groups = _groups(opened.header)
        self._total = float(sum(process.xSection for process in opened.init.procInfo))
        self.weights = {ORIGINAL: ["XWGTUP"]} | {
            name: list(ids.values()) for name, ids in self._groups.items()
        }

    def count(self, file: Iterable[bytes]) -> int:
        """The number of events, from the lines alone; the last line has to be there."""
        events, last = 0, b""
        for line in file:
            events += line.lstrip().startswith(self.mark)
            last = line if line.strip() else last
        if events and END not in last:
            raise ValueError(f"truncated: it ends without {END.decode()} after event {events}")
        return events

    def events(self) -> Iterator[Event]:
        """All events from the first on."""
        with _opened(self.path) as file:
            stream = iter(file.events)
            while True:
                with _strictly():
                    event = next(stream, None)
                if event is None:
                    return
                yield self._event(event)

    def _event(self, event: Any) -> Event:
        info, particles = event.eventinfo, event.particles
        if info.nparticles != len(particles):
            raise ValueError(
                f"{len(particles)} particles are listed where it says {info.nparticles}"
            )
        out = [p for p in particles if p.status == OUTGOING]
        identity = np.array([p.id for p in out], dtype=np.int64)
        momenta = np.array([(p.px, p.py, p.pz, p.e) for p in out], dtype=np.float64)
        return Event(
            momenta.reshape(-1, 4), identity, first_quark(identity), info.weight,
            {ORIGINAL: info.weight} | self._others(event.weights, info.weight), self._total,
        )  # fmt: skip

    def _others(self, weights: Mapping[str, float], nominal: float) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for column, ids in self._groups.items():
            missing = [key for key in ids if key not in weights]
            if missing:
                raise ValueError(f"no weight {missing[0]!r}, which the file declares")
            found[column] = [weights[key] / nominal if nominal else 0.0 for key in ids]
        return found


def _groups(header: Any) -> dict[str, dict[str, str]]:
    """Column → the weights in it, as their id → the words of the file."""
    groups: dict[str, dict[str, str]] = {}
    rwgt = getattr(header, "initrwgt", None)
    for entry in getattr(rwgt, "entries", ()):
        # A weight may stand without a group.
        words = str(entry.attributes.get("name") or entry.attributes.get("type")).lower()
        column = SCALE if "scale" in words else PDF if "pdf" in words else OTHER
        for weight in getattr(entry, "weights", [entry]):
            groups.setdefault(column, {})[str(weight.id)] = f"{weight.id} {weight.name}".strip()
    return groups


@contextmanager
def _strictly() -> Iterator[None]:
    """pylhe warns of broken XML, and ends there as if that were the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import pylhe
    except ImportError as error:
        raise FileError(
            f"{path}: reading LHE needs pylhe; install it with: pip install 'hepgen[lhe]'"
        ) from error
    with uncompressed(path) as stream:
        with _strictly():
            opened = pylhe.LHEFile.frombuffer(stream)
        yield opened
