"""Stages of the user's: only on demand, from the workflow's folder, and checked."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from hepgen.compute import Workers
from hepgen.config import StageEntry, load
from hepgen.errors import WorkflowError
from hepgen.io.blocks import BlockStore
from hepgen.io.tables import read, read_metadata
from hepgen.pipeline import simulate
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.session import Session
from hepgen.pipeline.show import show
from hepgen.pipeline.simulate import run_campaign, simulate_to_file
from hepgen.pipeline.stages import with_stages
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.processes.registry import process

LEAST: dict[str, Any] = {
    "process": "zmumu",
    "parameters": {"m_z": {"role": "interest", "prior": {"uniform": [88.0, 94.0]}}},
    "features": [{"name": "Dimuon_mass"}],
}

MODULE = '''
"""Stages of a user."""

import pyro
import torch
from pyro.distributions import Normal

from hepgen import Parameter, Stage
from hepgen.errors import WorkflowError
from hepgen.simulators.detector import MuonDetector


class Ideal(MuonDetector):
    """Finds every muon."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        if scale <= 0:
            raise WorkflowError(f"scale = {scale}: expected a positive number")
        self.scale = scale

    def __call__(self, state, parameters):
        pt = state["muon_pt"]
        charge = torch.tensor([-1.0, 1.0], dtype=pt.dtype).expand_as(pt)
        found = torch.ones_like(pt, dtype=torch.bool)
        measured = {"found": found, "measured_pt": self.scale * pt, "measured_charge": charge}
        return state | measured


class Smear(Stage):
    """x: a Gaussian around mu."""

    name = "smear"
    parameters = (Parameter("mu", 1.0, "GeV", "interest", low=-10, high=10),)
    provides = ("x",)
    outputs = {"x": ("GeV", "$x$")}

    def __call__(self, state, parameters):
        mu = parameters["mu"].expand(state["event"].shape)
        return state | {"x": pyro.sample("x", Normal(mu, torch.ones_like(mu)))}


class Double(Stage):
    """y = 2x."""

    name = "double"
    requires = ("x",)
    provides = ("twice",)
    outputs = {"twice": ("GeV", "$2x$")}

    def __call__(self, state, parameters):
        return state | {"twice": 2 * state["x"]}


class Nameless(Double):
    name = None


class Unpicklable(Double):
    def __init__(self) -> None:
        self.function = lambda x: x


class Raising(Double):
    def __init__(self) -> None:
        raise KeyError("calibration")


class Quitting(Double):
    def __init__(self) -> None:
        raise SystemExit(0)


class Misnamed(Double):
    outputs = {"thrice": ("GeV", "$3x$")}


class Listed(Double):
    outputs = ["twice"]


def function() -> None:
    """No class."""
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_stages.py").write_text(MODULE)
    return tmp_path


def workflow(folder: Path, *stages: dict[str, Any], **more: Any) -> Path:
    path = folder / "mine.toml"
    path.write_text(tomli_w.dumps(LEAST | more | {"stages": list(stages)}))
    return path


def opened(folder: Path, *stages: dict[str, Any], **more: Any) -> Session:
    return Session.open(workflow(folder, *stages, **more), allow_code=True)


def stage(name: str, **more: Any) -> dict[str, Any]:
    return {"import": f"my_stages:{name}", **more}


IDEAL = stage("Ideal", replace="detector")
OWN: dict[str, Any] = {
    "process": "stages",
    "parameters": {"mu": {"role": "interest", "prior": {"uniform": [-3.0, 3.0]}}},
    "features": [{"name": "twice"}],
}


# --- only on demand -------------------------------------------------------------------


def test_code_is_not_run_without_being_allowed(folder: Path) -> None:
    (folder / "my_stages.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(
        WorkflowError, match=r"'my_stages:Ideal'; .* --allow-code .*allow_code=True"
    ):
        Session.open(workflow(folder, IDEAL))


def test_to_look_at_a_workflow_runs_no_code(folder: Path) -> None:
    (folder / "my_stages.py").write_text("raise SystemExit('it ran')")
    facts, words = show(str(workflow(folder, IDEAL)))

    assert facts["stages"][0]["import"] == "my_stages:Ideal"
    assert 'import = "my_stages:Ideal"' in words


# --- in their places ------------------------------------------------------------------


def test_a_stage_in_the_place_of_another(folder: Path) -> None:
    session = opened(folder, stage("Ideal", replace="detector", options={"scale": 1.5}))
    state = session.chain.simulate(session.chain.parameters.values(), 100, seed=1).state

    assert [type(s).__name__ for s in session.chain.stages][-2:] == [
        "Ideal",
        "DimuonReconstruction",
    ]
    assert (state["measured_pt"] == 1.5 * state["muon_pt"]).all()
    assert str(folder.resolve()) not in sys.path


def test_stages_before_and_after_others_and_at_the_end(folder: Path) -> None:
    session = opened(
        folder, stage("Smear", before="isr"), stage("Double", after="smear"), features=[]
    )
    assert [s.name for s in session.chain.stages] == [
        "parton", "smear", "double", "isr", "fsr", "detector", "reconstruction",
    ]  # fmt: skip
    assert {"x", "twice", "Dimuon_mass"} <= set(session.chain.observables)
    assert "mu" in session.parameters
    last = opened(folder, stage("Smear"), stage("Double"))
    assert [s.name for s in last.chain.stages][-2:] == ["smear", "double"]


def test_a_stage_in_the_place_of_several(folder: Path) -> None:
    """Observables that nobody provides any more are gone, so a feature of that name is refused."""
    names = ["detector", "reconstruction"]
    session = opened(folder, stage("Smear", replace=names), features=[{"name": "x"}])
    assert [s.name for s in session.chain.stages] == ["parton", "isr", "fsr", "smear"]
    assert list(session.chain.observables) == ["x"]
    with pytest.raises(WorkflowError, match="feature 'Dimuon_mass' is no observable"):
        opened(folder, stage("Smear", replace=names))


def test_images_stay_images(folder: Path) -> None:
    entry = StageEntry.model_validate(stage("Smear"))
    calorimeter = process("calo_shower")
    assert calorimeter.image is not None
    assert with_stages(calorimeter, [entry], folder).image == calorimeter.image


def test_a_whole_chain_of_stages(folder: Path, tmp_path: Path) -> None:
    session = opened(folder, stage("Smear"), stage("Double"), **OWN)
    campaign = Campaign(session.chain, session.parameters, 1000, prior=False, fixed={"mu": 2.0})
    simulate_to_file(campaign, tmp_path / "a.root", provenance={}, monitor=Silent())
    y = np.asarray(read(tmp_path / "a.root").read()["twice"])

    assert abs(y.mean() - 4.0) < 4 * 2 / 1000**0.5
    assert (
        session.chain.log_prob(
            session.chain.simulate(session.chain.parameters.values(), 5, 1),
            session.chain.parameters.values(),
        )
        .isfinite()
        .all()
    )


def test_a_package_beside_the_workflow(folder: Path) -> None:
    (folder / "pack").mkdir()
    (folder / "pack" / "__init__.py").write_text("")
    (folder / "pack" / "base.py").write_text(MODULE)
    (folder / "pack" / "inner.py").write_text(
        "from .base import Smear\n\nclass Mine(Smear): pass\n"
    )
    session = opened(folder, {"import": "pack.inner:Mine"}, **OWN | {"features": [{"name": "x"}]})
    assert session.chain.stages[0].name == "smear"


def test_a_module_that_was_edited_is_imported_again(folder: Path) -> None:
    entry = stage("Ideal", replace="detector")
    before = opened(folder, entry).chain
    text = MODULE.replace("self.scale * pt", "2.0 * self.scale * pt")
    (folder / "my_stages.py").write_text(text)
    after = opened(folder, entry).chain
    state = after.simulate(after.parameters.values(), 10, seed=1).state

    assert (state["measured_pt"] == 2 * state["muon_pt"]).all()
    assert after.options["stages"][0]["sha256"] != before.options["stages"][0]["sha256"]


def test_modules_of_one_name_in_two_folders(folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    (other / "my_stages.py").write_text(MODULE.replace('name = "smear"', 'name = "other"'))
    names = [
        opened(f, stage("Smear"), stage("Double"), **OWN).chain.stages[0].name
        for f in (folder, other, folder)
    ]
    assert names == ["smear", "other", "smear"]


# --- what a campaign depends on -------------------------------------------------------


def test_identity_and_provenance_name_the_code(folder: Path, tmp_path: Path) -> None:
    session = opened(folder, stage("Ideal", replace="detector", options={"scale": 1.5}))
    campaign = Campaign(session.chain, session.parameters, 100)
    sha = hashlib.sha256((folder / "my_stages.py").read_bytes()).hexdigest()
    noted = [{"import": "my_stages:Ideal", "options": {"scale": 1.5}, "sha256": sha}]

    assert campaign.identity()["chain"]["stages"] == noted
    given = session.provenance(campaign=campaign.identity())
    simulate_to_file(campaign, tmp_path / "a.root", provenance=given, monitor=Silent())
    assert read_metadata(tmp_path / "a.root")["provenance"]["campaign"]["chain"]["stages"] == noted
    changed = opened(folder, stage("Ideal", replace="detector", options={"scale": 1.6}))
    assert changed.chain.options != session.chain.options


def test_the_events_are_the_same_wherever_another_stage_draws(folder: Path) -> None:
    plain = opened(folder, features=[]).chain
    more = opened(folder, stage("Smear", before="isr"), features=[]).chain
    one, two = (c.simulate(c.parameters.values(), 100, seed=1).state for c in (plain, more))
    assert all((one[name] == two[name]).all() for name in one)


@pytest.mark.slow
def test_worker_processes_find_the_stage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "WORTH_A_WORKER", 1)
    session = opened(folder, stage("Smear"), stage("Double"), **OWN)
    campaign = Campaign(session.chain, session.parameters, 400, block_size=100)
    stores = [BlockStore(folder / str(jobs), campaign.identity()) for jobs in (1, 2)]
    for jobs, store in enumerate(stores, start=1):
        run_campaign(campaign, store, workers=Workers(jobs), monitor=Silent())
    one, two = (sorted(p.read_bytes() for p in s.folder.glob("block-*")) for s in stores)
    assert one == two
    assert len(one) == 4


# --- what makes no sense --------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"import": "my_stages"}, "'my_stages': expected 'module:Class'"),
        ({"import": "my_stages:"}, "expected 'module:Class'"),
        ({"import": "../my_stages:Ideal"}, "expected 'module:Class'"),
        ({"import": "no_such_module:Ideal"}, "ModuleNotFoundError: No module named 'no_such_mod"),
        ({"import": "broken:Ideal"}, "broken:Ideal' cannot be imported: SyntaxError"),
        (stage("Idael"), "no 'Idael'; did you mean 'Ideal'"),
        (stage("function"), "expected a class derived from hepgen.Stage"),
        (stage("Parameter"), "expected a class derived from hepgen.Stage"),
        (stage("Ideal", options={"scael": 2.0}), r"unexpected keyword .*'scael'.*takes \(scale"),
        (stage("Ideal", options={"scale": -2.0}), "scale = -2.0: expected a positive number"),
        ({"import": "quitting:Ideal"}, "quitting:Ideal' cannot be imported: SystemExit: 0"),
        (stage("Quitting"), "cannot be made with the options {}: SystemExit: 0"),
        (stage("Raising"), "cannot be made with the options {}: KeyError: 'calibration'"),
        (stage("Stage"), "cannot be made .*abstract"),
        (stage("Nameless"), "has no name"),
        (stage("Unpicklable"), "cannot be sent to worker processes"),
        (stage("Ideal", replace="detektor"), "no stage 'detektor' .*did you mean 'detector'"),
        (stage("Smear", after="smear"), "no stage 'smear'"),
        (stage("Smear", replace=["parton", "fsr"]), "expected stages in a row"),
        (stage("Smear", replace=["fsr", "parton"]), "expected stages in a row"),
        (stage("Smear", replace="isr", after="fsr"), "both replace and after"),
        (stage("Smear", replace=[]), "replace"),
    ],
)
def test_a_stage_that_makes_no_sense(entry: dict[str, Any], words: str, folder: Path) -> None:
    (folder / "broken.py").write_text("def broken(:\n")
    (folder / "quitting.py").write_text("import sys\n\nsys.exit(0)\n")
    with pytest.raises(WorkflowError, match=words):
        opened(folder, entry)


def test_stages_whose_columns_do_not_fit_are_refused(folder: Path) -> None:
    with pytest.raises(WorkflowError, match=r"stage 'double' needs \['x'\]"):
        opened(folder, stage("Double"))
    with pytest.raises(WorkflowError, match="expected unique names"):
        opened(folder, stage("Ideal", after="fsr"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Misnamed", r"outputs \['thrice'\] are none"),
        ("Listed", r"expected name = \(unit, label\)"),
    ],
)
def test_what_a_stage_says_of_itself_is_checked(name: str, words: str, folder: Path) -> None:
    with pytest.raises(WorkflowError, match=words):
        opened(folder, stage("Smear"), stage(name))


def test_a_chain_of_no_stages(folder: Path) -> None:
    with pytest.raises(WorkflowError, match="at least one of them, and no"):
        opened(folder, **OWN)
    with pytest.raises(WorkflowError, match="at least one of them, and no"):
        opened(folder, stage("Smear"), **OWN, chain={"pt_min": 3.0})


def test_an_override_adds_a_stage(folder: Path) -> None:
    path = workflow(folder)
    text = 'stages=[{import="my_stages:Ideal", replace="detector"}]'
    assert load(path, [text]).stages[0].where == "my_stages:Ideal"
