"""Pythia 8 as a stage: reproducible, in its place in a chain, clear when it cannot run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch

from hepgen.errors import SimulationError, WorkflowError
from hepgen.io.tables import read, read_metadata
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.simulate import simulate_to_file
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain, Trace
from hepgen.simulators.detector import MuonDetector
from hepgen.simulators.processes.registry import process
from hepgen.simulators.pythia import COLUMNS, Generator, PythiaDimuons, PythiaParticles
from hepgen.simulators.reconstruction import MUON_COLUMNS, DimuonReconstruction

THEORY = {"m_z": 91.1876, "sin2_theta_w": 0.2312}


def chain() -> Chain:
    return Chain([PythiaDimuons(), MuonDetector(), DimuonReconstruction()], MUON_COLUMNS)


def test_without_pythia_the_command_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pythia8mc", None)

    with pytest.raises(SimulationError, match=r"pip install 'hepgen\[pythia\]'"):
        PythiaDimuons().draw(THEORY, 1, seed=1)


def test_it_stands_where_the_stages_that_it_replaces_stand() -> None:
    pytest.importorskip("pythia8mc")
    made = chain()
    state = made.simulate(made.parameters.values(), 300, seed=1).state

    assert set(PythiaDimuons.provides) <= set(state)
    assert state["muon_pt"].shape == (1, 300, 2)
    assert state["selected"].double().mean() > 0.2
    for name, column in state.items():
        assert column.double().isfinite().all(), name


def test_the_same_seed_gives_the_same_events() -> None:
    pytest.importorskip("pythia8mc")
    made = chain()
    one, same, seed, block = (
        made.simulate(made.parameters.values(), 50, *numbers).state["mass"]
        for numbers in ((1, 0), (1, 0), (2, 0), (1, 1))
    )

    assert torch.equal(one, same)
    assert not (one == seed).any()
    assert not (one == block).any()


def test_each_point_is_its_own_pythia() -> None:
    pytest.importorskip("pythia8mc")
    made = chain()
    masses = torch.tensor([[88.0], [94.0]], dtype=torch.float64)
    state = made.simulate(made.parameters.values() | {"m_z": masses}, 400, seed=1).state

    medians = state["mass"].median(-1).values.tolist()
    assert medians == pytest.approx([88.0, 94.0], abs=0.6)


def test_muons_of_the_boson() -> None:
    """Masses and momenta agree: M_μμ ≤ M, equal where nothing was radiated."""
    pytest.importorskip("pythia8mc")
    drawn = PythiaDimuons(settings={"PartonLevel:FSR": False}).draw(THEORY, 300, seed=4)
    c = dict(zip(COLUMNS, drawn.T, strict=True))
    np.testing.assert_allclose(c["bare_mass"], c["mass"], rtol=1e-6)
    px, py = (
        sum(c[f"pt_{q}"] * f(c[f"phi_{q}"]) for q in ("negative", "positive"))
        for f in (np.cos, np.sin)
    )
    np.testing.assert_allclose(np.hypot(px, py), c["pt"], atol=1e-6)

    radiated = dict(zip(COLUMNS, PythiaDimuons().draw(THEORY, 300, seed=4).T, strict=True))
    ratio = radiated["bare_mass"] / radiated["mass"]
    assert (ratio < 1 + 1e-6).all()
    assert 0.1 < (ratio < 0.999).mean() < 0.5


def test_generated_masses_stay_in_the_window() -> None:
    pytest.importorskip("pythia8mc")
    mass = PythiaDimuons(window=(88.0, 94.0)).draw(THEORY, 300, seed=5)[:, 0]

    assert mass.min() >= 88
    assert mass.max() <= 94


def test_the_cross_section_is_that_of_the_z() -> None:
    """718 ± 3 pb at leading order for 60 to 120 GeV at 7 TeV (from 20,000 events)."""
    pytest.importorskip("pythia8mc")
    made = Chain([PythiaDimuons(window=(60.0, 120.0))])
    trace = made.simulate(made.parameters.values(), 500, seed=1)

    assert trace.notes["cross_section_pb"] == pytest.approx(718, rel=0.15)
    assert trace.failures == ()


def test_the_density_is_not_known() -> None:
    pytest.importorskip("pythia8mc")
    made = chain()
    trace = made.simulate(made.parameters.values(), 5, seed=1)

    with pytest.raises(SimulationError, match="density of stage 'pythia' is not known"):
        made.log_prob(trace, made.parameters.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"Beams:eCN": 7000.0}, "no setting 'Beams:eCN'.*did you mean 'Beams:eCM'"),
        ({"PartonLevel:FRS": True}, "did you mean 'PartonLevel:FSR'"),
        ({"Beams:eCM": "seven"}, "'Beams:eCM' does not take the value 'seven'"),
        ({"PartonLevel:MPI": "maybe"}, "'PartonLevel:MPI' .* 'maybe'; expected true or false"),
        ({"PartonLevel:MPI": 5}, "'PartonLevel:MPI' does not take the value 5"),
        ({"23:onMode": "garbage"}, "'23:onMode' does not take the value 'garbage'"),
        ({"23:onIfAny": "mu"}, "'mu'; expected whole numbers"),
        ({"23:mZero": 91.0}, "no setting '23:mZero'"),
        ({"987654:m0": 91.0}, "no setting '987654:m0'"),
        ({"Beams:idA": 2212.5}, "2212.5; expected a whole number"),
        ({"Beams:eCM": float("nan")}, "nan; expected a finite number"),
        ({"StringZ:aLund": 3.0}, "3.0; expected a number from 0 to 2"),
        ({"PDF:pSet": "13\ninclude = more"}, "expected text on one line"),
        ({"UncertaintyBands:List": "{a"}, "expected {…} with text"),
        ({"": 1}, "no setting ''"),
        ({" ": 1}, "no setting ' '"),
        ({"!comment": 1}, "no setting '!comment'"),
        ({"include": "more.cmnd"}, "no setting 'include'"),
        ({"PartonLevel::MPI": True}, "did you mean 'PartonLevel:MPI'"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, bool | float | str], message: str) -> None:
    pytest.importorskip("pythia8mc")

    with pytest.raises(WorkflowError, match=message):
        PythiaDimuons(settings=settings).draw(THEORY, 1, seed=1)


@pytest.mark.parametrize(
    ("setting", "who"),
    [
        ("23:m0", "the parameter 'm_z'"),
        (" 23:M0", "the parameter 'm_z'"),
        ("standardmodel:sin2thetaW", "the parameter 'sin2_theta_w'"),
        ("Random:seed", "the seed of the simulation"),
    ],
)
def test_a_setting_that_something_else_sets_is_refused(setting: str, who: str) -> None:
    with pytest.raises(WorkflowError, match=f"'{setting}' = 80: {who} sets it"):
        process("zmumu", generator="pythia", pythia={setting: 80})


def test_a_pythia_that_cannot_start() -> None:
    pytest.importorskip("pythia8mc")

    with pytest.raises(SimulationError, match=r"cannot start .*too low energy"):
        Generator({"Beams:eCM": 1.0, "WeakSingleBoson:ffbar2gmZ": True}, seed=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ProcessLevel:all": False}, "cannot make events .*ProcessLevel:all"),
        ({"HardQCD:all": True, "PhaseSpace:pTHatMin": 50.0}, "without a boson .*WeakSingleBoson"),
        ({"PartonLevel:all": False}, "without a boson .*PartonLevel:all"),
        ({"23:onIfAny": 11}, r"20 of 20 events without a muon \(13\) .*23:onIfAny"),
        ({"PDF:pSet": "LHAPDF6:none"}, "cannot start"),
        ({"PDF:pSet": "LHAGrid1:none"}, "cannot start"),
    ],
)
def test_events_without_what_is_read_of_them(settings: dict[str, Any], message: str) -> None:
    pytest.importorskip("pythia8mc")
    stage = PythiaDimuons(settings=settings)
    stage.allow_code = True
    with pytest.raises(SimulationError, match=message):
        stage.draw(THEORY, 20, seed=1)


def test_what_pythia_prints_is_no_result(capfd: pytest.CaptureFixture[str]) -> None:
    """It is written by C++, so that only the file descriptor tells."""
    pytest.importorskip("pythia8mc")
    stage = PythiaDimuons(settings={"Print:quiet": False, "Next:numberShowEvent": 1})
    stage.draw(THEORY, 3, seed=1)
    told = capfd.readouterr()

    assert told.out == ""
    assert "PYTHIA Process Initialization" in told.err


# --- The ledger ----------------------------------------------------------------------------


class Failing:
    """A Pythia that gives up events: one in each ``every``, or all of them."""

    def __init__(self, pythia: Any, every: int) -> None:
        self.pythia, self.every, self.failed = pythia, every, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pythia, name)

    def nextBatch(self, n: int, mode: str) -> ak.Array:  # noqa: N802 (Pythia's name)
        assert mode == "none", "what is left out must be seen"
        events = self.pythia.nextBatch(n, mode)
        keep = np.arange(n) % self.every != self.every - 1
        self.failed += int((~keep).sum())
        return ak.mask(events, keep)

    def stat(self) -> None:
        """As Pythia ends its statistics, past Python's own standard output."""
        table = f" |     {self.failed}   Error in Pythia::check: energy not conserved       | \n"
        os.write(1, table.encode())


class FailingDimuons(PythiaDimuons):
    every = 3

    def generator(self, parameters: Mapping[str, float], seed: int) -> Generator:
        made = super().generator(parameters, seed)
        made.pythia = Failing(made.pythia, self.every)
        return made


def test_failed_events_are_replaced_and_listed_in_pythias_words() -> None:
    pytest.importorskip("pythia8mc")
    stage = FailingDimuons()
    made = Chain([stage])
    trace = made.simulate(made.parameters.values(), 10, seed=1)

    assert trace.state["mass"].shape == (1, 10)
    assert trace.state["mass"].isfinite().all()
    # Of ten, three fail, which are tried again, of which one fails, which is tried again.
    assert [f.event for f in trace.failures] == [2, 4, 6, 9]
    assert {(f.stage, f.retried) for f in trace.failures} == {("pythia", True)}
    assert {f.reason for f in trace.failures} == {"Error in Pythia::check: energy not conserved"}
    assert stage.failures() == []


def test_failures_of_several_points_are_numbered_in_the_block() -> None:
    pytest.importorskip("pythia8mc")
    made = Chain([FailingDimuons()])
    masses = torch.tensor([[88.0], [94.0]], dtype=torch.float64)
    trace = made.simulate(made.parameters.values() | {"m_z": masses}, 3, seed=1)

    assert [f.event for f in trace.failures] == [2, 5]


def test_failures_are_counted_in_the_file(tmp_path: Path) -> None:
    pytest.importorskip("pythia8mc")
    made = Chain([FailingDimuons()], {"mass": ("GeV", "M")}, name="failing")
    campaign = Campaign(made, made.parameters, 20, prior=False, block_size=10)
    runs = simulate_to_file(campaign, tmp_path / "a.root", provenance={}, monitor=Silent())
    noted = read_metadata(tmp_path / "a.root")

    assert runs["genEventCount"] == runs["events"] == 20
    assert runs["failedEventCount"] == len(noted["failures"]) == 8
    assert [f["block"] for f in noted["failures"]] == [0] * 4 + [1] * 4
    assert "energy not conserved" in noted["failures"][0]["reason"]


def test_a_generator_that_only_fails_is_given_up() -> None:
    pytest.importorskip("pythia8mc")
    stage = FailingDimuons()
    stage.every = 1

    with pytest.raises(SimulationError, match=r"failed 1\d\d events in a row: Error in"):
        stage.draw(THEORY, 30, seed=1)


# --- Weights -------------------------------------------------------------------------------

VARIATIONS: dict[str, bool | float | str] = {
    "UncertaintyBands:doVariations": True,
    "UncertaintyBands:List": "{up fsr:muRfac=0.5, down fsr:muRfac=2.0}",
}


def test_shower_variations_are_weights_relative_to_the_events() -> None:
    """The mean weight of a variation that only moves probability around is one."""
    pytest.importorskip("pythia8mc")
    stage = PythiaParticles(settings=VARIATIONS | {"HadronLevel:all": False})
    made = Chain([stage], dict(stage.outputs))
    trace = made.simulate(made.parameters.values(), 2000, seed=3)
    relative = trace.state["PSWeight"][0]
    names = trace.notes["PSWeight"]

    assert len(names) == relative.shape[-1] == 4
    assert {"up", "down"} <= set(names)
    assert (trace.state["weight"] == 1).all()
    error = relative.std(0) / len(relative) ** 0.5
    assert ((relative.mean(0) - 1).abs() < 4 * error).all()
    assert (relative.std(0) > 0.05).all()


def test_weights_of_biased_generation_go_along(tmp_path: Path) -> None:
    """With pT̂ biased by its fourth power, events of large pT̂ have small weights."""
    pytest.importorskip("pythia8mc")
    settings = {
        "HardQCD:all": True, "PhaseSpace:pTHatMin": 20.0, "PhaseSpace:bias2Selection": True,
        "Beams:idA": 2212, "Beams:idB": 2212, "WeakSingleBoson:ffbar2gmZ": False,
        "PartonLevel:all": False,
    }  # fmt: skip
    made = Chain([PythiaParticles(7000.0, settings)], {"hard_flavour": ("", "flavour")})
    campaign = Campaign(made, made.parameters, 300, prior=False, block_size=300)
    runs = simulate_to_file(campaign, tmp_path / "a.root", provenance={}, monitor=Silent())
    weight = read(tmp_path / "a.root").read().weight

    assert weight.std() > 0.1 * weight.mean() > 0
    assert runs["genEventSumw"] == pytest.approx(weight.sum())


# --- Particles -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hadrons() -> Trace:
    """1000 events of e⁺e⁻ → hadrons at the Z."""
    pytest.importorskip("pythia8mc")
    made = Chain([PythiaParticles(91.1876)])
    return made.simulate(made.parameters.values(), 1000, seed=2)


def test_particles_have_the_four_momentum_of_the_beams(hadrons: Trace) -> None:
    state = hadrons.state
    real = torch.arange(state["Particle_e"].shape[-1]) < state["nParticle"][..., None]

    assert ((state["Particle_id"] != 0) == real).all()
    assert (state["Particle_e"].sum(-1) - 91.1876).abs().max() < 1e-3
    for c in ("px", "py", "pz"):
        assert state[f"Particle_{c}"].sum(-1).abs().max() < 1e-3
        assert (state[f"Particle_{c}"][~real] == 0).all()


def test_particles_are_stable_and_of_integer_type(hadrons: Trace) -> None:
    identity = hadrons.state["Particle_id"]

    assert identity.dtype == hadrons.state["nParticle"].dtype == torch.int64
    known = {211, 321, 2212, 2112, 130, 310, 22, 11, 13, 12, 14, 16}
    # Long-lived hyperons are stable to Pythia, as other particles are to a detector.
    known |= {3122, 3222, 3112, 3312, 3322, 3334, 111}
    assert set(identity.abs().flatten().tolist()) <= known | {0}


def test_charged_multiplicity_at_the_z(hadrons: Trace) -> None:
    """20.7 to 21.2 at LEP, with the decay products of K⁰_S and Λ; Monash 2013 is tuned to it."""
    identity = hadrons.state["Particle_id"].abs()
    charged = sum(
        (identity == i).double() for i in (211, 321, 2212, 11, 13, 3222, 3112, 3312, 3334)
    )

    assert isinstance(charged, torch.Tensor)
    assert charged.sum(-1).mean().item() == pytest.approx(20.9, abs=0.8)


def test_flavours_of_the_primary_quarks(hadrons: Trace) -> None:
    """R_b = 0.216 and R_c = 0.172 at the Z pole: within 4 binomial standard errors."""
    flavour = hadrons.state["hard_flavour"]

    assert set(flavour.flatten().tolist()) == {1, 2, 3, 4, 5}
    for pdg, share in ((5, 0.216), (4, 0.172)):
        found = (flavour == pdg).double().mean().item()
        assert abs(found - share) < 4 * (share * (1 - share) / 1000) ** 0.5


def test_parameters_of_shower_and_string_reach_pythia() -> None:
    """More radiation and softer fragments make more particles."""
    pytest.importorskip("pythia8mc")
    made = Chain([PythiaParticles()])
    points = {"alpha_s": [[0.08], [0.2], [0.1365]], "lund_a": [[0.68], [0.68], [1.9]]}
    theta = {n: torch.tensor(v, dtype=torch.float64) for n, v in points.items()}
    state = made.simulate(made.parameters.values() | theta, 200, seed=1).state
    few, many, soft = state["nParticle"].double().mean(-1).tolist()
    stage = made.stages[0]

    assert isinstance(stage, PythiaParticles)
    assert few + 4 < soft < many
    settings = stage.generator({"alpha_s": 0.12, "lund_a": 0.5, "lund_b": 0.7}, 1).pythia.settings
    assert [settings.parm(stage.meaning[n]) for n in ("alpha_s", "lund_a", "lund_b")] == [
        0.12, 0.5, 0.7,
    ]  # fmt: skip


def test_latents_of_particles_are_jagged_columns(hadrons: Trace) -> None:
    assert hadrons.masks["pythia_Particle_px"].sum() == hadrons.state["nParticle"].sum()
    assert torch.equal(hadrons.sites["pythia_hard_flavour"], hadrons.state["hard_flavour"])


# --- In a process --------------------------------------------------------------------------


def test_pythia_in_the_place_of_the_first_stages_of_a_process() -> None:
    pytest.importorskip("pythia8mc")
    made = process("zmumu", generator="pythia", pythia={"PartonLevel:ISR": False})
    state = made.simulate(made.parameters.values(), 200, seed=1).state

    assert [stage.name for stage in made.stages] == ["pythia", "detector", "reconstruction"]
    assert made.without_density == ("pythia",)
    # Without initial-state radiation only the primordial motion of 2 GeV is left.
    assert state["pt"].max() < 20
    assert {"Dimuon_mass", "selected", "weight"} <= set(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generator": "pithia"}, "generator = 'pithia'; expected builtin, pythia, lhe:FILE"),
        ({"generator": 8}, "generator = 8; expected text"),
        ({"pythia": {"PartonLevel:ISR": False}}, "generator = 'builtin'; expected generator"),
        ({"generator": "pythia", "pythia": 3}, "pythia = 3; expected a table"),
        ({"generator": "pythia", "photon_x_min": 0.01}, "are of the built-in stages"),
        ({"generator": "pythia", "running_width": False}, "are of the built-in stages"),
    ],
)
def test_options_of_the_generator_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        process("zmumu", **options)


def test_a_setting_of_another_type_is_named() -> None:
    pytest.importorskip("pythia8mc")

    with pytest.raises(WorkflowError, match=r"'Beams:eCM' = \[7000\]: expected true or false"):
        PythiaDimuons(settings={"Beams:eCM": [7000]}).draw(THEORY, 1, seed=1)
