"""A trained model is up to date only while its files are those of that training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hepgen.inference.nle import NLE
from hepgen.pipeline.session import Session
from hepgen.pipeline.train import trained

TINY = Path(__file__).parent / "tiny.toml"


def opened(folder: Path, epochs: int) -> Session:
    return Session.open(
        TINY, [f"folder={str(folder)!r}", "simulation.events=4000", f"nle.epochs={epochs}"]
    )


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
