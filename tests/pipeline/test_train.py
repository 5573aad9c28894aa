"""A trained model is up to date only while its files are those of that training."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from hepgen.inference.nle import NLE
from hepgen.pipeline.model_folder import ModelFolder
from hepgen.pipeline.session import Session
from hepgen.pipeline.train import trained
from hepgen.store import RunFolder

TINY = Path(__file__).parent / "tiny.toml"


def opened(folder: Path, epochs: int, *more: str) -> Session:
    settings = [f"folder={str(folder)!r}", "simulation.events=4000", f"nle.epochs={epochs}"]
    return Session.open(TINY, [*settings, *more])


def test_a_model_that_was_saved_and_not_recorded_is_not_taken_for_that_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = NLE.save

    def stopped(model: NLE, folder: Path | str) -> None:
        save(model, folder)
        raise KeyboardInterrupt

    before: Any = trained(opened(tmp_path, 1), "nle")
    assert len(before.curve.train) == 1
    with monkeypatch.context() as patch:
        patch.setattr(NLE, "save", stopped)
        with pytest.raises(KeyboardInterrupt):
            trained(opened(tmp_path, 2), "nle")
    after: Any = trained(opened(tmp_path, 1), "nle")
    assert len(after.curve.train) == 1


def test_a_model_of_other_settings_stays_and_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "models/nle/weights.safetensors"
    trained(opened(tmp_path, 1), "nle")
    before = weights.read_bytes()
    trained(opened(tmp_path, 2), "nle")
    assert weights.read_bytes() != before
    kept = {one.read_bytes() for one in tmp_path.glob("models/nle-*/weights.safetensors")}
    assert kept == {before, weights.read_bytes()}
    monkeypatch.delattr(NLE, "fit")  # nothing is trained again
    for epochs in (1, 2, 1):
        assert len(trained(opened(tmp_path, epochs), "nle").curve.train) == epochs
    assert weights.read_bytes() == before


def test_an_ensemble_of_other_settings_stays_whole(tmp_path: Path) -> None:
    def both(epochs: int) -> Any:
        return trained(opened(tmp_path, epochs, "nle.members=2"), "nle")

    for epochs in (1, 2, 1):
        assert [len(m.curve.train) for m in both(epochs).members] == [epochs, epochs]
    assert len(list(tmp_path.glob("models/nle-*/member-2"))) == 2


def test_the_model_of_a_process_is_its_own_whatever_another_trains(tmp_path: Path) -> None:
    """Both know one run folder, and the name of the method leads to what was used last."""
    for epochs in (1, 2):
        trained(opened(tmp_path, epochs), "nle")
    link = tmp_path / "models/nle"
    assert link.is_symlink()
    assert len(NLE.load(link).curve.train) == 2
    assert len(trained(opened(tmp_path, 1), "nle").curve.train) == 1
    assert len(NLE.load(link).curve.train) == 1


def test_a_folder_of_models_of_an_earlier_version_is_kept(tmp_path: Path) -> None:
    old = tmp_path / "models/nle/weights.safetensors"
    old.parent.mkdir(parents=True)
    old.write_text("earlier")
    trained(opened(tmp_path, 1), "nle")
    assert (tmp_path / "models/nle-old/weights.safetensors").read_text() == "earlier"
    assert len(NLE.load(tmp_path / "models/nle").curve.train) == 1


def test_a_name_that_cannot_lead_to_a_model_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system without links: what stands there stays."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "symlink_to", refuse)
    (tmp_path / "models/nle").mkdir(parents=True)
    said: list[str] = []
    ModelFolder(RunFolder(tmp_path), "models/nle", "1" * 20).point(said.append)
    assert "cannot lead to nle-11111111" in said[0]
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["nle"]


def test_folders_of_earlier_versions_are_all_kept(tmp_path: Path) -> None:
    for text in ("one", "two"):
        model = tmp_path / "models/nle"
        model.unlink(missing_ok=True)
        model.mkdir(parents=True)
        (model / "model.json").write_text(text)
        ModelFolder(RunFolder(tmp_path), "models/nle", "1" * 20).point(print)
        assert model.is_symlink()
    kept = sorted(tmp_path.glob("models/nle-old*/model.json"))
    assert [path.read_text() for path in kept] == ["one", "two"]
