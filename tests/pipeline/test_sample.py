"""Events of a surrogate in a ROOT file: the same for a seed, whatever wrote them."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch

import hepgen
from hepgen.compute import InProcess, Workers
from hepgen.errors import FileError, HepgenError, InputError, SimulationError, SurrogateError
from hepgen.events import Events
from hepgen.features import Feature
from hepgen.io.tables import RootWriter, read, read_metadata
from hepgen.nn.model_files import write_model
from hepgen.pipeline import sample as module
from hepgen.pipeline import worker_model
from hepgen.pipeline.load import load
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.sample import BLOCK, EXTRAPOLATED, sample_to_file
from hepgen.pipeline.show import show
from hepgen.surrogates.arrays import EventSurrogate
from hepgen.surrogates.surrogate import Surrogate


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mass ~ m_z + 2.5 z and pt, of a flow that was hardly trained."""
    folder = tmp_path_factory.mktemp("model") / "flow"
    generator = torch.Generator().manual_seed(0)
    c = torch.rand(1000, 2, generator=generator, dtype=torch.float64) + torch.tensor([91.0, 0.0])
    z = torch.randn(1000, 2, generator=generator, dtype=torch.float64)
    Surrogate.fit(
        torch.stack([c[:, 0] + 2.5 * z[:, 0], z[:, 1].exp()], -1), c,
        features=(Feature("Dimuon_mass", "GeV"), Feature("Dimuon_pt", "GeV", low=0.0)),
        inputs=(Feature("m_z", "GeV"), Feature("tune")), method="coupling",
        options={"layers": 2, "hidden": [8]}, epochs=2, device="cpu",
        manifest={"process": "toy", "events": 1000},
    ).save(folder)  # fmt: skip
    return folder


def sample(model: Path, output: Path, **options: Any) -> dict[str, Any]:
    theta = [] if "theta_from" in options else ["m_z=91.5,tune=0.5"]
    given: dict[str, Any] = {"theta": theta, "seed": 7, "monitor": Silent()}
    return sample_to_file(model, output, **(given | options))


def columns(path: Path) -> dict[str, Any]:
    events = read(path).read()
    return {name: np.asarray(events[name]) for name in events.fields}


def same(a: Path, b: Path) -> bool:
    x, y = columns(a), columns(b)
    return x.keys() == y.keys() and all(np.array_equal(x[name], y[name]) for name in x)


class Elsewhere(InProcess):
    """Workers on machines that do not see the disk of this one."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        model = replace(fn.model, folder=Path("/elsewhere/flow"))
        return super().submit(replace(fn, model=model), *args, **kwargs)


def test_workers_that_do_not_see_the_model_are_sent_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Path] = []
    whole = worker_model.WorkerModel.with_files
    sample(model, tmp_path / "here.root", events=str(3 * BLOCK + 10))
    monkeypatch.setattr(Workers, "_engine", lambda *_: Elsewhere())

    def with_files(one: worker_model.WorkerModel) -> worker_model.WorkerModel:
        sent.append(one.folder)
        return whole(one)

    monkeypatch.setattr(worker_model.WorkerModel, "with_files", with_files)
    sample(model, tmp_path / "there.root", events=str(3 * BLOCK + 10))
    assert same(tmp_path / "here.root", tmp_path / "there.root")
    assert sent == [model.resolve()]  # once: the worker keeps it


def test_a_model_that_was_replaced_is_not_sent(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "flow")
    named = worker_model.WorkerModel.of(tmp_path / "flow", extrapolate=False)
    with (tmp_path / "flow" / "model.json").open("a") as file:
        file.write(" ")
    assert named.load() is None
    with pytest.raises(FileError, match="replaced while it was sampled"):
        named.with_files()


def test_the_file_has_events_theta_and_where_they_come_from(model: Path, tmp_path: Path) -> None:
    facts = sample(model, tmp_path / "a.root", events="500")
    assert facts["events"] == 500
    table = columns(tmp_path / "a.root")
    assert set(table) == {"Dimuon_mass", "Dimuon_pt", "theta_m_z", "theta_tune", "genWeight"}
    assert np.all(table["theta_m_z"] == 91.5)
    assert np.all(table["Dimuon_pt"] > 0)
    metadata = read_metadata(tmp_path / "a.root")
    assert (metadata["genEventCount"], metadata["genEventSumw"], metadata["seed"]) == (500, 500, 7)
    provenance = metadata["provenance"]
    assert provenance["surrogate"]["manifest"] == {"process": "toy", "events": 1000}
    assert provenance["contexts"] == {"theta": {"m_z": 91.5, "tune": 0.5}}
    assert provenance["versions"]["hepgen"] == hepgen.__version__


def test_a_seed_and_nothing_else_determines_the_events(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = BLOCK + 900
    sample(model, tmp_path / "a.root", events=str(number))
    monkeypatch.setattr(module, "_WORTH_WORKERS", 0.0)
    sample(model, tmp_path / "b.root", events=str(number), workers=Workers(2))
    assert same(tmp_path / "a.root", tmp_path / "b.root")
    sample(model, tmp_path / "c.root", events=str(number), seed=8)
    assert not same(tmp_path / "a.root", tmp_path / "c.root")


@pytest.mark.parametrize("number", [1, 300, BLOCK, BLOCK + 1])
def test_a_longer_sample_begins_with_a_shorter_one(
    model: Path, tmp_path: Path, number: int
) -> None:
    sample(model, tmp_path / "long.root", events=str(BLOCK + 300))
    sample(model, tmp_path / "short.root", events=str(number))
    long, short = columns(tmp_path / "long.root"), columns(tmp_path / "short.root")
    assert all(np.array_equal(long[name][:number], short[name]) for name in short)


def simulated(path: Path, number: int, parts: int = 1, **more: Any) -> Path:
    """A file with a θ for each event, in so many parts."""
    table = {"theta_m_z": np.linspace(91.1, 91.9, number), "tune": np.linspace(0.9, 0.1, number)}
    with RootWriter(path) as writer:
        for part in np.array_split(np.arange(number), parts):
            writer.write(Events.from_columns({k: v[part] for k, v in (table | more).items()}))
    return path


def test_theta_from_a_file_an_event_a_row(model: Path, tmp_path: Path) -> None:
    number = BLOCK + 500
    weight = np.where(np.arange(number) % 3, 1.5, -1.0)
    theta = simulated(tmp_path / "sim.root", number, genWeight=weight)
    facts = sample(model, tmp_path / "a.root", theta_from=f"{theta}:Events")
    table = columns(tmp_path / "a.root")
    assert facts["events"] == number
    assert facts["genEventSumw"] == pytest.approx(weight.sum())
    assert np.array_equal(table["genWeight"], weight)
    assert np.array_equal(table["theta_m_z"], np.linspace(91.1, 91.9, number))
    # The first 200 alone: one column is called as in the file.
    sample(model, tmp_path / "b.root", theta_from=str(theta), events="200")
    first = columns(tmp_path / "b.root")
    assert all(np.array_equal(table[name][:200], first[name]) for name in table)
    assert "tune" in first


def test_how_a_file_is_cut_does_not_matter(model: Path, tmp_path: Path) -> None:
    number = BLOCK + 500
    one = simulated(tmp_path / "1.root", number)
    both = (simulated(tmp_path / "2.root", number, parts=3), simulated(tmp_path / "3.root", 40))
    sample(model, tmp_path / "a.root", theta_from=str(one))
    sample(model, tmp_path / "b.root", theta_from=f"{both[0]},{both[1]}", events=str(number))
    assert same(tmp_path / "a.root", tmp_path / "b.root")


def test_theta_outside_the_range_is_refused_or_marked(model: Path, tmp_path: Path) -> None:
    table = {"m_z": np.array([91.5, 93.0, 91.5]), "theta_tune": np.full(3, 0.5)}
    with RootWriter(tmp_path / "sim.root") as writer:
        writer.write(Events.from_columns(table))
    options: dict[str, Any] = {"theta_from": str(tmp_path / "sim.root")}
    with pytest.raises(SurrogateError, match=r"m_z = 93 \(1 of 3\).*--extrapolate"):
        sample(model, tmp_path / "a.root", **options)
    assert not (tmp_path / "a.root").exists()
    facts = sample(model, tmp_path / "a.root", extrapolate=True, **options)
    assert facts["extrapolatedEventCount"] == 1
    assert columns(tmp_path / "a.root")[EXTRAPOLATED].tolist() == [False, True, False]
    assert read_metadata(tmp_path / "a.root")["provenance"]["extrapolate"] is True


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no number": ({}, "how many events"),
    "half an event": ({"events": "0.5"}, "whole number"),
    "no value": ({"events": "5", "theta": ["m_z=91.5"]}, r"no value for tune: give --theta tune="),
    "unknown": ({"events": "5", "theta": ["m_Z=91.5"]}, r"did you mean 'm_z'"),
    "twice": ({"events": "5", "theta": ["m_z=91.5,tune=0", "m_z=91"]}, "more than once"),
    "no number there": ({"events": "5", "theta": ["m_z=heavy,tune=0"]}, "not a number"),
    "no equals": ({"events": "5", "theta": ["m_z"]}, "expected NAME=VALUE"),
    "both": ({"theta": ["m_z=91"], "theta_from": "x.root"}, "contradict"),
    "no file": ({"theta": [], "theta_from": "nothing.root"}, "nothing.root"),
    "nan": ({"events": "5", "theta": ["m_z=nan,tune=0"]}, "expected a finite number"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_named_and_write_nothing(name: str, model: Path, tmp_path: Path) -> None:
    options, words = BAD[name]
    with pytest.raises(InputError, match=words) as caught:
        sample(model, tmp_path / "a.root", **{"theta": ["m_z=91.5,tune=0.5"], **options})
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_theta_or_with_too_few_rows(model: Path, tmp_path: Path) -> None:
    theta = simulated(tmp_path / "sim.root", 10)
    with pytest.raises(InputError, match=r"-n 11: .* has 10 rows"):
        sample(model, tmp_path / "a.root", theta_from=str(theta), events="11")
    with RootWriter(tmp_path / "other.root") as writer:
        writer.write(Events.from_columns({"theta_m_zz": np.ones(3)}))
    with pytest.raises(InputError, match=r"neither 'theta_m_z' nor 'm_z' is a column"):
        sample(model, tmp_path / "a.root", theta_from=str(tmp_path / "other.root"))


def test_nothing_is_overwritten_unasked(model: Path, tmp_path: Path) -> None:
    theta = simulated(tmp_path / "sim.root", 10)
    with pytest.raises(FileError, match="exists"):
        sample(model, theta, events="5")
    with pytest.raises(FileError, match="is an input"):
        sample(model, theta, theta_from=str(theta), overwrite=True)
    with pytest.raises(InputError, match=r"ends in \.h5"):
        sample(model, tmp_path / "a.root", events="5", format="hdf5")
    sample(model, theta, events="5", overwrite=True)
    assert len(columns(theta)["Dimuon_pt"]) == 5


def test_values_that_are_not_finite_stop_it(model: Path, tmp_path: Path) -> None:
    broken = Surrogate.load(model)
    with torch.no_grad():
        for parameter in broken.model.parameters():
            parameter.mul_(float("nan"))
    broken.save(tmp_path / "broken")
    with pytest.raises(SimulationError, match=r"5 of 5 values of 'Dimuon_mass'"):
        sample(tmp_path / "broken", tmp_path / "a.root", events="5")
    assert not (tmp_path / "a.root").exists()


# --- models that cannot be used -------------------------------------------------------


class Trap:
    """Makes a file if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def signed(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit the description as someone would who knows how it is signed."""
    entry = json.loads((folder / "model.json").read_text())
    entry.pop("sha256")
    change(entry)
    digest = hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
    (folder / "model.json").write_text(json.dumps({**entry, "sha256": digest}))


def edited(folder: Path) -> None:
    path = folder / "model.json"
    path.write_text(path.read_text().replace("Dimuon_pt", "Dimuon_pz"))


def cut(name: str) -> Callable[[Path], None]:
    def shorten(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return shorten


def pickled(folder: Path) -> None:
    content = pickle.dumps(Trap(folder.parent / "executed"))
    (folder / "weights.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    signed(folder, lambda entry: entry.update(weights_sha256=digest))


def change(**entries: Any) -> Callable[[Path], None]:
    return lambda folder: signed(folder, lambda entry: entry.update(entries))


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut description": (cut("model.json"), "not JSON"),
    "cut weights": (cut("weights.safetensors"), "truncated, edited"),
    "edited": (edited, "edited after it was written"),
    "newer schema": (change(schema=99), "schema 99.*update hepgen"),
    "pickle": (pickled, "cannot be read as safetensors"),
    "unknown family": (change(method="os.system"), "no family 'os.system'"),
    "unknown option": (change(options={"__class__": "x"}), "is not a surrogate"),
    "other sizes": (change(options={"layers": 3, "hidden": [8]}), "does not fit"),
    "wrong options": (change(options={"layers": "x", "hidden": None}), "is not a surrogate"),
    "no features": (change(features={"features": [], "mean": [], "std": []}), "not a surrogate"),
    "no domain": (change(domain={"names": ["m_z"]}), "is not a surrogate"),
    "features of code": (change(features="__import__('os')"), "is not a surrogate"),
    "no folder": (shutil.rmtree, "no file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_or_hostile_model_is_named_and_nothing_runs(
    name: str, model: Path, tmp_path: Path
) -> None:
    damage, words = HOSTILE[name]
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    damage(folder)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: load(folder),
        lambda: sample(folder, tmp_path / "a.root", events="5"),
    )
    for call in calls:
        with pytest.raises(FileError, match=words) as caught:
            call()
        assert caught.value.exit_code == 2
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "a.root").exists()


def test_a_model_of_another_kind(tmp_path: Path) -> None:
    write_model(tmp_path / "m", "nle", {}, torch.nn.Linear(1, 1))
    with pytest.raises(FileError, match="kind 'nle'; expected 'surrogate'"):
        sample(tmp_path / "m", tmp_path / "a.root", events="5")
    write_model(tmp_path / "n", "oracle", {}, torch.nn.Linear(1, 1))
    with pytest.raises(FileError, match=r"kind 'oracle'.*knows nle, npe, .*surrogate"):
        load(tmp_path / "n")


def test_a_model_of_another_process_has_other_columns(model: Path, tmp_path: Path) -> None:
    with RootWriter(tmp_path / "ee_jets.root") as writer:
        writer.write(Events.from_columns({"theta_alpha_s": np.ones(3)}))
    with pytest.raises(HepgenError, match="neither 'theta_m_z' nor 'm_z'") as caught:
        sample(model, tmp_path / "a.root", theta_from=str(tmp_path / "ee_jets.root"))
    assert caught.value.exit_code == 2


# --- load and show --------------------------------------------------------------------


def test_load_gives_arrays(model: Path, tmp_path: Path) -> None:
    surrogate = load(model)
    assert isinstance(surrogate, EventSurrogate)
    assert surrogate.features == ("Dimuon_mass", "Dimuon_pt")
    events = hepgen.load(str(model)).sample(5, {"m_z": 91.5, "tune": 0.5})
    assert isinstance(events, ak.Array)
    assert np.isfinite(surrogate.log_prob(events, {"m_z": 91.5, "tune": 0.5})).all()
    sample(model, tmp_path / "a.root", events="50")
    simulated = read(tmp_path / "a.root").read()
    theta = {"m_z": 91.5, "tune": 0.5}
    by_name = surrogate.log_prob(simulated, simulated.columns)
    assert np.array_equal(by_name, surrogate.log_prob(simulated, theta))


def test_show_a_surrogate(model: Path) -> None:
    facts, words = show(str(model))
    assert facts["method"] == "coupling"
    for part in ("coupling flow, affine", "exact (change of variables)", "Dimuon_pt    (0, inf)",
                 "m_z", "process = toy"):  # fmt: skip
        assert part in words


def test_another_model_in_the_same_folder_is_read(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    sample(folder, tmp_path / "a.root", events="50")
    surrogate = Surrogate.load(folder)
    with torch.no_grad():
        for parameter in surrogate.model.parameters():
            parameter.add_(0.1)
    surrogate.save(folder)
    sample(folder, tmp_path / "b.root", events="50")
    assert not same(tmp_path / "a.root", tmp_path / "b.root")
