"""ROOT files in and out, against uproot, against ROOT itself, and on real data."""

from __future__ import annotations

import errno
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from hepgen.errors import DataError, FileError, InputError
from hepgen.events import Events
from hepgen.io.formats import open_table
from hepgen.io.root.rntuple import RNTuple
from hepgen.io.tables import RootWriter, Source, describe, read, read_metadata

RealData = Callable[[str], Path]

ZMUMU = "uproot-Zmumu.root"
NANOAOD = "nano_dy.root"
RNTUPLE = "Run2012BC_DoubleMuParked_Muons_1000evts_rntuple_v1-0-0-0.root"
DIMUON = 'Type == "GG" & Q1*Q2 < 0 & pt1 > 20 & pt2 > 20 & 60 < M < 120'
SETTINGS = {"seed": 7, "note": "ü", "rate": 0.5, "good": True, "list": [1, 2], "none": None}


def events(rows: int, seed: int = 1) -> Events:
    """Events with every kind of column; some have no muons."""
    rng = np.random.default_rng(seed)
    muons, photons = rng.integers(0, 4, rows), rng.integers(0, 3, rows)

    def jagged(values: Any, counts: Any) -> ak.Array:
        return ak.unflatten(ak.Array(values), counts)

    return Events.from_columns(
        {
            "Muon_pt": jagged(rng.exponential(30, muons.sum()).astype(np.float32), muons),
            "Muon_charge": jagged(rng.choice([-1, 1], muons.sum()).astype(np.int32), muons),
            "Muon_tight": jagged(rng.random(muons.sum()) > 0.5, muons),
            "latent_Photon_x": jagged(rng.random(photons.sum()), photons),
            "Dimuon_mass": rng.normal(91, 3, rows),
            "genWeight": rng.normal(size=rows).astype(np.float32),
            "event": np.arange(rows, dtype=np.int64) + 2**40,
            "run": rng.integers(0, 9, rows).astype(np.int32),
            "selected": rng.random(rows) > 0.5,
        }
    )


def written(path: Path, *parts: Events, **options: Any) -> Path:
    with RootWriter(path, **options) as writer:
        for part in parts:
            writer.write(part)
    return path


def table(path: Path, columns: Mapping[str, Any], name: str = "Events", **options: Any) -> Path:
    """A file as others write it."""
    with uproot.recreate(path) as file:
        arrays = {n: ak.Array(c) for n, c in columns.items()}
        file.mktree(name, {n: a.type.content for n, a in arrays.items()}, **options)
        file[name].extend(arrays)
    return path


def same(left: Events, right: Events) -> bool:
    return set(left.fields) == set(right.fields) and all(
        left[n].type == right[n].type and ak.array_equal(left[n], right[n]) for n in left.fields
    )


# --- real data ------------------------------------------------------------------------


def test_zmumu_has_501_pairs_in_500_events(real_data: RealData) -> None:
    columns = {"Dimuon_mass": "M", "Muon_pt": ["pt1", "pt2"], "Run": "Run", "Event": "Event"}
    pairs = read(real_data(ZMUMU), columns, cut=DIMUON)
    selected = pairs.read()
    assert len(selected) == 501
    assert pairs.cutflow.to_dict() == {
        "entries": 2304, "valid": 2304, "cut": 501, "complete": 501, "unique": 501,
    }  # fmt: skip
    once = read(
        real_data(ZMUMU), columns, cut=DIMUON, one_per=["Run", "Event"], keep="pt1 + pt2",
        step_size=500,
    )  # fmt: skip
    best = once.read()
    assert len(best) == once.cutflow.unique == 500
    assert len(set(zip(best["Run"].tolist(), best["Event"].tolist(), strict=True))) == 500
    assert ak.max(ak.sum(best["Muon_pt"], axis=1)) == ak.max(ak.sum(selected["Muon_pt"], axis=1))


def test_zmumu_agrees_with_uproot(real_data: RealData) -> None:
    with uproot.open(f"{real_data(ZMUMU)}:events") as tree:
        a = tree.arrays(["M", "pt1", "pt2", "Q1", "Q2", "Type"])
    mask = (a.Type == "GG") & (a.Q1 * a.Q2 < 0) & (a.pt1 > 20) & (a.pt2 > 20)
    mask = mask & (a.M > 60) & (a.M < 120)
    ours = read(real_data(ZMUMU), {"m": "M"}, cut=DIMUON, step_size=100).read()
    assert ours["m"].tolist() == a.M[mask].tolist()


def test_nanoaod_element_of_a_jagged_branch(real_data: RealData) -> None:
    with uproot.open(f"{real_data(NANOAOD)}:Events") as tree:
        muons = tree["Muon_pt"].array()
    reader = read(real_data(NANOAOD), {"lead": "Muon_pt[0]"}, cut="Muon_pt[0] > 20")
    expected = [event[0] for event in muons.tolist() if event and event[0] > 20]
    assert reader.read()["lead"].tolist() == expected
    assert reader.cutflow.entries == len(muons)


def test_a_cut_acts_on_an_rntuple(real_data: RealData) -> None:
    """uproot's own cut would be ignored, silently."""
    reader = read(
        real_data(RNTUPLE), ["Muon_pt"], cut="nMuon >= 2 & Muon_pt[0] > 20", step_size=300
    )
    selected = reader.read()
    with uproot.open(f"{real_data(RNTUPLE)}:Events") as tuple_:
        muons = tuple_["Muon_pt"].array().tolist()
    expected = [event for event in muons if len(event) >= 2 and event[0] > 20]
    assert 0 < len(expected) < len(muons)
    assert selected["Muon_pt"].tolist() == expected


def test_describe_real_files(real_data: RealData) -> None:
    (tree,) = describe(real_data(ZMUMU)).trees
    assert (tree.name, tree.kind, tree.entries) == ("events", "TTree", 2304)
    assert (tree.branches["M"], tree.branches["Type"]) == ("double", "char*")
    trees = {tree.name: tree for tree in describe(real_data(NANOAOD)).trees}
    assert len(trees["Events"].branches) == 1499
    assert describe(real_data(RNTUPLE)).trees[0].kind == "RNTuple"
    assert describe(Source(str(real_data(NANOAOD)), "Runs")).trees[0].entries == 1
    assert read_metadata(real_data(NANOAOD))["genEventCount_"] > 0


@pytest.mark.parametrize("name", [ZMUMU, NANOAOD, RNTUPLE])
@pytest.mark.parametrize("fraction", [0.0, 1e-4, 0.01, 0.5, 0.99, 0.9999])
def test_a_truncated_file_is_refused(
    real_data: RealData, tmp_path: Path, name: str, fraction: float
) -> None:
    whole = real_data(name).read_bytes()
    path = tmp_path / "cut.root"
    path.write_bytes(whole[: int(fraction * len(whole))])
    for look in (describe, read_metadata, read):
        with pytest.raises(FileError, match="truncated"):
            look(path)


def test_broken_bytes_are_refused_or_harmless(real_data: RealData, tmp_path: Path) -> None:
    """Never an error of uproot's; half of the bytes of a basket are not detectable."""
    whole = real_data(ZMUMU).read_bytes()
    path, refused = tmp_path / "broken.root", 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), 500):
            broken[place] = rng.integers(256)
        path.write_bytes(broken)
        try:
            read(path, ["M", "pt1", "Type"]).read()
        except InputError:
            refused += 1
    assert refused > 10


# --- what is written is read back -----------------------------------------------------


@pytest.mark.parametrize("format", ["ttree", "rntuple"])
@pytest.mark.parametrize("step_size", [None, 37])
def test_round_trip(tmp_path: Path, format: str, step_size: int | None) -> None:
    original = events(500)
    parts = [original.select(slice(i, i + 70)) for i in range(0, 500, 70)]
    path = written(tmp_path / "a.root", *parts, format=format)
    assert same(read(path, step_size=step_size).read(), original)


def test_uproot_reads_nanoaod_style(tmp_path: Path) -> None:
    original = events(300)
    with uproot.open(written(tmp_path / "a.root", original)) as file:
        assert file.classnames() == {"Events;1": "TTree"}
        tree = file["Events"]
        assert tree["Muon_pt"].count_branch.name == "nMuon"
        assert tree["Muon_charge"].count_branch.name == "nMuon"
        assert tree["latent_Photon_x"].count_branch.name == "nlatent_Photon"
        assert tree["nMuon"].array().tolist() == ak.num(original["Muon_pt"]).tolist()
        for name in original.fields:
            assert ak.array_equal(tree[name].array(), original[name])


def test_many_baskets(tmp_path: Path) -> None:
    """One write of 40 MB, which must not become one basket (uproot#1490)."""
    rows = 5_000_000
    original = Events.from_columns({"x": np.arange(rows, dtype=np.float64)})
    path = written(tmp_path / "a.root", original)
    with uproot.open(path) as file:
        assert 35 <= file["Events/x"].num_baskets <= 45
    total = sum(float(np.sum(part["x"])) for part in read(path))
    assert total == rows * (rows - 1) / 2


def test_small_writes_are_collected(tmp_path: Path) -> None:
    path = written(tmp_path / "a.root", *[events(3, seed) for seed in range(200)])
    with uproot.open(path) as file:
        assert file["Events"].num_entries == 600
        assert file["Events/event"].num_baskets == 1


def test_empty_chunks_and_events_without_muons(tmp_path: Path) -> None:
    some = events(20)
    none = some.select(np.asarray(ak.num(some["Muon_pt"]) == 0))
    assert len(none) > 0
    empty = some.select(slice(0, 0))
    path = written(tmp_path / "a.root", empty, none, empty, some)
    assert same(read(path).read(), Events.concatenate([none, some]))


def test_a_file_of_no_rows_is_a_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.root", events(5).select(slice(0, 0)))
    assert describe(path).trees[0].entries == 0
    with pytest.raises(DataError, match="no rows"):
        read(path).read()


def test_strings_of_a_slice(tmp_path: Path) -> None:
    """uproot#1646: strings of a sliced array were written wrongly."""
    names = Events.from_columns({"s": ak.Array(["a", "bb", "", "x" * 300, "é"] * 3)})
    part = names.select(slice(4, 13))
    assert same(read(written(tmp_path / "a.root", part)).read(), part)


def test_what_was_read_can_be_written(real_data: RealData, tmp_path: Path) -> None:
    muons = read(real_data(NANOAOD), ["nMuon", "Muon_pt", "Muon_eta", "run"]).read()
    path = written(tmp_path / "a.root", muons)
    again = read(path, ["nMuon", "Muon_pt", "Muon_eta", "run"]).read()
    assert again["Muon_pt"].tolist() == muons["Muon_pt"].tolist()
    assert again["nMuon"].tolist() == muons["nMuon"].tolist()


def test_metadata(tmp_path: Path) -> None:
    with RootWriter(tmp_path / "a.root") as writer:
        writer.write(events(5))
        writer.metadata({"seed": 6})
        writer.metadata(SETTINGS)
    assert read_metadata(tmp_path / "a.root") == SETTINGS
    with uproot.open(tmp_path / "a.root") as file:
        row = file["Runs"].arrays()[0].tolist()
        assert json.loads(str(file["hepgen_provenance"])) == SETTINGS
    assert row == {"seed": 7, "note": "ü", "rate": 0.5, "good": True}
    assert describe(tmp_path / "a.root").metadata == SETTINGS


def test_a_file_without_metadata_has_none(tmp_path: Path) -> None:
    assert read_metadata(written(tmp_path / "a.root", events(5))) == {}


def test_rows_of_nothing_are_not_counted(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        runs = file.mktree("Runs", {"x": "f8"})._cascading
        runs._branch_data.clear()
        runs._num_entries = 2**60  # a loop over them would have no end
        runs.write_anew(file.file.sink)
    assert read_metadata(tmp_path / "a.root") == {}
    assert describe(tmp_path / "a.root").trees[0].entries == 2**60


ROOT_SCRIPT = """
import json, sys
import ROOT
file = ROOT.TFile(sys.argv[1])
tree = file.Get("Events")
out = {leaf.GetName(): [] for leaf in tree.GetListOfLeaves()}
flat = [leaf.GetName() for leaf in tree.GetListOfLeaves() if not leaf.GetLeafCount()]
for row in tree:
    for name in out:
        value = getattr(row, name)
        out[name].append(value if name in flat else [float(x) for x in value])
runs = file.Get("Runs")
runs.GetEntry(0)
print(json.dumps({
    "columns": out,
    "provenance": file.Get("hepgen_provenance").GetString().Data(),
    "seed": runs.seed, "rate": runs.rate, "good": bool(runs.good),
    "counts": [tree.GetEntries(cut) for cut in sys.argv[2:]],
}))
"""
COUNT_SCRIPT = """
import json, sys
import ROOT
file = ROOT.TFile(sys.argv[1])
tree = file.Get(sys.argv[2])
print(json.dumps([tree.GetEntries(cut) for cut in sys.argv[3:]]))
"""


def in_root(script: str, *arguments: str | Path) -> Any:
    """What ROOT itself says, in a process of its own."""
    if importlib.util.find_spec("ROOT") is None:
        pytest.skip("ROOT is not installed (pip install root, Linux only)")
    command = [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Error in <" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_root_reads_what_is_written(tmp_path: Path) -> None:
    original = events(1000)
    with RootWriter(tmp_path / "a.root") as writer:
        for low in range(0, 1000, 300):
            writer.write(original.select(slice(low, low + 300)))
        writer.metadata(SETTINGS)
    seen = in_root(ROOT_SCRIPT, tmp_path / "a.root", "selected && nMuon > 1", "Muon_pt[0] > 20")
    for name in original.fields:
        assert seen["columns"][name] == original[name].tolist()
    assert seen["columns"]["nMuon"] == ak.num(original["Muon_pt"]).tolist()
    assert json.loads(seen["provenance"]) == SETTINGS
    assert (seen["seed"], seen["rate"], seen["good"]) == (7, 0.5, True)
    path = tmp_path / "a.root"
    ours = [
        len(read(path, ["run"], cut=c).read()) for c in ("selected && nMuon > 1", "Muon_pt[0] > 20")
    ]
    assert seen["counts"] == ours


def test_cuts_agree_with_ttree_draw(real_data: RealData) -> None:
    """Flat cuts, with C++'s operators, on real data."""
    cuts = [
        'Type == "GG" && Q1*Q2 < 0 && pt1 > 20 && pt2 > 20 && M > 60 && M < 120',
        "M > 80 || pt1 > 30 && !(eta1 > 0)",
        "abs(eta1 - eta2) < 1.5 && sqrt(px1*px1 + py1*py1) > 25",
        "Event % 2 == 0",
        "min(pt1, pt2) / max(pt1, pt2) > 0.5",
        "E1 - pt1*cosh(eta1) < 0.01",
    ]
    path = real_data(ZMUMU)
    ours = [len(read(path, ["M"], cut=cut).read()) for cut in cuts]
    assert in_root(COUNT_SCRIPT, path, "events", *cuts) == ours


def test_indexed_cuts_agree_with_ttree_draw(real_data: RealData) -> None:
    cuts = [
        "Muon_pt[0] > 20",
        "Muon_pt[1] > 5 && nMuon - 3 < 0",
        "Alt$(Muon_pt[0], 0) < 20",
        "Sum$(Muon_pt > 10) >= 1",
    ]
    path = real_data(NANOAOD)
    ours = [len(read(path, ["run"], cut=cut).read()) for cut in cuts]
    assert in_root(COUNT_SCRIPT, path, "Events", *cuts) == ours


# --- reading --------------------------------------------------------------------------


def test_only_the_needed_branches_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "a.root", {"x": [1.0], "y": [2.0], "z": [3.0]})
    asked: list[str] = []
    iterate = uproot.TTree.iterate

    def spy(tree: Any, expressions: Any, **options: Any) -> Any:
        asked.extend(expressions)
        assert "cut" not in options
        return iterate(tree, expressions, **options)

    monkeypatch.setattr(uproot.TTree, "iterate", spy)
    assert read(path, {"a": "x + 1"}, cut="z > 0").read()["a"].tolist() == [2.0]
    assert asked == ["x", "z"]


@pytest.mark.parametrize("stop", [0, -3])
def test_rows_from_the_end_are_refused(tmp_path: Path, stop: int) -> None:
    """uproot counts a negative end from the last row."""
    path = tmp_path / "a.root"
    with RootWriter(path) as writer:
        writer.write(Events.from_columns({"x": np.arange(5.0)}))
    with pytest.raises(DataError, match=f"at most {stop} rows are to be read; expected one"):
        read(path, ["x"], entry_stop=stop)


def test_chunks_progress_and_entry_stop(tmp_path: Path) -> None:
    paths = [table(tmp_path / f"{i}.root", {"x": np.arange(100) + 100 * i}) for i in range(3)]
    calls: list[tuple[int, int]] = []
    reader = read(
        paths, ["x"], step_size=40, entry_stop=230, progress=lambda *call: calls.append(call)
    )
    chunks = list(reader)
    assert [len(chunk) for chunk in chunks] == [40, 40, 20, 40, 40, 20, 30]
    assert Events.concatenate(chunks)["x"].tolist() == list(range(230))
    assert calls[-1] == (230, 230) == (reader.entries, reader.cutflow.entries)
    assert len(list(reader)) == len(chunks)  # as often as needed
    assert reader.cutflow.entries == 230


def test_one_per_event_across_chunks_and_files(tmp_path: Path) -> None:
    """Rows of one event that are far apart are found, and the best is kept."""
    first = table(tmp_path / "a.root", {"event": [1, 2, 3, 2], "pt": [5.0, 1.0, 7.0, 4.0]})
    second = table(tmp_path / "b.root", {"event": [3, 1, 4], "pt": [9.0, 2.0, 1.0]})
    reader = read([first, second], ["event", "pt"], one_per=["event"], keep="pt", step_size=2)
    kept = reader.read()
    assert kept["event"].tolist() == [1, 2, 3, 4]
    assert kept["pt"].tolist() == [5.0, 4.0, 9.0, 1.0]
    assert (reader.cutflow.complete, reader.cutflow.unique) == (7, 4)
    without_merit = read([first, second], ["pt"], one_per=["event"]).read()
    assert without_merit["pt"].tolist() == [5.0, 1.0, 7.0, 1.0]


def test_weights_keep_their_sign(tmp_path: Path) -> None:
    path = table(tmp_path / "a.root", {"x": [1.0, 2.0], "w": [2.0, -1.0], "sf": [0.5, 1.0]})
    assert read(path, ["x"], weight="w * sf").read().weight.tolist() == [1.0, -1.0]


def test_invalid_values_are_counted_in_all_files_and_refused(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    first = table(tmp_path / "a.root", {"M": [91.0, nan, 80.0], "pt": [1.0, 1.0, inf]})
    second = table(tmp_path / "b.root", {"M": [nan, 90.0], "pt": [1.0, 1.0]})
    with pytest.raises(DataError, match=r"in 3 of 5 rows \(M: 2, pt: 1\).*--drop-invalid"):
        read([first, second], ["M", "pt"], cut="M > 85").read()
    reader = read([first, second], ["M"], cut="M > 85 & pt > 0", drop_invalid=True)
    assert reader.read()["M"].tolist() == [91.0, 90.0]
    assert reader.cutflow.to_dict() == {
        "entries": 5, "valid": 2, "cut": 2, "complete": 2, "unique": 2,
    }  # fmt: skip
    assert reader.cutflow.invalid == {"M": 2, "pt": 1}
    unneeded = read([first, second], {"one": "1"}, cut="isfinite(M)").read()
    assert len(unneeded) == 3


def test_an_empty_selection_says_where_the_events_went(tmp_path: Path) -> None:
    path = table(tmp_path / "a.root", {"M": [91.0, 80.0]})
    with pytest.raises(DataError, match=r"passes the cut 'M > 91000': 2 rows read.*0 after"):
        read(path, ["M"], cut="M > 91000").read()
    path = table(tmp_path / "b.root", {"M": [float("nan")]})
    with pytest.raises(DataError, match="every one has a value that is NaN"):
        read(path, ["M"], drop_invalid=True).read()


def test_a_wrong_branch_offers_the_nearest_before_anything_is_read(tmp_path: Path) -> None:
    good = table(tmp_path / "a.root", {"Muon_pt": [[1.0]], "M": [1.0]})
    other = table(tmp_path / "b.root", {"Muon_pT": [[1.0]], "M": [1.0]})
    with pytest.raises(DataError, match=r"no branch 'Muonpt' in TTree 'Events'.*'Muon_pt'"):
        read(good, {"x": "Muonpt[0]"})
    with pytest.raises(DataError, match=r"b\.root: no branch 'Muon_pt'.*'Muon_pT'"):
        read([good, other], ["Muon_pt"])


def test_which_tree(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        file["h"] = np.histogram([1.0])
        for name in ("dir/Events", "dir/other", "Runs"):
            file.mktree(name, {"x": "f8"})
            file[name].extend({"x": np.ones(2)})
    assert read(path, ["x"]).sources == [Source(str(path), "dir/Events")]
    assert read(Source(str(path), "dir/other"), ["x"]).entries == 2
    assert read(f"{path}:dir/other;1", ["x"]).entries == 2
    with pytest.raises(FileError, match="no tree 'Events'; did you mean 'dir/Events'"):
        read(f"{path}:Events", ["x"])
    with pytest.raises(FileError, match="'h' is a TH1D"):
        read(f"{path}:h", ["x"])


def test_several_trees_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        for name in ("data", "mc"):
            file.mktree(name, {"x": "f8"})
    with pytest.raises(FileError, match=r"which tree\? It has data, mc; name one"):
        read(path, ["x"])


def test_a_file_without_trees(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        file["note"] = "text"
    with pytest.raises(FileError, match="no TTree or RNTuple in it, only note"):
        read(tmp_path / "a.root", ["x"])


def test_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "a.root").write_text("pt,eta\n1,2\n")
    for look in (describe, read_metadata, read):
        with pytest.raises(FileError, match="cannot be read as a ROOT file"):
            look(tmp_path / "a.root")


def test_no_permission_or_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "a.root", {"x": [1.0]})
    for error, words in ((PermissionError(), "no permission"), (ImportError("x"), "a package")):

        def fail(*_: Any, error: Exception = error, **__: Any) -> Any:
            raise error

        monkeypatch.setattr(uproot, "open", fail)
        with pytest.raises(FileError, match=words):
            read(path)


def test_foreign_types_of_a_ttree(tmp_path: Path) -> None:
    columns = {
        "n": np.array([2, 0], dtype=np.uint32), "b": np.array([True, False]),
        "u": np.array([250, 1], dtype=np.uint8), "s": ["GG", "G"], "x": [[1.0, 2.0], []],
        "pos": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    }  # fmt: skip
    path = table(tmp_path / "a.root", columns, name="ntuple")
    back = read(path).read()
    assert (
        back.columns.tolist()
        == ak.zip({name: ak.Array(c) for name, c in columns.items()}, depth_limit=1).tolist()
    )
    derived = read(path, {"y": "pos[2]", "f": "where(b, u, n - 1)"}).read()
    assert derived.columns.tolist() == [{"y": 3.0, "f": 250}, {"y": 6.0, "f": -1}]


@pytest.mark.parametrize("kind", ["ttree", "rntuple"])
def test_a_group_reads_alike_from_ttree_and_rntuple(tmp_path: Path, kind: str) -> None:
    """In a TTree it is Muon_pt, in an RNTuple the field pt of the collection Muon."""
    muons = ak.zip({"pt": ak.Array([[40.0, 30.0], []]), "q": ak.Array([[1, -1], []])})
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        if kind == "ttree":
            file.mktree("Events", {"Muon": muons.type.content})
            file["Events"].extend({"Muon": muons})
        else:
            file["Events"] = {"Muon": muons}
    assert describe(path).trees[0].kind.lower() == kind
    assert read(path).read().columns.tolist() == [
        {"Muon_pt": [40.0, 30.0], "Muon_q": [1, -1]},
        {"Muon_pt": [], "Muon_q": []},
    ]
    lead = read(path, {"lead": "Muon_pt[0]"}, cut="count(Muon_pt) > 0").read()
    assert lead["lead"].tolist() == [40.0]


def test_the_clusters_of_a_step_fit_in_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten clusters of 1,000 rows of 100 numbers: a step of 1 MB is 1,310 rows, in two of them."""
    with uproot.recreate(tmp_path / "a.root") as file:
        rows = ak.unflatten(np.arange(100_000.0), np.full(1000, 100))
        tree = file.mkrntuple("Events", {"x": "var * float64"})
        for _ in range(10):
            tree.extend(ak.zip({"x": rows}, depth_limit=1))
    monkeypatch.setattr("hepgen.io.table._CHUNK_BYTES", 2**20)
    with open_table(Source(str(tmp_path / "a.root"))) as table:
        assert isinstance(table, RNTuple)
        assert table.row_bytes(["x"]) == pytest.approx(808, abs=1)
        step = table._step(["x"])
        assert step == pytest.approx(2**20 / 808, abs=2)
        ranges = list(table._cluster_ranges(10_000, step))
        assert [len(clusters) for *_, clusters in ranges] == [2] * 5
        parts = [(rows, columns["x"]) for rows, columns in table.read(["x"], 10_000, None)]
    assert max(rows for rows, _ in parts) <= step
    assert ak.concatenate([x for _, x in parts]).tolist() == rows.tolist() * 10


def test_rntuple_of_many_small_clusters(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        file["Events"] = {"x": np.arange(10), "y": ak.Array([[i] * (i % 3) for i in range(10)])}
        for low in range(10, 100, 10):
            rows = range(low, low + 10)
            file["Events"].extend(
                ak.Array({"x": np.array(rows), "y": [[i] * (i % 3) for i in rows]})
            )
    chunks = list(read(path, ["x", "y"], step_size=25, entry_stop=95))
    assert max(len(chunk) for chunk in chunks) <= 25
    everything = Events.concatenate(chunks)
    assert everything["x"].tolist() == list(range(95))
    assert everything["y"].tolist() == [[i] * (i % 3) for i in range(95)]


def test_offsets_that_lead_beyond_the_content_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a file whose checksum is right are taken as they are by what reads it."""
    with uproot.recreate(tmp_path / "a.root") as file:
        tree = file.mkrntuple("Events", {"x": "var * float64"})
        tree.extend({"x": ak.Array([[1.0], [2.0, 3.0]])})
    offsets = ak.index.Index64(np.array([0, 5, 900]))
    wrong = ak.contents.ListOffsetArray(offsets, ak.contents.NumpyArray(np.zeros(900)))
    wrong._content = ak.contents.NumpyArray(np.zeros(3))
    with open_table(Source(str(tmp_path / "a.root"))) as table:
        monkeypatch.setattr(table.tree, "arrays", lambda **_: ak.Array({"x": ak.Array(wrong)}))
        with pytest.raises(FileError, match="cannot be read as a ROOT file"):
            list(table.read(["x"], 2, None))


# --- writing --------------------------------------------------------------------------


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_only_when_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.root", events(5))
    with pytest.raises(FileError, match="exists"):
        RootWriter(path)
    written(path, events(7), overwrite=True)
    assert describe(path).trees[0].entries == 7


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_of_an_interrupted_file(tmp_path: Path, error: type[BaseException]) -> None:
    old = written(tmp_path / "a.root", events(5)).read_bytes()

    def interrupted() -> None:
        with RootWriter(tmp_path / "a.root", overwrite=True) as writer:
            writer.write(events(5))
            raise error

    with pytest.raises(error):
        interrupted()
    assert left_behind(tmp_path) == ["a.root"]
    assert (tmp_path / "a.root").read_bytes() == old


def test_the_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    with RootWriter(tmp_path / "a.root") as writer:
        writer.write(events(5))
        assert not (tmp_path / "a.root").exists()
    assert left_behind(tmp_path) == ["a.root"]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def filling() -> None:
        with RootWriter(tmp_path / "a.root") as writer:
            monkeypatch.setattr(uproot.sink.file.FileSink, "write", full)
            writer.write(events(5))

    with pytest.raises(FileError, match="No space left on device; make room"):
        filling()
    assert left_behind(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no folder"):
        RootWriter(tmp_path / "none" / "a.root")
    with pytest.raises(FileError, match="is a folder"):
        RootWriter(tmp_path)


def test_nothing_written_is_an_error_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no events were written"), RootWriter(tmp_path / "a.root"):
        pass
    assert left_behind(tmp_path) == []


def test_columns_that_change_are_refused(tmp_path: Path) -> None:
    parts = [Events.from_columns({name: np.ones(2)}) for name in ("x", "y")]
    with pytest.raises(DataError, match="columns differ"):
        written(tmp_path / "a.root", *parts)
    assert left_behind(tmp_path) == []
