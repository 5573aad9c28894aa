"""The lines of a HepMC file, counted and checked before HepMC's own reader sees them.

That reader takes what is no number for 0, makes room for as much as a line asks for, follows
numbers of particles that are not there, and takes the end of a file that is cut off for its end.
"""

from __future__ import annotations

import re

from hepgen.io.event_files import MOST_PARTICLES

NUMBERS = re.compile(rb"[EPV] [-+.0-9eE\s@\[\],]*")
LISTED = re.compile(rb"V (-[0-9]+) -?[0-9]+ \[([0-9,]*)\](?:\s.*)?", re.S)
UNITS = (b"GEV", b"MEV")
CROSS_SECTION = re.compile(rb"(?:A 0 GenCrossSection|C)((?:\s+[-+0-9.eE]+)+)\s*")
END = b"END_EVENT_LISTING"
LONGEST = 2**18 - 2
"""Characters in a line that HepMC has room for."""


class Lines:
    """The lines of an event, and what they say of each other.

    Each method raises ValueError with what is wrong.
    """

    def __init__(self) -> None:
        self.ended = False
        self._third = True
        self._within = False
        self._left = 0
        self._particles: dict[int, int] = {}
        self._vertices: dict[int, list[int]] = {}
        self._ends: set[int] = set()

    def add(self, line: bytes) -> None:
        """The next line of the file."""
        letter = line[:2]
        _check_text(line)
        if line.startswith(b"HepMC::"):
            self.complete()
            self._within = False
            self.ended = END in line
            self._third = b"Asciiv3" in line if b"START" in line else self._third
        elif letter in (b"E ", b"P ", b"V "):
            self.ended = False
            if not NUMBERS.fullmatch(line):
                raise ValueError(f"expected numbers in the line {line[:80]!r}")
            self._within |= letter == b"E "
            if not self._within:
                raise ValueError(f"outside of an event: {line[:80]!r}")
            {b"E ": self._event, b"P ": self._particle, b"V ": self._vertex}[letter](line)
        elif letter == b"U " and line.split()[1:2] not in ([unit] for unit in UNITS):
            raise ValueError(f"momenta in {line[2:40].strip()!r}; expected GEV or MEV")
        elif line.startswith((b"A 0 GenCrossSection", b"C ")):
            _cross_section(line)
        elif letter == b"N ":
            _bounded(_whole(line.split(), 1), "names of weights")

    def complete(self) -> None:
        """Refuse an event that is not as it says, before the next begins."""
        self._check_left()
        if self._third:
            self._check_references()
        elif missing := self._ends - self._vertices.keys():
            raise ValueError(f"a particle ends in the vertex {min(missing)}, which is not there")

    def _check_left(self) -> None:
        if self._left:
            more = "fewer" if self._left > 0 else "more"
            raise ValueError(f"{abs(self._left)} particles {more} than it says")

    def _check_references(self) -> None:
        mothers, incoming = self._particles, self._vertices
        for particle, mother in mothers.items():
            if mother and mother not in (mothers if mother > 0 else incoming):
                kind = "particle" if mother > 0 else "vertex"
                raise ValueError(f"particle {particle} is from {kind} {mother}, which is not there")
        for vertex, particles in incoming.items():
            if missing := [p for p in particles if p not in mothers]:
                raise ValueError(
                    f"vertex {vertex} names the particle {missing[0]}, which is not there"
                )

    def _event(self, line: bytes) -> None:
        words = line.split()
        self._particles, self._vertices, self._ends = {}, {}, set()
        if self._third:
            _bounded(_whole(words, 2), "vertices")
            self._left = _bounded(_whole(words, 3), "particles")
            return
        _bounded(_whole(words, 8), "vertices")
        states = _bounded(_whole(words, 11), "states of the random generator")
        weights = _bounded(_whole(words, 12 + states), "weights")
        if len(words) != 13 + states + weights:
            raise ValueError(
                f"{len(words) - 13 - states} weights are listed where it says {weights}"
            )

    def _particle(self, line: bytes) -> None:
        words = line.split()
        self._left -= 1
        if not self._third:
            # Those that a vertex announces follow it.
            if self._left < 0:
                raise ValueError("a particle that no vertex announces")
            if end := _whole(words, 11):
                self._ends.add(end)
            return
        number = _whole(words, 1)
        if number in self._particles:
            raise ValueError(f"particle {number} is there more than once")
        self._particles[number] = _whole(words, 2)

    def _vertex(self, line: bytes) -> None:
        words = line.split()
        if not self._third:
            self._check_left()
            _bounded(_whole(words, 9), "weights")
            places = ((7, "incoming particles"), (8, "particles"))
            self._left = sum(_bounded(_whole(words, place), what) for place, what in places)
            self._vertices[_whole(words, 1)] = []
            return
        found = LISTED.fullmatch(line)
        if found is None:
            raise ValueError(f"expected V -ID STATUS [PARTICLES] in the line {line[:80]!r}")
        number = int(found[1])
        _bounded(-number, "vertices")
        if number in self._vertices:
            raise ValueError(f"vertex {number} is there more than once")
        self._vertices[number] = [int(p) for p in found[2].split(b",") if p]


def _check_text(line: bytes) -> None:
    """Refuse what HepMC reads past the end of: what follows a backslash is taken as it is."""
    text = line.rstrip(b"\n")
    if len(text) > LONGEST:
        raise ValueError(f"a line of {len(text)} characters; HepMC reads {LONGEST} at most")
    if b"\0" in text:
        raise ValueError(f"a byte of zero in the line {line[:80]!r}; expected text")
    if (len(text) - len(text.rstrip(b"\\"))) % 2:
        raise ValueError(f"a backslash that nothing follows in the line …{line[-80:]!r}")


def _cross_section(line: bytes) -> None:
    """σ, its error, and from version 3 the events it is from, then σ and error of each weight.

    Where those events are missing, HepMC gives none, and asked for it ends the process.
    """
    found = CROSS_SECTION.fullmatch(line)
    words = found[1].split() if found else []
    if len(words) < (4 if line.startswith(b"A") else 2) or len(words) % 2:
        raise ValueError(f"expected pairs of numbers in the line {line[:80]!r}")
    for word in words:
        float(word)
    if line.startswith(b"A"):
        _whole(words, 2), _whole(words, 3)


def _whole(words: list[bytes], place: int) -> int:
    if len(words) <= place:
        raise ValueError(f"too few numbers in the line {b' '.join(words)[:80]!r}")
    if not re.fullmatch(rb"[-+]?[0-9]{1,18}", words[place]):
        raise ValueError(f"{words[place][:40]!r}: expected a whole number")
    return int(words[place])


def _bounded(count: int, what: str) -> int:
    if not 0 <= count <= MOST_PARTICLES:
        raise ValueError(f"{count} {what}; at most {MOST_PARTICLES} are read")
    return count
