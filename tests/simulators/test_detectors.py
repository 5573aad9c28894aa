"""The detector: the numbers of the Delphes card, what is drawn from them, what is conserved.

Statistical tests are refused at 4 standard errors or p < 10⁻⁴, at fixed seeds.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.simulators.chain import Chain, Trace
from hepgen.simulators.coordinates import cylindrical, momenta
from hepgen.simulators.detector import relative_resolution as muon_resolution
from hepgen.simulators.detectors import grid
from hepgen.simulators.detectors.calorimeter import (
    ECAL,
    HCAL,
    Calorimeter,
    collect,
    ecal_resolution,
    hcal_resolution,
)
from hepgen.simulators.detectors.cms import cms_detector
from hepgen.simulators.detectors.identification import Identification, identification
from hepgen.simulators.detectors.isolation import isolation
from hepgen.simulators.detectors.particle_flow import ParticleFlow
from hepgen.simulators.detectors.tracker import Tracker, efficiency, relative_resolution
from hepgen.simulators.jagged import packed
from hepgen.simulators.stage import State
from tests.simulators.gun import Gun, Sprayer, real

FALSE_ALARM = 1e-4
PION, KAON, ELECTRON, MUON, PHOTON, K_LONG, K_SHORT, NEUTRINO = 211, 321, 11, 13, 22, 130, 310, 12


def shoot(
    ids: tuple[int, ...],
    pt: tuple[float, ...],
    eta: tuple[float, ...],
    n: int = 10_000,
    phi: tuple[float, ...] | None = None,
    stages: int = 4,
    **changed: Any,
) -> Trace:
    """The same particles in every event, through the first stages of the detector."""
    gun = Gun(pt, eta, phi or tuple(0.4 * i for i in range(len(ids))), ids)
    chain = Chain([gun, *cms_detector()[:stages]])
    return chain.simulate(chain.parameters.values(None, **changed), n, seed=1)


def share(found: Tensor, expected: float) -> None:
    error = 4 * math.sqrt(expected * (1 - expected) / found.numel())
    assert found.double().mean().item() == pytest.approx(expected, abs=error)


# --- Tracks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pdg_id", "pt", "eta", "expected"),
    [
        (PION, 0.05, 0.3, 0.0),
        (PION, 0.5, 0.3, 0.70),
        (-PION, 5.0, -1.6, 0.85),
        (KAON, 0.5, 2.4, 0.60),
        (PION, 5.0, 2.6, 0.0),
        (ELECTRON, 0.5, 1.0, 0.73),
        (ELECTRON, 50.0, 1.0, 0.95),
        (-ELECTRON, 150.0, 2.0, 0.90),
        (MUON, 0.5, 2.0, 0.70),
        (MUON, 50.0, 2.0, 0.98),
        (MUON, 2000.0, 0.3, 0.99 * math.exp(-0.5)),
        (PHOTON, 50.0, 0.3, 0.0),
        (K_LONG, 50.0, 0.3, 0.0),
    ],
)
def test_efficiency_of_the_card(pdg_id: int, pt: float, eta: float, expected: float) -> None:
    value = efficiency(torch.tensor(pdg_id), real(pt), real(eta))
    assert value.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("pdg_id", "eta", "constant", "slope"),
    [
        (PION, 0.2, 0.06, 1.3e-3),
        (KAON, -0.9, 0.10, 1.7e-3),
        (PION, 2.0, 0.25, 3.1e-3),
        (ELECTRON, 2.0, 0.15, 3.1e-3),
    ],
)
def test_resolution_of_the_card(pdg_id: int, eta: float, constant: float, slope: float) -> None:
    for pt in (1.0, 20.0, 100.0):
        expected = math.hypot(constant, slope * pt)
        value = relative_resolution(torch.tensor(pdg_id), real(pt), real(eta)).item()
        assert value == pytest.approx(expected)


def test_a_resolution_is_at_most_one() -> None:
    assert relative_resolution(torch.tensor(PION), real(5000.0), real(2.0)).item() == 1.0


def test_muons_are_those_of_the_muon_detector() -> None:
    pt, eta = torch.rand(100).double() * 500, torch.rand(100).double() * 2.4
    torch.testing.assert_close(
        relative_resolution(torch.tensor(MUON), pt, eta), muon_resolution(pt, eta)
    )


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_share_of_tracks_found(factor: float) -> None:
    """The efficiency's nuisance acts on hadrons and electrons, not on muons."""
    trace = shoot((PION, ELECTRON, MUON), (5.0, 20.0, 20.0), (0.3, 2.0, 0.3), stages=1,
                  track_efficiency=factor)  # fmt: skip
    found = trace.sites["track_found"][0] > 0.5

    share(found[:, 0], factor * 0.95)
    share(found[:, 1], factor * 0.83)
    share(found[:, 2], 0.99)


def test_measured_momentum_is_log_normal() -> None:
    trace = shoot((PION, MUON), (20.0, 20.0), (0.9, -0.9), stages=1, track_resolution=1.3,
                  muon_scale=0.02, muon_resolution=2.0)  # fmt: skip
    widths = (1.3 * math.hypot(0.10, 1.7e-3 * 20), 2 * math.hypot(0.015, 1.5e-4 * 20))
    for slot, (mean, width) in enumerate(zip((20.0, 20.4), widths, strict=True)):
        measured = trace.sites["track_pt"][0, :, slot]
        sigma = math.sqrt(math.log1p(width**2))
        expected = stats.lognorm(s=sigma, scale=mean * math.exp(-(sigma**2) / 2))
        assert stats.kstest(measured[measured > 0].numpy(), expected.cdf).pvalue > FALSE_ALARM


def test_tracks_keep_direction_charge_and_identity() -> None:
    state = shoot((PION, PHOTON, -MUON), (5.0, 5.0, 50.0), (0.3, 0.1, -1.0), stages=1).state
    both = state["nTrack"][0] == 2
    expected = {"eta": (0.3, -1.0), "phi": (0.0, 0.8), "charge": (1.0, 1.0), "id": (PION, -MUON)}

    assert state["nTrack"].max() == 2
    for column, values in expected.items():
        torch.testing.assert_close(
            state[f"Track_{column}"][0][both].double(), real(*values).expand(int(both.sum()), 2)
        )


# --- Calorimeter ----------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [grid.ECAL, grid.HCAL], ids=["ecal", "hcal"])
def test_the_centre_of_a_cell_is_in_the_cell(cells: grid.CellGrid) -> None:
    number = torch.arange(cells.size)
    assert torch.equal(cells.cell(*cells.centre(number)), number)


def test_granularity_of_the_card() -> None:
    assert grid.ECAL.size == 340 * 360 + 22 * 36
    torch.testing.assert_close(grid.ECAL.edges[11:352].diff(), real(0.0174).expand(340))
    assert grid.HCAL.size == 38 * 72 + 38 * 36 + 4 * 18
    for cells in (grid.ECAL, grid.HCAL):
        torch.testing.assert_close(cells.edges, -cells.edges.flip(0))
        assert (cells.edges.diff() > 0).all()
        assert cells.edges[-1] == 5


@settings(max_examples=50, deadline=None)
@given(st.floats(-6, 6), st.floats(-7, 7))
def test_a_point_is_within_half_a_cell_of_the_centre(eta: float, phi: float) -> None:
    cell = grid.HCAL.cell(real(eta), real(phi))
    if cell.item() < 0:
        assert abs(eta) >= 5
        return
    centre_eta, centre_phi = grid.HCAL.centre(cell)
    assert abs(centre_eta.item() - eta) <= 0.16
    assert abs(math.remainder(centre_phi.item() - phi, 2 * math.pi)) <= math.pi / 18 + 1e-9


@pytest.mark.parametrize(
    ("energy", "eta", "expected"),
    [
        (10.0, 0.0, math.sqrt(0.0064 + 0.121 + 0.16)),
        (10.0, -1.0, 1.64 * math.sqrt(0.0064 + 0.121 + 0.16)),
        (10.0, 2.0, 2.16 * math.sqrt(0.0064 + 0.121 + 0.16)),
        (10.0, 4.0, math.sqrt(0.107**2 * 100 + 2.08**2 * 10)),
    ],
)
def test_ecal_resolution_of_the_card(energy: float, eta: float, expected: float) -> None:
    assert ecal_resolution(real(energy), real(eta)).item() == pytest.approx(expected)


def test_hcal_resolution_of_the_card() -> None:
    assert hcal_resolution(real(100.0), real(-2.9)).item() == pytest.approx(math.sqrt(25 + 225))
    assert hcal_resolution(real(100.0), real(3.1)).item() == pytest.approx(math.sqrt(169 + 729))


def test_energy_is_conserved_before_smearing() -> None:
    """All that leaves energy and is inside η = ±5, K⁰_S in both parts."""
    state = Chain([Sprayer(width=1.0)]).simulate({"gun_scale": real(20.0)[0]}, 500, seed=1).state
    px, py, pz, e = momenta(state, "Particle")
    _, eta, phi = cylindrical(px, py, pz)
    pdg_id = state["Particle_id"]
    collected = sum(
        collect(e * part.share(pdg_id), part.cells.cell(eta, phi), part.cells.size)[0].sum(-1)
        for part in (ECAL, HCAL)
    )
    silent = (pdg_id.abs() == MUON) | (pdg_id.abs() == NEUTRINO) | (eta.abs() >= 5)

    torch.testing.assert_close(collected, torch.where(silent, 0.0, e).sum(-1))
    k_short = torch.tensor(K_SHORT)
    assert (ECAL.share(k_short).item(), HCAL.share(k_short).item()) == pytest.approx((0.3, 0.7))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 2**31))
def test_cells_add_up_as_a_dense_histogram_does(objects: int, cells: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cell = torch.randint(-1, cells, (2, 3, objects), generator=generator)
    energy = torch.rand(2, 3, objects, generator=generator).double()
    dense = torch.zeros(2, 3, cells + 1).double().scatter_add(-1, cell + 1, energy)[..., 1:]

    found, number, count = collect(energy, cell, cells)

    again = torch.zeros(2, 3, cells).double().scatter_add(-1, number, found)
    torch.testing.assert_close(again, dense)
    assert torch.equal(count, (dense > 0).sum(-1))


@pytest.mark.parametrize(
    ("pdg_id", "part", "sigma"),
    [(PHOTON, "ecal", ecal_resolution), (K_LONG, "hcal", hcal_resolution)],
)  # fmt: skip
def test_measured_energy_has_the_scale_and_width_put_in(pdg_id: int, part: str, sigma: Any) -> None:
    changed: dict[str, Any] = {f"{part}_scale": 0.05, f"{part}_resolution": 0.7}
    trace = shoot((pdg_id,), (40.0,), (0.7,), stages=2, **changed)
    measured = trace.sites[f"{part}_energy"][0, :, 0]
    truth = trace.state["Particle_e"][0, 0, 0]
    cells = grid.ECAL if part == "ecal" else grid.HCAL
    eta = cells.centre(cells.cell(real(0.7), real(0.0)))[0]
    width = 0.7 * (sigma(truth, eta) / truth).item()
    log_width = math.sqrt(math.log1p(width**2))
    expected = stats.lognorm(s=log_width, scale=1.05 * truth.item() * math.exp(-(log_width**2) / 2))

    assert stats.kstest(measured.numpy(), expected.cdf).pvalue > FALSE_ALARM


def test_thresholds_of_towers() -> None:
    """ECAL: 0.5 GeV and 2σ, HCAL: 1 GeV and 1σ, of what is measured."""
    trace = shoot((PHOTON, K_LONG), (0.9, 3.0), (0.1, 0.1), stages=2)
    state = trace.state
    photon, hadron = state["Ecal_e"][0, :, 0], state["Hcal_e"][0, :, 0]
    eta = grid.ECAL.centre(state["Ecal_cell"][0, :, 0])[0]
    low = (photon > 0.5) & (photon > 2 * ecal_resolution(photon, eta))
    high = (hadron > 1) & (hadron > hcal_resolution(hadron, eta))

    assert 0.1 < low.double().mean() < 0.9
    assert 0.1 < high.double().mean() < 0.9
    assert torch.equal(state["nTower"][0], low.long() + high.long())
    towers = state["Tower_e"][0]
    assert towers[towers > 0].min() > 0.5


# --- Particle flow --------------------------------------------------------------------------


def flow(track: tuple[float, int], ecal: float, hcal: float) -> State:
    """One track at η = φ = 0 with cells of these energies around it."""
    pt, pdg_id = track
    column = real(pt).reshape(1, 1, 1)
    zero, one = torch.zeros(1, 1, 1).double(), torch.ones(1, 1).long()
    state: State = {
        "Track_pt": column, "Track_eta": zero, "Track_phi": zero, "Track_charge": zero + 1,
        "Track_mass": zero, "Track_id": torch.full((1, 1, 1), pdg_id), "nTrack": one,
    }  # fmt: skip
    for part, energy in ((ECAL, ecal), (HCAL, hcal)):
        cell = part.cells.cell(zero, zero)
        state |= dict(zip(part.columns, (zero + energy, cell, one), strict=True))
    return ParticleFlow()(state, {})


def test_an_excess_over_the_tracks_is_a_neutral_hadron() -> None:
    state = flow((10.0, PION), 0.0, 60.0)
    assert state["Flow_id"].flatten().tolist() == [PION, K_LONG]
    torch.testing.assert_close(state["Flow_e"].flatten(), real(10.0, 50.0))


def test_a_track_without_significant_excess_takes_the_best_estimate() -> None:
    state = flow((10.0, PION), 0.0, 12.0)
    sigma = math.hypot(0.06, 1.3e-3 * 10) * 10
    cell = hcal_resolution(real(12.0), real(0.0435)).item()
    best = (10 / sigma**2 + 12 / cell**2) / (1 / sigma**2 + 1 / cell**2)

    assert state["nFlow"].item() == 1
    assert state["Flow_e"].item() == pytest.approx(best)


def test_photons_beside_hadrons_and_muons_are_left_alone() -> None:
    state = flow((10.0, MUON), 20.0, 0.0)
    assert state["Flow_id"].flatten().tolist() == [MUON, PHOTON]
    torch.testing.assert_close(state["Flow_e"].flatten(), real(10.0, 20.0))


def test_flow_of_an_event_has_its_energy_when_all_is_measured_well() -> None:
    """Mean of the sum over the mean of the truth: within 2 % at the smallest widths."""
    good: dict[str, Any] = {f"{n}_resolution": 0.05 for n in ("track", "ecal", "hcal", "muon")}
    state = shoot((PION, PHOTON, K_LONG, MUON), (40.0, 30.0, 50.0, 20.0), (0.1, 0.5, -0.5, 1.0),
                  n=4000, track_efficiency=1.05, **good).state  # fmt: skip
    assert (state["Flow_e"].sum(-1).mean() / state["Particle_e"].sum(-1).mean()).item() == (
        pytest.approx(1, abs=0.02)
    )


# --- Identification and isolation -----------------------------------------------------------


@pytest.mark.parametrize(
    ("pdg_id", "pt", "eta", "expected"),
    [(MUON, 9.0, 0.0, 0.0), (MUON, 20.0, 2.39, 0.95), (MUON, 20.0, 2.41, 0.0),
     (ELECTRON, 20.0, 1.4, 0.95), (PHOTON, 20.0, -2.4, 0.85), (PHOTON, 20.0, 2.6, 0.0)],
)  # fmt: skip
def test_identification_of_the_card(pdg_id: int, pt: float, eta: float, expected: float) -> None:
    assert identification(pdg_id, real(pt), real(eta)).item() == pytest.approx(expected)


def test_share_of_muons_and_photons_identified() -> None:
    state = shoot((MUON, PHOTON), (40.0, 60.0), (0.3, 2.0), muon_efficiency=0.8).state

    share(state["nMuon"][0], 0.99 * 0.8 * 0.95)
    share(state["nPhoton"][0], 0.85)


def test_a_muon_in_a_jet_is_not_isolated() -> None:
    """Hadrons of 30 GeV at ΔR = 0.3 of a muon of 40 GeV, and at 0.6."""
    for distance, isolated in ((0.3, False), (0.6, True)):
        state = shoot((MUON, PION), (40.0, 30.0), (0.0, distance), n=500, phi=(0.0, 0.0)).state
        both = (state["Track_id"] == MUON).any(-1) & (state["Track_id"] == PION).any(-1)
        assert (state["nMuon"][both] > 0).double().mean() == pytest.approx(
            0.95 if isolated else 0.0, abs=0.05 if isolated else 1e-9
        )


def test_isolation_is_a_sum_over_others() -> None:
    """Against a loop, with a candidate across φ = π."""
    pt, eta = real(10.0, 4.0, 0.4, 3.0).reshape(1, 1, 4), torch.zeros(1, 1, 4).double()
    phi = real(3.1, -3.1, 3.0, 2.0).reshape(1, 1, 4)
    itself = torch.zeros(1, 1, 1).long()
    first = (pt[..., :1], eta[..., :1], phi[..., :1], itself)

    assert isolation(first, (pt, eta, phi)).item() == pytest.approx(0.4)


def test_collections_come_hardest_first() -> None:
    state = shoot((MUON, MUON), (20.0, 60.0), (0.3, -0.3), n=2000).state
    two = state["nMuon"][0] == 2
    pt = state["Muon_pt"][0][two]

    assert two.sum() > 1000
    assert (pt[:, 0] >= pt[:, 1]).all()
    assert (state["Muon_charge"][0][two] == -1).all()


@pytest.mark.parametrize("bad", [{"ratio": 0.0}, {"muon_ratio": -1.0}, {"cone": math.nan}])
def test_nonsense_isolation_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(WorkflowError, match=f"{next(iter(bad))} = .*; expected a number above 0"):
        Identification(**bad)


# --- Whole ----------------------------------------------------------------------------------


def test_packed_moves_entries_to_the_front() -> None:
    mask = torch.tensor([[[True, False, True], [False, False, False]]])
    column, count = packed(mask, torch.arange(6).reshape(1, 2, 3))

    assert column.tolist() == [[[0, 2], [0, 0]]]
    assert count.tolist() == [[2, 0]]


def test_an_event_without_particles_leaves_nothing() -> None:
    state = shoot((0, NEUTRINO), (0.0, 50.0), (0.0, 0.3), n=5).state

    for counter in ("nTrack", "nTower", "nFlow", "nMuon", "nElectron", "nPhoton"):
        assert (state[counter] == 0).all()


def test_score_of_the_ecal_scale() -> None:
    """∂ log p/∂scale = Σ z/(b(1 + scale)) over cells."""
    chain = Chain([Gun((40.0, 20.0), (0.3, -2.0), (0.0, 1.0), (PHOTON, PHOTON)), Calorimeter()])
    values = chain.parameters.values()
    trace = chain.simulate(values, 500, seed=2)
    scale = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    log_prob = chain.log_prob(trace, values | {"ecal_scale": scale})
    (gradient,) = torch.autograd.grad(log_prob.sum(), scale)

    measured, eta = trace.state["Ecal_e"], grid.ECAL.centre(trace.state["Ecal_cell"])[0]
    truth = trace.state["Particle_e"].gather(-1, (eta > 0).long().neg() + 1)
    b2 = torch.log1p((ecal_resolution(truth, eta) / truth).square())
    expected = ((measured / truth).log() + b2 / 2) / b2
    assert gradient.item() == pytest.approx(expected.sum().item(), rel=1e-9)


def test_the_tracker_does_not_see_the_calorimeter() -> None:
    one = shoot((PION, PHOTON), (5.0, 9.0), (0.1, 0.2), n=100, ecal_scale=0.1).state
    two = shoot((PION, PHOTON), (5.0, 9.0), (0.1, 0.2), n=100).state

    assert all(torch.equal(one[c], two[c]) for c in Tracker.provides)
    assert not torch.equal(one["Ecal_e"], two["Ecal_e"])
