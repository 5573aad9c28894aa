"""The laws of a stage and of a chain, over a table of all of them.

A new stage or chain adds a line to the table. Statistical laws are held to 4 standard
errors (or p > 10⁻⁴) at fixed seeds: for the whole file, another choice of seeds would fail
with a probability below 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hepgen.errors import SimulationError
from hepgen.simulators.chain import Chain, Trace
from hepgen.simulators.detector import MuonDetector
from hepgen.simulators.parton import DrellYan
from hepgen.simulators.processes import process
from hepgen.simulators.reconstruction import DimuonReconstruction
from hepgen.simulators.shower import FinalStateRadiation, InitialStateRecoil
from hepgen.simulators.stage import Stage, State

# Torch's own forward-mode differentiation calls something that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")

FALSE_ALARM = 1e-4

#: A point away from every edge, where all densities vary with all parameters.
POINT = {
    "m_z": 90.9,
    "gamma_z": 2.7,
    "sin2_theta_w": 0.24,
    "background_fraction": 0.1,
    "background_slope": 0.03,
    "alpha_s": 0.12,
    "primordial_kt": 1.5,
    "muon_scale": 0.003,
    "muon_resolution": 1.4,
    "muon_efficiency": 0.9,
}

CHAINS: dict[str, Chain] = {
    "parton": Chain([DrellYan()]),
    "parton, narrow": Chain([DrellYan(13_000.0, (88.0, 94.0))]),
    "recoil": Chain([DrellYan(), InitialStateRecoil()]),
    "radiation": Chain([DrellYan(), InitialStateRecoil(), FinalStateRadiation()]),
    "zmumu": process("zmumu"),
    "zmumu, other options": process(
        "zmumu", sqrt_s=13_000.0, photon_x_min=0.01, charge_flip=0.2, pt_min=10.0, eta_max=2.4
    ),
}
#: Each stage, and those that must come before it.
STAGES: dict[str, tuple[Stage, tuple[Stage, ...]]] = {
    "parton": (DrellYan(), ()),
    "isr": (InitialStateRecoil(), (DrellYan(),)),
    "fsr": (FinalStateRadiation(), (DrellYan(), InitialStateRecoil())),
    "detector": (
        MuonDetector(), (DrellYan(), InitialStateRecoil(), FinalStateRadiation()),
    ),
    "reconstruction": (
        DimuonReconstruction(),
        (DrellYan(), InitialStateRecoil(), FinalStateRadiation(), MuonDetector()),
    ),
}  # fmt: skip
#: Chains whose joint score and ratio are tested, for each parameter: together every stage.
SCORED = ("parton, narrow", "zmumu", "zmumu, other options")
LAWS = [(name, parameter) for name in SCORED for parameter in CHAINS[name].parameters.names]

chains = pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
stages = pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES.keys())
every_parameter = pytest.mark.parametrize(("name", "parameter"), LAWS)


def values(chain: Chain, **changed: float) -> dict[str, Tensor]:
    """The parameters of a chain at POINT, but for those that are changed."""
    fixed = {n: v for n, v in {**POINT, **changed}.items() if n in chain.parameters}
    return chain.parameters.values(None, **fixed)


def simulate(chain: Chain, n: int = 2000, seed: int = 1, block: int = 0) -> Trace:
    return chain.simulate(values(chain), n, seed, block)


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def replaced(chain: Chain, stage: Stage) -> Chain:
    """The chain with another stage of the same name."""
    return Chain([stage if s.name == stage.name else s for s in chain.stages])


# --- Stages ---------------------------------------------------------------------------------


@chains
def test_names_are_unique_and_parameters_known(chain: Chain) -> None:
    names = [stage.name for stage in chain.stages]

    assert len(set(names)) == len(names)
    assert set(chain.parameters.names) <= set(POINT)


@stages
def test_a_stage_reads_and_adds_what_it_says(stage: tuple[Stage, tuple[Stage, ...]]) -> None:
    """Given only the columns it requires and its own parameters, it adds what it provides."""
    tested, before = stage
    state: State = {"event": torch.zeros(1, 50)}
    if before:
        state |= simulate(Chain(before), 50).state
    state = {k: state[k] for k in ("event", *tested.requires)}
    own = {p.name: torch.tensor(POINT[p.name], dtype=torch.float64) for p in tested.parameters}

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


def test_the_same_stage_twice_is_an_error() -> None:
    with pytest.raises(SimulationError, match="unique names"):
        Chain([DrellYan(), DrellYan()])


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


@chains
def test_a_missing_parameter_is_an_error(chain: Chain) -> None:
    given = values(chain)
    del given["m_z"]

    with pytest.raises(SimulationError, match="m_z"):
        chain.simulate(given, 10, seed=1)


@chains
def test_a_parameter_of_another_shape_is_an_error(chain: Chain) -> None:
    """Shape (G,) would be taken for events: it has to be (G, 1)."""
    given = values(chain) | {"m_z": torch.full((10,), 91.0, dtype=torch.float64)}

    with pytest.raises(SimulationError, match=r"'m_z' has the shape \(10,\)"):
        chain.simulate(given, 10, seed=1)


# --- Randomness -----------------------------------------------------------------------------


@chains
def test_the_same_seed_gives_the_same_events(chain: Chain) -> None:
    first, second = simulate(chain), simulate(chain)

    assert equal(first.sites, second.sites)
    assert equal(first.state, second.state)


@chains
def test_another_seed_or_block_gives_others(chain: Chain) -> None:
    mass = simulate(chain).state["mass"]

    assert not (simulate(chain, seed=2).state["mass"] == mass).any()
    assert not (simulate(chain, block=1).state["mass"] == mass).any()


@chains
def test_the_global_generator_is_left_alone(chain: Chain) -> None:
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    trace = simulate(chain)
    chain.log_prob(trace, values(chain))

    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", ["zmumu", "zmumu, other options"])
@pytest.mark.parametrize(
    "other",
    [MuonDetector(charge_flip=0.5), FinalStateRadiation(x_min=0.1)],
    ids=["detector", "fsr"],
)
def test_options_of_a_stage_do_not_reach_upstream(name: str, other: Stage) -> None:
    """Another detector sees the same partons."""
    chain = CHAINS[name]
    upstream = chain.stages[: [stage.name for stage in chain.stages].index(other.name)]
    columns = [c for s in upstream for c in s.provides]
    one, two = simulate(chain).state, simulate(replaced(chain, other)).state

    assert columns
    assert equal({c: one[c] for c in columns}, {c: two[c] for c in columns})
    assert not equal(one, two)


def test_parameters_of_a_stage_do_not_reach_upstream() -> None:
    chain = CHAINS["zmumu"]
    one = chain.simulate(values(chain), 500, seed=1).state
    two = chain.simulate(values(chain, muon_scale=0.05), 500, seed=1).state

    for column in ("mass", "y", "pt", "muon_pt", "muon_eta", "muon_phi"):
        assert torch.equal(one[column], two[column])


# --- Density --------------------------------------------------------------------------------


@chains
def test_log_prob_of_own_events_is_finite(chain: Chain) -> None:
    """Also at another parameter point, and by site, with shape (G, E)."""
    trace = simulate(chain, 20_000)
    for at in (values(chain), values(chain, m_z=92.0, muon_scale=-0.01, alpha_s=0.15)):
        terms = chain.log_prob_terms(trace, at)
        assert terms.keys() == trace.sites.keys()
        for name, term in terms.items():
            assert term.shape == (1, 20_000), name
            assert term.isfinite().all(), name


@chains
def test_joint_density_is_the_sum_of_its_terms(chain: Chain) -> None:
    trace = simulate(chain)
    total = sum(chain.log_prob_terms(trace, values(chain)).values())

    torch.testing.assert_close(chain.log_prob(trace, values(chain)), total)


@chains
def test_a_chain_is_the_product_of_its_stages(chain: Chain) -> None:
    """The terms of the first stages do not change when others follow."""
    trace = simulate(chain)
    alone = Chain(chain.stages[:1])
    whole = chain.log_prob_terms(trace, values(chain))
    part = {n: trace.sites[n] for n in simulate(alone, 10).sites}

    first = alone.log_prob_terms(Trace(part, trace.state), values(alone))

    for name, term in first.items():
        torch.testing.assert_close(whole[name], term)


def scores(chain: Chain, trace: Trace, parameter: str) -> Tensor:
    """∂ log p(x, z | θ)/∂θ of each event, by forward-mode differentiation."""
    at = values(chain)

    def log_prob(value: Tensor) -> Tensor:
        return chain.log_prob(trace, at | {parameter: value})

    one = torch.ones((), dtype=torch.float64)
    score: Tensor = torch.func.jvp(log_prob, (at[parameter],), (one,))[1]
    return score.detach().ravel()


def within(sample: Tensor, expected: float) -> bool:
    error = sample.std().item() / math.sqrt(len(sample))
    return abs(sample.mean().item() - expected) < 4 * error


@cache
def large(name: str) -> tuple[Trace, Tensor]:
    """10⁵ events of a chain at POINT and their log-density, made once."""
    chain = CHAINS[name]
    trace = simulate(chain, 100_000, seed=17)
    return trace, chain.log_prob(trace, values(chain))


@every_parameter
def test_joint_score_has_mean_zero(name: str, parameter: str) -> None:
    score = scores(CHAINS[name], large(name)[0], parameter)

    assert score.isfinite().all()
    assert score.std() > 0
    assert within(score, 0.0)


@every_parameter
def test_joint_ratio_has_mean_one(name: str, parameter: str) -> None:
    """E[p(x, z | θ')/p(x, z | θ)] = 1 under θ, for a θ' of one parameter moved by 4 %."""
    chain, (trace, log_prob) = CHAINS[name], large(name)
    moved = POINT[parameter] * 1.04 if parameter != "m_z" else POINT[parameter] + 0.3
    other = values(chain, **{parameter: moved})

    ratio = (chain.log_prob(trace, other) - log_prob).exp().ravel()

    assert ratio.std() > 0
    assert within(ratio, 1.0)


@every_parameter
def test_joint_score_is_the_finite_difference(name: str, parameter: str) -> None:
    """Event by event; a density with a kink differs where one is within a step (< 1 ‰)."""
    chain, trace = CHAINS[name], simulate(CHAINS[name], 4000)
    step = 1e-8 * POINT[parameter]
    up, down = (
        chain.log_prob(trace, values(chain, **{parameter: POINT[parameter] + d})).ravel()
        for d in (step, -step)
    )
    numeric = (up - down) / (2 * step)
    score = scores(chain, trace, parameter)

    close = torch.isclose(score, numeric, rtol=1e-4, atol=1e-4 * score.std().item())
    assert close.double().mean() > 0.999


@every_parameter
def test_forward_and_reverse_mode_agree(name: str, parameter: str) -> None:
    chain, trace = CHAINS[name], simulate(CHAINS[name], 4000)
    at = values(chain)
    leaf = at[parameter].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(chain.log_prob(trace, at | {parameter: leaf}).sum(), leaf)

    total = scores(chain, trace, parameter).sum()
    torch.testing.assert_close(gradient, total, rtol=1e-8, atol=1e-8)


# --- Many parameter points ------------------------------------------------------------------

MASSES, SCALES = [89.5, 90.9, 92.0], [-0.01, 0.0, 0.02]


def column(numbers: list[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


def points(chain: Chain) -> dict[str, Tensor]:
    """Three points at once: the first stage's mass and, where there is one, the scale."""
    varied = {"m_z": column(MASSES), "muon_scale": column(SCALES)}
    return values(chain) | {n: v for n, v in varied.items() if n in chain.parameters}


def at_point(given: Mapping[str, Tensor], g: int) -> dict[str, Tensor]:
    return {n: v[g : g + 1] if v.dim() else v for n, v in given.items()}


@chains
def test_points_at_once_have_the_density_of_each_alone(chain: Chain) -> None:
    given = points(chain)
    trace = chain.simulate(given, 1000, seed=5)
    together = chain.log_prob(trace, given)
    assert trace.shape == (3, 1000)

    for g in range(3):
        part = Trace(
            {n: v[g : g + 1] for n, v in trace.sites.items()},
            {n: v[g : g + 1] for n, v in trace.state.items()},
        )
        alone = chain.log_prob(part, at_point(given, g))
        torch.testing.assert_close(together[g : g + 1], alone)


@chains
def test_points_at_once_are_distributed_as_each_alone(chain: Chain) -> None:
    given = points(chain)
    n = 20_000
    together = chain.simulate(given, n, seed=5).state
    observed = "Dimuon_mass" if "Dimuon_mass" in together else "mass"

    for g in range(3):
        alone = chain.simulate(at_point(given, g), n, seed=6).state
        p_value = stats.ks_2samp(together[observed][g].numpy(), alone[observed][0].numpy()).pvalue
        assert p_value > FALSE_ALARM
    medians = np.median(together["mass"].numpy(), axis=-1)
    assert (np.diff(medians) > 0.3).all()


@chains
def test_one_trace_at_a_scalar_and_at_a_column_of_one(chain: Chain) -> None:
    trace = simulate(chain)
    as_column = {n: v.reshape(1, 1) for n, v in values(chain).items()}

    torch.testing.assert_close(
        chain.log_prob(trace, values(chain)), chain.log_prob(trace, as_column)
    )


@chains
def test_an_event_at_a_time(chain: Chain) -> None:
    """A block of one event works, and its density is a number."""
    for seed in range(20):
        trace = simulate(chain, 1, seed=seed)
        assert chain.log_prob(trace, values(chain)).isfinite().all()
