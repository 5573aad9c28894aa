"""A block of events depends on the campaign, the seed and its number, and on nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import torch

from hepgen.errors import InputError, SimulationError
from hepgen.events import Events
from hepgen.pipeline.session import Session
from hepgen.simulators.campaign import POINT, Campaign

ZMUMU = Path(__file__).parents[2] / "workflows" / "zmumu.toml"
SESSION = Session.open(ZMUMU)
CAMPAIGN = Campaign(
    SESSION.chain, SESSION.parameters, 1300, seed=7, points=32, block_size=512, keep_all=True
)


def events_of(campaign: Campaign) -> Events:
    return Events.concatenate([campaign.simulate(n).events for n in range(campaign.blocks)])


def same(a: Events, b: Events) -> bool:
    return a.fields == b.fields and bool(ak.array_equal(a.columns, b.columns))


# --- randomness -----------------------------------------------------------------------


def test_a_block_is_the_same_whenever_it_is_simulated() -> None:
    first = CAMPAIGN.simulate(1)
    CAMPAIGN.simulate(0)
    torch.manual_seed(99)
    again = CAMPAIGN.simulate(1)
    assert same(first.events, again.events)
    assert (first.generated, first.selected) == (again.generated, again.selected)


def test_simulation_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(3)
    torch_state, numpy_state = torch.random.get_rng_state(), str(np.random.get_state())
    CAMPAIGN.simulate(0)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert str(np.random.get_state()) == numpy_state


@pytest.mark.parametrize(("prior", "name"), [(True, "theta_m_z"), (False, "Dimuon_mass")])
def test_blocks_and_seeds_have_nothing_in_common(prior: bool, name: str) -> None:
    values = [
        set(replace(CAMPAIGN, seed=seed, prior=prior).simulate(block).events[name].to_list())
        for seed in (7, 8)
        for block in (0, 1)
    ]
    for one, other in itertools.combinations(values, 2):
        assert one & other <= {0.0}, "zero where there is no pair"


@pytest.mark.parametrize("block", [-1, 3])
def test_a_block_that_is_not_there_is_refused(block: int) -> None:
    with pytest.raises(SimulationError, match=f"block {block}: expected 0 to 2"):
        CAMPAIGN.simulate(block)


# --- numbers of events ----------------------------------------------------------------


@pytest.mark.parametrize("events", [1, 31, 32, 33, 512, 513, 1299])
def test_a_longer_campaign_begins_with_the_events_of_a_shorter_one(events: int) -> None:
    longer, shorter = events_of(CAMPAIGN), events_of(replace(CAMPAIGN, events=events))
    assert len(shorter) == events
    assert same(shorter, longer.select(slice(events)))


@pytest.mark.parametrize(
    ("events", "points", "block_size"),
    [(1000, 64, 1000), (1000, 7, 100), (999, 1000, 512), (70, 1, 32), (1300, 512, 512)],
)
def test_exactly_as_many_are_generated_as_are_asked_for(
    events: int, points: int, block_size: int
) -> None:
    campaign = replace(CAMPAIGN, events=events, points=points, block_size=block_size)
    blocks = [campaign.simulate(n) for n in range(campaign.blocks)]
    assert sum(block.generated for block in blocks) == events
    assert [block.generated for block in blocks] == [
        campaign.generated(n) for n in range(campaign.blocks)
    ]
    together = Events.concatenate([block.events for block in blocks])
    assert len(together) == events
    assert sum(block.selected for block in blocks) == int(ak.sum(together["selected"]))


@pytest.mark.parametrize(
    "change", [{"events": 0}, {"block_size": 0}, {"points": 0}, {"points": (8, 4)},
               {"points": (0, 4)}]
)  # fmt: skip
def test_a_campaign_of_nothing_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(InputError, match="expected positive numbers"):
        replace(CAMPAIGN, **change)  # type: ignore[arg-type]


# --- parameter points -----------------------------------------------------------------


def test_events_of_a_point_share_its_parameters_and_its_number() -> None:
    events = events_of(CAMPAIGN)
    points, theta = np.asarray(events[POINT]), events.theta(SESSION.parameters.free_names)
    numbers, first, counts = np.unique(points, return_index=True, return_counts=True)
    np.testing.assert_array_equal(theta, theta[first][np.searchsorted(numbers, points)])
    assert len(np.unique(theta[first], axis=0)) == len(numbers)
    # 1300 = 2 blocks of 16 points and 276 events: 8 whole points and one cut short.
    assert counts.tolist() == [32] * 40 + [20]


def test_every_parameter_is_noted_and_stays_inside_its_prior() -> None:
    events = events_of(CAMPAIGN)
    for parameter in SESSION.parameters:
        values = events.theta([parameter.name])
        if parameter.prior is None:
            assert set(values.flat) == {parameter.default}
        else:
            assert parameter.prior.low <= values.min() < values.max() <= parameter.prior.high


def test_what_is_fixed_stays_and_the_rest_is_drawn_as_before() -> None:
    free, fixed = events_of(CAMPAIGN), events_of(replace(CAMPAIGN, fixed={"m_z": 91.0}))
    assert set(np.asarray(fixed["theta_m_z"])) == {91.0}
    np.testing.assert_array_equal(free["theta_muon_scale"], fixed["theta_muon_scale"])


def test_without_the_prior_there_is_one_point() -> None:
    events = events_of(replace(CAMPAIGN, prior=False, fixed={"m_z": 90.0}))
    defaults = {p.name: p.default for p in SESSION.parameters} | {"m_z": 90.0}
    for name, value in defaults.items():
        assert set(np.asarray(events[f"theta_{name}"])) == {value}
    assert set(np.asarray(events[POINT])) == {0, 512, 1024}, "one group in each block"


def test_given_points_are_taken_in_turn() -> None:
    theta = SESSION.parameters.prior().sample((5,), torch.Generator().manual_seed(1)).numpy()
    events = events_of(replace(CAMPAIGN, theta=theta))
    found = events.theta(SESSION.parameters.free_names)
    expected = theta[np.arange(3 * 512 // 32) % 5].repeat(32, axis=0)[: len(events)]
    np.testing.assert_array_equal(found, expected)


# --- columns --------------------------------------------------------------------------


def test_only_selected_events_are_kept_unless_all_are_asked_for() -> None:
    everything, selected = events_of(CAMPAIGN), events_of(replace(CAMPAIGN, keep_all=False))
    flag = np.asarray(everything["selected"])
    assert 0 < flag.sum() < len(flag)
    assert "selected" not in selected
    assert same(selected, Events(everything.select(flag).columns[selected.fields]))


def test_columns_are_chosen() -> None:
    few = events_of(replace(CAMPAIGN, columns=("Dimuon_mass",)))
    assert {f for f in few.fields if not f.startswith("theta_")} == {
        "Dimuon_mass", "selected", POINT,
    }  # fmt: skip
    np.testing.assert_array_equal(few["Dimuon_mass"], events_of(CAMPAIGN)["Dimuon_mass"])
    with pytest.raises(SimulationError, match=r"no column 'Dimuon_mas'.*Dimuon_mass"):
        replace(CAMPAIGN, columns=("Dimuon_mas",)).simulate(0)


def test_muons_are_jagged_and_hardest_first() -> None:
    muons = events_of(CAMPAIGN)["Muon_pt"]
    assert set(ak.num(muons)) == {0, 1, 2}
    two = muons[ak.num(muons) == 2]
    assert bool(ak.all(two[:, 0] >= two[:, 1]))
    assert bool(ak.all(muons > 0))


def test_latents_add_columns_and_change_no_other() -> None:
    plain, latent = events_of(CAMPAIGN), events_of(replace(CAMPAIGN, latents=True))
    added = set(latent.fields) - set(plain.fields)
    assert added
    assert all(name.startswith("latent_") for name in added)
    assert same(plain, Events(latent.columns[plain.fields]))
    assert {latent[name].ndim for name in added} == {1, 2}, "photons are jagged"


# --- event sets -----------------------------------------------------------------------

SETS = replace(
    CAMPAIGN, as_sets=True, keep_all=False, columns=("Dimuon_mass", "Dimuon_pt"), events=1024
)


def test_event_sets_are_the_events_of_each_point() -> None:
    sets, flat = events_of(SETS), events_of(replace(SETS, as_sets=False))
    assert len(sets) == 1024 // 32
    for name in SETS.columns:
        expected = np.asarray(flat[name], dtype=np.float32)
        np.testing.assert_array_equal(np.asarray(ak.flatten(sets[name])), expected)
    _, counts = np.unique(flat[POINT], return_counts=True)
    numbers = np.asarray(ak.num(sets["Dimuon_mass"]))
    assert numbers[numbers > 0].tolist() == counts.tolist()
    np.testing.assert_array_equal(
        np.repeat(np.asarray(sets["theta_m_z"]), numbers), np.asarray(flat["theta_m_z"])
    )


def test_a_set_that_is_cut_short_is_left_out() -> None:
    assert len(events_of(replace(SETS, events=1000))) == 1000 // 32
    uneven = replace(SETS, events=1000, points=300, block_size=500)
    assert [len(uneven.simulate(n).events) for n in range(2)] == [1, 1]


def test_sizes_of_sets_are_powers_of_two_between_the_ends() -> None:
    campaign = replace(SETS, points=(32, 256), keep_all=True, events=40 * 512)
    sizes = [np.unique(ak.num(campaign.simulate(n).events["Dimuon_mass"])) for n in range(40)]
    assert all(len(size) == 1 for size in sizes), "one size in each block"
    # A size is missed by 40 blocks with a probability below (1 − 0.15)⁴⁰ = 0.2 %: fixed seed.
    assert {int(size[0]) for size in sizes} == {32, 64, 128, 256}


def test_the_number_of_sets_of_a_size_falls_as_its_root() -> None:
    campaign = replace(SETS, points=(32, 256), events=4000 * 512)
    blocks = np.array([campaign._events_per_point(n) for n in range(4000)])
    sizes = np.array([32, 64, 128, 256])
    scaled = [512 / size * np.sum(blocks == size) * np.sqrt(size) for size in sizes]
    # 4 standard errors of the rarest size, 15 % of the blocks: 4/√(4000·0.15) = 16 %.
    assert scaled == pytest.approx([np.mean(scaled)] * 4, rel=0.16)


def test_identities_differ_where_events_do() -> None:
    change: Callable[..., Campaign] = replace
    others = [
        change(CAMPAIGN, **{name: value})
        for name, value in {
            "seed": 8, "fixed": {"m_z": 91.0}, "prior": False, "points": 16, "block_size": 256,
            "columns": ("Dimuon_mass",), "keep_all": False, "latents": True, "as_sets": True,
            "theta": np.zeros((1, 5)),
        }.items()
    ]  # fmt: skip
    identities = [campaign.identity() for campaign in (CAMPAIGN, *others)]
    assert len({str(identity) for identity in identities}) == len(identities)
    assert replace(CAMPAIGN, events=99).identity() == CAMPAIGN.identity(), "a prefix of the same"
