"""The run folder: a step is done, or it is not."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

import hepgen
from hepgen import store
from hepgen.errors import FileError
from hepgen.store import MANIFEST, RunFolder, digest, versions


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "a")


def done(folder: RunFolder, step: str = "train", key: str = "k", file: str = "model") -> None:
    (folder / file).write_text("x")
    folder.record(step, key, [file], {"seconds": 2})


def test_a_step_is_current_with_its_key_and_its_files(folder: RunFolder) -> None:
    assert not folder.is_current("train", "k")
    done(folder)
    assert folder.is_current("train", "k")
    assert not folder.is_current("train", "other")
    assert not folder.is_current("infer", "k")
    (folder / "model").unlink()
    assert not folder.is_current("train", "k")


def test_it_is_current_for_another_process_too(folder: RunFolder) -> None:
    done(folder)
    assert RunFolder(folder.path).is_current("train", "k")


def test_facts_are_noted_with_a_step_and_steps_beside_each_other(folder: RunFolder) -> None:
    done(folder)
    done(folder, "infer", "j", "result")
    assert folder.facts("train")["seconds"] == 2
    assert folder.facts("nothing") == {}
    assert folder.is_current("train", "k")
    assert folder.is_current("infer", "j")
    done(folder, key="new")
    assert not folder.is_current("train", "k")


def test_nothing_else_is_left_in_the_folder(folder: RunFolder) -> None:
    done(folder)
    assert sorted(p.name for p in folder.path.iterdir()) == [MANIFEST, "model"]


@pytest.mark.parametrize(
    "damage",
    [b'{"train": ', b"\xff\xfe", b'{"train": []}', b'{"train": {"key": "k", "files": 5}}',
     b'{"train": {"key": "k", "files": [1]}}', b"[" * 10**5,
     b'{"train": {"key": "k", "files": [], "digests": 5}}'],
)  # fmt: skip
def test_a_damaged_manifest_is_said_so(folder: RunFolder, damage: bytes) -> None:
    (folder / MANIFEST).write_bytes(damage)
    with pytest.raises(FileError, match=r"manifest\.json is damaged"):
        folder.is_current("train", "k")


def test_a_step_whose_files_were_written_again_is_not_current(folder: RunFolder) -> None:
    done(folder)
    (folder / "model").write_text("by a training with other settings")
    assert not folder.is_current("train", "k")


def stopped(folder: RunFolder, key: str) -> None:
    """A process that is stopped while it writes the files of a step."""
    with folder.renewed("train", key, ["model", "more"], {}):
        (folder / "model").write_text("x")
        raise KeyboardInterrupt


def test_a_step_that_was_noted_without_digests_is_current(folder: RunFolder) -> None:
    done(folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["train"]["digests"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert folder.is_current("train", "k")
    with pytest.raises(KeyboardInterrupt):
        stopped(folder, "other")
    assert not folder.is_current("train", "k")


def test_a_step_is_not_done_where_it_was_stopped_between_its_files(folder: RunFolder) -> None:
    done(folder)
    with pytest.raises(KeyboardInterrupt):
        stopped(folder, "k")
    assert not folder.is_current("train", "k")
    assert sorted(p.name for p in folder.path.iterdir()) == [MANIFEST, "model"]


def _record(path: Path, number: int) -> None:
    for step in range(20):
        RunFolder(path).record(f"train {number}, member {step}", "k", [], {})


def test_what_several_processes_record_at_once_is_all_kept(folder: RunFolder) -> None:
    spawn: Any = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_record, args=(folder.path, n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    steps = json.loads((folder / MANIFEST).read_text())
    assert len(steps) == 60
    assert [p.name for p in folder.path.iterdir()] == [MANIFEST]


def test_a_manifest_of_something_else_knows_no_steps(folder: RunFolder) -> None:
    (folder / MANIFEST).write_text("[1, 2]")
    assert not folder.is_current("train", "k")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot make the folder"):
        RunFolder(tmp_path / "file" / "runs")


def test_a_digest_depends_on_values_and_content_and_not_on_order(tmp_path: Path) -> None:
    file = tmp_path / "a.root"
    file.write_bytes(b"one")
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert len({digest("a", "b"), digest("b", "a"), digest("ab"), digest(["a", "b"])}) == 4
    before, copy = digest(file), tmp_path / "b.root"
    copy.write_bytes(b"one")
    assert digest(copy) == before
    file.write_bytes(b"two")
    assert digest(file) != before


def test_versions_name_what_an_output_depends_on() -> None:
    found = versions()
    assert found["hepgen"] == hepgen.__version__
    assert {"python", "torch", "numpy", "awkward", "uproot", "sbi"} <= found.keys()
    assert json.loads(json.dumps(found)) == found


def test_a_repository_around_an_installed_package_is_not_its_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "__file__", str(tmp_path / "site-packages/hepgen/store.py"))
    assert "git" not in versions()
