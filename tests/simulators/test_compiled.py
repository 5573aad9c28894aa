"""The compiled walks of ee_jets beside the vectorised ones: the same density, the same events."""

from __future__ import annotations

import importlib
import math
import multiprocessing
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hepgen.errors import SimulationError
from hepgen.simulators import compiled
from hepgen.simulators.augment import joint_score
from hepgen.simulators.chain import Chain, Trace
from hepgen.simulators.compiled import compilable
from hepgen.simulators.lund import LundFunction
from hepgen.simulators.processes.registry import process

pytest.importorskip("numba")

from hepgen.simulators.compiled import shower
from hepgen.simulators.compiled.jets import PARTS, guide, share
from hepgen.simulators.compiled.kernel import (
    EDGES,
    HEIGHTS,
    PART,
    Columns,
    Memory,
    circle,
    clear,
    kernel,
    normal,
    seeded,
    uniform,
)

EVENTS = 5_000
OTHER = {
    "sqrt_s": 40.0, "running_coupling": False, "alpha_s_max": 0.2, "jet_stop": 2.0,
    "decay_kaons": False,
}  # fmt: skip


def chain(**options: float) -> Chain:
    return process("ee_jets", **options)


def simulate(seed: int = 1, n: int = EVENTS, block: int = 0, **options: float) -> Trace:
    one = chain(**options)
    return one.simulate(one.parameters.values(), n, seed, block)


@pytest.fixture
def vectorised(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As where there is no compiler."""
    monkeypatch.setattr(compiled, "available", lambda: False)
    return monkeypatch


# --- Two implementations --------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, OTHER], ids=["default", "other"])
@pytest.mark.parametrize("drawn_compiled", [True, False])
def test_both_find_the_same_density_and_columns_for_the_same_history(
    options: dict[str, float], drawn_compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Histories of either, followed by both, at another θ: to 10⁻⁷ of GeV and of log p."""
    one = chain(**options)
    monkeypatch.setattr(compiled, "available", lambda: drawn_compiled)
    theta = one.parameters.values()
    trace = one.simulate(theta, 1_000, seed=3)
    moved = one.parameters.values(None, alpha_s=0.11, lund_a=0.9, lund_b=0.7)
    terms, states = [], []
    for way in (True, False):
        monkeypatch.setattr(compiled, "available", lambda way=way: way)
        terms.append(one.log_prob_terms(trace, moved))
        state = dict(trace.state)
        for stage in one.stages:
            _, state = one.replay(stage, state, trace, moved)
        states.append(state)

    for name, term in terms[0].items():
        torch.testing.assert_close(term.double(), terms[1][name].double(), atol=1e-7, rtol=1e-9)
    for state in states:
        for name, column in trace.state.items():
            own = state[name][..., : column.shape[-1]] if column.dim() == 3 else state[name]
            torch.testing.assert_close(own.double(), column.double(), atol=1e-6, rtol=0)


def test_both_draw_the_same_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sites and columns of 5,000 events of each: two-sample KS, p > 10⁻⁴ for each.

    Of steps and particles, one of each event: those of one event hang together.
    """
    here = simulate(seed=5)
    monkeypatch.setattr(compiled, "available", lambda: False)
    there = simulate(seed=6)

    def numbers(trace: Trace) -> dict[str, Tensor]:
        state = trace.state
        found = {n: state[n].double() for n in ("nParton", "nParticle", "nCharged")}
        found |= {n: trace.sites[n] for n in ("shower_trials", "fragments", "decays")}
        for name, mask in trace.masks.items():
            if name not in ("fragment_kind", "decay_channel", "shower_outcome"):
                found[name] = one_of_each(trace.sites[name], mask)
        found["energy"] = one_of_each(state["Particle_e"], state["Particle_e"] > 0)
        return {n: v.flatten() for n, v in found.items()}

    first, second = numbers(here), numbers(there)
    for name, values in first.items():
        found = stats.ks_2samp(values.numpy(), second[name].numpy(), method="asymp")
        assert found.pvalue > 1e-4, name


def one_of_each(column: Tensor, mask: Tensor) -> Tensor:
    """An entry of each event that has any, whichever."""
    chance = torch.rand(mask.shape, generator=torch.Generator().manual_seed(1))
    slot = torch.where(mask, chance, -1.0).argmax(-1, keepdim=True)
    return column.gather(-1, slot)[mask.any(-1)]


@pytest.mark.parametrize("name", ["fragment_kind", "decay_channel", "shower_outcome"])
def test_both_choose_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """χ² of the frequencies, p > 10⁻⁴."""
    counts = []
    for way, seed in ((True, 7), (False, 8)):
        monkeypatch.setattr(compiled, "available", lambda way=way: way)
        trace = simulate(seed)
        chosen = trace.sites[name][trace.masks[name]].long()
        counts.append(torch.bincount(chosen, minlength=400).numpy())
    table = np.stack(counts)
    # Steps of one event hang together little: rare choices are put together.
    often = table.sum(0) >= 20
    table = np.concatenate([table[:, often], table[:, ~often].sum(1, keepdims=True)], axis=1)
    table = table[:, table.sum(0) > 0]
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_without_a_compiler_there_is_no_seed_of_a_kernel(vectorised: object) -> None:
    del vectorised
    assert not compilable(torch.ones(2))


# --- One implementation ---------------------------------------------------------------------


def test_a_history_followed_gives_exactly_its_columns() -> None:
    trace, one = simulate(), chain()
    theta = one.parameters.values()
    state = dict(trace.state)
    for stage in one.stages:
        _, state = one.replay(stage, state, trace, theta)
    for name, column in trace.state.items():
        assert torch.equal(state[name], column), name


def test_what_a_kernel_does_not_vouch_for_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    run = shower.run

    def wrong(*arguments: Any) -> tuple[int, float]:
        done, _ = run(*arguments)
        arguments[6][1][0, 0] = math.nan
        return done, math.nan

    monkeypatch.setattr(shower, "run", wrong)
    with pytest.raises(SimulationError, match="'shower' drew 'shower_position' = nan"):
        simulate(n=300)


def sums(block: int) -> float:
    return float(simulate(seed=9, n=300, block=block).state["Particle_px"].square().sum())


def test_another_process_makes_the_same_events() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(sums, range(3)) == [sums(block) for block in range(3)]


def test_many_points_have_the_shares_of_their_own_functions() -> None:
    """The mean score of lund_a at each of three points: 0 to 4 errors, and not at another's."""
    one = chain()
    a = torch.tensor([[0.3], [0.7], [1.6]], dtype=torch.float64)
    theta = {**one.parameters.values(), "lund_a": a}
    trace = one.simulate(theta, 2_000, seed=4)
    score = joint_score(one, trace, theta, "lund_a")
    wrong = joint_score(one, trace, {**theta, "lund_a": a.flip(0)}, "lund_a")
    error = score.std(-1) / math.sqrt(2_000)

    assert (score.mean(-1).abs() < 4 * error).all()
    assert (wrong.mean(-1)[[0, 2]].abs() > 10 * error[[0, 2]]).all()


# --- What kernels share ---------------------------------------------------------------------


def test_tensors_with_derivatives_are_not_compiled() -> None:
    x = torch.ones(3)
    assert compilable(x)
    assert not compilable(x, x.clone().requires_grad_())
    seen: list[bool] = []

    def inside(y: Tensor) -> Tensor:
        seen.append(compilable(y))
        return y

    torch.func.jvp(inside, (x,), (x,))
    assert seen == [False]


def test_random_numbers_are_uniform_and_normal() -> None:
    """KS with p > 10⁻⁴, and no correlation with the next beyond 4 errors."""
    state, n = seeded(123), 100_000
    u = np.array([uniform(state) for _ in range(n)])
    x, y = np.array([(normal(state), normal(state)) for _ in range(n)]).T
    assert stats.kstest(u, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4 / math.sqrt(n)
    for values in (x, y):
        assert stats.kstest(values, "norm").pvalue > 1e-4
    assert abs(np.corrcoef(x, y)[0, 1]) < 4 / math.sqrt(n)
    assert (np.array(seeded(123)) != np.array(seeded(124))).all()


def test_normal_numbers_have_the_right_tails() -> None:
    """Beyond x₁ of the layers and in each of 100 bins of equal chance: 400,000 draws, p > 10⁻⁴."""
    state, n = seeded(7), 400_000
    x = np.array([normal(state) for _ in range(n)])
    beyond = np.abs(x) > EDGES[1]
    assert stats.binomtest(int(beyond.sum()), n, 2 * stats.norm.sf(EDGES[1])).pvalue > 1e-4
    far = np.abs(x)[np.abs(x) > 2.5]
    assert stats.kstest(far, lambda v: 1 - stats.norm.sf(v) / stats.norm.sf(2.5)).pvalue > 1e-4
    found = np.histogram(stats.norm.cdf(x), 100, (0, 1))[0]
    assert stats.chisquare(found).pvalue > 1e-4


def test_the_layers_of_normal_numbers_have_equal_areas() -> None:
    tail = math.sqrt(math.pi / 2) * math.erfc(EDGES[1] / math.sqrt(2))
    areas = EDGES[1:-1] * np.diff(HEIGHTS[1:])
    assert areas == pytest.approx(EDGES[1] * HEIGHTS[1] + tail, rel=1e-9)


def test_the_generator_is_xoshiro256() -> None:
    """Against the recurrence in exact integers, and SplitMix64's first number for seed 0."""
    first, word = seeded(0), 2**64 - 1
    assert int(first[0]) == 0xE220A8397B1DCDAF
    a, b, c, d = (int(x) for x in first)
    total = (a + d) & word
    expected = (((total << 23) | (total >> 41)) + a) & word
    assert uniform(first) == ((expected >> 12) + 0.5) / 2**52
    t, c, d = (b << 17) & word, c ^ a, d ^ b
    b, a, c = b ^ c, a ^ d, c ^ t
    d = ((d << 45) | (d >> 19)) & word
    assert [int(x) for x in first] == [a, b, c, d]


def test_the_circle_is_that_of_the_library() -> None:
    for angle in np.linspace(-math.pi, math.pi, 4_001):
        cos, sin = circle(angle)
        assert cos == pytest.approx(math.cos(angle), abs=3e-16)
        assert sin == pytest.approx(math.sin(angle), abs=3e-16)


def test_a_guide_never_begins_too_far() -> None:
    torch.manual_seed(1)
    steps = torch.rand(3, 20, dtype=torch.float64).pow(6)
    cumulative = torch.nn.functional.pad(steps.cumsum(-1), (1, 0)).numpy()
    start = guide(cumulative)
    for row, begin in zip(cumulative, start, strict=True):
        for part, i in enumerate(begin):
            assert row[i] <= part / PARTS * row[-1]


def test_draws_of_a_share_follow_the_density_of_their_table() -> None:
    """The probability integral transform of 20,000 draws from three tables, KS with p > 10⁻⁴."""
    f = LundFunction(torch.tensor([0.3]).double(), torch.tensor([0.8]).double())
    nodes, values = f.nodes.numpy(), f.values.numpy()
    area, state = f.area.numpy(), seeded(5)
    tables = nodes, 1 / np.diff(nodes), values, area, guide(area)
    for row in (0, 8, 20):
        drawn = np.array([share(uniform(state), row, *tables) for _ in range(20_000)])
        grid = np.linspace(0, 1, 40_001)
        density = np.interp(grid, nodes, values[row])
        cumulative = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
        u = np.interp(drawn, grid, cumulative / cumulative[-1])
        assert stats.kstest(u, "uniform").pvalue > 1e-4


def test_columns_widen_where_a_later_event_is_longer() -> None:
    """By a writer that stops at the first event for which there is no room."""
    columns, lengths = Columns("test", 2, 6), [1, 2, 0, 9, 30, 1]
    expected = np.zeros((2, 6, 30))
    for event, length in enumerate(lengths):
        expected[:, event, :length] = event + 1
    done = 0
    while done < len(lengths):
        clear(columns.arrays, done)
        while done < len(lengths) and lengths[done] <= columns.width:
            columns.out[:, done, : lengths[done]] = done + 1
            done += 1
        columns.reserve(max(lengths[: done + 1]), done)
    assert (columns.tensor(np.array(lengths)).numpy() == expected).all()


def test_a_part_of_the_events_is_cleared_at_once() -> None:
    columns = tuple(np.ones((2, 2 * PART + 5, 3)))
    clear(columns, PART + 3)
    for column in columns:
        assert (column[: PART + 3] == 1).all()
        assert (column[PART + 3 : 2 * PART] == 0).all()
        assert (column[2 * PART :] == 1).all()


def test_memory_is_used_again_only_when_no_tensor_has_it() -> None:
    memory = Memory()
    array = memory.take("test", 3, 4)
    array[:] = 1.0
    at, tensor = array.ctypes.data, torch.from_numpy(array)[1:, :2]
    del array
    memory.take("test", 3, 4)[:] = 2.0
    assert (tensor == 1.0).all()
    del tensor
    assert memory.take("test", 2, 6).ctypes.data == at


def test_events_that_are_kept_stay_as_they_are() -> None:
    """While others are made."""
    kept = simulate(n=300)
    columns = {name: column.clone() for name, column in kept.state.items()}
    for block in range(1, 4):
        simulate(n=300, block=block)
    for name, column in columns.items():
        assert torch.equal(kept.state[name], column), name


def test_where_nothing_can_be_written_a_kernel_is_compiled_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    njit = importlib.import_module("numba").njit

    def without_folder(**options: object) -> object:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available for file")
        found: object = njit(**options)
        return found

    monkeypatch.setattr("hepgen.simulators.compiled.kernel.njit", without_folder)
    assert kernel(_double)(2.0) == 4.0


def _double(x: float) -> float:
    return 2 * x
