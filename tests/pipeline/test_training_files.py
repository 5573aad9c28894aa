"""Training on files of events: as on the campaign that they are of, in memory and on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from hepgen.cli.program import app
from hepgen.errors import DataError, FileError
from hepgen.events import Events
from hepgen.io.tables import event_writer, read
from hepgen.nn import rows as training_rows
from hepgen.pipeline.predictive import _training_sample
from hepgen.pipeline.session import Session
from hepgen.pipeline.surrogates import surrogate_events, surrogate_task, trained_surrogate
from hepgen.pipeline.train import learns_from_files, trained, training_key
from hepgen.pipeline.training_data import simulated, training_campaign, training_events

TINY = Path(__file__).parent / "tiny.toml"
Opener = Callable[..., Session]


@pytest.fixture
def opened(tmp_path: Path) -> Opener:
    workflow = shutil.copy(TINY, tmp_path / "tiny.toml")

    def opened(*overrides: str) -> Session:
        folder = f"folder={tmp_path / 'run'}"
        return Session.open(
            workflow, [folder, "simulation.events=6000", "simulation.block_size=2000", *overrides]
        )

    return opened


def written(session: Session, path: Path, change: Callable[[Events], Events] | None = None) -> Path:
    """The events of the campaign in one file."""
    with event_writer(path, overwrite=True) as writer:
        for block in simulated(session, training_campaign(session), "events", "simulate"):
            writer.write(change(block) if change else block)
    return path


@pytest.mark.parametrize("name", ["events.root", "events.parquet", "events.h5"])
def test_a_file_of_the_campaign_gives_its_rows(opened: Opener, tmp_path: Path, name: str) -> None:
    made = training_events(opened())
    written(opened(), tmp_path / name)
    session = opened(f'simulation.files=["{name}"]')
    again = training_events(session)
    assert torch.equal(made.x, again.x)
    assert torch.equal(made.theta, again.theta)
    assert made.weight is again.weight is None
    sample = _training_sample(session)
    assert list(sample) == list(session.feature_names)


def test_rows_on_disk_are_those_in_memory(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing of them stays in the run folder."""
    made = training_events(opened())
    before = sorted((tmp_path / "run").iterdir())
    monkeypatch.setattr(training_rows, "IN_MEMORY", 1000)
    on_disk = training_events(opened())
    assert torch.equal(made.x, on_disk.x)
    assert torch.equal(made.theta, on_disk.theta)
    assert sorted((tmp_path / "run").iterdir()) == before


def test_an_estimator_and_a_surrogate_train_on_a_file_from_disk(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(opened(), tmp_path / "events.parquet")
    shutil.rmtree(tmp_path / "run")
    session = opened('simulation.files=["events.parquet"]', "nle.epochs=2", "surrogate.epochs=2")
    monkeypatch.setattr(training_rows, "IN_MEMORY", 1000)
    curve = trained(session, "nle").curve
    assert curve.validation[-1] < curve.validation[0]
    curve = trained_surrogate(session, "coupling").curve
    assert curve.validation[-1] < curve.validation[0]
    # Nothing was simulated.
    assert not list((tmp_path / "run").glob("*/block-*"))
    events = read(tmp_path / "events.parquet").read()
    last = torch.arange(len(events)) % 10 == 9
    for held_out, rows in ((False, ~last), (True, last)):
        x, c = surrogate_events(session, surrogate_task(session), held_out=held_out)
        assert torch.equal(x, torch.from_numpy(events.flat(session.feature_names))[rows])
        assert torch.equal(c, torch.from_numpy(events.theta(session.parameters.free_names))[rows])


def test_a_surrogate_of_files_knows_the_range_that_they_have(
    opened: Opener, tmp_path: Path
) -> None:
    """Not that of the prior, beyond which it would give finite wrong numbers."""

    def narrow(events: Events) -> Events:
        return events.select(np.abs(events.theta(["theta_0"])[:, 0]) < 0.5)

    written(opened(), tmp_path / "narrow.parquet", narrow)
    written(opened(), tmp_path / "all.parquet")
    found = {}
    for name in ("narrow", "all"):
        session = opened(f'simulation.files=["{name}.parquet"]', "surrogate.epochs=1")
        found[name] = trained_surrogate(session, "coupling").domain
    assert (found["all"].low, found["all"].high) == ((-1.5,), (1.5,))
    # A range is a little wider than its sample, as the next one would be.
    assert -0.53 < found["narrow"].low[0] < -0.45
    assert 0.45 < found["narrow"].high[0] < 0.53


def test_another_file_is_another_training(opened: Opener, tmp_path: Path) -> None:
    written(opened(), tmp_path / "a.parquet")
    keys = [training_key(opened(), "nle")]
    keys.append(training_key(opened('simulation.files=["a.parquet"]'), "nle"))
    written(opened(), tmp_path / "a.parquet", lambda events: events.select(slice(None, -1)))
    keys.append(training_key(opened('simulation.files=["a.parquet"]'), "nle"))
    assert len(set(keys)) == 3
    # What it does not learn from does not change it.
    assert training_key(opened(), "npe") == training_key(
        opened('simulation.files=["a.parquet"]'), "npe"
    )


def test_the_command_takes_files_as_they_are_seen_from_here(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(opened(), tmp_path / "a.parquet")
    written(opened(), tmp_path / "b.root")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = CliRunner().invoke(
        app,
        ["train", str(TINY), "--events", "../a.parquet, ../b.root", "--method", "nle", "--quiet",
         "--set", "nle.epochs=1", "--set", f"folder={tmp_path}/run"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "validation loss" in done.output


@pytest.mark.parametrize("method", ["npe", "scandal"])
def test_files_that_nothing_would_learn_from_are_refused(
    opened: Opener, tmp_path: Path, method: str
) -> None:
    path = written(opened(), tmp_path / "a.parquet")
    done = CliRunner().invoke(
        app,
        ["train", str(TINY), "--events", str(path), "--method", method, "--set",
         f"folder={tmp_path}/run"],
    )  # fmt: skip
    assert done.exit_code == 2
    assert f"{method} learns from what only the chain can simulate" in done.output
    for name, takes in {"nle": True, "classifier": True, "coupling": True, method: False}.items():
        assert learns_from_files(opened('simulation.files=["a.parquet"]'), name) == takes


def without_theta(events: Events) -> Events:
    return Events(events.columns[["x_0"]], events.provenance)


def test_what_cannot_be_trained_on_is_refused(opened: Opener, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"missing\.root"):
        training_events(opened('simulation.files=["missing.root"]'))
    written(opened(), tmp_path / "bare.parquet", without_theta)
    with pytest.raises(DataError, match="theta_theta_0"):
        training_events(opened('simulation.files=["bare.parquet"]'))
    written(opened(), tmp_path / "events.parquet")
    narrow = 'features=[{name="x_0", low=-0.1, high=0.1}]'
    with pytest.raises(DataError, match=r"x_0.*not strictly inside \(-0.1, 0.1\)"):
        training_events(opened('simulation.files=["events.parquet"]', narrow))
