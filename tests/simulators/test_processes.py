"""The chain of Z → μμ as a whole, beside Pythia 8; and how a process is asked for.

Pythia 8.317, pp at 7 TeV, leading order with ISR and FSR, without multiple interactions or
hadrons, 60 < M < 120 GeV. The bands on what leading logarithms and toy densities cannot
reach are wide, and say so: they guard against a change, they do not claim agreement. The
numbers are in docs/physics/zmumu.md.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hepgen.errors import WorkflowError
from hepgen.simulators.detector import MuonDetector
from hepgen.simulators.parton import DrellYan
from hepgen.simulators.processes.registry import process
from hepgen.simulators.shower import FinalStateRadiation
from hepgen.simulators.stage import State


@pytest.fixture(scope="module")
def state() -> State:
    """400,000 generated events, with 60 < M < 120 GeV."""
    chain = process("zmumu", generated_mass=(60.0, 120.0))
    return chain.simulate(chain.parameters.values(), 400_000, seed=21).state


@pytest.mark.parametrize(
    ("share", "pythia", "tolerance"),
    [(0.1, 2.6, 0.25), (0.25, 5.2, 0.12), (0.5, 11.2, 0.05), (0.75, 23.1, 0.10),
     (0.9, 41.4, 0.15)],
)  # fmt: skip
def test_pair_momentum_beside_pythia(
    state: State, share: float, pythia: float, tolerance: float
) -> None:
    found = state["pt"].ravel().numpy()

    assert float(torch.quantile(torch.from_numpy(found[:100_000]), share)) == pytest.approx(
        pythia, rel=tolerance
    )


def test_rapidity_beside_pythia(state: State) -> None:
    """Pythia: 1.60. Densities that are not evolved have too few sea quarks at small x."""
    assert state["y"].abs().mean().item() == pytest.approx(1.81, abs=0.01)


def test_acceptance_beside_pythia(state: State) -> None:
    """Pythia: 0.455 for pT > 20 GeV, |η| < 2.4, both muons; lower here with the rapidity."""
    inside = (state["muon_pt"] > 20) & (state["muon_eta"].abs() < 2.4)

    assert inside.all(-1).double().mean().item() == pytest.approx(0.393, abs=0.005)


def test_selected_events_pass_the_selection(state: State) -> None:
    selected = state["selected"]

    assert 0.2 < selected.double().mean() < 0.4
    assert (state["Dimuon_pt2"][selected] > 20).all()
    assert (state["Muon_eta"][selected].abs() < 2.1).all()
    assert ((state["Dimuon_mass"][selected] - 90).abs() < 30).all()
    assert (state["Muon_charge"][selected].sum(-1) == 0).all()


def test_the_peak_is_where_resolution_and_radiation_put_it(state: State) -> None:
    """The median of the selected masses lies below m_Z, by radiation."""
    mass = state["Dimuon_mass"][state["selected"]]

    assert 0.1 < 91.1876 - mass.median().item() < 0.8


def test_an_unknown_process_or_option_offers_the_nearest() -> None:
    with pytest.raises(WorkflowError, match="did you mean 'zmumu'"):
        process("zmum")
    with pytest.raises(WorkflowError, match="did you mean 'pt_min'"):
        process("zmumu", ptmin=25.0)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (DrellYan, {"window": (150.0, 50.0)}, "0 < low < high"),
        (DrellYan, {"sqrt_s": 100.0}, "0 < low < high"),
        (FinalStateRadiation, {"x_min": 0.0}, "smallest photon fraction 0.0"),
        (FinalStateRadiation, {"x_min": 1.0}, "smallest photon fraction 1.0"),
        (MuonDetector, {"charge_flip": 1.5}, "expected a probability"),
    ],
)
def test_options_that_make_no_sense(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        make(**options)
