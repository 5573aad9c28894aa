"""One configured Pythia 8: its settings, its events in batches, and what it says of them."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import awkward as ak
import numpy as np

from hepgen.errors import SimulationError, WorkflowError
from hepgen.files import stdout_to, stdout_to_stderr
from hepgen.simulators.pythia.code import refuse_code
from hepgen.simulators.pythia.settings import changed_words, line

Setting = bool | int | float | str

#: Pythia refuses larger seeds.
LARGEST_SEED = 900_000_000
#: Failures in a row after which Pythia is given up.
PATIENCE = 100
#: Events in a batch: whole event records are large.
BATCH = 512


class Generator:
    """One configured Pythia.

    Arguments:
        settings: By Pythia's names, e.g. ``{"Beams:eCM": 7000.0, "PartonLevel:FSR": False}``;
            see the XML manual of Pythia 8.
        seed: 1 to 900,000,000.
        allow_code: Whether the settings may load code; see :mod:`hepgen.simulators.pythia.code`.

    Raises:
        SimulationError: Pythia is not installed, or cannot start with these settings.
        WorkflowError: A setting that Pythia does not know, a value it does not take, or one that
            loads code and may not.
    """

    def __init__(self, settings: Mapping[str, Any], seed: int, allow_code: bool = False) -> None:
        if not allow_code:
            refuse_code(settings)
        self.pythia = _module().Pythia("", False)
        #: Events that Pythia gave up, with the reason: the index of the one that took its place.
        self.failed: list[tuple[int, str]] = []
        self._told: Counter[str] = Counter()
        self._read({"Print:quiet": True})
        self._read(settings)
        if not allow_code:
            # A tune sets others, densities of LHAPDF among them.
            refuse_code(changed_words(self.pythia))
        self._read({"Random:setSeed": True, "Random:seed": seed})
        with at_work("start"):
            started = self.pythia.init()
        if not started:
            raise SimulationError(
                f"Pythia cannot start with the settings {dict(settings)}: {self.complaints()}"
            )

    def _read(self, settings: Mapping[str, Any]) -> None:
        for name, value in settings.items():
            words = line(self.pythia, name, value)
            with stdout_to_stderr():
                taken = self.pythia.readString(words, False)
            if not taken or self.pythia.settings.unfinishedInput():
                raise WorkflowError(f"Pythia setting {name!r} does not take the value {value!r}")

    def batches(self, n: int) -> Iterator[ak.Array]:
        """The next ``n`` events, in parts: records with the jagged ``prt`` and ``info``.

        An event that Pythia gives up is noted in :attr:`failed`, and the next takes its place.
        """
        made = in_a_row = 0
        while made < n:
            with at_work("make events"):
                batch = self.pythia.nextBatch(min(BATCH, n - made), "none")
            gone = np.asarray(ak.is_none(batch))
            if gone.any():
                self._note(made, gone)
                in_a_row = len(gone) + in_a_row if gone.all() else 0
                if in_a_row >= PATIENCE:
                    raise SimulationError(
                        f"Pythia failed {in_a_row} events in a row: {self.failed[-1][1]}; "
                        "check the settings"
                    )
            events = ak.drop_none(batch)
            made += len(events)
            yield events

    def _note(self, made: int, gone: Any) -> None:
        reason = self.complaints()
        place = made + np.cumsum(~gone)
        self.failed += [(int(index), reason) for index in place[gone]]

    def complaints(self) -> str:
        """What Pythia counted as errors since it was last asked, in its own words."""
        now = _errors(_printed(self.pythia.stat))
        new = now - self._told
        self._told = now
        return "; ".join(new) or "Pythia says nothing of the reason"

    @property
    def weight_names(self) -> list[str]:
        """The names of the weight variations."""
        return [str(name) for name in self.pythia.infoPython().weightNameVector()][1:]

    @property
    def cross_section(self) -> float:
        """Pythia's estimate of σ in pb, from the events so far."""
        return float(self.pythia.infoPython().sigmaGen()) * 1e9


def _module() -> Any:
    try:
        import pythia8mc
    except ImportError as error:
        raise SimulationError(
            "Pythia 8 is not installed; install it with: pip install 'hepgen[pythia]'"
        ) from error
    return pythia8mc


@contextmanager
def at_work(doing: str) -> Iterator[None]:
    """Pythia at work: what it prints is no result, and what it throws is said to be its own."""
    try:
        with stdout_to_stderr():
            yield
    except (ArithmeticError, LookupError, RuntimeError, ValueError) as error:
        raise SimulationError(
            f"Pythia cannot {doing} with these settings: {type(error).__name__}: {error}; check "
            "the processes that are on, ProcessLevel:all, and the files that settings name"
        ) from error


def _errors(table: str) -> Counter[str]:
    """How often Pythia counted each error, from the table that ends its statistics."""
    rows = re.findall(r"^ \| +(\d+) +((?:Error|Abort) .*?) *\|? *$", table, re.M)
    return Counter({words: int(times) for times, words in rows})


def _printed(call: Callable[[], Any]) -> str:
    """What ``call`` prints, also where it is C++ that prints."""
    with tempfile.TemporaryFile() as file:
        with stdout_to(file.fileno()):
            call()
        file.seek(0)
        return file.read().decode(errors="replace")
