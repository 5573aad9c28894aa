"""From a file to the events that enter the likelihood: which columns, which events, how many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from hepgen.errors import DataError, FileError, InputError
from hepgen.events import Events
from hepgen.io.sources import resolve
from hepgen.io.tables import RootWriter
from hepgen.pipeline import data
from hepgen.pipeline.data import DataRequest, Observed, choose_layout, find, read_observed
from hepgen.pipeline.session import Session

ZMUMU = Path(__file__).parents[2] / "workflows" / "zmumu.toml"

Ask = Callable[..., Observed]


@pytest.fixture(scope="module")
def session() -> Session:
    return Session.open(ZMUMU)


@pytest.fixture
def ask(session: Session) -> Ask:
    def asked(*files: object, session: Session = session, **options: Any) -> Observed:
        return read_observed(session, DataRequest([str(f) for f in files], **options))

    return asked


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what a test puts there can be found."""
    monkeypatch.setattr(data, "_testdata", lambda _: None)
    monkeypatch.delenv("HEPGEN_TESTDATA", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def pairs(n: int = 50, seed: int = 1) -> dict[str, np.ndarray]:
    """Pairs in the flat columns of the CMS file, that pass its cut and the selection."""
    rng = np.random.default_rng(seed)
    phi = rng.uniform(-3.1, 0.0, n)
    charge = rng.choice([-1, 1], n).astype(np.int32)
    return {
        "Type": np.full(n, "GG"),
        "Run": np.arange(n, dtype=np.int32),
        "Event": np.arange(n, dtype=np.int32) % 7,
        "pt1": rng.uniform(43, 50, n), "pt2": rng.uniform(38, 43, n),
        "eta1": rng.uniform(-0.2, 0.2, n), "eta2": rng.uniform(-0.2, 0.2, n),
        "phi1": phi, "phi2": phi + 3.1, "Q1": charge, "Q2": -charge,
        "M": rng.uniform(70, 110, n),
    }  # fmt: skip


def muons(columns: dict[str, np.ndarray]) -> dict[str, Any]:
    """The same pairs in the jagged columns of NanoAOD."""
    counts = np.full(len(columns["pt1"]), 2)
    names = {"Muon_pt": "pt", "Muon_eta": "eta", "Muon_phi": "phi", "Muon_charge": "Q"}
    return {
        name: ak.unflatten(np.stack([columns[f"{c}1"], columns[f"{c}2"]], -1).ravel(), counts)
        for name, c in names.items()
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(columns: dict[str, Any], name: str = "data.root", tree: str = "Events") -> Path:
        path = tmp_path / name
        with RootWriter(path, tree=tree) as writer:
            writer.write(Events.from_columns(columns))
        return path

    return written


# --- layouts --------------------------------------------------------------------------


def test_the_layout_is_the_one_that_fits(write: Callable[..., Path], ask: Ask) -> None:
    flat, nano = ask(write(pairs(), "flat.root")), ask(write(muons(pairs()), "nano.root"))
    assert (flat.layout, nano.layout) == ("cms2010", "nanoaod")
    for name in ("Dimuon_mass", "Dimuon_pt", "Dimuon_cos_theta_cs"):
        np.testing.assert_allclose(flat.events[name], nano.events[name], rtol=1e-12)


def test_the_mass_is_that_of_the_two_muons(write: Callable[..., Path], ask: Ask) -> None:
    columns = pairs(5)
    expected = np.sqrt(
        2 * columns["pt1"] * columns["pt2"]
        * (np.cosh(columns["eta1"] - columns["eta2"]) - np.cos(3.1))
    )  # fmt: skip
    observed = ask(write(columns))
    np.testing.assert_allclose(observed.events["Dimuon_mass"], expected, rtol=1e-12)
    assert set(observed.events.fields) >= {"Dimuon_mass", "Dimuon_pt", "Dimuon_y"}
    assert len(observed.sources) == 1


def test_a_file_with_both_layouts_takes_the_first_or_the_one_that_is_named(
    write: Callable[..., Path], ask: Ask
) -> None:
    other = muons(pairs(seed=2))
    path = write(pairs() | other)
    assert ask(path).layout == "nanoaod"
    flat = ask(path, layout="cms2010")
    assert flat.layout == "cms2010"
    assert not np.array_equal(flat.events["Dimuon_pt1"], ask(path).events["Dimuon_pt1"])
    with pytest.raises(InputError, match="'cms2011'; did you mean 'cms2010'"):
        ask(path, layout="cms2011")


def test_a_layout_that_is_named_and_does_not_fit_is_refused(
    write: Callable[..., Path], ask: Ask
) -> None:
    with pytest.raises(FileError, match=r"nearest is 'cms2010', for which it lacks .*pt1"):
        ask(write(muons(pairs())), layout="cms2010")


def test_columns_by_their_own_names_need_no_layout(write: Callable[..., Path], ask: Ask) -> None:
    """As a simulation of the same workflow writes them, with weights and what is not selected."""
    calo = Session.open(ZMUMU.with_name("calo_shower.toml"))
    assert not calo.workflow.data.layouts
    rng, kept = np.random.default_rng(1), np.arange(6) % 2 == 0
    names = [*calo.feature_names, "Calo_eta", "genWeight"]
    columns: dict[str, Any] = {name: rng.uniform(1, 2, 6) for name in names}
    found = ask(write(columns | {"selected": kept}), session=calo)
    assert found.layout == "columns by name"
    for name in names:
        np.testing.assert_array_equal(found.events.flat([name])[:, 0], columns[name][kept])
    plain = ask(write({n: columns[n] for n in calo.feature_names}, "plain.root"), session=calo)
    assert plain.events.weight.tolist() == [1.0] * 6
    del columns["Calo_depth"]
    with pytest.raises(FileError, match=r"has no branch Calo_depth, and the workflow no \[\[data"):
        ask(write(columns, "lacks.root"), session=calo)


def test_a_file_that_fits_none_says_what_is_missing_and_what_is_near(
    write: Callable[..., Path], ask: Ask
) -> None:
    columns = pairs()
    columns["pT1"] = columns.pop("pt1")
    with pytest.raises(FileError) as caught:
        ask(write(columns))
    message = str(caught.value)
    assert "fits no layout" in message
    assert "nearest is 'cms2010', for which it lacks pt1" in message
    assert "did you mean 'pT1'" in message
    assert "--branches" in message


def test_a_workflow_without_layouts_says_so(write: Callable[..., Path], ask: Ask) -> None:
    bare = Session.open(ZMUMU, ["data.layouts=[]"])
    with pytest.raises(FileError, match=r"no \[\[data\.layouts\]\]"):
        ask(write(pairs()), session=bare)


def test_layouts_look_at_the_tree_that_is_meant(
    write: Callable[..., Path], session: Session
) -> None:
    path = write(pairs(), tree="pairs")
    for text in (f"{path}:pairs", str(path)):
        (source,) = resolve(text)
        assert choose_layout(session, source, DataRequest()).name == "cms2010"
    with pytest.raises(FileError, match="no tree 'pears'; did you mean 'pairs'"):
        choose_layout(session, resolve(f"{path}:pears")[0], DataRequest())


# --- columns of the user --------------------------------------------------------------

OWN = ["Muon_pt=[p1, p2]", "Muon_eta=[e1, e2]; Muon_phi=[f1, f2]", "Muon_charge=[q1, q2]"]


def renamed(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = {"pt": "p", "eta": "e", "phi": "f", "Q": "q"}
    return {new + i: columns[old + i] for old, new in names.items() for i in "12"}


def test_columns_may_be_mapped_without_a_layout(write: Callable[..., Path], ask: Ask) -> None:
    observed = ask(write(renamed(pairs())), branches=OWN)
    assert observed.layout == "--branches"
    expected = ask(write(pairs(), "flat.root"))
    np.testing.assert_array_equal(observed.events["Dimuon_mass"], expected.events["Dimuon_mass"])


def test_columns_that_are_enough_need_no_layout(write: Callable[..., Path], ask: Ask) -> None:
    # The cut of the layout that the file fits too would leave nothing.
    columns = pairs()
    columns["Type"][:] = "TT"
    observed = ask(write(columns | renamed(pairs())), branches=OWN)
    assert (observed.layout, len(observed.events)) == ("--branches", 50)


def test_one_column_wins_over_the_layout_that_has_the_rest(
    write: Callable[..., Path], ask: Ask
) -> None:
    path = write(pairs())
    before, after = ask(path), ask(path, branches=["Muon_pt=[1.01*pt1, 1.01*pt2]"])
    assert after.layout == "cms2010"
    np.testing.assert_allclose(
        after.events["Dimuon_mass"], 1.01 * np.asarray(before.events["Dimuon_mass"])
    )


def test_a_feature_may_be_in_the_file(write: Callable[..., Path], ask: Ask) -> None:
    observed = ask(write({"mass": np.array([80.0, 91.0, 99.0])}), branches=["Dimuon_mass = mass"])
    assert observed.events["Dimuon_mass"].to_list() == [80.0, 91.0, 99.0]
    assert observed.events.fields == ["Dimuon_mass"]


def test_too_few_columns_are_said_so(write: Callable[..., Path], ask: Ask) -> None:
    path = write({"mass": np.array([80.0, 91.0])})
    with pytest.raises(DataError, match=r"no column \['Dimuon_mass'\]; expected Muon_pt"):
        ask(path, branches=["Dimuon_pt=mass"])


@pytest.mark.parametrize("text", ["Muon_pt", "Muon_pt==3", "pt1"])
def test_a_column_without_an_expression_is_refused(
    write: Callable[..., Path], ask: Ask, text: str
) -> None:
    with pytest.raises(InputError, match="expected column=expression"):
        ask(write(pairs()), branches=[text])


def test_muons_of_different_collections_are_refused(write: Callable[..., Path], ask: Ask) -> None:
    jets = {"Jet_eta": ak.Array([[0.1], [0.2, 0.3]])}
    path = write(muons(pairs(2)) | jets)
    with pytest.raises(
        DataError, match=r"'Muon_pt' and 'Muon_eta' have different numbers .* 1 of 2"
    ):
        ask(path, branches=["Muon_eta=Jet_eta"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"branches": [*OWN[:-1], "Muon_charge=[q1, qq2]"]}, r"\('qq2': did you mean 'q2'"),
        ({"branches": OWN, "cut": "pp1 > 1"}, "no branch 'pp1' .*did you mean 'p1'"),
        ({"branches": OWN, "weights": "wieght"}, "no branch 'wieght'"),
    ],
)
def test_an_unknown_branch_is_answered_with_the_nearest(
    write: Callable[..., Path], ask: Ask, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        ask(write(renamed(pairs())), **options)


# --- which events ---------------------------------------------------------------------


def test_every_step_of_the_selection_is_counted(write: Callable[..., Path], ask: Ask) -> None:
    columns = pairs(20)
    columns["Type"][:2] = "GT"  # 18 left after the cut
    columns["Run"][2:5] = columns["Event"][2:5] = 99  # three pairs of one event: 16 left
    columns["eta1"][10:13] = 2.3  # outside of the acceptance: 13 left
    observed = ask(write(columns))
    assert observed.selection == {
        "entries": 20, "valid": 20, "cut": 18, "complete": 18, "unique": 16, "selected": 13,
    }  # fmt: skip
    assert len(observed.events) == 13


def test_of_the_pairs_of_an_event_the_hardest_is_kept(write: Callable[..., Path], ask: Ask) -> None:
    columns = pairs(6)
    columns["Run"][:], columns["Event"][:] = [1, 1, 1, 2, 2, 2], 5
    columns["pt1"][:] = [44, 48, 46, 45, 44, 49]
    observed = ask(write(columns))
    assert observed.events["Dimuon_pt1"].to_list() == [48.0, 49.0]


def test_a_cut_of_the_user_adds_to_that_of_the_layout(write: Callable[..., Path], ask: Ask) -> None:
    columns = pairs(20)
    columns["Type"][:5] = "GT"
    observed = ask(write(columns), cut="pt1 > 46 | pt1 > 47")
    expected = (columns["pt1"] > 46) & (np.arange(20) >= 5)
    assert len(observed.events) == observed.selection["cut"] == int(expected.sum())
    assert 2 <= expected.sum() < 15


def test_a_cut_that_removes_all_is_said_so(write: Callable[..., Path], ask: Ask) -> None:
    with pytest.raises(DataError, match=r"passes the cut.*loosen the cut"):
        ask(write(pairs()), cut="pt1 > 1000")


def test_a_selection_that_removes_all_is_said_so(write: Callable[..., Path], ask: Ask) -> None:
    in_mev = {n: 1000 * c if n == "Muon_pt" else c for n, c in muons(pairs()).items()}
    with pytest.raises(DataError, match=r"0 events of .*unique 50, selected 0.*units \(GeV\)"):
        ask(write(in_mev))


def test_one_event_is_not_enough(write: Callable[..., Path], ask: Ask) -> None:
    with pytest.raises(DataError, match=r"1 events of .* expected at least two"):
        ask(write(pairs(1)))
    assert len(ask(write(pairs(2), "two.root")).events) == 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_none_are_counted_and_refused_unless_dropped(
    write: Callable[..., Path], ask: Ask, value: float
) -> None:
    columns = pairs(20)
    columns["pt1"][[3, 5]] = value
    columns["eta2"][5] = value
    path = write(columns)
    with pytest.raises(DataError, match=r"in 2 of 20 rows \(pt1: 2, eta2: 1\).*--drop-invalid"):
        ask(path)
    observed = ask(path, drop_invalid=True)
    assert len(observed.events) == 18
    assert observed.selection["valid"] == 18


def test_a_column_that_is_not_needed_may_hold_anything(
    write: Callable[..., Path], ask: Ask
) -> None:
    assert len(ask(write(pairs() | {"spare": np.full(50, np.nan)})).events) == 50


def test_weights_keep_their_sign(write: Callable[..., Path], ask: Ask) -> None:
    columns = muons(pairs(4)) | {"w": np.array([1.0, -2.0, 0.5, 3.0])}
    observed = ask(write(columns), weights="2 * w")
    assert observed.events.weight.tolist() == [2.0, -4.0, 1.0, 6.0]
    assert "genWeight" not in ask(write(columns, "plain.root")).events


def test_several_files_are_one_data_set(
    write: Callable[..., Path], ask: Ask, tmp_path: Path
) -> None:
    for i in range(3):
        write(muons(pairs(10, seed=i)), f"part{i}.root")
    observed = ask(tmp_path / "part*.root")
    assert len(observed.events) == 30
    assert len(observed.sources) == 3
    assert len(ask(tmp_path / "part*.root", entry_stop=15).events) == 15


def test_pairs_of_one_event_in_two_files_are_one(write: Callable[..., Path], ask: Ask) -> None:
    first, second = pairs(10), pairs(10)
    second["pt1"] += 0.5
    observed = ask(write(first, "a.root"), write(second, "b.root"))
    assert len(observed.events) == 10
    np.testing.assert_array_equal(np.sort(observed.events["Dimuon_pt1"]), np.sort(second["pt1"]))


# --- where files are ------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The folders in which a file is looked for, in order."""
    folders = {
        "here": tmp_path / "here",
        "named": tmp_path / "named",
        "beside": tmp_path / "shared" / "data",
        "packaged": tmp_path / "packaged",
    }
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("HEPGEN_TESTDATA", str(folders["named"]))

    def packaged(name: str) -> str | None:
        path = folders["packaged"] / name
        return str(path) if path.exists() else None

    monkeypatch.setattr(data, "_testdata", packaged)
    return folders


@pytest.mark.parametrize("tree", ["", ":events"])
def test_a_file_is_looked_for_in_order(places: dict[str, Path], tree: str) -> None:
    for folder in places.values():
        (folder / "a.root").write_text("")
    found = []
    for folder in places.values():
        found.append(find(f"a.root{tree}"))
        (folder / "a.root").unlink()
    beside = "../shared/data/a.root"
    assert found == [
        f"a.root{tree}", f"{places['named'] / 'a.root'}{tree}", f"{beside}{tree}",
        f"{places['packaged'] / 'a.root'}{tree}",
    ]  # fmt: skip
    assert find(f"a.root{tree}") == f"a.root{tree}", "what is nowhere stays as it was named"


@pytest.mark.parametrize(
    "text", ["root://eos.example.org//a.root:events", "*.root", "a.root,b.root", "part[12].root:t"]
)
def test_what_is_more_than_a_name_is_left_alone(places: dict[str, Path], text: str) -> None:
    (places["named"] / "a.root").write_text("")
    assert find(text) == text


def test_a_file_in_the_folder_of_the_environment_is_read(
    write: Callable[..., Path], ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(pairs())
    monkeypatch.setenv("HEPGEN_TESTDATA", str(tmp_path))
    assert ask("data.root:Events").sources == (f"{tmp_path / 'data.root'}:Events",)


def test_a_file_that_is_nowhere_is_said_so(ask: Ask) -> None:
    with pytest.raises(FileError, match=r"no file 'nowhere\.root'"):
        ask("nowhere.root")


def test_without_a_file_it_is_the_workflow_s(
    write: Callable[..., Path], ask: Ask, tmp_path: Path
) -> None:
    path = write(pairs())
    beside = tmp_path / "workflow.toml"
    beside.write_text(ZMUMU.read_text())
    opened = Session.open(beside, [f'data.file="{path.name}"'])
    assert ask(session=opened).sources == (str(path),)
    nothing = Session.open(beside, ["data={}"])
    with pytest.raises(InputError, match=r"no data: name a ROOT file, or set data\.file"):
        ask(session=nothing)


# --- real data ------------------------------------------------------------------------


def test_the_cms_pairs_of_2010(ask: Ask, real_data: Callable[[str], Path]) -> None:
    observed = ask(f"{real_data('uproot-Zmumu.root')}:events")
    assert observed.layout == "cms2010"
    assert observed.selection == {
        "entries": 2304, "valid": 2304, "cut": 501, "complete": 501, "unique": 500,
        "selected": 500,
    }  # fmt: skip
    mass = np.asarray(observed.events["Dimuon_mass"])
    assert 60 < mass.min() < mass.max() < 120
    assert np.median(mass) == pytest.approx(91.0, abs=0.5)


@pytest.mark.parametrize(
    ("name", "selected"),
    [
        ("nano_dy.root", 2),
        ("Run2012BC_DoubleMuParked_Muons_1000evts_rntuple_v1-0-0-0.root", 90),
    ],
)
def test_real_nanoaod_fits_its_layout(
    ask: Ask, real_data: Callable[[str], Path], name: str, selected: int
) -> None:
    observed = ask(real_data(name))
    assert (observed.layout, len(observed.events)) == ("nanoaod", selected)
