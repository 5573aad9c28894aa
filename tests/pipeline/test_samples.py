"""Samples of a workflow, from its file to a result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from hepgen.errors import InputError, WorkflowError
from hepgen.inference.ensemble_files import TrainedEnsemble
from hepgen.inference.sample_sum import SampleSum
from hepgen.pipeline.data import DataRequest
from hepgen.pipeline.infer import infer
from hepgen.pipeline.prepare import prepare
from hepgen.pipeline.samples import sample_sessions
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import simulate_to_file
from hepgen.pipeline.train import trained, training_key
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.dijet_spectrum import DijetSpectrum

WORKFLOW = Path(__file__).parents[2] / "workflows" / "dijet_limit.toml"
SAMPLES = """
[[samples]]
name = "background"
parameters = { signal_strength = 0.0, luminosity = 1.0 }

[[samples]]
name = "signal"
chain = { background_cross_section = 1e-9 }
strength = "signal_strength"
parameters = { signal_strength = 2.0, luminosity = 1.0, background_p1 = 9.0 }
events = 100000
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("samples")


def written(folder: Path, samples: str) -> Path:
    """The workflow of the limit with other samples."""
    before, _, rest = WORKFLOW.read_text().partition("# A signal of some")
    path = folder / "samples.toml"
    path.write_text(f"{before}{samples}\n[statements]{rest.partition('[statements]')[2]}")
    return path


def opened(folder: Path, *more: str, samples: str = SAMPLES) -> Session:
    settings = ["simulation.events=200000", "simulation.rate_events=400000", "nle.epochs=3"]
    run = f"folder={str(folder / 'run')!r}"
    return Session.open(written(folder, samples), [run, *settings, *more])


@pytest.fixture(scope="module")
def session(place: Path) -> Session:
    return opened(place)


@pytest.fixture(scope="module")
def model(session: Session) -> SampleSum:
    found = trained(session, "nle")
    assert isinstance(found, SampleSum)
    return found


def point(session: Session, **changed: float) -> torch.Tensor:
    values = {p.name: p.default for p in session.parameters} | changed
    return torch.tensor([[values[name] for name in session.parameters.free_names]]).double()


X = torch.linspace(1210.0, 4490.0, 200, dtype=torch.float64)[:, None]


def test_without_a_strength_only_the_background_is_left(session: Session, model: SampleSum) -> None:
    background: Any = trained(sample_sessions(session)["background"], "nle")
    own = torch.tensor(
        [[background.parameters[n].default for n in background.parameters.free_names]]
    )
    found = model.log_prob(X, point(session, signal_strength=0.0))
    torch.testing.assert_close(found, background.log_prob(X, own.double()))


def test_the_number_of_events_is_linear_in_the_strength(session: Session, model: SampleSum) -> None:
    exact = DijetSpectrum.of(session.simulator)
    edges = torch.tensor([1200.0, 4500.0], dtype=torch.float64)
    values = session.parameters.values(point(session))
    given = [session.simulator.parameters.values(signal_strength=mu) for mu in (0.0, 1.0)]
    none, one = (float(exact(at, edges).sum()) for at in given)
    rates = {s.name: float(s.rate(values)) for s in model.samples if s.rate is not None}
    # 400,000 events for an efficiency of 0.2 at many θ: four errors of half a percent.
    assert rates["background"] == pytest.approx(none, rel=0.02)
    assert rates["signal"] == pytest.approx(one - none, rel=0.02)
    more = {**values, "signal_strength": torch.tensor([-0.5])}
    for sample in model.samples:
        assert sample.rate is not None
        expected = -0.5 if sample.name == "signal" else 1.0
        assert float(sample.rate(more)) == pytest.approx(expected * rates[sample.name])


def test_each_is_simulated_as_its_entry_says(session: Session) -> None:
    parts = sample_sessions(session)
    background, signal = parts["background"], parts["signal"]
    assert signal.chain.options["background_cross_section"] == 1e-9
    assert signal.workflow.simulation.events == 100_000
    assert background.workflow.simulation.events == 200_000
    assert set(background.parameters.free_names) == {
        "background_p1", "background_p2", "background_p3", "jet_energy_scale",
        "jet_energy_resolution",
    }  # fmt: skip
    assert signal.parameters["signal_strength"].default == 2.0
    assert "background_p1" not in signal.parameters.free_names
    assert {p.parent.name for p in (background.folder.path, signal.folder.path)} == {"samples"}


@pytest.mark.usefixtures("model")
def test_what_is_prepared_is_what_is_learned_from(place: Path) -> None:
    folders = sorted((place / "run").rglob("events-*"))
    assert {folder.parent.name for folder in folders} == {"background", "signal"}
    found = prepare(opened(place, "inference.beside=[]"))
    assert sorted((place / "run").rglob("events-*")) == folders
    assert {Path(entry["path"]).resolve() for entry in found} == {f.resolve() for f in folders}


def test_another_sample_is_another_training(place: Path, session: Session) -> None:
    keys = {training_key(session, "nle")}
    for old, new in (("= 2.0", "= 1.0"), ("events = 100000", "events = 90000"),
                     ("1e-9 }", "1e-9, spin = 0 }")):  # fmt: skip
        keys.add(training_key(opened(place, samples=SAMPLES.replace(old, new)), "nle"))
    assert len(keys) == 4


def test_an_ensemble_is_of_sums(place: Path) -> None:
    session = opened(place, "nle.members=2", "nle.epochs=1")
    found = trained(session, "nle")
    assert isinstance(found, TrainedEnsemble)
    assert [type(one) for one in found.members] == [SampleSum, SampleSum]
    at = point(session)
    each = torch.stack([one.log_prob(X, at) for one in found.members])
    torch.testing.assert_close(found.log_prob(X, at), each.mean(0))


REFUSED: Mapping[str, tuple[str, list[str], str]] = {
    "a parameter": (SAMPLES.replace("luminosity = 1.0 }", "lumi = 1.0 }"), [],
                    "no parameter 'lumi'; known: .*luminosity"),
    "a ratio": (SAMPLES, ["inference.method='nre'"], "method 'nre' learns no density"),
    "rounds": (SAMPLES, ["inference.rounds=2"], "inference.rounds with"),
    "files": (SAMPLES, ["simulation.files=['a.root']"], "simulation.files with"),
    "a value": (SAMPLES.replace("strength = 2.0", "strength = 2e5"), [], "200000"),
    "an option": (SAMPLES.replace("background_cross_section", "cross"), [], "'cross'"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused(what: str, tmp_path: Path) -> None:
    samples, settings, words = REFUSED[what]
    session = opened(tmp_path, *settings, samples=samples)
    with pytest.raises(InputError, match=words):
        trained(session, session.workflow.inference.method)


def test_a_strength_needs_a_value_at_which_it_is_simulated(tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match="no value of it at which it is simulated"):
        opened(tmp_path, samples=SAMPLES.replace("signal_strength = 2.0, ", ""))


def test_a_name_is_there_once(tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match="sample 'signal' is there more than once"):
        opened(tmp_path, samples=SAMPLES.replace('"background"', '"signal"'))


@pytest.mark.slow
def test_a_result_of_samples(tmp_path: Path, session: Session) -> None:
    campaign = Campaign(session.chain, session.parameters, 3000, 5, prior=False, block_size=3000)
    simulate_to_file(campaign, tmp_path / "data.root", provenance={}, monitor=session.monitor)
    # Few events determine few parameters.
    names = ("background_p1", "background_p2", "background_p3", "jet_energy_resolution")
    fixed = [f"parameters.{name}={{}}" for name in names]
    quick = opened(
        tmp_path, *fixed, "nle.epochs=8", "inference.draws=60", "inference.predictive_events=4096",
        "calibration.sets=24", "calibration.events=100", "inference.chains=2",
        "inference.beside=[]",
    )  # fmt: skip
    found = infer(quick, DataRequest([str(tmp_path / "data.root:Events")]))
    assert set(found.curves) == {"nle of background", "nle of signal"}
    assert found.result.parameters["signal_strength"].std > 0
    assert found.statements.limits, found.statements
    # What is simulated of the whole chain is for the prediction, and no estimator learns from it.
    assert len(list((tmp_path / "run").glob("events-*"))) == 1
