"""Observables of a pair, against four-vectors written out, and on a chain's own events."""

from __future__ import annotations

import math
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgen.errors import DataError
from hepgen.events import Events
from hepgen.simulators.chain import Chain
from hepgen.simulators.parton import DrellYan
from hepgen.simulators.processes.registry import process
from hepgen.simulators.reconstruction import (
    DIMUON_COLUMNS,
    MUON_COLUMNS,
    DimuonReconstruction,
    pair_observables,
)
from hepgen.simulators.shower import FinalStateRadiation, InitialStateRecoil

Array = NDArray[np.float64]
Muon = tuple[Tensor, Tensor, Tensor]


def random_muon(n: int, seed: int) -> Muon:
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(3, n, generator=generator, dtype=torch.float64)
    return 1 + 80 * u[0], 5 * u[1] - 2.5, 2 * math.pi * u[2] - math.pi


def four_vector(muon: Muon) -> Array:
    """(E, x, y, z) of a massless muon, shape (N, 4)."""
    pt, eta, phi = (c.numpy() for c in muon)
    return np.stack([pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], -1)


N = 2000
NEGATIVE, POSITIVE = random_muon(N, 1), random_muon(N, 2)
FOUND = {k: v.numpy() for k, v in pair_observables(NEGATIVE, POSITIVE).items()}
PAIR = four_vector(NEGATIVE) + four_vector(POSITIVE)


def test_mass_momentum_and_rapidity() -> None:
    mass = np.sqrt(PAIR[:, 0] ** 2 - (PAIR[:, 1:] ** 2).sum(-1))

    np.testing.assert_allclose(FOUND["Dimuon_mass"], mass, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(FOUND["Dimuon_pt"], np.hypot(PAIR[:, 1], PAIR[:, 2]), atol=1e-9)
    np.testing.assert_allclose(FOUND["Dimuon_y"], np.arctanh(PAIR[:, 3] / PAIR[:, 0]), atol=1e-10)


def boosted(p: Array, beta: Array) -> Array:
    """The momentum seen by an observer who moves with velocity β, shape (N, 4)."""
    square = (beta**2).sum(-1)
    gamma = 1 / np.sqrt(1 - square)
    along = (beta * p[:, 1:]).sum(-1)
    factor = np.where(square > 0, (gamma - 1) / np.maximum(square, 1e-300), 0.5) * along
    space = p[:, 1:] + (factor - gamma * p[:, 0])[:, None] * beta
    return np.column_stack([gamma * (p[:, 0] - along), space])


def test_collins_soper_angle_from_its_definition() -> None:
    """Boost to the pair's rest frame and take the angle of the μ⁻ to the bisector of the beams."""
    beta = PAIR[:, 1:] / PAIR[:, :1]
    beams = [boosted(np.tile([1.0, 0.0, 0.0, sign], (N, 1)), beta)[:, 1:] for sign in (1, -1)]
    units = [b / np.linalg.norm(b, axis=-1, keepdims=True) for b in beams]
    axis = units[0] - units[1]
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    muon = boosted(four_vector(NEGATIVE), beta)[:, 1:]
    cosine = (muon * axis).sum(-1) / np.linalg.norm(muon, axis=-1)

    expected = cosine * np.sign(PAIR[:, 3])
    np.testing.assert_allclose(FOUND["Dimuon_cos_theta_cs"], expected, atol=1e-8)


def test_phi_star_from_its_definition() -> None:
    """φ* = tan(φ_acop/2)·sin θ*, cos θ* = tanh[(η⁻ − η⁺)/2]."""
    opening = np.abs(np.angle(np.exp(1j * (NEGATIVE[2].numpy() - POSITIVE[2].numpy()))))
    cosine = np.tanh((NEGATIVE[1].numpy() - POSITIVE[1].numpy()) / 2)
    expected = np.tan((np.pi - opening) / 2) * np.sqrt(1 - cosine**2)

    np.testing.assert_allclose(FOUND["Dimuon_phi_star"], expected, rtol=1e-9)


def test_muons_in_order() -> None:
    pts = np.sort(np.stack([NEGATIVE[0].numpy(), POSITIVE[0].numpy()]), axis=0)

    np.testing.assert_array_equal(FOUND["Dimuon_pt1"], pts[1])
    np.testing.assert_array_equal(FOUND["Dimuon_pt2"], pts[0])
    np.testing.assert_array_equal(FOUND["Dimuon_eta_negative"], NEGATIVE[1].numpy())
    np.testing.assert_array_equal(FOUND["Dimuon_eta_positive"], POSITIVE[1].numpy())


def test_a_turn_and_a_boost_along_the_beam() -> None:
    """Only rapidities change, and the angle only by its sign."""
    turned = [(pt, eta + 0.7, phi + 2.0) for pt, eta, phi in (NEGATIVE, POSITIVE)]
    again = {k: v.numpy() for k, v in pair_observables(turned[0], turned[1]).items()}

    for name in ("Dimuon_mass", "Dimuon_pt", "Dimuon_phi_star"):
        np.testing.assert_allclose(again[name], FOUND[name], rtol=1e-9)
    np.testing.assert_allclose(again["Dimuon_y"], FOUND["Dimuon_y"] + 0.7, atol=1e-9)
    angle = "Dimuon_cos_theta_cs"
    np.testing.assert_allclose(np.abs(again[angle]), np.abs(FOUND[angle]), atol=1e-9)


def test_exchanged_charges_turn_the_angle_around() -> None:
    swapped = pair_observables(POSITIVE, NEGATIVE)

    np.testing.assert_allclose(
        swapped["Dimuon_cos_theta_cs"].numpy(), -FOUND["Dimuon_cos_theta_cs"], atol=1e-12
    )
    np.testing.assert_allclose(swapped["Dimuon_mass"].numpy(), FOUND["Dimuon_mass"])


def test_angle_of_the_chain_without_radiation() -> None:
    """With photons above x = 0.998 only, it is the generated cos θ*, up to the side of the pair."""
    chain = Chain([DrellYan(), InitialStateRecoil(), FinalStateRadiation(x_min=0.998)])
    trace = chain.simulate(chain.parameters.values(), 5000, seed=3)
    state, none = trace.state, trace.sites["n_photons"] == 0
    slots = [tuple(state[f"muon_{c}"][..., i] for c in ("pt", "eta", "phi")) for i in (0, 1)]
    found = pair_observables(
        (slots[0][0], slots[0][1], slots[0][2]), (slots[1][0], slots[1][1], slots[1][2])
    )
    expected = state["cos_theta"] * state["y"].sign()
    assert none.double().mean() > 0.99

    for name, truth in {
        "Dimuon_cos_theta_cs": expected, "Dimuon_y": state["y"], "Dimuon_pt": state["pt"],
        "Dimuon_mass": state["mass"],
    }.items():  # fmt: skip
        torch.testing.assert_close(found[name][none], truth[none], rtol=1e-6, atol=1e-6)


# --- Events ---------------------------------------------------------------------------------


def events(*muons: list[tuple[float, float, float, int]]) -> Events:
    """Events of muons (pT, η, φ, charge)."""
    columns = {
        name: ak.Array([[m[i] for m in event] for event in muons])
        for i, name in enumerate(MUON_COLUMNS)
    }
    return Events.from_columns(columns)


HARD, SOFT = (46.0, 0.5, 0.0, -1), (25.0, 0.5, 0.1, -1)
OTHER, WEAK = (44.0, -0.3, 3.0, 1), (21.0, 0.1, 2.9, 1)


def reconstruct(*muons: list[tuple[float, float, float, int]], **options: Any) -> Events:
    return DimuonReconstruction(**options).reconstruct(events(*muons))


def test_the_hardest_of_each_charge_make_the_pair() -> None:
    """In any order and with muons to spare; an event of two is the same event."""
    found = reconstruct([WEAK, SOFT, OTHER, HARD], [HARD, OTHER], [OTHER, SOFT, HARD])

    assert found["selected"].tolist() == [True] * 3
    for name in DIMUON_COLUMNS:
        assert len(set(found[name].tolist())) == 1, name
    assert found["Dimuon_pt1"].tolist()[0] == 46.0


@pytest.mark.parametrize(
    "muons",
    [
        [],
        [HARD],
        [HARD, SOFT],
        [HARD, (19.9, -0.3, 3.0, 1)],
        [HARD, (44.0, -2.2, 3.0, 1)],
        [(150.0, 0.5, 0.0, -1), (150.0, -0.3, 3.0, 1)],
        [(21.0, 0.5, 0.0, -1), (21.0, 0.5, 1.0, 1)],
    ],
    ids=["none", "one", "like-sign", "soft", "forward", "heavy", "light"],
)
def test_what_is_not_selected(muons: list[tuple[float, float, float, int]]) -> None:
    found = reconstruct(muons, [HARD, OTHER])

    assert found["selected"].tolist() == [False, True]
    for name in DIMUON_COLUMNS:
        assert math.isfinite(found[name][0])


def test_a_harder_muon_outside_the_cuts_does_not_take_the_place_of_a_good_one() -> None:
    found = reconstruct([(80.0, 2.3, 1.0, -1), HARD, OTHER], [HARD, OTHER])

    assert found["Dimuon_mass"][0] == found["Dimuon_mass"][1]


def test_cuts_are_options() -> None:
    pair = [(19.0, 2.2, 0.0, -1), (19.0, -0.3, 3.0, 1)]

    assert not reconstruct(pair)["selected"][0]
    assert reconstruct(pair, pt_min=15.0, eta_max=2.4, mass=(20.0, 120.0))["selected"][0]


def test_columns_are_kept_and_added() -> None:
    found = reconstruct([HARD, OTHER])

    assert found.fields == [*MUON_COLUMNS, *DIMUON_COLUMNS, "selected"]


def test_flat_columns_are_refused() -> None:
    flat = Events.from_columns(dict.fromkeys(MUON_COLUMNS, np.ones(3)))

    with pytest.raises(DataError, match=r"map it in the\s+workflow"):
        DimuonReconstruction().reconstruct(flat)


def test_simulated_and_read_events_are_reconstructed_alike() -> None:
    """The chain's own observables, again from the muon columns that it would write."""
    chain = process("zmumu")
    state = chain.simulate(chain.parameters.values(), 3000, seed=8).state
    number = state["nMuon"][0].numpy()
    columns = {
        name: ak.Array([row[:n] for row, n in zip(state[name][0].tolist(), number, strict=True)])
        for name in MUON_COLUMNS
    }
    found = DimuonReconstruction().reconstruct(Events.from_columns(columns))

    for name in (*DIMUON_COLUMNS, "selected"):
        np.testing.assert_array_equal(ak.to_numpy(found[name]), state[name][0].numpy())


def test_nothing_is_ever_nan() -> None:
    """Not even with an absurd resolution, a flipped charge, or no muons at all."""
    chain = process("zmumu", charge_flip=0.3)
    for changed in ({"muon_resolution": 20.0}, {"muon_efficiency": 0.0}):
        state = chain.simulate(chain.parameters.values(None, **changed), 5000, seed=9).state
        for name, column in state.items():
            assert column.double().isfinite().all(), name


def test_muons_come_hardest_first() -> None:
    chain = process("zmumu")
    state = chain.simulate(chain.parameters.values(), 5000, seed=9).state
    pt, number = state["Muon_pt"], state["nMuon"]

    assert (pt[..., 0] >= pt[..., 1]).all()
    assert ((pt > 0).sum(-1) == number).all()
