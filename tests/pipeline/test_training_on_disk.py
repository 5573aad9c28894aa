"""What every estimator learns from, on disk: the same numbers as in memory, and learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.augmented import AugmentedEvents
from hepgen.nn import rows as training_rows
from hepgen.nn.row_file import RowFile
from hepgen.pipeline import gather as gathering
from hepgen.pipeline.estimators import estimator
from hepgen.pipeline.gather import gather, shared
from hepgen.pipeline.session import Session
from hepgen.pipeline.train import trained

TINY = Path(__file__).parent / "tiny.toml"
METHODS = ["nre", "classifier", "npe", "sally", "rascal", "alices", "scandal"]
SETTINGS = [
    "simulation.events=6000", "simulation.set_events=6000", "simulation.augmented_events=6000",
    "simulation.block_size=2000",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("disk") / "run"


def opened(folder: Path, *overrides: str) -> Session:
    return Session.open(TINY, [f"folder={folder}", *SETTINGS, *overrides])


def tensors(sample: Any) -> list[Tensor]:
    """All that a sample is made of, in order."""
    if isinstance(sample, Tensor):
        return [sample]
    parts = sample if isinstance(sample, tuple) else vars(sample).values()
    return [tensor for part in parts if part is not None for tensor in tensors(part)]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Memory is full from now on; the row files that are written."""
    made: list[object] = []

    class Noted(RowFile):
        def __enter__(self) -> Noted:
            made.append(self)
            super().__enter__()
            return self

    monkeypatch.setattr(training_rows, "IN_MEMORY", 1000)
    monkeypatch.setattr(gathering, "RowFile", Noted)
    return made


@pytest.mark.parametrize("method", METHODS)
def test_an_estimator_learns_from_disk_what_it_learns_from_memory(
    folder: Path, method: str, request: pytest.FixtureRequest
) -> None:
    session = opened(folder, f"{method}.{'density_epochs' if method == 'npe' else 'epochs'}=2")
    memory = tensors(estimator(method).sample(session))
    before = sorted(path.name for path in folder.iterdir())
    files = request.getfixturevalue("files")
    disk = tensors(estimator(method).sample(session))
    assert files
    assert len(disk) == len(memory) > 1
    for one, other in zip(disk, memory, strict=True):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype
    assert sorted(path.name for path in folder.iterdir()) == before
    curve = trained(session, method).curve
    assert curve.validation[-1] < curve.validation[0]


def test_members_take_their_shares_on_disk(folder: Path, files: list[object]) -> None:
    index = torch.tensor([5, 0, 2, 2, 4])
    sample = estimator("scandal").sample(opened(folder))
    files.clear()
    share = sample.share(index, torch.ones(5), folder)
    assert not files  # 160 bytes
    many = torch.arange(6000).flip(0)
    factor = torch.linspace(0, 2, 6000)
    reversed_ = sample.share(many, factor, folder)
    assert len(files) == len(sample.events.columns)
    for name in ("x", "theta", "score"):
        assert torch.equal(getattr(share.events, name), getattr(sample.events, name)[index])
        assert torch.equal(getattr(reversed_.events, name), getattr(sample.events, name).flip(0))
    assert torch.equal(reversed_.events.weight, factor)


def test_pairs_have_the_same_corrected_scores_and_ratios_in_parts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: AugmentedEvents = estimator("rascal").sample(opened(folder)).events
    efficiency = events.efficiency()
    at_once = events.selected(efficiency)
    monkeypatch.setattr("hepgen.nn.columns._PART", 700)
    score, ratio = events.selected_score(efficiency), events.selected_ratio(efficiency)
    assert ratio is not None
    index = torch.tensor([4000, 3, 17])
    assert torch.equal(score[index], at_once.score[index])
    assert at_once.log_ratio is not None
    assert torch.equal(ratio[index], at_once.log_ratio[index])


def test_a_first_block_without_a_row_says_nothing_of_the_size(
    tmp_path: Path, files: list[object]
) -> None:
    x = torch.randn(500, 3).numpy()
    (found,) = gather(iter([(x[:0],), (x,)]), 500, tmp_path)
    assert len(files) == 1
    assert torch.equal(found, torch.from_numpy(x))
    with pytest.raises(DataError, match="no events to train on"):
        gather(iter([]), 500, tmp_path)
    (same,) = shared((found,), torch.arange(500), tmp_path)
    assert torch.equal(same, found)
