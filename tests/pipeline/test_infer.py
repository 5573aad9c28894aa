"""From a file to a result: what it contains, and what decides whether to believe it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import uproot

from hepgen.errors import FileError
from hepgen.events import Events
from hepgen.pipeline import infer as inference_module
from hepgen.pipeline.data import DataRequest, Observed
from hepgen.pipeline.infer import Inference, infer, infer_into, write_results
from hepgen.pipeline.session import Session
from hepgen.pipeline.train import trained
from hepgen.results import InferenceResult


@pytest.fixture(scope="module")
def inference(session: Session, pseudo_file: Path) -> Inference:
    return infer(session, DataRequest([str(pseudo_file)]))


def test_the_truth_is_found(inference: Inference) -> None:
    # 5 σ: a false alarm in 1.7 million seeds, were the widths exact.
    estimate = inference.result.parameters["m_z"]
    assert abs(estimate.mean - 91.5) < 5 * estimate.std
    assert 0.05 < estimate.std < 0.5


def test_every_free_parameter_has_an_estimate(session: Session, inference: Inference) -> None:
    assert tuple(inference.result.parameters) == session.parameters.free_names
    for estimate in inference.result.parameters.values():
        low95, high95 = estimate.interval95
        low68, high68 = estimate.interval68
        assert low95 < low68 < estimate.median < high68 < high95


def test_the_checks_cover_what_decides(inference: Inference) -> None:
    names = " ".join(check.name for check in inference.result.checks)
    for word in ("NLE on", "NPE on", "R-hat", "effective", "grid", "NLE against NPE", "support",
                 "posterior predictive"):  # fmt: skip
        assert word in names, word


def test_the_same_seed_gives_the_same_result(
    session: Session, inference: Inference, pseudo_file: Path
) -> None:
    again = infer(session, DataRequest([str(pseudo_file)]))
    for method, sample in inference.samples.items():
        assert np.array_equal(sample.theta, again.samples[method].theta), method


def test_results_on_disk(session: Session, inference: Inference, tmp_path: Path) -> None:
    report = write_results(session, inference, tmp_path / "results")
    content = json.loads((tmp_path / "results/result.json").read_text())
    assert content["schema"] == 1
    assert content["method"] == "nle"
    assert content["events"] == inference.result.events
    assert content["passed"] == all(c["passed"] for c in content["checks"])
    assert set(content["parameters"]["m_z"]) >= {
        "role", "unit", "mean", "std", "median", "interval68", "interval95",
    }  # fmt: skip
    with uproot.open(tmp_path / "results/posterior.root") as file:
        draws = file["posterior"]["m_z"].array(library="np")
    assert np.isclose(draws.mean(), content["parameters"]["m_z"]["mean"])
    page = report.read_text()
    assert "Dimuon_mass" in page
    assert 'src="http' not in page
    assert 'href="http' not in page
    assert not [p for p in (tmp_path / "results").iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("stopped", ["posterior.root", "report.html"])
def test_a_result_stays_until_all_files_of_the_next_are_written(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: str
) -> None:
    def write(_: object, path: Path) -> None:
        if path.name == stopped:
            raise KeyboardInterrupt
        path.write_text("new")

    monkeypatch.setattr(inference_module, "_write_posterior", write)
    monkeypatch.setattr(inference_module, "_write_report", lambda _, *more: write(*more))
    files = ("result.json", "posterior.root", "report.html")
    for name in files:
        (tmp_path / name).write_text("old")
    result = InferenceResult("nle", 1, {}, (), {"key": "new"})
    observed = Observed(Events.from_columns({"x": [1.0]}), {})
    inference = Inference(result, {}, (), (), {}, observed)
    with pytest.raises(KeyboardInterrupt):
        write_results(session, inference, tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == dict.fromkeys(files, "old")


@pytest.mark.usefixtures("inference")
def test_an_estimator_is_trained_once(session: Session) -> None:
    before = (session.folder / "models/nle/weights.safetensors").stat().st_mtime_ns
    trained(session, "nle")
    assert (session.folder / "models/nle/weights.safetensors").stat().st_mtime_ns == before


def test_another_configuration_is_another_training(session: Session) -> None:
    from hepgen.pipeline.train import training_key

    other = Session.open(session.source, ["simulation.seed=99", "folder='x'"])
    assert training_key(session, "nle") != training_key(other, "nle")
    assert training_key(session, "nle") == training_key(
        Session.open(session.source, ["inference.draws=20"]), "nle"
    )


def test_data_unlike_the_simulation_fail_a_check(session: Session, pseudo_file: Path) -> None:
    # All masses from one side of the peak: no θ of the prior gives such data.
    result = infer(session, DataRequest([str(pseudo_file)], cut="Dimuon_mass < 89")).result
    failed = {check.name for check in result.checks if not check.passed}
    assert "support: Dimuon_mass" in failed
    assert not result.passed


def test_a_result_that_is_up_to_date_is_not_made_again(
    session: Session, pseudo_file: Path, tmp_path: Path
) -> None:
    request = DataRequest([str(pseudo_file)])
    first, report = infer_into(session, request, tmp_path)
    made = report.stat().st_mtime_ns
    again, _ = infer_into(session, request, tmp_path)
    assert report.stat().st_mtime_ns == made
    assert again.to_dict() == first.to_dict()


def test_a_result_of_other_data_is_not_written_over(
    session: Session, pseudo_file: Path, tmp_path: Path
) -> None:
    moved, out = tmp_path / "moved.root", tmp_path / "out"
    moved.write_bytes(pseudo_file.read_bytes())
    infer_into(session, DataRequest([str(pseudo_file)]), out)
    before = (out / "result.json").read_bytes()
    for other in (DataRequest([str(moved)], cut="Dimuon_pt > 5"),
                  DataRequest([str(moved)], entry_stop=300)):  # fmt: skip
        with pytest.raises(FileError, match=r"holds another result \(of other events\).*--force"):
            infer_into(session, other, out)
    with pytest.raises(FileError, match='--method: "nle" there'):
        infer_into(session, DataRequest([str(moved)]), out, "npe")
    assert (out / "result.json").read_bytes() == before
    # The same events, wherever they are.
    result, _ = infer_into(session, DataRequest([str(moved)]), out)
    assert "moved" in str(result.provenance["data"])
