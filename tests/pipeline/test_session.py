"""A workflow file becomes objects that make sense, or is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w

from hepgen.compute import Workers
from hepgen.errors import InputError, ParameterError, WorkflowError
from hepgen.parameters import Normal, Uniform
from hepgen.pipeline.session import Session

FOLDER = Path(__file__).parents[2] / "workflows"
ZMUMU = FOLDER / "zmumu.toml"


@pytest.fixture
def session() -> Session:
    return Session.open(ZMUMU)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda p: p.name)
def test_every_workflow_opens(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    session = Session.open(path)
    assert session.parameters.interest
    assert session.feature_names
    assert {f.name for f in session.control} <= set(session.chain.observables)
    assert list(tmp_path.iterdir()) == [], "opening makes nothing"


def test_a_path_may_be_text() -> None:
    assert Session.open(str(ZMUMU)).source == ZMUMU


def test_a_number_of_jobs_is_still_taken() -> None:
    with pytest.warns(DeprecationWarning, match="workers=Workers"):
        session = Session.open(ZMUMU, jobs=2)
    assert session.workers == Workers(2)


def test_parameters_are_those_of_the_chain_with_what_the_workflow_says(session: Session) -> None:
    parameters = session.parameters
    assert parameters.names == session.chain.parameters.names
    assert parameters["m_z"].role == "interest"
    assert parameters["m_z"].prior == Uniform(88.0, 94.0)
    assert parameters["m_z"].unit == session.chain.parameters["m_z"].unit
    assert parameters["muon_scale"].prior == Normal(0.0, 0.002)
    assert parameters["muon_scale"].role == "nuisance"
    # What is not mentioned is fixed, and of no interest.
    assert (parameters["gamma_z"].prior, parameters["gamma_z"].role) == (None, "nuisance")


def test_a_default_outside_of_a_new_prior_moves_into_it() -> None:
    session = Session.open(ZMUMU, ["parameters.m_z.prior={uniform=[92, 94]}"])
    assert session.parameters["m_z"].default == 93.0
    session = Session.open(ZMUMU, ["parameters.m_z.prior={uniform=[90, 94]}"])
    assert session.parameters["m_z"].default == session.chain.parameters["m_z"].default


def test_features_have_the_unit_and_label_of_the_chain_and_the_bounds_of_the_workflow(
    session: Session,
) -> None:
    (mass,) = session.features
    assert (mass.name, mass.unit, mass.low, mass.high) == ("Dimuon_mass", "GeV", 60.0, 120.0)
    assert mass.label.startswith("$m_")


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        (["process=zmumm"], WorkflowError, "no process 'zmumm'; did you mean 'zmumu'"),
        (["chain.sqrts=1"], WorkflowError, "no option 'sqrts'; did you mean 'sqrt_s'"),
        (['chain.sqrt_s="7 TeV"'], WorkflowError, "sqrt_s = '7 TeV'; expected a number"),
        (["chain.sqrt_s=true"], WorkflowError, "sqrt_s = True; expected a number"),
        (["chain.sqrt_s=-1"], WorkflowError, r"√s = -1\.0 GeV: expected"),
        (["chain.sqrt_s=inf"], WorkflowError, "expected a number"),
        (["chain.mass=90"], WorkflowError, "mass = 90; expected two numbers"),
        (["chain.mass=[120, 60]"], WorkflowError, "expected two numbers, the smaller first"),
        (["chain.mass=[60, 90, 120]"], WorkflowError, "expected two numbers"),
        (["chain.running_width=1"], WorkflowError, "expected true or false"),
        (
            ["parameters.m_zz.prior.uniform=[88, 94]"],
            WorkflowError,
            r"parameters\.m_zz: the chain 'zmumu' has no such parameter; did you mean 'm_z'",
        ),
        (['control=["Dimuon_mas"]'], WorkflowError, "'Dimuon_mas' is no observable.*Dimuon_mass"),
        (['features=[{name="mass"}]'], WorkflowError, "'mass' is no observable"),
        (["parameters.m_z.prior={uniform=[70, 94]}"], ParameterError, "leaves the range"),
        (
            ["parameters.background_fraction.prior={normal=[0.05, 0.05]}"],
            ParameterError,
            r"reaches from -0\.2 to 0\.3",
        ),
        (["parameters.m_z.default=70"], ParameterError, "'m_z' = 70"),
        (["parameters.m_z.default=95"], ParameterError, "outside its prior"),
        (["parameters.m_z.default=nan"], ParameterError, "m_z"),
        (['features=[{name="Dimuon_mass", low=9, high=1}]'], InputError, "expected low < high"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_opened(
    overrides: list[str], error: type[InputError], words: str
) -> None:
    with pytest.raises(error, match=words):
        Session.open(ZMUMU, overrides)


def test_the_run_folder_is_named_after_the_workflow_and_made_when_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session = Session.open(ZMUMU)
    assert not (tmp_path / "runs").exists()
    assert session.folder.path == Path("runs/zmumu")
    assert (tmp_path / "runs" / "zmumu").is_dir()


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("data.root", "files/data.root"),
        ("../data.root:events", "files/../data.root:events"),
        ("/data/a.root:events", "/data/a.root:events"),
        ("root://eos.example.org//a.root", "root://eos.example.org//a.root"),
    ],
)
def test_paths_in_a_workflow_start_where_it_is(given: str, seen: str, session: Session) -> None:
    session.source = Path("files/zmumu.toml")
    assert session.near(given) == seen


def test_provenance_is_enough_to_do_it_again(session: Session, tmp_path: Path) -> None:
    provenance = session.provenance(campaign={"seed": 3})
    assert provenance["campaign"] == {"seed": 3}
    assert provenance["seeds"]["simulation"] == session.workflow.simulation.seed
    assert provenance["versions"]["hepgen"]
    copy = tmp_path / "again.toml"
    copy.write_text(provenance["workflow"], encoding="utf-8")
    assert Session.open(copy).workflow == session.workflow
    # It is written into files of TOML and JSON: plain values only.
    tomli_w.dumps(provenance)
    tomllib.loads(provenance["workflow"])
