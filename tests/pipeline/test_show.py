"""What is in a file, a workflow or a model; and a result in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from hepgen.config import load
from hepgen.errors import FileError, WorkflowError
from hepgen.events import Events
from hepgen.io.tables import RootWriter
from hepgen.pipeline.show import result_words, show
from hepgen.results import Check, InferenceResult, ParameterEstimate, to_json

ZMUMU = Path(__file__).parents[2] / "workflows" / "zmumu.toml"


@pytest.fixture
def root_file(tmp_path: Path) -> Path:
    path = tmp_path / "a.root"
    columns = {"Muon_pt": ak.Array([[40.0, 30.0], []]), "run": np.array([1, 2], dtype=np.int32)}
    with RootWriter(path) as writer:
        writer.write(Events.from_columns(columns))
        writer.metadata({"genEventCount": 10, "provenance": {"seed": 7}})
    return path


def test_a_root_file_is_its_trees_and_branches(root_file: Path) -> None:
    facts, words = show(str(root_file))
    events = facts["trees"]["Events"]
    assert (events["kind"], events["entries"]) == ("TTree", 2)
    assert {"nMuon", "Muon_pt", "run"} <= events["branches"].keys()
    assert facts["metadata"]["genEventCount"] == 10
    assert "TTree Events: 2 entries" in words
    assert "genEventCount = 10" in words
    assert all(branch in words for branch in events["branches"])
    json.loads(to_json(facts))


def test_one_tree_of_it_may_be_meant(root_file: Path) -> None:
    facts, _ = show(f"{root_file}:Runs")
    assert list(facts["trees"]) == ["Runs"]


def test_the_real_file_is_shown(real_data: Callable[[str], Path]) -> None:
    facts, words = show(f"{real_data('uproot-Zmumu.root')}:events")
    assert facts["trees"]["events"]["entries"] == 2304
    assert "pt1" in words


def test_a_workflow_is_shown_with_its_defaults_and_reads_back(tmp_path: Path) -> None:
    facts, words = show(str(ZMUMU), ["simulation.seed=77"])
    assert facts["simulation"]["seed"] == 77
    assert "r_hat" in words, "a default that the file does not mention"
    copy = tmp_path / "zmumu.toml"
    copy.write_text(words, encoding="utf-8")
    assert load(copy) == load(ZMUMU, ["simulation.seed=77"])
    json.loads(to_json(facts))


def test_a_model_is_shown(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"kind": "nle"}')
    facts, words = show(str(tmp_path))
    assert facts == {"kind": "nle"}
    assert json.loads(words) == facts
    (tmp_path / "model.json").write_text('{"kind"')
    with pytest.raises(FileError, match=r"model\.json cannot be read as JSON"):
        show(str(tmp_path))


def test_a_folder_of_root_files_is_shown(root_file: Path) -> None:
    facts, _ = show(str(root_file.parent))
    assert facts["path"] == str(root_file)


@pytest.mark.parametrize("target", ["", "nothing.root", "nothing"])
def test_what_is_not_there_is_said_so(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hepgen.pipeline.data._testdata", lambda _: None)
    with pytest.raises(FileError, match=r"expected a workflow|no file"):
        show(str(tmp_path / target))
    with pytest.raises(WorkflowError, match="no workflow file"):
        show(str(tmp_path / "nothing.toml"))


def test_another_kind_of_file_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "a.root").write_text("this is no ROOT file")
    with pytest.raises(FileError, match="cannot be read as a ROOT file"):
        show(str(tmp_path / "a.root"))


def test_a_result_is_said_in_words_of_eighty_columns() -> None:
    draws = np.random.default_rng(1).normal(91.19, 0.21, 4000)
    estimate = ParameterEstimate.from_samples(draws, "interest", "GeV")
    good, bad = Check("r_hat", True, 1.0, 1.02), Check("support: mass", False, 0.001234, 0.01)
    result = InferenceResult("nle", 500, {"m_z": estimate}, [good])
    words = result_words(result, Path("results/report.html"))
    assert words.splitlines()[0] == "NLE posterior from 500 events"
    assert "m_z  91.19 ± 0.21 GeV  (95 %: 90." in words
    assert "1 of 1 checks passed" in words
    assert "FAILED" not in words
    assert max(map(len, words.splitlines())) <= 80

    doubtful = InferenceResult("nle", 500, {"m_z": estimate}, [good, bad])
    words = result_words(doubtful, Path("results/report.html"))
    assert "1 of 2 checks passed" in words
    assert "FAILED support: mass: 0.00123, threshold 0.01" in words
    assert "Do not quote this result" in words


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no result"), ("{", "is no result"), ("[]", "is no result"),
     ('{"schema": 99}', "schema 99"), ('{"schema": 1, "method": "nle"}', "is no result")],
)  # fmt: skip
def test_what_is_no_result_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    with pytest.raises(FileError, match=words):
        show(str(tmp_path / "result.json"))
