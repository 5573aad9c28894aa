"""LHE and HepMC files: what is in them comes out, each event once, and what is broken is said."""

from __future__ import annotations

import gzip
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from hepgen.errors import FileError, InputError
from hepgen.io.event_files import EventFile, open_events
from tests.io.event_text import LHE_END, hepmc_event, lhe

EVENTS = 10


def write_hepmc(path: Path, n: int = EVENTS, version: str = "HepMC3") -> Path:
    pyhepmc = pytest.importorskip("pyhepmc")
    run_info = pyhepmc.GenRunInfo()
    run_info.weight_names = ["nominal", "up"]
    with pyhepmc.open(path, "w", format=version) as file:
        for k in range(n):
            file.write(hepmc_event(pyhepmc, k, run_info))
    return path


def write_lhe(path: Path, text: str) -> Path:
    pytest.importorskip("pylhe")
    path.write_text(text)
    return path


@pytest.fixture
def lhe_file(tmp_path: Path) -> EventFile:
    return open_events("lhe", write_lhe(tmp_path / "a.lhe", lhe(EVENTS)))


@pytest.fixture(params=["HepMC3", "HepMC2"])
def hepmc_file(tmp_path: Path, request: pytest.FixtureRequest) -> EventFile:
    return open_events("hepmc", write_hepmc(tmp_path / "a.hepmc", version=request.param))


def test_outgoing_partons_of_lhe(lhe_file: EventFile) -> None:
    found = lhe_file.read(1, 3)

    assert len(lhe_file) == EVENTS
    assert found["Parton_id"].tolist() == [[13, -13, -5]] * 2
    assert found["Parton_px"].tolist() == [[30.0, -30.0, 0.0]] * 2
    assert found["Parton_py"].tolist() == [[1.0, -1.0, 0.0], [2.0, -2.0, 0.0]]
    assert found["Parton_pz"].tolist() == [[40.0, 40.0, 1.5], [40.0, 40.0, 2.5]]
    assert found["Parton_e"].tolist() == [[60.0, 60.0, 10.0]] * 2
    assert found["hard_flavour"].tolist() == [5, 5]


def test_weights_and_cross_section_of_lhe(lhe_file: EventFile) -> None:
    """Signed XWGTUP, the others relative to it by group; σ is the sum over the processes."""
    found = lhe_file.read(0, 3)

    assert found["weight"].tolist() == [2.0, 2.0, -1.0]
    assert found["LHEWeight_originalXWGTUP"].tolist() == [2.0, 2.0, -1.0]
    np.testing.assert_allclose(found["LHEScaleWeight"], [[1.1, 0.9]] * 3)
    np.testing.assert_allclose(found["LHEPdfWeight"], [[1.05]] * 3)
    np.testing.assert_allclose(found["LHEReweightingWeight"], [[0.0], [0.5], [-2.0]])
    assert lhe_file.weights["LHEScaleWeight"] == ["1001 muR=2", "1002 muR=0.5"]
    assert lhe_file.cross_section() == 718.5


def test_a_cross_section_of_zero_is_none(tmp_path: Path) -> None:
    """As generators write it that do not know it before the end."""
    text = lhe(2).replace(" 700.5 ", " 0.0 ").replace(" 18.0 ", " 0.0 ")
    file = open_events("lhe", write_lhe(tmp_path / "a.lhe", text))
    file.read(0, 2)
    assert file.cross_section() is None


def test_stable_particles_of_hepmc(hepmc_file: EventFile) -> None:
    found = hepmc_file.read(3, 5)

    assert len(hepmc_file) == EVENTS
    assert found["Particle_id"].tolist() == [[13, -13, 211]] * 2
    assert found["Particle_px"].tolist() == [[2.0, 3.0, 3.0], [2.0, 3.0, 4.0]]
    assert found["Particle_e"].tolist() == [[23.0] * 3, [24.0] * 3]
    assert found["hard_flavour"].tolist() == [5, 5]


def test_weights_and_cross_section_of_hepmc(hepmc_file: EventFile) -> None:
    found = hepmc_file.read(3, 5)

    assert found["weight"].tolist() == [2.0, 2.0]
    assert found["HepMCWeight"].tolist() == [[1.0, 3.0], [1.0, 3.5]]
    assert hepmc_file.weights == {"HepMCWeight": ["nominal", "up"]}
    # As the generator had it at the last event that was read.
    assert hepmc_file.cross_section() == 16.5


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(ak.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("kind", ["lhe", "hepmc"])
def test_any_order_of_parts_gives_the_same_events(kind: str, tmp_path: Path) -> None:
    """Forwards, with gaps, backwards, and in another process."""
    path = tmp_path / f"a.{kind}"
    _ = write_lhe(path, lhe(EVENTS)) if kind == "lhe" else write_hepmc(path)
    parts = [(0, 3), (3, 4), (7, 10)]
    forwards = [open_events(kind, path).read(*part) for part in parts]
    file = open_events(kind, path)
    backwards = [file.read(*part) for part in parts[::-1]][::-1]
    elsewhere = pickle.loads(pickle.dumps(file))

    assert all(map(same, forwards, backwards))
    assert same(elsewhere.read(*parts[0]), forwards[0])
    whole = open_events(kind, path).read(0, EVENTS)
    assert whole["weight"].tolist()[3:4] == forwards[1]["weight"].tolist()


@pytest.mark.parametrize("kind", ["lhe", "hepmc"])
def test_a_compressed_file_is_the_same(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    _ = write_lhe(path, lhe(EVENTS)) if kind == "lhe" else write_hepmc(path)
    packed = tmp_path / "packed"  # by its content, whatever its name
    packed.write_bytes(gzip.compress(path.read_bytes()))

    assert same(open_events(kind, packed).read(0, EVENTS), open_events(kind, path).read(0, EVENTS))
    packed.write_bytes(packed.read_bytes()[:-30])
    with pytest.raises(FileError, match="compressed file is truncated or damaged"):
        open_events(kind, packed)


def test_momenta_in_mev_become_gev(tmp_path: Path) -> None:
    pyhepmc = pytest.importorskip("pyhepmc")
    event = hepmc_event(pyhepmc, 1, pyhepmc.GenRunInfo())
    event.set_units(pyhepmc.Units.MEV, pyhepmc.Units.MM)
    with pyhepmc.open(tmp_path / "a.hepmc", "w") as file:
        file.write(event)

    found = open_events("hepmc", tmp_path / "a.hepmc").read(0, 1)
    assert ak.flatten(found["Particle_e"]).tolist() == pytest.approx([21.0] * 3)


def test_a_file_that_runs_out(lhe_file: EventFile) -> None:
    with pytest.raises(FileError, match="events 8 to 11 are asked for; it has 10"):
        lhe_file.read(8, 12)


WHOLE = lhe(EVENTS)
BOMB = "".join(f'<!ENTITY a{i} "' + f"&a{i - 1};" * 10 + '">' for i in range(1, 12))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (WHOLE[: len(WHOLE) * 2 // 3], "truncated: it ends without .* after event 7"),
        (WHOLE.replace(LHE_END, ""), "truncated: it ends without .* after event 10"),
        (WHOLE.replace("30.0 4.0", "30.0 four"), "event 5 .*could not convert .*'four'"),
        (WHOLE.replace("30.0 4.0", "30.0 nan"), "event 5 .*NaN or infinite"),
        (WHOLE.replace("30.0 4.0", "30.0 1e999"), "event 5 .*NaN or infinite"),
        (WHOLE.replace(" 5 1 -1.0", " 999999999999 1 -1.0"), "event 3 .*says 999999999999"),
        (WHOLE.replace("30.0 5.0 40.0 60.0 0.105 0 9", "30.0"), "event 6 .*too few numbers"),
        (WHOLE.replace('<wgt id="cw"> 4 </wgt>\n', ""), "event 5 .*no weight 'cw'"),
        (WHOLE.replace("</rwgt>\n</event>", "</event>", 1), "event 1 .*mismatched tag"),
        (WHOLE.replace("init>", "initi>"), "No <init> block"),
        ("\0\1 <event\n", "no events in it"),
        ("", "no events in it; expected an LHE file"),
        (
            f'<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">{BOMB}]>'
            + WHOLE.replace(" 91.2 ", " &a11; ", 1),
            "event 1 .*amplification",
        ),
    ],
)
def test_a_broken_lhe_file_is_said_so_with_the_event(text: str, words: str, tmp_path: Path) -> None:
    path = write_lhe(tmp_path / "broken.lhe", text)
    with pytest.raises(FileError, match=rf"broken\.lhe: .*{words}"):
        open_events("lhe", path).read(0, 1 + text.count("<event>") - 1)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("", "", "event 7 .*[0-9] particles fewer than it says"),
        ("\nP 4 ", "\nP four ", "event 1 .*expected numbers in the line"),
        ("2.0000000000000000e+00 5.0", "nan 5.0", "event 1 .*expected numbers in the line"),
        ("2.0000000000000000e+00 5.0", "1e999 5.0", "event 1 .*NaN or infinite"),
        ("E 3 1 6", "E 3 1 1000000006", "event 4 .*1000000006 particles; at most"),
        ("E 3 1 6", "E 3 999999999 6", "event 4 .*999999999 vertices; at most"),
        ("[1,2]", "[1,999999]", "event 1 .*vertex -1 names the particle 999999, which is not"),
        ("P 3 -1 ", "P 3 -999999 ", "event 1 .*particle 3 is from vertex -999999, which is not"),
        ("P 3 -1 ", "P 3 7 ", "event 1 .*particle 3 is from particle 7, which is not"),
        ("P 4 -1 ", "P 3 -1 ", "event 1 .*particle 3 is there more than once"),
        ("V -1 0 [1,2]", "V -1 0 1,2", "event 1 .*expected V -ID STATUS"),
        ("U GEV", "U TEV", "event 1 .*'TEV MM'; expected GEV or MEV"),
        ("1.25000000e+01 1.00000000e-01 1 1", "1.25000000e+01 1.00000000e-01", "event 1 .*pairs"),
        ("HepMC::Asciiv3-END_EVENT_LISTING", "", "truncated: it ends without END_EVENT_LISTING"),
        ("E 3 1 6", "E 3 1 5", "event 4 .*1 particles more than it says"),
        ("nominal", "nominal\\\0", "the beginning .*a byte of zero in the line"),
        ("A 0 Gen", "A 0 a \\\\\\\nA 0 Gen", "event 1 .*a backslash that nothing follows"),
        ("A 0 Gen", f"A 0 a {'x' * 2**18}\nA 0 Gen", "event 1 .*a line of 262150 characters"),
    ],
)
def test_a_broken_hepmc_file_is_said_so_with_the_event(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    path = write_hepmc(tmp_path / "broken.hepmc")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1) if old else text[: len(text) * 2 // 3])
    with pytest.raises(FileError, match=rf"broken\.hepmc: {words}"):
        open_events("hepmc", path).read(0, EVENTS)


def test_a_hepmc2_file_that_is_cut_off(tmp_path: Path) -> None:
    path = write_hepmc(tmp_path / "broken.hepmc", version="HepMC2")
    text = path.read_text()
    path.write_text(text[: text.index("E 7 ")])
    with pytest.raises(FileError, match="hepmc: truncated: it ends without END_EVENT_L"):
        open_events("hepmc", path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("10001 10002 0 2 ", "10001 10002 0 1000000000 ", "event 1 .*1000000000 weights; at most"),
        ("10001 10002 0 2 ", "10001 10002 0 5 ", "event 1 .*2 weights are listed where it says 5"),
        ("E 3 0 ", "E 3 ", "event 4 .*too few numbers"),
        ("4 0 0 -1 0\n", "4 0 0 -55 0\n", "event 1 .*ends in the vertex -55, which is not there"),
        ("0 0 2 4 0\n", "0 0 2 1000000000 0\n", "event 1 .*1000000000 particles; at most"),
        ("U GEV", "U TEV", "event 1 .*'TEV MM'; expected GEV or MEV"),
        (
            "V -1 0 0 0 0 0 2 4",
            "P 10009 1 0 0 0 0 0 1 0 0 0 0\nV -1 0 0 0 0 0 2 4",
            "event 1 .*a particle that no vertex announces",
        ),
        ("\nP 10004 ", "\nHepMC::Version 3\nP 10004 ", "event 1 .*3 particles fewer than it says"),
        ("\nE 0 0", "\nV -1 0 0 0 0 0 0 0 0\nE 0 0", "the beginning .*outside of an event"),
        ("0 0 2 4 0\n", "0 0 2 9 0\n", "event 1 .*5 particles fewer than it says"),
        ("N 2 ", "N 1000000000 ", "event 1 .*1000000000 names of weights"),
    ],
)
def test_a_broken_hepmc2_file_is_said_so_with_the_event(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    path = write_hepmc(tmp_path / "broken.hepmc", version="HepMC2")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(FileError, match=rf"broken\.hepmc: {words}"):
        open_events("hepmc", path)


def test_what_the_library_prints_is_no_result(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_hepmc(tmp_path / "broken.hepmc")
    path.write_text(path.read_text().replace("\nP 4 -1 ", "\nP 400 -1 ", 1))
    capfd.readouterr()
    with pytest.raises(FileError):
        open_events("hepmc", path).read(0, EVENTS)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"\0\1\2", b"HepMC::Version 3\n", b"E 1 2"])
def test_what_is_no_hepmc_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "no.hepmc"
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"no\.hepmc"):
        open_events("hepmc", path)


def test_a_missing_file_offers_the_nearest(lhe_file: EventFile) -> None:
    with pytest.raises(FileError, match=r"no file .*b\.lhe; did you mean 'a\.lhe'"):
        open_events("lhe", lhe_file.path.with_name("b.lhe"))


@pytest.mark.parametrize("kind", ["lhe", "hepmc"])
def test_what_is_no_regular_file_is_not_opened(kind: str, tmp_path: Path) -> None:
    """A pipe that nobody writes to would be waited for without end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match=r"pipe is no regular file; expected an? "):
        open_events(kind, tmp_path / "pipe")
    with pytest.raises(FileError, match=r"is a folder; expected an? "):
        open_events(kind, tmp_path)


def test_another_kind_of_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'stdhep:a\.hep'; expected builtin, pythia, lhe:FILE"):
        open_events("stdhep", tmp_path / "a.hep")


@pytest.mark.parametrize(("kind", "library"), [("lhe", "pylhe"), ("hepmc", "pyhepmc")])
def test_without_the_library_the_command_is_offered(
    kind: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_text(lhe(1) if kind == "lhe" else "E 0 0 0\nHepMC::Asciiv3-END_EVENT_LISTING\n")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(FileError, match=rf"needs {library}; .*pip install 'hepgen\[{kind}\]'"):
        open_events(kind, path)
