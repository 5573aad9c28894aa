"""Jagged sets: invariance, independence of neighbours, and what a batch holds."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.nn.sets import (
    BlockRows,
    DeepSet,
    SetRows,
    block_offsets,
    check_offsets,
    log_uniform,
    segment_sum,
)

COUNTS = torch.tensor([3, 100, 1, 57])


def deep_set(features: int = 2) -> DeepSet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DeepSet(features, outputs=5, hidden=(16, 16))


def events(features: int = 2) -> Tensor:
    return torch.randn(int(COUNTS.sum()), features, generator=torch.Generator().manual_seed(1))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("features", [1, 2, 4])
def test_embedding_does_not_depend_on_neighbours(features: int) -> None:
    network, x = deep_set(features), events(features)
    together = network(x, COUNTS)
    alone = [network(part, torch.tensor([len(part)])) for part in torch.split(x, COUNTS.tolist())]
    assert torch.allclose(together, torch.cat(alone), rtol=1e-6, atol=1e-6)


def test_embedding_does_not_depend_on_a_wild_neighbour() -> None:
    network, x = deep_set(), events()
    wild = x.clone()
    wild[: int(COUNTS[0])] = 1e6
    a, b = network(x, COUNTS), network(wild, COUNTS)
    assert torch.equal(a[1:], b[1:])
    assert not torch.equal(a[0], b[0])


def test_embedding_does_not_depend_on_the_order_of_events() -> None:
    network, x = deep_set(), events()
    parts = torch.split(x, COUNTS.tolist())
    shuffled = torch.cat([part[torch.randperm(len(part), generator=generator())] for part in parts])
    assert torch.allclose(network(x, COUNTS), network(shuffled, COUNTS), atol=1e-6)


def test_integer_weights_are_repeated_events_that_count_as_fewer() -> None:
    """The mean is that of the repeated events; its variance, that of (Σw)²/Σw² of one weight."""
    network, x = deep_set(), events()
    weight = torch.randint(1, 4, (len(x),), generator=generator())
    repeated, _ = network.mean(x.repeat_interleave(weight, dim=0), segment_sum(weight, COUNTS))
    mean, count = network.mean(x, COUNTS, weight.double())
    assert torch.allclose(mean, repeated, atol=1e-5)
    square = segment_sum(weight.double().square(), COUNTS)
    assert torch.allclose(count, segment_sum(weight, COUNTS).double().square() / square)


def test_weights_of_one_are_no_weights() -> None:
    network, x = deep_set(), events()
    assert torch.equal(network(x, COUNTS, torch.ones(len(x))), network(x, COUNTS))


def test_size_is_an_input() -> None:
    network = deep_set()
    x = torch.ones(30, 2)
    embedded = network(x, torch.tensor([10, 20]))
    assert torch.allclose(embedded[0, :-1], embedded[1, :-1], atol=1e-6)
    assert (embedded[1, -1] - embedded[0, -1]).item() == pytest.approx(math.log(2) / 1.5, rel=1e-5)


def sets(smallest: int | None = None, largest: int | None = None) -> SetRows:
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), COUNTS.cumsum(0)])
    owner = torch.repeat_interleave(torch.arange(4.0), COUNTS)[:, None]
    return SetRows(owner, offsets, torch.arange(4)[:, None], smallest=smallest, largest=largest)


def test_rows_are_whole_sets() -> None:
    x, counts, target = sets().take(torch.tensor([2, 1]), generator())
    assert counts.tolist() == [1, 100]
    assert target.flatten().tolist() == [2, 1]
    assert x.flatten().tolist() == [2.0] + [1.0] * 100


def test_subsets_hold_events_of_their_own_set() -> None:
    rows = sets(smallest=10, largest=50)
    index = torch.arange(4).repeat(2000)
    x, counts, target = rows.take(index, generator())
    owner = torch.repeat_interleave(target[:, 0].float(), counts)
    assert torch.equal(x[:, 0], owner)
    sizes = counts.reshape(2000, 4)
    assert set(sizes[:, 0].tolist()) == {3}
    assert set(sizes[:, 2].tolist()) == {1}
    assert sizes[:, 1].min() == 10
    assert sizes[:, 1].max() == 50


def test_sizes_are_log_uniform() -> None:
    """The mean of log n over 20,000 draws; false alarm 6e-5 (four sigma)."""
    least, most = torch.full((20_000,), 100), torch.full((20_000,), 10_000)
    log_size = log_uniform(least, most, generator()).double().log()
    error = (math.log(100) / math.sqrt(12)) / math.sqrt(20_000)
    assert abs(log_size.mean().item() - math.log(1000)) < 4 * error


def test_blocks_give_the_means_of_the_events() -> None:
    x = events(3)
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), COUNTS.cumsum(0)])
    counts, starts = block_offsets(offsets, 10)
    assert int(counts.sum()) == len(x)
    rows = BlockRows(segment_sum(x, counts), counts, starts, torch.zeros(4, 1), smallest=10)
    mean, number = rows.full()
    expected = segment_sum(x, COUNTS) / COUNTS[:, None]
    assert number.tolist() == COUNTS.tolist()
    assert torch.allclose(mean, expected, atol=1e-6)


def test_blocks_give_the_weighted_means_of_the_events() -> None:
    x = events(3).double()
    w = 1.5 + torch.randn(len(x), generator=generator(2), dtype=torch.float64)
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), COUNTS.cumsum(0)])
    counts, starts = block_offsets(offsets, 10)
    both = segment_sum(w, counts), segment_sum(w.square(), counts)
    sums = segment_sum(w[:, None] * x, counts)
    rows = BlockRows(sums, counts, starts, torch.zeros(4, 1), smallest=10, weight=both)
    mean, number = rows.full()
    for s, (a, b) in enumerate(pairwise(offsets.tolist())):
        assert torch.allclose(mean[s], ((w[a:b] @ x[a:b]) / w[a:b].sum()).float(), atol=1e-5)
        assert number[s].item() == pytest.approx((w[a:b].sum() ** 2 / w[a:b].square().sum()).item())


def test_runs_of_blocks_cover_small_and_whole_sets() -> None:
    x = torch.arange(100.0)[:, None]
    counts, starts = block_offsets(torch.tensor([0, 100]), 10)
    rows = BlockRows(segment_sum(x, counts), counts, starts, torch.zeros(1, 1), smallest=20)
    mean, number, _ = rows.take(torch.zeros(500, dtype=torch.long), generator())
    assert number.min() == 20
    assert number.max() == 100
    # A run of n consecutive integers from a multiple of 10 has mean a + (n − 1)/2.
    start = mean[:, 0] - (number - 1) / 2
    assert torch.allclose(start % 10, torch.zeros(500), atol=1e-4)


def test_half_of_the_runs_are_whole_sets() -> None:
    """Out of 4000, against a binomial of one half or little more; false alarm 6e-5."""
    counts, starts = block_offsets(torch.tensor([0, 10_000]), 10)
    rows = BlockRows(torch.zeros(1000, 1), counts, starts, torch.zeros(1, 1), smallest=10)
    _, number, _ = rows.take(torch.zeros(4000, dtype=torch.long), generator())
    whole = (number == 10_000).double().mean().item()
    assert abs(whole - 0.5) < 4 * 0.5 / math.sqrt(4000) + 0.001


@pytest.mark.parametrize(
    ("offsets", "message"),
    [([0, 3], "from 0 to the number"), ([1, 4], "from 0"), ([0, 2, 2, 4], "1 of 3 sets are empty")],
)
def test_bad_offsets_are_refused(offsets: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_offsets(torch.tensor(offsets), 4)


def test_one_target_a_set() -> None:
    with pytest.raises(DataError, match="1 sets with 2 targets"):
        SetRows(torch.zeros(4, 1), torch.tensor([0, 4]), torch.zeros(2, 1))
