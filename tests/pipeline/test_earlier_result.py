"""What a folder of results may be written over with."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hepgen.config import to_toml
from hepgen.errors import FileError
from hepgen.files import replacing
from hepgen.pipeline.earlier_result import refuse_other
from hepgen.pipeline.measured import inputs_of
from hepgen.pipeline.session import Session

TINY = Path(__file__).parent / "tiny.toml"

NAMES = ("posterior.root", "report.html")
ONE: dict[str, Any] = {
    "workflow": "name = 'z'\nfolder = 'runs/a'\ninference.method = 'nle'\ndata.file = 'a.root'\n"
    "[nle]\nepochs = 6",
    "data": {"files": ["a.root:Events"], "sha256": "1"},
    "request": {"method": None},
    "inputs": {"jes.root": "4"},
    "versions": {"hepgen": "0"},
}
TWO: dict[str, Any] = {
    "combination": "name = 'both'\n[[channels]]\nname = 'x'\ncut = 'a > 1'\ndata = ['m.root']",
    "channels": {
        n: {"workflow": "name = 'x'", "data": [n], "sha256": n, "inputs": {}} for n in ("x", "y")
    },
    "workspaces": {"count": "3"},
}


def with_result(folder: Path, content: Any) -> Path:
    (folder / "result.json").write_text(json.dumps(content))
    return folder


def changed(provenance: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    other = copy.deepcopy(provenance)
    change(other)
    return other


@pytest.mark.parametrize(
    ("change", "words"),
    [(lambda p: p["data"].update(sha256="2"), r"of other events"),
     (lambda p: p.update(workflow=p["workflow"].replace("6", "8")),
      r"nle\.epochs: 6 there, 8 here"),
     (lambda p: p.update(workflow=p["workflow"].replace("'z'", "'y'")),
      r'name: "z" there, "y" here'),
     (lambda p: p.update(workflow=p["workflow"] + "\nseed = 1"), r"nle\.seed: none there, 1 here"),
     (lambda p: p["inputs"].update({"jes.root": "5"}), r'inputs\.jes\.root: "4" there, "5" here'),
     (lambda p: p["request"].update(method="npe"), r'--method: "nle" there, "npe" here')],
)  # fmt: skip
def test_a_result_of_something_else_is_not_replaced_unasked(
    change: Callable[[dict[str, Any]], Any], words: str, tmp_path: Path
) -> None:
    folder, other = with_result(tmp_path, {"provenance": ONE}), changed(ONE, change)
    with pytest.raises(FileError, match=f"holds another result .*{words}.*--force"):
        refuse_other(folder, other, NAMES, False)
    refuse_other(folder, other, NAMES, True)


@pytest.mark.parametrize(
    "change",
    [lambda _: None, lambda p: p["request"].update(method="nle"),
     lambda p: p["data"].update(files=["/elsewhere/a.root"]),
     lambda p: p["versions"].update(hepgen="1"),
     lambda p: p.update(workflow=p["workflow"].replace("runs/a", "runs/b")),
     lambda p: p.update(workflow=p["workflow"].replace("a.root", "b.root"))],
)  # fmt: skip
def test_the_same_measurement_is_made_again(
    change: Callable[[dict[str, Any]], Any], tmp_path: Path
) -> None:
    """The same events under another path, and what other versions make of them."""
    refuse_other(with_result(tmp_path, {"provenance": ONE}), changed(ONE, change), NAMES, False)


def test_a_combination_of_the_same_events_elsewhere_is_made_again(tmp_path: Path) -> None:
    moved = changed(TWO, lambda p: p.update(combination=p["combination"].replace("m.", "n.")))
    refuse_other(with_result(tmp_path, {"provenance": TWO}), moved, NAMES, False)


def test_what_an_earlier_version_did_not_know_has_its_default(tmp_path: Path) -> None:
    """Of a workflow that is one: of others the entries are compared as they are."""
    session = Session.open(TINY)
    whole = to_toml(session.workflow)
    without = "\n".join(line for line in whole.splitlines() if "grid_points" not in line)
    assert without != whole
    old = changed(ONE, lambda p: p.update(workflow=without))
    new = changed(ONE, lambda p: p.update(workflow=whole))
    refuse_other(with_result(tmp_path, {"provenance": old}), new, NAMES, False)


@pytest.mark.parametrize(
    ("change", "words"),
    [(lambda p: p["channels"]["y"].update(sha256="2"), "of other events"),
     (lambda p: p["channels"]["y"].update(workflow="name = 'z'"), r'y\.name: "x" there, "z" here'),
     (lambda p: p["workspaces"].update(count="4"), "workspaces.count"),
     (lambda p: p.update(combination=p["combination"].replace("1", "2")),
      r'channels\[0\]\.cut: "a > 1" there, "a > 2" here'),
     (lambda p: p["channels"].pop("y"), r"y\.name: \"x\" there, none here")],
)  # fmt: skip
def test_a_combination_is_of_all_its_channels(
    change: Callable[[dict[str, Any]], Any], words: str, tmp_path: Path
) -> None:
    folder = with_result(tmp_path, {"provenance": TWO})
    refuse_other(folder, TWO, NAMES, False)
    with pytest.raises(FileError, match=words):
        refuse_other(folder, changed(TWO, change), NAMES, False)
    with pytest.raises(FileError, match="holds another result"):
        refuse_other(folder, ONE, NAMES, False)


@pytest.mark.parametrize(
    "content", [{}, [], None, {"mine": 1}, {"provenance": {}},
                {"provenance": {"workflow": 1, "data": 2}},
                {"provenance": {**ONE, "workflow": "name = "}},
                {"provenance": {**ONE, "data": {"files": ["of an earlier version"]}}},
                {"provenance": {"combination": "name = 'a'", "channels": []}}],
)  # fmt: skip
def test_what_hepgen_has_not_written_is_not_replaced_unasked(content: Any, tmp_path: Path) -> None:
    folder = with_result(tmp_path, content)
    with pytest.raises(FileError, match=r"result\.json does not say what it is of.*--force"):
        refuse_other(folder, ONE, NAMES, False)
    refuse_other(folder, ONE, NAMES, True)


def test_files_of_somebody_else_are_left_where_no_result_says_of_what(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(FileError, match=r"has report\.html, and no result\.json"):
        refuse_other(tmp_path, ONE, NAMES, False)
    refuse_other(tmp_path, ONE, NAMES, True)


def test_what_was_killed_between_its_files_is_made_again(tmp_path: Path) -> None:
    """It is seen by the place of the new files, which is there until the last has moved."""
    (tmp_path / "report.html").write_text("new")
    (tmp_path / ".unfinished").mkdir()
    refuse_other(tmp_path, ONE, NAMES, False)
    with replacing(tmp_path, "result.json") as part:
        (part / "result.json").write_text("{}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "result.json"]


def test_what_a_workflow_reads_beside_its_data_counts(tmp_path: Path) -> None:
    """Files by their content, wherever they are, and chains by their options and their code."""
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        shutil.copy(TINY, tmp_path / place / "w.toml")
        (tmp_path / place / "sim.root").write_text("events")

    def inputs(place: str, *options: str) -> dict[str, str]:
        session = Session.open(
            tmp_path / place / "w.toml", ["simulation.files=['sim.root']", *options]
        )
        return inputs_of(session)

    assert inputs("one") == inputs("two")
    assert inputs("one", "chain.depth=2")["chain"] != inputs("two")["chain"]
    (tmp_path / "two" / "sim.root").write_text("others")
    assert inputs("one")["sim.root"] != inputs("two")["sim.root"]


def test_an_empty_folder_and_none_may_be_filled(tmp_path: Path) -> None:
    refuse_other(tmp_path, ONE, NAMES, False)
    refuse_other(tmp_path / "none", ONE, NAMES, False)
