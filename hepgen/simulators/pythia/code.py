"""Settings of Pythia that load code, or write files: a workflow has to be trusted for them.

What Pythia only reads (``Beams:LHEF``, ``SLHA:file``, grids of densities) is data to it, so that
it needs no such trust.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hepgen.errors import WorkflowError

#: By name: libraries (``Init:plugins``, ``Vincia:MEplugin``, user hooks, ``Tune:preferLHAPDF``),
#: where Pythia takes its own tables from, and tables of an initialisation, which it writes.
NAMES = re.compile(r"plugin|userhook|library|lhapdf|xmlpath|reuseinit|initfile")
#: By value: LHAPDF is a library that Pythia loads, as are all that end so.
VALUES = re.compile(r"lhapdf|\.so\b|\.dylib\b|\.dll\b")


def needs_trust(name: str, value: Any) -> bool:
    """Whether a setting of Pythia loads code or writes a file.

    >>> needs_trust(" init::PLUGINS", "{}"), needs_trust("PDF:pSet", "LHAPDF6:NNPDF31_lo_as_0118")
    (True, True)
    >>> needs_trust("PDF:pSet", 13), needs_trust("Beams:LHEF", "events.lhe")
    (False, False)
    """
    return bool(NAMES.search(_plain(name)) or VALUES.search(_plain(value)))


def refuse_code(settings: Mapping[str, Any]) -> None:
    """Refuse settings that need trust.

    Raises:
        WorkflowError: There is one.
    """
    for name, value in settings.items():
        if needs_trust(name, value):
            raise WorkflowError(
                f"Pythia setting {name!r} = {value!r} loads code or writes files; if you trust it, "
                "allow that with --allow-code (in Python: Session.open(…, allow_code=True))"
            )


def _plain(words: Any) -> str:
    return re.sub(r"\s", "", str(words)).lower()
