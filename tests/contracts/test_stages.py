"""The laws of a stage and of a chain, over a table of all of them.

A new stage or chain adds a line to the table. Statistical laws are held to 4 standard
errors (or p > 10⁻⁴) at fixed seeds: for the whole file, another choice of seeds would fail
with a probability below 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Normal
from scipy import stats
from torch import Tensor

from hepgen.errors import ParameterError, SimulationError
from hepgen.parameters import Parameter
from hepgen.simulators.augment import joint_log_ratio, joint_score, scored
from hepgen.simulators.chain import Chain, Trace
from hepgen.simulators.detector import MuonDetector
from hepgen.simulators.shower import FinalStateRadiation
from hepgen.simulators.stage import Stage, State
from tests.contracts import (
    calo_shower,
    detector,
    dijet_bump,
    dy_eft,
    ee_jets,
    ee_mumu,
    gaussian,
    hybrid,
    zmumu,
)
from tests.contracts.case import Case

# Torch's own forward-mode differentiation calls something that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")

FALSE_ALARM = 1e-4

TABLES = (zmumu, dy_eft, ee_mumu, ee_jets, dijet_bump, calo_shower, detector, gaussian, hybrid)
CASES: dict[str, Case] = {n: case for table in TABLES for n, case in table.CASES.items()}
STAGES: dict[str, tuple[Stage, tuple[Stage, ...]]] = {
    n: stage for table in TABLES for n, stage in table.STAGES.items()
}
LAWS = [
    (n, p)
    for n, case in CASES.items() if case.scored
    for p in case.laws or scored(case.chain) if p not in case.rate_only
]  # fmt: skip

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
stages = pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES.keys())
every_parameter = pytest.mark.parametrize(("name", "parameter"), LAWS)


def values(case: Case, **changed: float) -> dict[str, Tensor]:
    """The parameters of a chain at its point, but for those that are changed."""
    return case.chain.parameters.values(None, **{**case.point, **changed})


def simulate(case: Case, n: int = 0, seed: int = 1, block: int = 0) -> Trace:
    return case.chain.simulate(values(case), n or case.sample, seed, block)


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# --- Stages ---------------------------------------------------------------------------------


@cases
def test_names_are_unique_and_the_point_is_complete(case: Case) -> None:
    names = [stage.name for stage in case.chain.stages]

    assert len(set(names)) == len(names)
    assert set(case.chain.parameters.names) == set(case.point)
    assert set(scored(case.chain)) <= set(case.moved)


@stages
def test_a_stage_reads_and_adds_what_it_says(stage: tuple[Stage, tuple[Stage, ...]]) -> None:
    """Given only the columns it requires and its own parameters, it adds what it provides."""
    tested, before = stage
    state: State = {"event": torch.zeros(1, 50)}
    if before:
        chain = Chain(before)
        state |= chain.simulate(chain.parameters.values(), 50, seed=1).state
    state = {k: state[k] for k in ("event", *tested.requires)}
    own = {p.name: torch.tensor(p.default, dtype=torch.float64) for p in tested.parameters}

    with torch.random.fork_rng(devices=[]):
        after = tested(dict(state), own)

    assert set(after) - set(state) == set(tested.provides)
    assert equal({k: after[k] for k in state}, state)
    for name in tested.provides:
        assert after[name].shape[:2] == (1, 50), name


@stages
def test_a_stage_out_of_place_is_an_error(stage: tuple[Stage, tuple[Stage, ...]]) -> None:
    tested, _ = stage
    if tested.requires:
        with pytest.raises(SimulationError, match=f"{tested.name!r} needs .*{tested.requires[0]}"):
            Chain([tested])


@cases
def test_the_same_stage_twice_is_an_error(case: Case) -> None:
    with pytest.raises(SimulationError, match="unique names"):
        Chain([case.chain.stages[0], case.chain.stages[0]])


def test_a_stage_that_breaks_its_word_is_an_error() -> None:
    class Forgetful(Stage):
        """Promises a column and does not add it."""

        name = "forgetful"
        provides = ("spin",)

        def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
            return state

    chain = Chain([Forgetful()])
    with pytest.raises(SimulationError, match=r"'forgetful' returned no column \['spin'\]"):
        chain.simulate({}, 10, seed=1)


class Walk(Stage):
    """A Gaussian whose width is whatever it is told."""

    name = "walk"
    provides = ("x",)
    parameters = (Parameter("width", 1.0, "GeV"),)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        width = parameters["width"].expand(state["event"].shape)
        x = pyro.sample("x", Normal(torch.zeros_like(width), width, validate_args=False))
        return state | {"x": x}


def test_a_stage_that_draws_nan_is_named_with_the_event_and_the_value() -> None:
    with pytest.raises(SimulationError, match="stage 'walk' drew 'x' = inf for event 0"):
        Chain([Walk()]).simulate({"width": torch.tensor(torch.inf)}, 3, seed=1)


def test_a_density_that_is_nan_is_named_with_the_event_and_the_value() -> None:
    chain = Chain([Walk()])
    trace = chain.simulate({"width": torch.tensor(1.0)}, 3, seed=1)
    broken = Trace({"x": torch.tensor([[0.1, float("nan"), 0.2]])}, trace.state)

    with pytest.raises(SimulationError, match=r"stage 'walk' has log p\(x\) = nan for event 1"):
        chain.log_prob(broken, {"width": torch.tensor(1.0)})


@cases
def test_a_missing_parameter_is_an_error(case: Case) -> None:
    given = values(case)
    name = next(iter(given))
    del given[name]

    with pytest.raises(SimulationError, match=name):
        case.chain.simulate(given, 10, seed=1)


@cases
def test_a_parameter_of_another_shape_is_an_error(case: Case) -> None:
    """Shape (G,) would be taken for events: it has to be (G, 1)."""
    name, value = next(iter(case.point.items()))
    given = values(case) | {name: torch.full((10,), value, dtype=torch.float64)}

    with pytest.raises(SimulationError, match=rf"'{name}' has the shape \(10,\)"):
        case.chain.simulate(given, 10, seed=1)


@cases
def test_a_parameter_outside_its_validity_is_an_error(case: Case) -> None:
    for parameter in case.chain.parameters:
        beyond = parameter.high + 1 if math.isfinite(parameter.high) else parameter.low - 1
        if math.isfinite(beyond):
            given = values(case) | {parameter.name: torch.tensor(beyond, dtype=torch.float64)}
            with pytest.raises(ParameterError, match=rf"'{parameter.name}' = .*expected a value"):
                case.chain.simulate(given, 10, seed=1)


# --- Randomness -----------------------------------------------------------------------------


@cases
def test_the_same_seed_gives_the_same_events(case: Case) -> None:
    first, second = simulate(case), simulate(case)

    assert equal(first.sites, second.sites)
    assert equal(first.state, second.state)


@cases
def test_another_seed_or_block_gives_others(case: Case) -> None:
    drawn = simulate(case).state[case.column]

    assert not (simulate(case, seed=2).state[case.column] == drawn).any()
    assert not (simulate(case, block=1).state[case.column] == drawn).any()


@cases
def test_the_global_generator_is_left_alone(case: Case) -> None:
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    trace = simulate(case)
    case.chain.log_prob(trace, values(case))

    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", ["zmumu", "zmumu, other options"])
@pytest.mark.parametrize(
    "other",
    [MuonDetector(charge_flip=0.5), FinalStateRadiation(x_min=0.1)],
    ids=["detector", "fsr"],
)
def test_options_of_a_stage_do_not_reach_upstream(name: str, other: Stage) -> None:
    """Another detector sees the same partons."""
    case = CASES[name]
    stages = case.chain.stages
    upstream = stages[: [stage.name for stage in stages].index(other.name)]
    columns = [c for s in upstream for c in s.provides]
    changed = Chain([other if s.name == other.name else s for s in stages])
    one = simulate(case).state
    two = changed.simulate(values(case), 2000, seed=1).state

    assert columns
    assert equal({c: one[c] for c in columns}, {c: two[c] for c in columns})
    assert not equal(one, two)


@cases
def test_parameters_of_a_stage_do_not_reach_upstream(case: Case) -> None:
    """Moving what only the later stages read leaves every column before them as it was."""
    before: list[str] = []
    read: set[str] = set()
    n = case.sample // 4
    one = simulate(case, n).state
    for stage in case.chain.stages:
        own = {p.name for p in stage.parameters} - read
        moved = {n: v for n, v in case.moved.items() if n in own}
        if before and moved:
            two = case.chain.simulate(values(case, **moved), n, seed=1).state
            assert equal({c: one[c] for c in before}, {c: two[c] for c in before}), stage.name
        read |= own
        before += stage.provides


# --- Density --------------------------------------------------------------------------------


@cases
def test_log_prob_of_own_events_is_finite(case: Case) -> None:
    """Also at another parameter point, and by site, with shape (G, E)."""
    n = 20_000 if case.events >= 100_000 else case.sample
    trace = simulate(case, n)
    for at in (values(case), values(case, **case.moved)):
        terms = case.chain.log_prob_terms(trace, at)
        assert terms.keys() == trace.sites.keys()
        for name, term in terms.items():
            assert term.shape == (1, n), name
            assert term.isfinite().all(), name


@cases
def test_joint_density_is_the_sum_of_its_terms(case: Case) -> None:
    trace = simulate(case)
    total = sum(case.chain.log_prob_terms(trace, values(case)).values())

    torch.testing.assert_close(case.chain.log_prob(trace, values(case)), total)


@cases
def test_a_chain_is_the_product_of_its_stages(case: Case) -> None:
    """The terms of the first stage do not change when others follow."""
    trace = simulate(case)
    alone = Chain(case.chain.stages[:1])
    own = {n: v for n, v in values(case).items() if n in alone.parameters}
    whole = case.chain.log_prob_terms(trace, values(case))
    part = {n: trace.sites[n] for n in alone.simulate(own, 10, seed=1).sites}

    first = alone.log_prob_terms(Trace(part, trace.state), own)

    for name, term in first.items():
        torch.testing.assert_close(whole[name], term)


def within(sample: Tensor, expected: float) -> bool:
    error = sample.std().item() / math.sqrt(len(sample))
    return abs(sample.mean().item() - expected) < 4 * error


@cache
def large(name: str) -> Trace:
    """Many events of a chain at its point, made once."""
    return simulate(CASES[name], CASES[name].events, seed=17)


@every_parameter
def test_joint_score_has_mean_zero(name: str, parameter: str) -> None:
    case = CASES[name]
    score = joint_score(case.chain, large(name), values(case), parameter).ravel()

    assert score.isfinite().all()
    assert score.std() > 0
    assert within(score, 0.0)


@every_parameter
def test_joint_ratio_has_mean_one(name: str, parameter: str) -> None:
    """E[p(x, z | θ')/p(x, z | θ)] = 1 under θ, for a θ' of one parameter moved a little."""
    case = CASES[name]
    other = values(case, **{parameter: case.moved[parameter]})

    ratio = joint_log_ratio(case.chain, large(name), other, values(case)).exp().ravel()

    assert ratio.std() > 0
    assert within(ratio, 1.0)


@every_parameter
def test_joint_score_is_the_finite_difference(name: str, parameter: str) -> None:
    """Event by event; a density with a kink differs where one is within a step."""
    case = CASES[name]
    trace = simulate(case, 2 * case.sample)
    at = case.point[parameter]
    step = 1e-8 * abs(at) if at else 1e-8
    up, down = (
        case.chain.log_prob(trace, values(case, **{parameter: at + d})).ravel()
        for d in (step, -step)
    )
    numeric = (up - down) / (2 * step)
    score = joint_score(case.chain, trace, values(case), parameter).ravel()

    close = torch.isclose(score, numeric, rtol=1e-4, atol=1e-4 * score.std().item())
    assert close.double().mean() > 1 - case.kinks


@every_parameter
def test_forward_and_reverse_mode_agree(name: str, parameter: str) -> None:
    case = CASES[name]
    trace = simulate(case, 2 * case.sample)
    at = values(case)
    leaf = at[parameter].clone().requires_grad_()
    log_prob = case.chain.log_prob(trace, at | {parameter: leaf})
    (gradient,) = torch.autograd.grad(log_prob.sum(), leaf)

    total = joint_score(case.chain, trace, at, parameter).sum()
    torch.testing.assert_close(gradient, total, rtol=1e-8, atol=1e-7)


@cases
def test_a_parameter_of_the_rate_alone_has_a_score_of_zero_and_moves_the_rate(case: Case) -> None:
    trace = simulate(case, 100)
    for name in case.rate_only:
        assert (joint_score(case.chain, trace, values(case), name) == 0).all()
        sigma, other = (
            [stage.cross_section(given) for stage in case.chain.stages]
            for given in (values(case), values(case, **{name: case.moved[name]}))
        )
        assert any(
            a is not None and b is not None and not torch.equal(a, b)
            for a, b in zip(sigma, other, strict=True)
        )


@cases
def test_a_parameter_that_moves_the_support_has_no_score_and_says_so(case: Case) -> None:
    trace = simulate(case, 10)
    for parameter in set(case.chain.parameters.names) - set(scored(case.chain)):
        with pytest.raises(ParameterError, match=rf"'{parameter}' decides which events"):
            joint_score(case.chain, trace, values(case), parameter)
        other = values(case, **{parameter: case.point[parameter] * 1.01})
        with pytest.raises(ParameterError, match=rf"'{parameter}' decides which events"):
            joint_log_ratio(case.chain, trace, other, values(case))


# --- Many parameter points ------------------------------------------------------------------


def points(case: Case) -> dict[str, Tensor]:
    """Three points at once."""
    varied = {
        n: torch.tensor(v, dtype=torch.float64)[:, None]
        for n, v in case.varied.items() if n in case.chain.parameters
    }  # fmt: skip
    return values(case) | varied


def at_point(given: Mapping[str, Tensor], g: int) -> dict[str, Tensor]:
    return {n: v[g : g + 1] if v.dim() else v for n, v in given.items()}


@cases
def test_points_at_once_have_the_density_of_each_alone(case: Case) -> None:
    given = points(case)
    n = case.sample // 2
    trace = case.chain.simulate(given, n, seed=5)
    together = case.chain.log_prob(trace, given)
    assert trace.shape == (3, n)

    for g in range(3):
        part = Trace(
            {n: v[g : g + 1] for n, v in trace.sites.items()},
            {n: v[g : g + 1] for n, v in trace.state.items()},
        )
        alone = case.chain.log_prob(part, at_point(given, g))
        torch.testing.assert_close(together[g : g + 1], alone)


def observed(case: Case, state: State, g: int) -> Any:
    """The observed column of the selected events of one parameter point."""
    column = state[case.observed]
    return column[g][state.get("selected", torch.ones_like(column) > 0)[g]].numpy()


@cases
def test_points_at_once_are_distributed_as_each_alone(case: Case) -> None:
    given = points(case)
    n = case.events // 5
    together = case.chain.simulate(given, n, seed=5).state
    medians = []

    for g in range(3):
        alone = case.chain.simulate(at_point(given, g), n, seed=6).state
        first, second = observed(case, together, g), observed(case, alone, 0)
        assert stats.ks_2samp(first, second).pvalue > FALSE_ALARM
        medians.append(np.median(first))
    assert (np.abs(np.diff(medians)) > 1e-3 * np.abs(medians[1:])).all(), medians


@cases
def test_one_trace_at_a_scalar_and_at_a_column_of_one(case: Case) -> None:
    trace = simulate(case)
    as_column = {n: v.reshape(1, 1) for n, v in values(case).items()}

    torch.testing.assert_close(
        case.chain.log_prob(trace, values(case)), case.chain.log_prob(trace, as_column)
    )


@cases
def test_an_event_at_a_time(case: Case) -> None:
    """A block of one event works, and its density is a number."""
    for seed in range(20):
        trace = simulate(case, 1, seed=seed)
        assert case.chain.log_prob(trace, values(case)).isfinite().all()
