"""The run folder: a step is done, or it is not."""

from __future__ import annotations

import json
from pathlib import Path

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


@pytest.mark.parametrize("damage", [b'{"train": ', b"\xff\xfe"])
def test_a_damaged_manifest_is_said_so(folder: RunFolder, damage: bytes) -> None:
    (folder / MANIFEST).write_bytes(damage)
    with pytest.raises(FileError, match=r"manifest\.json is damaged"):
        folder.is_current("train", "k")


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
