"""e⁺e⁻ → jets as a whole: other generators before the same detector, selection, reweighting."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.io.event_files import open_events
from hepgen.simulators.augment import joint_log_ratio
from hepgen.simulators.chain import Chain, Trace
from hepgen.simulators.detectors.cms import cms_detector
from hepgen.simulators.event_shapes import EventShapes
from hepgen.simulators.fragmentation import Hadronisation
from hepgen.simulators.hadronic_selection import HadronicSelection
from hepgen.simulators.jet_energy import JetEnergy
from hepgen.simulators.jets import JetFinder
from hepgen.simulators.processes.ee_jets import DETECTOR_COLUMNS, PARTICLE_COLUMNS
from hepgen.simulators.processes.registry import process
from hepgen.simulators.stage import Stage, State
from tests.io.event_text import lhe

E_CM = 91.1876
EVENTS = 8_000
LOW, HIGH = 0.118, 0.130


@cache
def events(alpha_s: float, seed: int) -> Trace:
    chain = process("ee_jets")
    return chain.simulate(chain.parameters.values(None, alpha_s=alpha_s), EVENTS, seed)


def names(chain: Chain) -> list[str]:
    return [stage.name for stage in chain.stages]


# --- Options --------------------------------------------------------------------------------


def test_a_chain_ends_with_hadrons_where_that_is_asked_for() -> None:
    chain = process("ee_jets", detector=False)

    assert names(chain) == ["parton", "shower", "hadronisation"]
    assert chain.observables == PARTICLE_COLUMNS
    assert not set(PARTICLE_COLUMNS) & set(process("ee_jets").observables)
    assert set(process("ee_jets", particles=True).observables) == {
        *PARTICLE_COLUMNS, *DETECTOR_COLUMNS,
    }  # fmt: skip


def test_hadrons_do_not_depend_on_what_is_behind_them() -> None:
    chain = process("ee_jets", detector=False)
    alone = chain.simulate(chain.parameters.values(None, alpha_s=LOW), EVENTS, seed=1).state

    for name, column in alone.items():
        assert torch.equal(column, events(LOW, 1).state[name]), name


def test_durham_makes_the_jets_that_are_asked_for() -> None:
    chain = process("ee_jets", jet_algorithm="durham", n_jets=3, jet_pt_min=0.0)
    state = chain.simulate(chain.parameters.values(), 200, seed=1).state

    assert (state["nJet"] == 3)[state["nFlow"] >= 3].all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generator": "sherpa"}, "'sherpa'; expected builtin, pythia, or hepmc:FILE"),
        ({"pythia": {"a": 1}}, 'settings of Pythia .*expected generator = "pythia"'),
        ({"jet_algorithm": "cone"}, "expected 'antikt' or 'durham'"),
        ({"visible_min": -0.1}, "visible_min -0.1"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        process("ee_jets", **options)


# --- Detector level -------------------------------------------------------------------------


def test_selected_events_pass_the_selection() -> None:
    state = events(LOW, 1).state
    selected = state["selected"]

    assert 0.9 < selected.double().mean() < 0.99
    assert (state["nTrack"][selected] >= 5).all()
    assert (state["nJet"][selected] >= 2).all()
    assert (state["Visible_energy"][selected] > 0.5 * E_CM).all()
    missed = ~selected & (state["nTrack"] >= 5) & (state["Visible_energy"] > 0.5 * E_CM)
    assert (state["nJet"][missed] < 2).all()


def test_the_detector_loses_and_smears_what_it_should() -> None:
    """Tracks of charged particles within the acceptance; energy about √s; b jets are tagged."""
    state = events(LOW, 1).state
    bottom = state["hard_flavour"] == 5
    tagged = state["Jet_btag"].sum(-1) / state["nJet"].clamp_min(1)

    assert 0.7 < (state["nTrack"] / state["nCharged"]).mean() < 0.85
    assert state["Visible_energy"].mean().item() == pytest.approx(E_CM, rel=0.06)
    assert tagged[bottom].mean() > 10 * tagged[~bottom & (state["hard_flavour"] < 4)].mean()
    assert (state["nTrack"] <= state["nCharged"]).all()


class HeavyPair(Stage):
    """A pair of b quarks, with less energy than their hadrons have mass."""

    name = "heavy_pair"
    provides = (
        "sqrt_s", "hard_flavour", "nParton",
        "Parton_px", "Parton_py", "Parton_pz", "Parton_e", "Parton_id",
    )  # fmt: skip

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        shape = state["event"].shape
        one = torch.ones((*shape, 2), dtype=torch.float64)
        sign = one * torch.tensor([1.0, -1.0])
        columns = (
            8 * one[..., 0], torch.full(shape, 5), torch.full(shape, 2),
            4 * sign, 0 * one, 0 * one, 4 * one, 5 * sign.long(),
        )  # fmt: skip
        return state | dict(zip(self.provides, columns, strict=True))


def test_events_that_failed_are_not_selected() -> None:
    """With cuts that keep everything else."""
    stages = (
        HeavyPair(), Hadronisation(), *cms_detector(), JetFinder(), JetEnergy(),
        EventShapes(charged=False), HadronicSelection(8.0, 0.0, 0, 0, balanced=True),
    )  # fmt: skip
    trace = Chain(stages).simulate(Chain(stages).parameters.values(), 50, seed=1)
    failed = {failure.event for failure in trace.failures}

    assert len(failed) > 10
    assert not trace.state["selected"][0, sorted(failed)].any()
    assert events(LOW, 1).failures == ()


# --- Other generators -----------------------------------------------------------------------


def test_pythia_before_the_same_detector() -> None:
    pytest.importorskip("pythia8mc")
    own, chain = process("ee_jets"), process("ee_jets", generator="pythia")
    state = chain.simulate(chain.parameters.values(), 300, seed=1).state

    assert names(chain)[2:] == names(own)[3:]
    assert chain.observables == own.observables
    assert set(chain.observables) <= set(state)
    assert {"alpha_s", "lund_a", "lund_b"} < set(chain.parameters.names)
    assert set(own.parameters.names) - set(chain.parameters.names) == {
        "m_z", "gamma_z", "sin2_theta_w", "shower_cutoff",
    }  # fmt: skip
    assert state["selected"].double().mean() > 0.9


def test_settings_of_pythia_reach_it() -> None:
    """Without a shower two jets are all there is."""
    pytest.importorskip("pythia8mc")
    chain, plain = (
        process("ee_jets", generator="pythia", pythia=settings)
        for settings in ({"TimeShower:QEDshowerByQ": False, "PartonLevel:FSR": False}, {})
    )
    thrust, other = (
        c.simulate(c.parameters.values(), 300, seed=1).state["Thrust"].median()
        for c in (chain, plain)
    )
    assert 1 - thrust < 0.6 * (1 - other)


def write(path: Path, state: State) -> None:
    """The hadrons of a chain and their primary quark, as HepMC."""
    pyhepmc = pytest.importorskip("pyhepmc")
    with pyhepmc.open(path, "w") as file:
        for k, count in enumerate(state["nParticle"][0].tolist()):
            event = pyhepmc.GenEvent(pyhepmc.Units.GEV, pyhepmc.Units.MM)
            vertex = pyhepmc.GenVertex()
            for sign in (1, -1):
                beam = pyhepmc.GenParticle((0, 0, sign * E_CM / 2, E_CM / 2), -11 * sign, 4)
                vertex.add_particle_in(beam)
            flavour = int(state["hard_flavour"][0, k])
            vertex.add_particle_out(pyhepmc.GenParticle((0, 0, 1, 1), flavour, 23))
            columns = [state[f"Particle_{c}"][0, k] for c in ("px", "py", "pz", "e", "id")]
            for *p, pdg_id in zip(*(c[:count].tolist() for c in columns), strict=True):
                vertex.add_particle_out(pyhepmc.GenParticle(tuple(p), pdg_id, 1))
            event.add_vertex(vertex)
            file.write(event)


def test_own_hadrons_through_a_file_are_the_same_events(tmp_path: Path) -> None:
    """Every observable, as the detector draws from random streams of its own."""
    own = process("ee_jets")
    values = own.parameters.values()
    before = own.simulate(values, 40, seed=5).state
    write(tmp_path / "hadrons.hepmc", before)
    source = open_events("hepmc", tmp_path / "hadrons.hepmc")

    chain = process("ee_jets", source, generator="hepmc:hadrons.hepmc", particles=True)
    after = chain.simulate(chain.parameters.values(), 40, seed=5).state

    assert not {"alpha_s", "lund_a"} & set(chain.parameters.names)
    for name in (*chain.observables, "selected"):
        torch.testing.assert_close(after[name], before[name], rtol=1e-6, atol=1e-6, msg=name)


def test_a_file_of_partons_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pylhe")
    (tmp_path / "a.lhe").write_text(lhe(3))

    with pytest.raises(WorkflowError, match=r"'lhe:a\.lhe'; expected .* hepmc:FILE with hadrons"):
        process("ee_jets", open_events("lhe", tmp_path / "a.lhe"), generator="lhe:a.lhe")


# --- One sample at another coupling ---------------------------------------------------------


def p_value(
    column: NDArray[np.float64], weight: NDArray[np.float64], other: NDArray[np.float64],
    bins: NDArray[np.float64],
) -> float:  # fmt: skip
    """Of χ² between a weighted and a plain sample of as many generated events."""
    moved, square = (np.histogram(column, bins, weights=weight**k)[0] for k in (1, 2))
    direct = np.histogram(other, bins)[0]
    assert direct.min() > 20
    return float(stats.chi2.sf(((moved - direct) ** 2 / (square + direct)).sum(), len(direct)))


@pytest.mark.parametrize(
    ("name", "bins"),
    [
        ("Thrust", np.array([0.5, 0.75, 0.82, 0.87, 0.9, 0.92, 0.94, 0.96, 0.98, 1.0])),
        ("nTrack", np.array([4.5, 7.5, 9.5, 11.5, 13.5, 15.5, 17.5, 20.5, 24.5, 60.5])),
        ("Durham_y23", 10.0 ** np.array([-9, -3.5, -3, -2.5, -2.0, -1.75, -1.5, -1.25, -1, -0.4])),
    ],
)
def test_reweighted_events_are_those_of_another_coupling(
    name: str, bins: NDArray[np.float64]
) -> None:
    """Selected events at detector level, α_s 0.118 → 0.130, rate included (α = 1 % for each)."""
    chain = process("ee_jets")
    here, there = events(LOW, 1), events(HIGH, 2)
    low, high = (chain.parameters.values(None, alpha_s=a) for a in (LOW, HIGH))
    weight = joint_log_ratio(chain, here, high, low).exp()
    x, w = (c[here.state["selected"]].double().numpy() for c in (here.state[name], weight))
    direct = there.state[name][there.state["selected"]].double().numpy()

    assert p_value(x, w, direct, bins) > 0.01
    assert p_value(x, np.ones_like(w), direct, bins) < 1e-3
