"""Fixtures that several tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.annotations import check_annotations_of

check_annotations_of("hepgen")

# Tests run side by side (pytest -n): one thread each, also in the processes that they start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ZMUMU = "uproot-Zmumu.root"
NANOAOD = "nano_dy.root"
RNTUPLE = "Run2012BC_DoubleMuParked_Muons_1000evts_rntuple_v1-0-0-0.root"


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Finds a real data file by name, and skips the test, saying so, where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folders = [Path(f) for f in (os.environ.get("HEPGEN_TESTDATA"), beside) if f]

    def find(name: str) -> Path:
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
        pytest.skip(f"{name} is not in {' or '.join(map(str, folders))} (set HEPGEN_TESTDATA)")

    return find
