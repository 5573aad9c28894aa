"""Augmented data: reweighting, the efficiency's gradient, and the information of the truth.

That score and ratio obey their laws is in tests/contracts. Statistical tests here are at fixed
seeds; another choice would fail each with a probability below 1 %.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Normal, Uniform
from scipy import stats
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.parameters import Parameter
from hepgen.simulators.augment import (
    fisher_information,
    joint_log_ratio,
    joint_score,
    scored,
)
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.chain import Chain
from hepgen.simulators.processes.registry import process
from hepgen.simulators.stage import Stage, State

# Torch's own forward-mode differentiation calls something that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")

CHAIN = process("zmumu")


def at(**changed: float) -> dict[str, Tensor]:
    return CHAIN.parameters.values(None, **changed)


@pytest.mark.parametrize(
    ("name", "before", "after", "column"),
    [
        ("alpha_s", 0.118, 0.130, "Dimuon_pt"),
        ("m_z", 91.0, 91.3, "Dimuon_mass"),
        ("muon_resolution", 1.0, 1.15, "Dimuon_mass"),
        ("background_fraction", 0.05, 0.10, "Dimuon_mass"),
        ("muon_efficiency", 0.95, 0.90, "Dimuon_y"),
    ],
)
def test_reweighted_events_are_as_simulated_there(
    name: str, before: float, after: float, column: str
) -> None:
    """χ² of the selected events in 20 bins of equal content: p > 0.01."""
    n = 200_000
    here, there = at(**{name: before}), at(**{name: after})
    trace = CHAIN.simulate(here, n, seed=5)
    weight = joint_log_ratio(CHAIN, trace, there, here).exp()[trace.state["selected"]].numpy()
    state = CHAIN.simulate(there, n, seed=6).state
    direct = state[column][state["selected"]].numpy()
    reweighted = trace.state[column][trace.state["selected"]].numpy()

    edges = np.quantile(direct, np.linspace(0, 1, 21))
    edges[[0, -1]] = -np.inf, np.inf
    expected, _ = np.histogram(direct, edges)
    found, _ = np.histogram(reweighted, edges, weights=weight)
    variance, _ = np.histogram(reweighted, edges, weights=weight**2)
    chi2 = ((found - expected) ** 2 / (variance + expected)).sum()
    unweighted, _ = np.histogram(reweighted, edges)
    without = ((unweighted - expected) ** 2 / (unweighted + expected)).sum()

    assert stats.chi2.sf(chi2, 20) > 0.01
    assert stats.chi2.sf(without, 20) < 0.01, "the parameter moves the distribution"


def test_mean_score_of_selected_events_is_the_gradient_of_the_efficiency() -> None:
    """ε ∝ (muon_efficiency)²: exactly 2 at 1, where every pair of found muons has it."""
    here = at(muon_efficiency=0.9)
    trace = CHAIN.simulate(here, 20_000, seed=7)
    score = joint_score(CHAIN, trace, here, "muon_efficiency")[trace.state["selected"]]

    assert score.mean().item() == pytest.approx(2 / 0.9, rel=1e-9)


def test_score_of_the_primordial_width_is_the_closed_form() -> None:
    """Two Gaussian components of variance σ²/2: t = 2(x² + y² − σ²)/σ³, with I = 4/σ²."""
    here = at(primordial_kt=2.5)
    trace = CHAIN.simulate(here, 50_000, seed=8)
    square = trace.sites["primordial_x"].square() + trace.sites["primordial_y"].square()

    score = joint_score(CHAIN, trace, here, "primordial_kt")

    torch.testing.assert_close(score, 2 * (square - 2.5**2) / 2.5**3)
    information = fisher_information({"primordial_kt": score.ravel().numpy()})
    assert abs(information.matrix[0, 0] - 4 / 2.5**2) < 4 * information.error[0, 0]


def test_information_is_symmetric_positive_and_weighted() -> None:
    here = at(background_fraction=0.1)
    trace = CHAIN.simulate(here, 20_000, seed=9)
    scores = {n: joint_score(CHAIN, trace, here, n).ravel().numpy() for n in scored(CHAIN)}

    information = fisher_information(scores)
    twice = fisher_information(scores, np.full(20_000, 2.0))

    assert information.names == scored(CHAIN)
    assert np.array_equal(information.matrix, information.matrix.T)
    assert np.linalg.eigvalsh(information.matrix).min() > 0
    np.testing.assert_allclose(twice.matrix, information.matrix)
    np.testing.assert_allclose(twice.error, information.error)


@pytest.mark.parametrize("scores", [{}, {"a": np.ones(1)}])
def test_information_of_too_few_events_is_an_error(scores: dict[str, np.ndarray]) -> None:
    with pytest.raises(DataError, match="fewer than two events"):
        fisher_information(scores)


def test_at_the_edge_of_its_range_a_parameter_has_neither_score_nor_ratio() -> None:
    """At f = 0 no event is background: E[t] = −1 there, and no weight can make one."""
    trace = CHAIN.simulate(at(), 100, seed=10)

    with pytest.raises(ParameterError, match="'background_fraction' = 0 is at the edge"):
        joint_score(CHAIN, trace, at(), "background_fraction")
    with pytest.raises(ParameterError, match=r"at the edge .* simulate them there"):
        joint_log_ratio(CHAIN, trace, at(background_fraction=0.1), at())
    inside = at(background_fraction=0.1)
    trace = CHAIN.simulate(inside, 100, seed=10)
    assert (joint_log_ratio(CHAIN, trace, at(), inside) <= -np.log(0.9) + 1e-12).all()


class Cut(Stage):
    """Uniform below a threshold."""

    name = "cut"
    provides = ("x",)
    parameters = (Parameter("threshold", 2.0, moves_support=True),)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        top = parameters["threshold"].expand(state["event"].shape)
        x = pyro.sample("x", Uniform(torch.zeros_like(top), top, validate_args=False))
        return state | {"x": x}


def test_a_parameter_that_moves_the_support_has_neither_score_nor_ratio() -> None:
    chain = Chain([Cut()])
    here = chain.parameters.values()
    trace = chain.simulate(here, 10, seed=1)

    assert scored(chain) == ()
    with pytest.raises(ParameterError, match=r"'threshold' decides which events .* no score"):
        joint_score(chain, trace, here, "threshold")
    with pytest.raises(ParameterError, match=r"'threshold' decides .* simulate them there"):
        joint_log_ratio(chain, trace, {"threshold": torch.tensor(2.5)}, here)


class Shifted(Stage):
    """A column that moves with its parameter, without a site."""

    name = "shifted"
    requires = ("mass",)
    provides = ("there",)
    parameters = (Parameter("shift", 0.5),)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        return state | {"there": state["mass"] + parameters["shift"]}


class Measured(Stage):
    """A Gaussian about such a column; it reads no parameter itself."""

    name = "measured"
    requires = ("there",)
    provides = ("x",)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        there = state["there"]
        return state | {"x": pyro.sample("x", Normal(there, torch.ones_like(there)))}


def test_a_parameter_that_acts_through_a_column_has_its_score_and_ratio() -> None:
    """t = x − M − a; ln r = t Δ − Δ²/2, whatever point the trace was drawn at."""
    chain = Chain([CHAIN.stages[0], Shifted(), Measured()])
    here = chain.parameters.values()
    there = here | {"shift": torch.tensor(0.8, dtype=torch.float64)}
    trace = chain.simulate(here, 100, seed=1)
    distance = trace.sites["x"] - trace.sites["mass"]

    for at, a in ((here, 0.5), (there, 0.8)):
        torch.testing.assert_close(joint_score(chain, trace, at, "shift"), distance - a)
        torch.testing.assert_close(
            joint_score(chain, trace, at, "m_z"),
            joint_score(Chain(chain.stages[:1]), trace, at, "m_z"),
        )
    expected = 0.3 * (distance - 0.5) - 0.3**2 / 2
    torch.testing.assert_close(joint_log_ratio(chain, trace, there, here), expected)
    torch.testing.assert_close(joint_log_ratio(chain, trace, here, there), -expected)


def test_score_and_ratio_are_those_of_the_whole_chain() -> None:
    """The stages that are not run again have terms that cancel."""
    here, there = at(background_fraction=0.1), at(background_fraction=0.12, muon_scale=0.01)
    trace = CHAIN.simulate(here, 500, seed=2)

    whole = CHAIN.log_prob(trace, there) - CHAIN.log_prob(trace, here)

    torch.testing.assert_close(joint_log_ratio(CHAIN, trace, there, here), whole)


def test_a_campaign_keeps_what_the_functions_give() -> None:
    made = Campaign(
        CHAIN, CHAIN.parameters, 500, seed=3, prior=False, block_size=500, keep_all=True,
        scores=("m_z", "alpha_s"), ratios={"high": {"alpha_s": 0.15, "m_z": 91.4}},
    )  # fmt: skip
    events = made.simulate(0).events
    trace = CHAIN.simulate(at(), 500, seed=3)

    for name in ("m_z", "alpha_s"):
        expected = joint_score(CHAIN, trace, at(), name).ravel().numpy()
        np.testing.assert_array_equal(events[f"score_{name}"], expected)
    expected = joint_log_ratio(CHAIN, trace, at(alpha_s=0.15, m_z=91.4), at()).ravel().numpy()
    np.testing.assert_array_equal(events["logr_high"], expected)
