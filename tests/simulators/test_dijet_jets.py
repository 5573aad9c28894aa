"""Jets of the dijet chain: what is lost, how it is measured, what is reconstructed, at which rate.

Tests of samples are refused at p < 10⁻⁴ or beyond 4 standard errors, at fixed seeds.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from hepgen.errors import DataError, SimulationError, WorkflowError
from hepgen.events import Events
from hepgen.parameters import Normal
from hepgen.pipeline.session import Session
from hepgen.simulators.chain import Chain
from hepgen.simulators.dijet_detector import JetResponse
from hepgen.simulators.dijet_reconstruction import (
    DIJET_COLUMNS,
    JET_COLUMNS,
    DijetReconstruction,
)
from hepgen.simulators.dijet_spectrum import DijetSpectrum
from hepgen.simulators.processes.registry import process
from hepgen.simulators.stage import State

FALSE_ALARM = 1e-4
Array = NDArray[np.float64]
CHAIN = process("dijet_bump", signal_cross_section=4.0)
EDGES = torch.linspace(math.sqrt(1200), math.sqrt(4500), 41, dtype=torch.float64).square()


def values(**changed: float) -> dict[str, Tensor]:
    return CHAIN.parameters.values(None, **changed)


@pytest.fixture(scope="module")
def state() -> State:
    """100,000 generated events."""
    return CHAIN.simulate(values(), 100_000, seed=11).state


# --- Radiation and response -----------------------------------------------------------------


def test_the_losses_follow_their_power_law() -> None:
    """P(ℓ < x) = x^κ, and the two jets lose independently."""
    given = values(out_of_cone=0.2)
    state = CHAIN.simulate(given, 50_000, seed=12).state
    parton = 0.5 * state["mass"] / torch.cosh(torch.atanh(state["cos_theta"]))
    loss = (1 - state["jet_pt"] / parton[..., None])[0].numpy()

    # Below 10⁻⁹ the subtraction has no digits left.
    large = loss[loss[:, 0] > 1e-9, 0]
    least = 1e-9**0.2
    assert len(large) / len(loss) == pytest.approx(1 - least, abs=0.01)
    assert stats.kstest(large, lambda x: (x**0.2 - least) / (1 - least)).pvalue > FALSE_ALARM
    assert abs(stats.spearmanr(*loss.T).statistic) < 4 / math.sqrt(len(loss))


def test_the_response_has_its_scale_and_resolution(state: State) -> None:
    given = values(jet_energy_scale=0.03, jet_energy_resolution=1.5)
    state = CHAIN.simulate(given, 200_000, seed=13).state
    near = (state["jet_pt"] > 790) & (state["jet_pt"] < 810)
    ratio = (state["measured_pt"] / state["jet_pt"])[near]
    expected = 1.03 * 1.5 * math.sqrt((5 / 800) ** 2 + 1 / 800 + 0.04**2)
    error = expected / math.sqrt(len(ratio))

    assert ratio.mean().item() == pytest.approx(1.03, abs=4 * error)
    assert ratio.std().item() == pytest.approx(expected, abs=4 * error)


def test_the_resolution_is_capped_where_nothing_is_left() -> None:
    soft = JetResponse().resolution(torch.tensor([1e-3, 1.0, 1e5], dtype=torch.float64))

    assert soft[:2].tolist() == [1.0, 1.0]
    assert soft[2].item() == pytest.approx(0.04, rel=0.01)


# --- Reconstruction -------------------------------------------------------------------------


def four_vectors(pt: Array, eta: Array, phi: Array) -> Array:
    return np.stack([pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])


def test_the_pair_against_its_four_vectors() -> None:
    random = np.random.default_rng(1)
    pt, eta, phi = (random.uniform(a, b, (1000, 3)) for a, b in ((70, 2000), (-2.4, 2.4), (-3, 3)))
    stage = DijetReconstruction()
    jets = stage.kept(*(torch.from_numpy(v) for v in (pt, eta, phi)))
    found = {n: v.numpy() for n, v in stage.observables(*jets).items()}
    order = np.argsort(-pt, axis=1)
    pt, eta, phi = (np.take_along_axis(v, order, 1) for v in (pt, eta, phi))
    p = four_vectors(pt[:, 0], eta[:, 0], phi[:, 0]) + four_vectors(pt[:, 1], eta[:, 1], phi[:, 1])

    mass = np.sqrt(p[0] ** 2 - p[1] ** 2 - p[2] ** 2 - p[3] ** 2)
    np.testing.assert_allclose(found["Dijet_mass"], mass, rtol=1e-6)
    apart = np.abs(eta[:, 0] - eta[:, 1])
    np.testing.assert_allclose(found["Dijet_delta_y"], apart, atol=1e-12)
    np.testing.assert_allclose(found["Dijet_chi"], np.exp(apart), rtol=1e-12)
    passed = (apart < 1.3) & (mass > 1200) & (mass < 4500)
    np.testing.assert_array_equal(found["selected"], passed)


def test_directions_are_those_of_the_partons(state: State) -> None:
    both = state["nJet"] == 2
    apart = 2 * torch.atanh(state["cos_theta"].abs())

    assert both.double().mean() > 0.9
    torch.testing.assert_close(state["Dijet_delta_y"][both], apart[both])
    torch.testing.assert_close(state["Dijet_y_boost"][both], state["y"][both])
    back = torch.cos(state["jet_phi"][..., 0] - state["jet_phi"][..., 1])
    torch.testing.assert_close(back, -torch.ones_like(back))


def test_selected_events_pass_and_padding_is_zero(state: State) -> None:
    selected = state["selected"]
    assert 0.15 < selected.double().mean() < 0.3
    assert (state["Dijet_delta_y"][selected] < 1.3).all()
    assert (state["Dijet_pt2"][selected] > 60).all()
    assert ((state["Dijet_mass"][selected] - 2850).abs() < 1650).all()
    absent = torch.arange(2) >= state["nJet"][..., None]
    assert absent.any()
    for name in JET_COLUMNS:
        assert (state[name][absent] == 0).all()
    assert (state["Dijet_mass"][state["nJet"] < 2] == 0).all()


def test_measured_events_are_reconstructed_as_simulated_ones(state: State) -> None:
    """Jets of a file, in any order, give what the chain gave."""
    count = state["nJet"][0]
    columns: dict[str, Any] = {}
    for name in JET_COLUMNS:
        jets = ak.unflatten(state[name][0][torch.arange(2) < count[:, None]].numpy(), count.numpy())
        columns[name] = jets[:, ::-1]
    events = CHAIN.reconstruct(Events.from_columns(columns))

    for name in (*DIJET_COLUMNS, "selected"):
        np.testing.assert_allclose(np.asarray(events[name]), state[name][0].numpy(), atol=1e-12)


def test_columns_that_cannot_be_jets_are_refused() -> None:
    flat = {name: np.ones(3) for name in JET_COLUMNS}
    with pytest.raises(DataError, match="'Jet_pt' has one number an event"):
        CHAIN.reconstruct(Events.from_columns(flat))
    uneven = {name: ak.Array([[100.0, 90.0]]) for name in JET_COLUMNS}
    uneven["Jet_phi"] = ak.Array([[0.1]])
    with pytest.raises(DataError, match=r"'Jet_pt' and 'Jet_phi' have different numbers .* 1 of 1"):
        CHAIN.reconstruct(Events.from_columns(uneven))


# --- The workflow ---------------------------------------------------------------------------


def test_the_density_is_positive_at_every_corner_of_the_workflow() -> None:
    """All ends of the uniform priors, and three standard deviations of the slopes."""
    session = Session.open(Path(__file__).parents[2] / "workflows" / "dijet_bump.toml")
    names = ("signal_strength", "m_x", "gamma_x", "background_p1", "background_p2", "background_p3")
    priors = [session.parameters[name].prior for name in names]
    ends = [
        (p.mean - 3 * p.std, p.mean + 3 * p.std) if isinstance(p, Normal) else p.reach
        for p in priors if p is not None
    ]  # fmt: skip
    corners = torch.tensor(list(itertools.product(*ends)), dtype=torch.float64)
    given = session.parameters.values()
    given |= {name: corners[:, i : i + 1] for i, name in enumerate(names)}

    trace = session.chain.simulate(given, 100, seed=16)

    assert trace.shape == (64, 100)
    assert session.chain.log_prob(trace, given).isfinite().all()
    assert {p.name for p in session.parameters.free} == set(session.chain.parameters.names)


# --- The spectrum without Monte Carlo -------------------------------------------------------


def counts(n: int, **changed: float) -> Array:
    """Selected events in each bin, and those not selected."""
    state = CHAIN.simulate(values(**changed), n, seed=14).state
    inside = np.histogram(state["Dijet_mass"][state["selected"]].numpy(), EDGES.numpy())[0]
    return np.append(inside, n - inside.sum()).astype(np.float64)


def shares(**changed: float) -> Array:
    """The expected share of each of :func:`counts`."""
    given = values(**changed)
    spectrum = DijetSpectrum.of(CHAIN)
    inside = spectrum(given, EDGES) / spectrum.parton.cross_section(given)
    return np.append(inside.numpy(), 1 - inside.sum().item())


POINTS = [
    {"signal_strength": 2.0},
    {"signal_strength": 0.0},
    {"signal_strength": -0.5},
    {
        "signal_strength": 2.0, "m_x": 1700.0, "gamma_x": 100.0, "out_of_cone": 0.1,
        "jet_energy_scale": 0.03, "jet_energy_resolution": 1.3, "background_p1": 8.0,
        "background_p2": 5.3, "background_p3": 0.05, "luminosity": 1.0,
    },
]  # fmt: skip


@pytest.mark.parametrize("point", POINTS, ids=["excess", "none", "deficit", "all moved"])
def test_the_spectrum_of_the_chain_is_the_exact_one(point: dict[str, float]) -> None:
    """In 40 bins and outside, 500,000 events; another strength is refused."""
    n = 500_000
    found = counts(n, **point)
    other = point | {"signal_strength": point["signal_strength"] + 1.0}

    assert stats.chisquare(found, n * shares(**point)).pvalue > FALSE_ALARM
    assert stats.chisquare(found, n * shares(**other)).pvalue < FALSE_ALARM


def test_the_cut_on_pt_does_not_bind() -> None:
    """The quadrature leaves it out: nothing that passes the rest is below."""
    loose = Chain([*CHAIN.stages[:-1], DijetReconstruction(pt_min=1.0)])
    state = loose.simulate(values(), 500_000, seed=15).state

    assert (state["Dijet_pt2"][state["selected"]] > 60).all()


def test_the_quadrature_has_converged() -> None:
    given = values(signal_strength=2.0)
    spectrum = DijetSpectrum.of(CHAIN)
    finer = DijetSpectrum(spectrum.parton, spectrum.detector, spectrum.selection, 300, 6, 40)

    rough, fine = spectrum(given, EDGES), finer(given, EDGES)

    torch.testing.assert_close(rough, fine, rtol=1e-3, atol=0)
    assert rough.sum().item() == pytest.approx(fine.sum().item(), rel=2e-4)


def test_the_spectrum_in_angles_is_that_of_the_chain() -> None:
    """In 8 bins of the mass times 3 of |Δy|, 500,000 events; and its sum is the spectrum."""
    given, n = values(signal_strength=2.0), 500_000
    spectrum, edges = DijetSpectrum.of(CHAIN), EDGES[::5].contiguous()
    delta_y = torch.tensor([0.0, 0.5, 0.9, 1.3], dtype=torch.float64)
    state = CHAIN.simulate(given, n, seed=5).state
    kept = state["selected"]
    i, j = (
        torch.bucketize(state[name][kept].contiguous(), ends) - 1
        for name, ends in (("Dijet_mass", edges), ("Dijet_delta_y", delta_y))
    )
    found = torch.bincount(i * 3 + j, minlength=3 * (len(edges) - 1)).numpy()

    exact = spectrum.in_angles(given, edges, delta_y)
    torch.testing.assert_close(exact.sum(-1), spectrum(given, edges), rtol=1e-4, atol=0)
    share = (exact / spectrum.parton.cross_section(given)).reshape(-1).numpy()
    observed, wanted = np.append(found, n - found.sum()), np.append(share, 1 - share.sum())
    assert stats.chisquare(observed, n * wanted).pvalue > FALSE_ALARM


def coarse() -> DijetSpectrum:
    """With few nodes: for laws that hold for any number."""
    fine = DijetSpectrum.of(CHAIN)
    return DijetSpectrum(fine.parton, fine.detector, fine.selection, 80, 3, 8)


@pytest.mark.parametrize("name", CHAIN.parameters.names)
def test_the_spectrum_is_differentiable(name: str) -> None:
    spectrum = coarse()
    edges, at = EDGES[::5], values()[name].item()
    step = 1e-5 * (abs(at) or 1.0)
    up, down = (spectrum(values(**{name: at + d}), edges) for d in (step, -step))

    def of(value: Tensor) -> Tensor:
        return spectrum(values() | {name: value}, edges)

    slope = torch.func.jvp(of, (values()[name],), (torch.ones(()).double(),))[1]
    numeric = (up - down) / (2 * step)
    torch.testing.assert_close(slope, numeric, rtol=1e-4, atol=1e-5 * slope.abs().max().item())


def test_rate_and_density_of_the_spectrum() -> None:
    """The rate follows the luminosity, the density does not and integrates to one."""
    spectrum = coarse()
    more = values(luminosity=1.1)

    torch.testing.assert_close(spectrum(more, EDGES), 1.1 * spectrum(values(), EDGES))
    density = spectrum.density(more, EDGES)
    torch.testing.assert_close(density, spectrum.density(values(), EDGES))
    assert (density * EDGES.diff()).sum().item() == pytest.approx(1, rel=1e-12)


def test_the_spectrum_of_another_chain_is_refused() -> None:
    with pytest.raises(SimulationError, match=r"'zmumu' of the stages .*expected that of .*dijet"):
        DijetSpectrum.of(process("zmumu"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spin": 3}, "spin 3"),
        ({"resolution_constant": 0.0}, "a constant term above"),
        ({"resolution_noise": -1.0}, "none below zero"),
        ({"generated_mass": (500.0, 15_000.0)}, "0 < low < high"),
        ({"signal_xsection": 2.0}, "did you mean 'signal_cross_section'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkflowError, match=message):
        process("dijet_bump", **options)
