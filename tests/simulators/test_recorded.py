"""Events of a file in a chain: each once, in their order, wherever the blocks begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch

from hepgen.errors import InputError, SimulationError, WorkflowError
from hepgen.events import WEIGHT
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain
from hepgen.simulators.processes import registry
from hepgen.simulators.processes.registry import process
from hepgen.simulators.recorded import FileEvents, TrueMuons
from hepgen.simulators.unknown import Unknown, columns


class Numbered:
    """A source whose event k has k mod 3 particles of px = k, and the weight k + 1."""

    prefix = "Particle"
    weights: Mapping[str, list[str]] = {"PSWeight": ["up", "down"]}

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def read(self, start: int, stop: int) -> Mapping[str, Any]:
        assert 0 <= start < stop <= self.n
        k = np.arange(start, stop)
        px = ak.unflatten(np.repeat(k, k % 3).astype(float), k % 3)
        found: dict[str, Any] = {f"Particle_{c}": px for c in ("px", "py", "pz", "e")}
        found["Particle_id"] = ak.values_astype(13 * ak.ones_like(px), np.int64)
        found |= {"hard_flavour": k % 6, "weight": k + 1.0}
        return found | {"PSWeight": np.stack([k + 0.5, k - 0.5], -1)}

    def cross_section(self) -> float | None:
        return 7.0


def campaign(n: int, block_size: int, **options: Any) -> Campaign:
    chain = Chain([FileEvents(Numbered(n))], {"hard_flavour": ("", ""), "Particle_px": ("", "")})
    return Campaign(chain, chain.parameters, n, block_size=block_size, **options)


@pytest.mark.parametrize("block_size", [1, 4, 10, 64])
def test_each_event_is_used_once_in_order(block_size: int) -> None:
    made = campaign(10, block_size)
    blocks = [made.simulate(b) for b in reversed(range(made.blocks))][::-1]
    weight = np.concatenate([block.events[WEIGHT] for block in blocks])
    px = ak.concatenate([block.events["Particle_px"] for block in blocks])

    assert weight.tolist() == list(range(1, 11))
    assert px.tolist() == [[float(k)] * (k % 3) for k in range(10)]
    assert sum(block.sum_weights for block in blocks) == 55.0
    assert {block.notes["cross_section_pb"] for block in blocks} == {7.0}
    assert blocks[0].notes["PSWeight"] == ["up", "down"]


def test_points_of_a_block_share_its_events() -> None:
    """Three points in a block of four: what reaches over the block is not used twice."""
    chain = Chain([FileEvents(Numbered(8)), TrueMuons()])
    first = [chain.simulate({}, 4, 1, b, first=4 * b).state["weight"] for b in (0, 1)]
    grouped = chain.simulate({"a": torch.zeros(3, 1)}, 2, 1, first=2).state["weight"]

    assert torch.cat(first, -1).tolist() == [[1.0, 2, 3, 4, 5, 6, 7, 8]]
    assert grouped.tolist() == [[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]


def test_a_block_over_the_end_is_filled_with_events_of_no_weight() -> None:
    state = Chain([FileEvents(Numbered(5))]).simulate({}, 4, 1, block=1).state

    assert state["weight"].tolist() == [[5.0, 0.0, 0.0, 0.0]]


def test_a_file_that_is_too_small_is_refused_before_anything() -> None:
    chain = campaign(10, 4).chain
    with pytest.raises(InputError, match="has 10 events, and 11 are asked for"):
        Campaign(chain, chain.parameters, 11)
    with pytest.raises(SimulationError, match="number 12 on are asked for, of a file that has 10"):
        chain.simulate({}, 4, 1, block=3)


def test_the_density_of_given_events_is_not_known() -> None:
    chain = campaign(10, 4).chain
    with pytest.raises(SimulationError, match="density of stage 'events' is not known"):
        chain.log_prob(chain.simulate({}, 4, 1), {})


def test_the_hardest_muons_of_each_charge() -> None:
    """Against the kinematics by hand; an event without a μ⁺ has none."""
    momenta = [[(3.0, 4.0, 5.0, 13), (6.0, 8.0, 0.0, 13), (0.0, 2.0, -2.0, -13), (99.0, 0, 0, 11)],
               [(1.0, 0.0, 1.0, 13)]]  # fmt: skip
    state = columns(
        {
            f"Particle_{c}": ak.Array([[float(p[i]) for p in event] for event in momenta])
            for i, c in enumerate(("px", "py", "pz", "id"))
        },
        (1, 2),
    )
    muons = TrueMuons()(state, {})

    assert muons["muon_pt"].tolist() == [[[10.0, 2.0], [1.0, 0.0]]]
    assert muons["muon_eta"][0, 0].tolist() == pytest.approx([0.0, -np.arcsinh(1.0)])
    assert muons["muon_eta"][0, 1].tolist() == pytest.approx([np.arcsinh(1.0), 0.0])
    assert muons["muon_phi"][0, 0].tolist() == pytest.approx([np.arctan2(8, 6), np.pi / 2])


def test_a_file_in_the_place_of_the_first_stages_of_a_process() -> None:
    made = process("zmumu", Numbered(10), generator="hepmc:numbered")

    assert [s.name for s in made.stages] == ["events", "true_muons", "detector", "reconstruction"]
    assert {"PSWeight", "Dimuon_mass"} <= set(made.observables)
    state = made.simulate(made.parameters.values(), 10, 1).state
    assert not state["selected"].any(), "no event has two muons of opposite charge"


def test_a_process_that_takes_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.PROCESSES, "alone", lambda: Chain([]))
    with pytest.raises(WorkflowError, match="'alone' takes no events from a file"):
        process("alone", Numbered(10))


def test_a_density_that_is_not_known() -> None:
    with pytest.raises(SimulationError, match="come from a generator"):
        Unknown(torch.zeros(3)).log_prob(torch.zeros(3))
    with pytest.raises(ValueError, match="cannot become"):
        Unknown(torch.zeros(3)).expand(torch.Size([4]))
    with pytest.raises(ValueError, match="drawn once"):
        Unknown(torch.zeros(3)).sample(torch.Size([2]))
