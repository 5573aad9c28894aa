"""The file in data/ is what its script makes, and holds what the workflow needs."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from hepgen.io.tables import read, read_metadata
from hepgen.simulators.reconstruction import DimuonReconstruction

DATA = Path(__file__).parents[1] / "data"
FILE = DATA / "zmumu_pythia.root"
COLUMNS = ("Muon_pt", "Muon_eta", "Muon_phi", "Muon_charge", "genWeight")


def test_it_is_small_and_has_enough_pairs() -> None:
    events = DimuonReconstruction().reconstruct(read(FILE).read())
    selected = ak.to_numpy(events["selected"])

    assert FILE.stat().st_size < 200_000
    assert selected.sum() >= 500
    median = np.median(ak.to_numpy(events["Dimuon_mass"])[selected])
    assert median == pytest.approx(91, abs=0.5)


def test_its_notes_agree_with_its_events() -> None:
    events, notes = read(FILE).read(), read_metadata(FILE)
    selected = DimuonReconstruction().reconstruct(events)["selected"]

    assert notes["generated"] == len(events) == notes["genEventSumw"]
    assert notes["selected"] == ak.sum(selected)
    assert notes["truth"]["m_z"] == 91.1876
    assert str(notes["seed"]) in (DATA / "README.md").read_text()
    assert f"{notes['selected']} have a pair" in (DATA / "README.md").read_text()


def test_its_script_makes_it_again(tmp_path: Path) -> None:
    pytest.importorskip("pythia8mc")
    made = read_metadata(FILE)["versions"]
    for package in ("pythia8mc", "torch"):
        if importlib.metadata.version(package) != made[package]:
            pytest.skip(f"{package} {made[package]} made the file: another may differ")
    again = tmp_path / "again.root"
    command = [sys.executable, str(DATA / "make_zmumu_pythia.py"), "-o", str(again)]
    subprocess.run(command, check=True, capture_output=True)

    old, new = read(FILE).read(), read(again).read()
    for name in COLUMNS:
        assert ak.array_equal(ak.num(old["Muon_pt"]), ak.num(new["Muon_pt"]))
        np.testing.assert_allclose(
            ak.to_numpy(ak.ravel(old[name])), ak.to_numpy(ak.ravel(new[name])), rtol=1e-5
        )
