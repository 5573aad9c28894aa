"""Surrogates of a workflow: what they are trained on, and their place in the chain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import uproot
from torch import Tensor

from hepgen.errors import FileError, SurrogateError, WorkflowError
from hepgen.pipeline.data import DataRequest
from hepgen.pipeline.infer import infer
from hepgen.pipeline.seeds import training_seed
from hepgen.pipeline.session import Session
from hepgen.pipeline.surrogates import (
    surrogate_events,
    surrogate_task,
    trained_surrogate,
    validate_surrogate,
)
from hepgen.simulators.augment import joint_score
from hepgen.surrogates.hybrid import target_of
from hepgen.surrogates.surrogate import Surrogate

SMALL = Path(__file__).parent / "small.toml"
TINY_WORKFLOW = Path(__file__).parent / "tiny.toml"
SHOWERS = Path(__file__).parents[2] / "workflows/calo_shower.toml"
TINY = (
    "surrogate.events=20000", "surrogate.epochs=2", "surrogate.batch_size=500",
    "surrogate.options={ layers = 2, hidden = [16] }",
)  # fmt: skip
PLAIN = (
    'surrogate.replace=["isr"]', "parameters.alpha_s={ prior = { uniform = [0.10, 0.13] } }",
)  # fmt: skip
RECOIL = (*PLAIN, 'surrogate.variables={ pt_phi = { kind = "circular" } }')


def opened(folder: Path, *overrides: str) -> Session:
    return Session.open(SMALL, [f"folder={str(folder)!r}", *TINY, *overrides])


@pytest.fixture(scope="module")
def recoil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained surrogate of the recoil."""
    folder = tmp_path_factory.mktemp("recoil")
    trained_surrogate(opened(folder, *RECOIL), "flow")
    return folder / "models/flow"


def test_of_the_whole_chain_it_learns_the_features_given_the_parameters(tmp_path: Path) -> None:
    session = opened(tmp_path)
    surrogate = trained_surrogate(session)
    assert isinstance(surrogate, Surrogate)
    assert surrogate.features.names == session.feature_names
    assert surrogate.domain.names == session.parameters.free_names
    prior = session.parameters["m_z"].prior
    assert prior is not None
    assert (surrogate.domain.low[0], surrogate.domain.high[0]) == (prior.low, prior.high)
    centre = 0.5 * (torch.tensor(surrogate.domain.low) + torch.tensor(surrogate.domain.high))
    x = surrogate.sample(1000, centre.double())
    feature = session.features[0]
    assert bool(((x > feature.low) & (x < feature.high)).all())


def test_what_is_up_to_date_is_not_trained_again(tmp_path: Path) -> None:
    first = trained_surrogate(opened(tmp_path))
    again = trained_surrogate(opened(tmp_path))
    assert again.curve == first.curve
    other = trained_surrogate(opened(tmp_path, "surrogate.epochs=1"))
    assert len(other.curve.train) == 1


def test_what_it_is_trained_on_is_what_the_stages_give(tmp_path: Path) -> None:
    session = opened(tmp_path, *RECOIL)
    task = surrogate_task(session)
    x, context = surrogate_events(session, task)
    assert [f.name for f in task.features] == ["pt", "pt_phi"]
    assert [f.name for f in task.inputs] == ["mass", "alpha_s"]
    assert len(x) == len(context) == 20_000
    assert bool((x[:, 0] > 0).all() and (x[:, 1].abs() <= torch.pi).all())
    assert bool(((context[:, 1] > 0.10) & (context[:, 1] < 0.13)).all())


def test_one_line_puts_it_into_the_chain(recoil: Path, tmp_path: Path) -> None:
    session = opened(tmp_path, *RECOIL, f"surrogates=[{str(recoil)!r}]")
    assert [stage.name for stage in session.chain.stages][1] == "isr"
    assert "alpha_s" in session.chain.parameters
    trace = session.chain.simulate(session.parameters.values(), 300, seed=1)
    assert "surrogate_isr" in trace.sites
    values = session.parameters.values()
    assert bool(joint_score(session.chain, trace, values, "alpha_s").isfinite().all())
    # What it stands for is not lost: the simulator is still there to train another on.
    assert session.simulator.options != session.chain.options


@pytest.mark.slow
def test_inference_goes_on_with_a_surrogate_in_the_chain(tmp_path: Path) -> None:
    """As with the simulator: x is normal, with a mean that is linear in θ."""
    sized = ("simulation.events=100000", "surrogate.events=20000", "surrogate.batch_size=500",
             "surrogate.epochs=8", "nle.epochs=30", "inference.beside=[]")  # fmt: skip
    alone = Session.open(TINY_WORKFLOW, [f"folder={str(tmp_path / 'a')!r}", *sized,
                                         'surrogate.replace=["z_1"]'])  # fmt: skip
    trained_surrogate(alone, "coupling")
    place = str(tmp_path / "a/models/coupling")
    session = Session.open(TINY_WORKFLOW, [f"folder={str(tmp_path / 'b')!r}", *sized,
                                           f"surrogates=[{place!r}]"])  # fmt: skip

    def measured(theta: float, n: int, seed: int) -> Tensor:
        values = alone.parameters.values(None, theta_0=theta)
        return alone.simulator.simulate(values, n, seed=seed).state["x_0"].flatten()

    x, zero, one = measured(0.3, 500, 1), measured(0.0, 100_000, 2), measured(1.0, 100_000, 3)
    slope = (one.mean() - zero.mean()).item()
    expected = (x.mean() - zero.mean()).item() / slope
    error = zero.std().item() / abs(slope) / 500**0.5
    with uproot.recreate(tmp_path / "data.root") as file:
        file["Events"] = {"x_0": x.double().numpy()}
    found = infer(session, DataRequest([str(tmp_path / "data.root")])).result
    assert found.method == "nle"
    assert found.parameters["theta_0"].mean == pytest.approx(expected, abs=0.8 * error)
    assert found.parameters["theta_0"].std == pytest.approx(error, rel=0.3)


@pytest.mark.slow
def test_inference_goes_on_with_images_by_a_surrogate(tmp_path: Path) -> None:
    """A calorimeter of twelve cells: their sum is about normal, with a mean that is linear in E.

    The surrogate has 6,000 showers to learn from: asked is E to 0.4 %, which is four errors of it.
    """
    sized = (
        "chain.layers=2", "chain.eta_cells=3", "chain.phi_cells=2", "control=[]",
        "parameters.gain={}", "parameters.impact_eta={}", "parameters.impact_phi={}",
        "parameters.energy={ role = 'interest', prior = { uniform = [30.0, 70.0] } }",
        "features=[{ name = 'Calo_energy', low = 0.0 }]", "simulation.events=20000",
        "simulation.block_size=8192", "surrogate.method='coupling'", "surrogate.events=6000",
        "surrogate.test_events=1100", "surrogate.epochs=12", "surrogate.batch_size=256",
        "surrogate.options={ layers = 2, hidden = [32] }", "inference.beside=[]",
        "inference.method='nle'", "inference.draws=100", "inference.chains=2",
        "inference.predictive_events=16384", "calibration.sets=21", "calibration.events=100",
        "nle.epochs=12", "nle.batch_size=256", "nle.components=2", "nle.hidden=[16, 16]",
    )  # fmt: skip
    alone = Session.open(SHOWERS, [f"folder={str(tmp_path / 'a')!r}", *sized])
    trained_surrogate(alone)
    place = str(tmp_path / "a/models/coupling")
    session = Session.open(
        SHOWERS, [f"folder={str(tmp_path / 'b')!r}", *sized, f"surrogates=[{place!r}]"]
    )
    assert [stage.name for stage in session.chain.stages] == [
        "profile+spots+digitisation", "reconstruction",
    ]  # fmt: skip

    def measured(energy: float, n: int, seed: int) -> Tensor:
        values = alone.parameters.values(None, energy=energy)
        return alone.simulator.simulate(values, n, seed=seed).state["Calo_energy"].flatten()

    x, below, above = measured(50.0, 100, 1), measured(45.0, 20_000, 2), measured(55.0, 20_000, 3)
    slope = (above.mean() - below.mean()).item() / 10
    expected = 45 + (x.mean() - below.mean()).item() / slope
    error = 0.5 * (below.std() + above.std()).item() / slope / 100**0.5
    with uproot.recreate(tmp_path / "data.root") as file:
        file["Events"] = {"Calo_energy": x.double().numpy()}
    found = infer(session, DataRequest([str(tmp_path / "data.root")])).result
    energy = found.parameters["energy"]
    assert energy.mean == pytest.approx(expected, rel=0.004)
    assert energy.std == pytest.approx(error, rel=0.3)


def test_the_manifest_says_what_was_held(recoil: Path) -> None:
    target = target_of(Surrogate.load(recoil))
    assert target.parameters == ("alpha_s",)
    assert set(target.fixed) == {"primordial_kt"}


@pytest.mark.parametrize(
    ("override", "error", "words"),
    [
        ('surrogate.replace=["irs"]', WorkflowError, "no stage 'irs' in the chain"),
        ('surrogate.replace=["isr", "detector"]', WorkflowError, "expected stages in a row"),
        ('surrogate.outputs=["ptt"]', WorkflowError, "neither take nor give a column 'ptt'"),
        ("surrogate.options={ layer = 2 }", SurrogateError, "there is no 'layer'"),
        ('surrogate.method="flwo"', SurrogateError, "did you mean 'flow'"),
    ],
)
def test_what_cannot_be_trained(
    tmp_path: Path, override: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        trained_surrogate(opened(tmp_path, *RECOIL, override))


def test_a_jagged_output_is_refused(tmp_path: Path) -> None:
    session = Session.open(
        SMALL.parents[2] / "workflows/ee_jets.toml",
        [f"folder={str(tmp_path)!r}", 'surrogate.replace=["shower"]'],
    )
    with pytest.raises(WorkflowError, match="has a varying number of objects"):
        trained_surrogate(session)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="expected the folder of a trained model"):
        opened(tmp_path, f"surrogates=[{str(tmp_path / 'nowhere')!r}]")


def test_a_distilled_one_learns_from_a_diffusion(tmp_path: Path) -> None:
    session = opened(
        tmp_path, *PLAIN, "surrogate.distilled_steps=2", "surrogate.epochs=1",
        "surrogate.events=2000", "surrogate.options={ hidden = 16, blocks = 1, steps = 4 }",
    )  # fmt: skip
    student = trained_surrogate(session, "distilled")
    assert isinstance(student, Surrogate)
    assert student.quality.kind == "none"
    assert len(student.curve.validation) == 1  # the workflow's epochs are of both
    assert (tmp_path / "models/diffusion/model.json").exists()
    assert target_of(student).stages == ("isr",)


def test_it_is_judged_on_events_that_it_was_not_trained_on(tmp_path: Path) -> None:
    session = opened(tmp_path, "surrogate.test_events=20000", "surrogate.closure_sets=0")
    judgement, checks, page = validate_surrogate(session, "flow")
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert json.loads((page.parent / "judgement.json").read_text())["method"] == "flow"
    assert judgement.features[0].name == "Dimuon_mass"
    assert "No closure: it was not asked for" in page.read_text()
    assert {check.name.split(":")[0] for check in checks} == {"surrogate flow"}
    trained_on = surrogate_task(session).campaign.identity()["seed"]
    assert trained_on == training_seed(session.workflow.surrogate.seed)


def test_other_features_are_another_surrogate(tmp_path: Path) -> None:
    trained_surrogate(opened(tmp_path, "surrogate.epochs=1"))
    wider = 'features=[{ name = "Dimuon_mass", low = 55.0, high = 125.0 }]'
    again = trained_surrogate(opened(tmp_path, "surrogate.epochs=1", wider))
    assert isinstance(again, Surrogate)
    assert (again.features.features[0].low, again.features.features[0].high) == (55.0, 125.0)


def test_a_detector_needs_no_more_than_its_name(tmp_path: Path) -> None:
    """Muons that are not found have pT = 0, and a charge is a number, often the same one."""
    session = opened(tmp_path, 'surrogate.replace=["detector"]')
    kinds = {feature.name: feature.kind for feature in surrogate_task(session).features}
    assert kinds["measured_pt_0"] == "zero_inflated"
    assert kinds["measured_charge_1"] == "discrete"
    surrogate = trained_surrogate(session)
    assert surrogate.quality.kind == "bound"
