"""Fragmentation and decays: densities, conservation, and the multiplicity of the Z."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from hepgen.errors import WorkflowError
from hepgen.simulators.chain import Trace
from hepgen.simulators.decays import Particles
from hepgen.simulators.fragmentation import Hadronisation, restored, turned
from hepgen.simulators.hadron_table import DECAYS, MASS, channels, charge, conjugate, outcomes
from hepgen.simulators.kinematics import around
from hepgen.simulators.lund import LundFunction
from hepgen.simulators.processes.registry import process
from hepgen.simulators.species import Species

E_CM = 91.1876
EVENTS = 5_000


@cache
def events(energy: float = E_CM, **options: float) -> Trace:
    chain = process("ee_jets", sqrt_s=energy, detector=False, **options)
    return chain.simulate(chain.parameters.values(), EVENTS, seed=11)


def lund(a: float, b: float) -> LundFunction:
    return LundFunction(torch.tensor([a]).double(), torch.tensor([b]).double())


# --- f(z) -----------------------------------------------------------------------------------


@given(a=st.floats(0.1, 2.0), b=st.floats(0.2, 2.0), mt2=st.floats(0.02, 40.0))
@settings(max_examples=25, deadline=None)
def test_the_fragmentation_function_is_normalised(a: float, b: float, mt2: float) -> None:
    """Exact at midpoints: the density is linear between its nodes."""
    function = lund(a, b)
    middle = 0.5 * (function.nodes[1:] + function.nodes[:-1])
    log_mt2 = torch.full_like(middle, math.log(mt2))
    density = function.log_prob(middle, torch.zeros(len(middle), dtype=torch.long), log_mt2).exp()

    assert (density * function.nodes.diff()).sum().item() == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("mt2", [0.03, 0.4, 1.5, 30.0])
def test_the_table_is_the_formula(mt2: float) -> None:
    """Moments of z to 0.02 of those of z⁻¹(1 − z)^a e^{−b m_T²/z}: of a table of 64 nodes."""
    a, b = 0.68, 0.98
    function = lund(a, b)
    torch.manual_seed(1)
    log_mt2 = torch.full((40_000,), math.log(mt2), dtype=torch.float64)
    drawn = function.sampler().draw(torch.zeros(40_000, dtype=torch.long), log_mt2)

    def shape(z: float) -> float:
        return math.pow(1 - z, a) / z * math.exp(-b * mt2 * (1 / z - 1))

    norm, _ = integrate.quad(shape, 0, 1)
    mean, _ = integrate.quad(lambda z: z * shape(z) / norm, 0, 1)
    assert drawn.mean().item() == pytest.approx(mean, abs=0.02)


def test_draws_follow_their_density() -> None:
    """The probability integral transform of 20,000 draws of two points, KS with p > 10⁻⁴."""
    function = LundFunction(torch.tensor([0.3, 1.5]).double(), torch.tensor([1.8, 0.4]).double())
    torch.manual_seed(2)
    log_mt2 = torch.full((20_000,), -0.7, dtype=torch.float64)
    grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)[1:-1]
    for g in (0, 1):
        point = torch.full((20_000,), g)
        drawn = function.sampler().draw(point, log_mt2).numpy()
        density = function.log_prob(grid, point[: len(grid)], log_mt2[: len(grid)]).exp().numpy()
        cumulative = np.cumsum(density) / density.sum()
        u = np.interp(drawn, grid.numpy(), cumulative)
        assert stats.kstest(u, "uniform").pvalue > 1e-4


# --- The table ------------------------------------------------------------------------------


@pytest.mark.parametrize("code", range(-6, 7))
def test_what_comes_off_a_jet_conserves_charge(code: int) -> None:
    third = {0: 0, 1: -1, 2: 2, 3: -1, 4: 2, 5: -1, 6: -1}  # the antidiquark is (ū d̄)
    assert sum(p for p, _, _ in outcomes(code)) == pytest.approx(1.0)
    for _, hadron, left in outcomes(code):
        rest = third[abs(left)] * (1 if left > 0 else -1)
        start = third[abs(code)] * (1 if code > 0 else -1)
        if code:
            assert 3 * charge(hadron) + rest == start, (hadron, left)


def test_decays_conserve_charge_and_energy() -> None:
    for species in DECAYS:
        for particle in {species, conjugate(species)}:
            for _, first, second in channels(particle):
                assert charge(first) + charge(second) == charge(particle), particle
                both = MASS[abs(first)] + MASS[abs(second)]
                assert both < MASS[abs(particle)], (particle, first, second)


# --- Kinematics -----------------------------------------------------------------------------


def test_a_jet_is_turned_to_its_parton() -> None:
    torch.manual_seed(3)
    n = torch.nn.functional.normalize(torch.randn(3, 200, dtype=torch.float64), dim=0)
    cosine, phi = 2 * torch.rand(200).double() - 1, 6.28 * torch.rand(200).double()
    sine = (1 - cosine.square()).sqrt()
    axis = torch.cat([torch.full((1, 200), 5.0).double(), 5.0 * n])
    found = turned(axis, sine * torch.cos(phi), sine * torch.sin(phi), cosine)

    torch.testing.assert_close(found, torch.stack(around((n[0], n[1], n[2]), cosine, phi)))


@pytest.mark.parametrize("energy", [30.0, E_CM, 500.0])
def test_every_event_has_its_energy_and_momentum(energy: float) -> None:
    state = events(energy).state
    p = torch.stack([state[f"Particle_{c}"][0] for c in ("e", "px", "py", "pz")])
    total = p.sum(-1)

    assert (total[0] - energy).abs().max() < 1e-5 * energy
    assert total[1:].abs().max() < 1e-5 * energy
    ids = state["Particle_id"][0]
    mass2 = p[0].square() - p[1:].square().sum(0)
    for particle in (22, 211, 321, 2212):
        found = mass2[ids.abs() == particle]
        expected = torch.full_like(found, MASS[particle] ** 2)
        torch.testing.assert_close(found, expected, atol=1e-6 * energy, rtol=0)


def test_an_event_lighter_than_its_hadrons_is_a_failure() -> None:
    """One D meson and one pion in an event of 1 GeV; the same in one of 10 GeV."""
    species = Species()
    kinds = torch.tensor([species.index[421], species.index[211]] * 2)
    e = (species.mass[kinds].square() + 0.25).sqrt()
    z = torch.tensor([0.5, -0.5] * 2, dtype=torch.float64)
    hadrons = Particles(torch.tensor([0, 0, 1, 1]), kinds, torch.stack([e, 0 * z, 0 * z, z]))
    energy = torch.tensor([1.0, 10.0], dtype=torch.float64)
    momenta, failed = restored(hadrons, energy, species.mass)

    assert failed.tolist() == [0]
    assert momenta[0, 2:].sum().item() == pytest.approx(10.0, rel=1e-9)


def test_only_stable_particles_are_left() -> None:
    left = set(events().state["Particle_id"].abs().flatten().tolist())
    assert left == {0, 11, 12, 13, 14, 22, 130, 211, 321, 2112, 2212}
    kaons = events(decay_kaons=False).state["Particle_id"]
    assert (kaons == 310).any()


def test_the_charged_multiplicity_is_that_of_the_z() -> None:
    """20.8 at 91.19 GeV, to 15 %, and as many as the ids say; more for beauty."""
    state = events().state
    ids = state["Particle_id"].abs()
    counted = torch.isin(ids, torch.tensor([11, 13, 211, 321, 2212])).sum(-1)
    charged = state["nCharged"].double()

    assert torch.equal(counted, state["nCharged"])
    assert charged.mean().item() == pytest.approx(20.8, rel=0.15)
    beauty = state["hard_flavour"] == 5
    assert charged[beauty].mean() > charged[~beauty].mean() + 1


def test_neutral_pions_decay_isotropically() -> None:
    """cos θ of the photons in the rest frame: uniform, KS with p > 10⁻⁴."""
    cosine = events().sites["decay_cosine"][events().masks["decay_cosine"]]
    assert stats.kstest(cosine.numpy(), "uniform", (-1, 2)).pvalue > 1e-4


def test_a_jet_that_stops_out_of_range_is_an_error() -> None:
    with pytest.raises(WorkflowError, match="stops at 9"):
        Hadronisation(9.0)
