"""A workflow with another generator: the same detector, and clear words for what has no place."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import tomli_w

from hepgen.config import parse
from hepgen.errors import DataError, FileError, InputError, WorkflowError
from hepgen.events import WEIGHT
from hepgen.io.tables import read, read_metadata
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.requests import simulation_campaign
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import simulate_to_file
from hepgen.pipeline.train import trained
from hepgen.pipeline.training_data import training_events
from hepgen.simulators.pythia import PythiaDimuons
from hepgen.simulators.pythia.base import PythiaStage
from tests.io.event_text import lhe

ZMUMU = Path(__file__).parents[2] / "workflows" / "zmumu.toml"
WITHOUT_BACKGROUND = [f"parameters.background_{p}={{}}" for p in ("fraction", "slope")]
LEAST = {
    "process": "zmumu",
    "chain": {"generator": "lhe:events.lhe"},
    "parameters": {"muon_scale": {"role": "interest", "prior": {"normal": [0.0, 0.002]}}},
    "features": [{"name": "Dimuon_mass", "low": 60.0, "high": 120.0}],
}


@pytest.fixture
def lhe_workflow(tmp_path: Path) -> Path:
    """A workflow in a folder with a file of 40 events."""
    pytest.importorskip("pylhe")
    (tmp_path / "events.lhe").write_text(lhe(40))
    (tmp_path / "mine.toml").write_text(tomli_w.dumps(LEAST))
    return tmp_path / "mine.toml"


# --- Pythia ---------------------------------------------------------------------------


def test_a_workflow_with_pythia_has_the_same_detector() -> None:
    plain = Session.open(ZMUMU)
    other = Session.open(ZMUMU, ["chain.generator=pythia", *WITHOUT_BACKGROUND])

    assert [s.name for s in other.chain.stages] == ["pythia", "detector", "reconstruction"]
    assert [type(s) for s in other.chain.stages[1:]] == [type(s) for s in plain.chain.stages[3:]]
    assert other.chain.observables == plain.chain.observables
    assert other.parameters["m_z"].prior == plain.parameters["m_z"].prior


def test_settings_of_pythia_may_be_overridden_one_by_one() -> None:
    session = Session.open(
        ZMUMU,
        ["chain.generator=pythia", "chain.pythia.PartonLevel:MPI=true", *WITHOUT_BACKGROUND],
    )
    assert session.workflow.chain["pythia"] == {"PartonLevel:MPI": True}
    assert session.chain.options["pythia"] == {"PartonLevel:MPI": True}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Init:plugins", "{./libevil.so::X}"),
        (" init::PLUGINS ", "{./libevil.so::X}"),
        ("Vincia:MEplugin", "evil"),
        ("xmlPath", "/tmp"),
        ("PDF:pSet", "LHAPDF6:NNPDF31_lo_as_0118"),
        ("HIPDF:piSetB", "lhapdf5:x"),
        ("MultipartonInteractions:reuseInit", 1),
    ],
)
def test_settings_that_load_code_have_to_be_allowed(name: str, value: str | int) -> None:
    content = tomllib.loads(ZMUMU.read_text())
    content["chain"]["generator"], content["chain"]["pythia"] = "pythia", {name: value}
    for parameter in ("background_fraction", "background_slope"):
        del content["parameters"][parameter]
    workflow = parse(content | {"name": "a"})

    with pytest.raises(WorkflowError, match=rf"{name!r} = .* --allow-code .*allow_code=True"):
        _ = Session(workflow, ZMUMU).chain
    allowed = Session(workflow, ZMUMU, allow_code=True).chain.stages[0]
    assert isinstance(allowed, PythiaStage)
    assert allowed.allow_code


def test_no_library_is_loaded_without_permission(tmp_path: Path) -> None:
    """Also where no session stands before the generator."""
    pytest.importorskip("pythia8mc")
    point = {"m_z": 91.2, "sin2_theta_w": 0.23}
    settings = {"Init:plugins": f"{{{tmp_path}/libevil.so::X}}"}
    with pytest.raises(WorkflowError, match=r"'Init:plugins' = .* loads code .*--allow-code"):
        PythiaDimuons(settings=settings).draw(point, 1, seed=1)
    # This tune sets PDF:pSet.
    with pytest.raises(WorkflowError, match=r"'PDF:pSet' = 'LHAPDF6:CT10' loads code"):
        PythiaDimuons(settings={"Tune:pp": 17}).draw(point, 1, seed=1)


def test_a_parameter_of_a_replaced_stage_is_said_to_be_one() -> None:
    with pytest.raises(
        WorkflowError,
        match=r"background_fraction: with generator = 'pythia' no stage .*--set parameters\.back",
    ):
        Session.open(ZMUMU, ["chain.generator=pythia"])
    with pytest.raises(WorkflowError, match="'zmumu' has no such parameter; did you mean 'm_z'"):
        Session.open(ZMUMU, ["chain.generator=pythia", "parameters.mz={}", *WITHOUT_BACKGROUND])


def test_the_score_of_a_detector_behind_pythia_is_kept_and_that_of_its_theory_refused() -> None:
    pythia = ["chain.generator=pythia", *WITHOUT_BACKGROUND]
    session = Session.open(ZMUMU, pythia)
    campaign = simulation_campaign(session, events="100", theta=["default"], augment=True)
    assert campaign.scores == ("muon_scale", "muon_resolution", "muon_efficiency")

    session = Session.open(ZMUMU, [*pythia, 'augment.parameters=["m_z"]'])
    with pytest.raises(WorkflowError, match="'m_z' is one of stage 'pythia', whose density is not"):
        simulation_campaign(session, events="100", theta=["default"], augment=True)
    session = Session.open(ZMUMU, [*pythia, "augment.points.up.m_z=91.5"])
    with pytest.raises(WorkflowError, match=r"points.up: .*'pythia', whose density is not known"):
        simulation_campaign(session, events="100", theta=["default"], augment=True)


def test_the_cross_section_is_the_one_that_pythia_measured(tmp_path: Path) -> None:
    """The mean of the blocks, weighted by their events; NaN where the point varies."""
    pytest.importorskip("pythia8mc")
    session = Session.open(ZMUMU, ["chain.generator=pythia", *WITHOUT_BACKGROUND])
    campaign = simulation_campaign(session, events="60", theta=["default"], seed=3)
    campaign = replace(campaign, block_size=40)
    sigma = [campaign.simulate(b).notes["cross_section_pb"] for b in (0, 1)]
    runs = simulate_to_file(campaign, tmp_path / "a.root", provenance={}, monitor=Silent())
    assert runs["crossSection_pb"] == pytest.approx((40 * sigma[0] + 20 * sigma[1]) / 60)
    varied = replace(campaign, prior=True, points=10, events=20, block_size=20)
    runs = simulate_to_file(varied, tmp_path / "b.root", provenance={}, monitor=Silent())
    assert np.isnan(runs["crossSection_pb"])


# --- Files ----------------------------------------------------------------------------


def test_a_file_of_events_through_the_detector(lhe_workflow: Path, tmp_path: Path) -> None:
    """Every event of the file once, with its weight, for any shards."""
    session = Session.open(lhe_workflow)
    campaign = simulation_campaign(session, events="40", theta=["default"], keep_all=True)
    campaign = replace(campaign, block_size=7)
    facts = simulate_to_file(campaign, tmp_path / "whole.root", provenance={}, monitor=Silent())
    whole = read(tmp_path / "whole.root").read()
    parts = []
    for shard in ("2/2", "1/2"):
        path = tmp_path / f"{shard[0]}.root"
        simulate_to_file(campaign, path, provenance={}, monitor=Silent(), shard=shard)
        parts.append(read(path).read())
    together = ak.concatenate([part.columns for part in parts[::-1]])
    order = np.argsort(np.asarray(together["hepgenPoint"]), kind="stable")

    assert facts["crossSection_pb"] == 718.5
    assert whole[WEIGHT].tolist() == [-1.0 if k == 2 else 2.0 for k in range(40)]
    assert ak.array_equal(together[order][whole.fields], whole.columns)
    names = read_metadata(tmp_path / "whole.root")["weightNames"]
    assert names["LHEScaleWeight"] == ["1001 muR=2", "1002 muR=0.5"]


def test_the_file_is_part_of_the_identity(lhe_workflow: Path) -> None:
    before = Session.open(lhe_workflow).chain.options["events"]
    (lhe_workflow.parent / "events.lhe").write_text(lhe(41))
    after = Session.open(lhe_workflow).chain.options["events"]

    assert (before["file"], before["events"], after["events"]) == ("events.lhe", 40, 41)
    assert before["sha256"] != after["sha256"]


def test_more_events_than_the_file_has(lhe_workflow: Path) -> None:
    session = Session.open(lhe_workflow)
    with pytest.raises(InputError, match="has 40 events, and 41 are asked for"):
        simulation_campaign(session, events="41", theta=["default"])


def test_a_missing_file_is_said_so_when_the_workflow_is_opened(lhe_workflow: Path) -> None:
    with pytest.raises(FileError, match=r"no file .*event\.lhe; did you mean 'events\.lhe'"):
        Session.open(lhe_workflow, ["chain.generator=lhe:event.lhe"])
    for kind in ("lhe", "hepmc"):
        with pytest.raises(WorkflowError, match=f"generator = '{kind}:' names no file"):
            Session.open(lhe_workflow, [f"chain.generator={kind}:"])
    with pytest.raises(InputError, match="expected builtin, pythia, lhe:FILE or hepmc:FILE"):
        Session.open(lhe_workflow, ["chain.generator=stdhep:event.hep"])


def test_events_of_different_weights_train_nothing(
    lhe_workflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lhe_workflow.parent)
    # One of the 40 has a weight of -1; with this seed it is selected.
    session = Session.open(
        lhe_workflow,
        ["simulation.events=40", "simulation.events_per_point=40", "simulation.seed=2"],
    )
    assert training_events(session).weight is not None
    with pytest.raises(DataError, match=r"are negative, down to -1: a density must be positive"):
        trained(session, "nle")
