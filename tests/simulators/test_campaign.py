"""Campaigns: blocks that depend on nothing but their number, and columns that agree."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch

from hepgen.errors import SimulationError
from hepgen.events import Events
from hepgen.parameters import Normal, ParameterSet, Uniform
from hepgen.simulators.campaign import POINT, Campaign
from hepgen.simulators.processes.registry import process

CHAIN = process("zmumu")
PRIORS = {"m_z": Uniform(88.0, 94.0), "muon_scale": Normal(0.0, 0.01)}
PARAMETERS = ParameterSet(
    [dataclasses.replace(p, prior=PRIORS.get(p.name)) for p in CHAIN.parameters]
)


def campaign(events: int = 5000, **options: Any) -> Campaign:
    return Campaign(
        CHAIN, PARAMETERS, events, **{"seed": 3, "block_size": 1024, "points": 64, **options}
    )


def events_of(made: Campaign) -> Events:
    return Events.concatenate([made.simulate(b).events for b in range(made.blocks)])


def same(a: Events, b: Events) -> bool:
    return a.fields == b.fields and all(ak.array_equal(a[f], b[f]) for f in a.fields)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"keep_all": True},
    {"latents": True},
    {"keep_all": True, "latents": True, "points": 100},
    {"prior": False},
    {"fixed": {"m_z": 90.0}},
    {"as_sets": True, "columns": ("Dimuon_mass",), "points": (64, 512)},
    {"as_sets": True, "latents": True},
    {"as_sets": True, "keep_all": True, "points": 32},
]
options = pytest.mark.parametrize("options", OPTIONS, ids=str)


@options
def test_blocks_in_any_order_are_the_same(options: dict[str, Any]) -> None:
    made = campaign(**options)
    order = list(range(made.blocks))
    random.Random(1).shuffle(order)
    in_order = [made.simulate(b).events for b in range(made.blocks)]
    shuffled = {b: campaign(**options).simulate(b).events for b in order}

    for number, events in enumerate(in_order):
        assert same(events, shuffled[number])


@options
def test_a_longer_campaign_begins_with_the_shorter(options: dict[str, Any]) -> None:
    short, long = events_of(campaign(3000, **options)), events_of(campaign(6000, **options))

    assert 0 < len(short) < len(long)
    assert same(short, long.select(slice(0, len(short))))


@options
def test_counts(options: dict[str, Any]) -> None:
    """As many are generated as asked for; those kept are those selected, or all."""
    made = campaign(**options)
    blocks = [made.simulate(b) for b in range(made.blocks)]

    assert sum(b.generated for b in blocks) == 5000
    if not made.as_sets:
        for block in blocks:
            assert len(block.events) == (block.generated if made.keep_all else block.selected)


def test_another_seed_gives_other_events() -> None:
    one, two = (campaign(seed=s).simulate(0).events["Dimuon_mass"] for s in (3, 4))

    assert not set(one.tolist()) & set(two.tolist())


def test_no_two_events_are_alike() -> None:
    mass = ak.to_numpy(events_of(campaign(30_000))["Dimuon_mass"])

    assert len(np.unique(mass)) == len(mass)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    campaign(latents=True).simulate(1)

    assert torch.equal(torch.random.get_rng_state(), before)


def test_keeping_all_adds_only_what_failed() -> None:
    every, selected = events_of(campaign(keep_all=True)), events_of(campaign())
    flag = ak.to_numpy(every["selected"])
    kept = every.select(flag)

    assert 0 < flag.sum() < len(every) == 5000
    for name in selected.fields:
        assert ak.array_equal(kept[name], selected[name])


def test_latents_are_the_truth_of_the_same_events() -> None:
    plain, deep = events_of(campaign()), events_of(campaign(latents=True))

    for name in plain.fields:
        assert ak.array_equal(plain[name], deep[name])
    assert {f for f in deep.fields if f not in plain} == {
        f"latent_{n}" for n in CHAIN.simulate(CHAIN.parameters.values(), 10, seed=1).sites
    }
    counts = ak.num(deep["latent_photon_fraction"])
    assert ak.array_equal(counts, ak.values_astype(deep["latent_n_photons"], np.int64))
    assert ak.all(deep["latent_photon_fraction"] < 0)
    assert ak.all((deep["latent_mass"] > 50) & (deep["latent_mass"] < 150))
    assert ak.all(ak.num(deep["latent_muon_found"]) == 2)


def test_jagged_columns_hold_the_muons_that_were_found() -> None:
    every = events_of(campaign(keep_all=True, latents=True))
    number = ak.to_numpy(ak.num(every["Muon_pt"]))

    assert set(number.tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(number, ak.to_numpy(ak.sum(every["latent_muon_found"], axis=-1)))
    assert ak.all(every["Muon_pt"] > 0)
    for name in ("Muon_eta", "Muon_phi", "Muon_charge"):
        assert ak.array_equal(ak.num(every[name]), number)


def test_parameters_of_the_events() -> None:
    events = events_of(campaign(keep_all=True, fixed={"muon_resolution": 1.6}))
    m_z, point = (ak.to_numpy(events[n]) for n in ("theta_m_z", POINT))

    assert set(ak.to_numpy(events["theta_muon_resolution"])) == {1.6}
    assert set(ak.to_numpy(events["theta_gamma_z"])) == {2.4952}
    assert ((m_z > 88) & (m_z < 94)).all()
    # 64 events at each point, the last of them cut short; each point has one value.
    _, counts = np.unique(point, return_counts=True)
    assert (counts[:-1] == 64).all()
    assert counts.sum() == 5000
    assert len(np.unique(m_z)) == len(counts)
    assert len(np.unique(np.stack([m_z, point]), axis=1).T) == len(counts)


def test_parameters_are_drawn_from_the_prior() -> None:
    """Mean and width of a uniform and a normal prior, over 1000 points, within 4 errors."""
    events = events_of(campaign(4000, points=4, keep_all=True, block_size=2000))
    _, first = np.unique(ak.to_numpy(events[POINT]), return_index=True)
    m_z, scale = events.theta(["m_z", "muon_scale"])[first].T

    assert len(first) == 1000
    assert m_z.mean() == pytest.approx(91.0, abs=4 * 6 / np.sqrt(12 * 1000))
    assert m_z.std() == pytest.approx(6 / np.sqrt(12), rel=0.06)
    assert scale.mean() == pytest.approx(0.0, abs=4 * 0.01 / np.sqrt(1000))
    assert scale.std() == pytest.approx(0.01, rel=0.09)


def test_without_a_prior_all_is_at_the_default() -> None:
    events = events_of(campaign(prior=False, fixed={"muon_scale": 0.01}))

    assert set(ak.to_numpy(events["theta_m_z"])) == {91.1876}
    assert set(ak.to_numpy(events["theta_muon_scale"])) == {0.01}


def test_sets_hold_the_same_events_as_a_table() -> None:
    sets = events_of(campaign(4096, as_sets=True, columns=("Dimuon_mass",)))
    table = events_of(campaign(4096))

    assert len(sets) == 64
    flat = ak.to_numpy(ak.flatten(sets["Dimuon_mass"]))
    np.testing.assert_array_equal(flat, ak.to_numpy(table["Dimuon_mass"]).astype(np.float32))
    _, first = np.unique(ak.to_numpy(table[POINT]), return_index=True)
    np.testing.assert_array_equal(
        ak.to_numpy(sets["theta_m_z"]), ak.to_numpy(table["theta_m_z"])[first]
    )


def test_sizes_of_sets_are_powers_of_two_and_equally_frequent() -> None:
    """Over many blocks each size has as many points, within 4 standard errors."""
    made = campaign(100_000, as_sets=True, columns=("Dimuon_mass",), points=(64, 512),
                    keep_all=True, block_size=512)  # fmt: skip
    sizes = np.concatenate(
        [ak.to_numpy(ak.num(made.simulate(b).events["Dimuon_mass"])) for b in range(150)]
    )
    size, count = np.unique(sizes, return_counts=True)

    assert size.tolist() == [64, 128, 256, 512]
    blocks = count * size / 512
    chance = size / size.sum()
    error = np.sqrt(150 * chance * (1 - chance))
    assert (np.abs(blocks - 150 * chance) < 4 * error).all()


def test_sets_larger_than_a_block_are_cut_to_it() -> None:
    made = campaign(points=(512, 100_000), as_sets=True, keep_all=True, columns=("Dimuon_mass",))

    assert int(ak.max(ak.num(made.simulate(0).events["Dimuon_mass"]))) <= 1024


def test_points_larger_than_a_block_are_cut_to_it() -> None:
    events = campaign(points=100_000, keep_all=True).simulate(0).events

    assert len(np.unique(ak.to_numpy(events[POINT]))) == 1


def test_only_the_columns_asked_for() -> None:
    events = campaign(columns=("Dimuon_mass", "nMuon")).simulate(0).events

    assert events.fields == [
        "Dimuon_mass", "nMuon", "theta_m_z", "theta_muon_scale", POINT,
    ]  # fmt: skip


def test_an_unknown_column_offers_the_nearest() -> None:
    with pytest.raises(SimulationError, match="did you mean 'Dimuon_mass'"):
        campaign(columns=("Dimuon_mas",)).simulate(0)


@pytest.mark.parametrize("block", [-1, 5])
def test_a_block_that_does_not_exist(block: int) -> None:
    with pytest.raises(SimulationError, match="expected 0 to 4"):
        campaign().simulate(block)
