"""A trained model is up to date only while its files are those of that training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hepgen.inference.nle import NLE
from hepgen.pipeline.session import Session
from hepgen.pipeline.train import trained

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


def test_a_model_of_other_settings_is_put_aside_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "models/nle/weights.safetensors"
    trained(opened(tmp_path, 1), "nle")
    before = weights.read_bytes()
    trained(opened(tmp_path, 2), "nle")
    assert weights.read_bytes() != before
    (aside,) = tmp_path.glob("models/nle-*")
    assert (aside / "weights.safetensors").read_bytes() == before
    monkeypatch.delattr(NLE, "fit")  # nothing is trained again
    for epochs in (1, 2, 1):
        assert len(trained(opened(tmp_path, epochs), "nle").curve.train) == epochs
    assert weights.read_bytes() == before


def test_an_ensemble_of_other_settings_is_put_aside_whole(tmp_path: Path) -> None:
    def both(epochs: int) -> Any:
        return trained(opened(tmp_path, epochs, "nle.members=2"), "nle")

    for epochs in (1, 2, 1):
        assert [len(m.curve.train) for m in both(epochs).members] == [epochs, epochs]
    assert len(list(tmp_path.glob("models/nle-*"))) == 1
