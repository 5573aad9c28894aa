"""Surrogates of images by command: trained, judged, sampled, shown and loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import hepgen
from hepgen.cli import app
from hepgen.errors import SurrogateError, WorkflowError
from hepgen.images import dense_images
from hepgen.io.hdf5 import ImageReader
from hepgen.io.tables import read
from hepgen.pipeline.data import DataRequest, read_observed
from hepgen.pipeline.images import image_task
from hepgen.pipeline.session import Session
from hepgen.pipeline.show import show
from hepgen.pipeline.surrogates import surrogate_events, surrogate_task, trained_surrogate
from hepgen.surrogates.images.surrogate import ImageSurrogate

CALO = Path(__file__).parents[2] / "workflows/calo_shower.toml"
ZMUMU = CALO.with_name("zmumu.toml")
TINY = (
    "chain.layers=3", "chain.eta_cells=8", "chain.phi_cells=8",
    "parameters.energy.prior={ uniform = [30.0, 70.0] }", "surrogate.events=1024",
    "surrogate.test_events=1200", "surrogate.epochs=1", "surrogate.time_budget=20",
    "surrogate.options={ hidden = 4, steps = 2 }", "checks.c2st=0.50001",
)  # fmt: skip
ONLY_GAIN = 'parameters={ gain = { role = "interest", prior = { normal = [1.0, 0.005] } } }'
THETA = "energy=50,impact_eta=0.1,impact_phi=0,gain=1"


def overrides(folder: Path, *more: str) -> list[str]:
    return [f"folder={str(folder)!r}", *TINY, *more]


def run(*words: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def settings(folder: Path, *more: str) -> list[str]:
    return [word for one in overrides(folder, *more) for word in ("--set", one)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a trained diffusion, and what is distilled of it."""
    place = tmp_path_factory.mktemp("calo")
    run("train", CALO, "--method", "distilled", "-q", "-j", "1", *settings(place))
    return place


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return folder / "models/distilled"


def test_a_distilled_one_trains_its_teacher_first(folder: Path) -> None:
    teacher, student = (
        ImageSurrogate.load(folder / f"models/{name}") for name in ("diffusion", "distilled")
    )
    assert (teacher.method, student.method) == ("diffusion", "distilled")
    assert teacher.code.shape == (3, 8, 8)
    assert teacher.code.step == 0.001
    assert teacher.cells.model.options["network"] == "unet"
    assert teacher.manifest["process"] == "calo_shower"
    assert torch.equal(teacher.law.root, student.law.root)


def test_what_is_up_to_date_is_not_trained_again(folder: Path) -> None:
    session = Session.open(CALO, overrides(folder))
    first, again = (trained_surrogate(session, "diffusion") for _ in range(2))
    assert first.curve == again.curve
    assert first.curve == ImageSurrogate.load(folder / "models/diffusion").curve


def test_it_learns_from_images_in_counts_and_the_energy_comes_first(folder: Path) -> None:
    session = Session.open(CALO, overrides(folder))
    task = surrogate_task(session)
    images, particles = surrogate_events(session, task)
    assert task.parameters == ("energy", "impact_eta", "impact_phi", "gain")
    assert images.shape == (1024, 192)
    assert (images / 0.001 - (images / 0.001).round()).abs().max() < 1e-6
    ratio = images.sum(-1) / particles[:, 0]
    assert bool(((ratio > 0.2) & (ratio < 1.1)).all())
    domain = trained_surrogate(session, "diffusion").domain
    assert (domain.low[0], domain.high[0]) == (30.0, 70.0)


def test_a_sample_is_the_same_in_both_formats(model: Path, tmp_path: Path) -> None:
    common = ("-n", "300", "--theta", THETA, "--seed", "3", "-q", "-j", "1")
    run("sample", model, *common, "-o", tmp_path / "a.hdf5")
    run("sample", model, *common, "-o", tmp_path / "a.root")
    reader, events = ImageReader(tmp_path / "a.hdf5"), read(tmp_path / "a.root").read()
    images = reader.read()
    assert reader.shape == (3, 8, 8)
    assert set(images.incident_energies.ravel().tolist()) == {50_000.0}
    np.testing.assert_allclose(images.showers, 1000 * dense_images(events, 192), rtol=1e-6)
    assert set(np.asarray(events["theta_impact_eta"])) == {0.1}
    assert len(np.unique(images.showers.sum(-1))) > 100


def test_a_longer_sample_begins_with_a_shorter_one(model: Path, tmp_path: Path) -> None:
    for n in ("20", "270"):
        run("sample", model, "-n", n, "--theta", THETA, "-o", tmp_path / f"{n}.h5", "-q")
    few, many = (ImageReader(tmp_path / f"{n}.h5").read().showers for n in ("20", "270"))
    assert np.array_equal(few, many[:20])


def test_outside_of_the_training_is_refused_or_marked(model: Path, tmp_path: Path) -> None:
    far = THETA.replace("50", "90")
    words = run("sample", model, "-n", "5", "--theta", far, "-o", tmp_path / "a.h5", code=2)
    assert "energy = 90" in words
    run("sample", model, "-n", "5", "--theta", far, "-o", tmp_path / "a.h5", "--extrapolate", "-q")
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["extrapolated"][()].tolist() == [True] * 5
    assert ImageReader(tmp_path / "a.h5").metadata["extrapolatedEventCount"] == 5


def test_at_the_particles_of_a_file(model: Path, tmp_path: Path) -> None:
    run("simulate", CALO, "-n", "40", "-o", tmp_path / "in.root", "--points", "1", "-q", "-j", "1",
        *settings(tmp_path))  # fmt: skip
    run("sample", model, "--theta-from", tmp_path / "in.root:Events", "-o", tmp_path / "a.h5",
        "--extrapolate", "-q")  # fmt: skip
    given = read(tmp_path / "in.root").read().theta(["energy"])
    made = ImageReader(tmp_path / "a.h5").read()
    np.testing.assert_allclose(made.incident_energies, 1000 * given, rtol=1e-6)


def test_it_is_loaded_and_shown(model: Path) -> None:
    loaded = hepgen.load(model)
    theta = {"energy": 50.0, "impact_eta": 0.1, "impact_phi": 0.0, "gain": 1.0}
    images = loaded.sample(20, theta, seed=1)
    assert isinstance(images, np.ndarray)
    assert images.shape == (20, 3, 8, 8)
    each = loaded.sample(20, {**theta, "energy": np.full(20, 50.0)}, seed=1)
    assert np.array_equal(images, each)
    with pytest.raises(SurrogateError, match="energy = 5 "):
        loaded.sample(2, {**theta, "energy": 5.0})
    with pytest.raises(SurrogateError, match="did you mean 'gain'"):
        loaded.sample(2, {**theta, "gian": 1.0})
    assert "3 x 8 x 8 | energy, impact_eta, impact_phi, gain" in repr(loaded)
    facts, words = show(str(model))
    assert facts["kind"] == "image-surrogate"
    assert "images of 3 x 8 x 8 cells" in words
    assert "trained for:\n    energy      (30, 70) GeV" in words


def test_it_is_exported_as_one_graph(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    words = run("export", model, "-o", tmp_path / "out")
    assert "sampler.onnx: onnxruntime differs by" in words
    assert "no density: " in words
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["image"]["layers, eta, phi"] == [3, 8, 8]
    assert manifest["context"][0]["name"] == "energy"


def test_it_is_judged_with_a_page_and_fails_an_impossible_limit(folder: Path) -> None:
    words = run("validate", CALO, "--method", "distilled", "--json", "-q", "-j", "1",
                *settings(folder), code=3)  # fmt: skip
    found = json.loads(words)
    assert "1" in found["judgement"]["seconds_per_event"]
    names = [one["name"] for one in found["judgement"]["classifiers"]]
    assert names[-1] == "perceptron, all cells"
    assert len(names) == 3
    assert any(not check["passed"] for check in found["checks"])
    page = Path(found["report"]).read_text()
    for title in ("Layers", "Showers", "No closure"):
        assert title in page


def test_one_line_puts_it_into_the_chain(model: Path, tmp_path: Path) -> None:
    """Cells and observables of a file are of each other; in both formats the same showers."""
    line = f"surrogates=[{str(model)!r}]"
    for name in ("a.root", "a.hdf5"):
        words = ("-n", "600", "-o", tmp_path / name, "-q", "-j", "1")
        run("simulate", CALO, *words, *settings(tmp_path, line))
    events, images = read(tmp_path / "a.root").read(), ImageReader(tmp_path / "a.hdf5").read()
    np.testing.assert_allclose(images.showers, 1000 * dense_images(events, 192), rtol=1e-6)
    chain = Session.open(CALO, overrides(tmp_path, line)).chain
    again = chain.reconstruct(events)
    for name in ("Calo_energy", "Calo_depth", "Calo_width"):
        np.testing.assert_allclose(again.flat([name]), events.flat([name]), rtol=1e-5)
    ratio = np.asarray(events["Calo_energy"]) / np.asarray(events["theta_energy"])
    assert 0.7 < ratio.mean() < 1.1


def test_measured_cells_are_read_by_a_chain_with_it(model: Path, tmp_path: Path) -> None:
    """The observables of simulated cells, from the file with cells; nothing is selected."""
    run("simulate", CALO, "-n", "16", "--theta", THETA, "-o", tmp_path / "data.root", "-q",
        *settings(tmp_path))  # fmt: skip
    session = Session.open(CALO, overrides(tmp_path, f"surrogates=[{str(model)!r}]"))
    cells = [f"{name}={name}" for name in ("Cell_index", "Cell_energy")]
    known = read(tmp_path / "data.root").read()
    # By the cells, and by the observables, which are in the file under their own names.
    for branches in (cells, []):
        request = DataRequest([str(tmp_path / "data.root")], branches=branches)
        found = read_observed(session, request).events
        np.testing.assert_allclose(
            found.flat(session.feature_names), known.flat(session.feature_names), rtol=1e-5
        )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("-n", "5", "--set", "parameters.energy.prior={ uniform = [5.0, 100.0] }"), 2,
         "energy between .* and the surrogate was trained in \\[30, 70\\]"),
        (("-n", "5", "--augment"), 2, "density is not known, so it has no score"),
        (("-n", "5", "--set", "chain.threshold=0.012"), 2, "other options .* threshold: 0.009"),
    ],
)  # fmt: skip
def test_what_a_chain_with_it_refuses(
    model: Path, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    line = settings(tmp_path, f"surrogates=[{str(model)!r}]")
    said = run("simulate", CALO, "-o", tmp_path / "a.root", "-j", "1", *line, *words, code=code)
    assert re.search(message, " ".join(said.split())), said


@pytest.mark.parametrize(
    ("workflow", "override", "words"),
    [
        (ZMUMU, "surrogate.image=true", "makes no images"),
        (CALO, 'surrogate.replace=["spots"]', "neither surrogate.replace"),
        (CALO, ONLY_GAIN, "'energy' does not vary"),
    ],
)
def test_what_cannot_be_a_surrogate_of_images(
    tmp_path: Path, workflow: Path, override: str, words: str
) -> None:
    session = Session.open(workflow, [f"folder={str(tmp_path)!r}", override])
    with pytest.raises(WorkflowError, match=words):
        surrogate_task(session)


def test_the_workflow_trains_what_the_benchmark_does(tmp_path: Path) -> None:
    session = Session.open(CALO, [f"folder={str(tmp_path)!r}"])
    assert image_task(session).shape == (10, 12, 12)
    assert session.workflow.surrogate.method == "diffusion"
