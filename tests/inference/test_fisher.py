"""Fisher information against the exact one of e⁺e⁻ → μ⁺μ⁻ and of the gaussian chain.

Statistical bounds are 4.5 of the errors that are quoted, at fixed seeds.
"""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.features import Feature
from hepgen.inference.exact import ExactLikelihood
from hepgen.inference.fisher import (
    FisherInformation,
    estimator_information,
    event_scores,
    feature_information,
    joint_information,
    regression_information,
)
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform
from hepgen.simulators.augment import joint_score
from hepgen.simulators.chain import Chain
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity
from hepgen.simulators.processes.registry import process
from tests.inference.gaussian_chain import MODEL, PARAMETERS, pairs

#: Of an event on sin²θ_W, its cosine known and all of them selected.
SHAPE = {89.0: 7.68, 91.1876: 3.53, 93.0: 1.34}


@cache
def simulated(energy: float) -> tuple[Chain, ExactLikelihood, Tensor, Tensor]:
    chain = process("ee_mumu", energies=(energy,))
    parameters = ParameterSet(
        [
            dataclasses.replace(p, prior=Uniform(0.2, 0.26) if p.name == "sin2_theta_w" else None)
            for p in chain.parameters
        ]
    )
    exact = ExactLikelihood(ElectronPositronDensity.of(chain), parameters)
    values = chain.parameters.values()
    trace = chain.simulate(values, 30_000, seed=3)
    kept = trace.state["selected"]
    score = joint_score(chain, trace, values, "sin2_theta_w")[kept][:, None]
    return chain, exact, trace.state["Dimuon_cos_theta"][kept][:, None], score


def default(exact: ExactLikelihood) -> Tensor:
    return torch.tensor([exact.parameters["sin2_theta_w"].default], dtype=torch.float64)


@pytest.mark.parametrize("energy", SHAPE)
def test_anchors_of_the_shape(energy: float) -> None:
    """The joint score of all events is that of the cosine: nothing after it knows of sin²θ_W."""
    chain = process("ee_mumu", energies=(energy,))
    values = chain.parameters.values()
    trace = chain.simulate(values, 30_000, seed=3)
    score = joint_score(chain, trace, values, "sin2_theta_w")[0][:, None]
    value, error = joint_information(score, ["sin2_theta_w"]).value("sin2_theta_w")
    assert error < 0.03 * value
    assert abs(value - SHAPE[energy]) < 4.5 * error + 0.005


def by_quadrature(exact: ExactLikelihood) -> float:
    """E[(∂ log p)²] of selected events by the midpoint rule."""
    density = exact.density
    assert isinstance(density, ElectronPositronDensity)
    c = torch.linspace(-density.cos_max, density.cos_max, 402, dtype=torch.float64)
    c = 0.5 * (c[1:] + c[:-1])
    values, name = exact.parameters.values(), "sin2_theta_w"

    def log_prob(value: Tensor) -> Tensor:
        return density.log_prob(c[:, None], {**values, name: value})

    at = values[name]
    p = log_prob(at).exp()
    score = torch.func.jvp(log_prob, (at,), (torch.ones_like(at),))[1]
    return float((p * score.square()).sum() / p.sum())


@pytest.mark.parametrize("energy", [89.0, 93.0])
def test_information_of_selected_events(energy: float) -> None:
    """By the score of the likelihood, and between the limits from the joint score."""
    _, exact, x, joint = simulated(energy)
    expected = by_quadrature(exact)
    found = estimator_information(exact, x, default(exact))
    score = event_scores(exact, x, default(exact).expand(len(x), -1))
    lower = regression_information(score, joint, found.names)
    for one in (found, lower):
        value, error = one.value("sin2_theta_w")
        assert error < 0.03 * value
        assert abs(value - expected) < 4.5 * error
    upper = joint_information(joint, found.names).value("sin2_theta_w")
    assert upper[0] > expected - 4.5 * upper[1]


def test_anchor_of_the_rate() -> None:
    """51.9 at the Z: ∇ log ε is the mean joint score of selected events, and ∇ log σ is known."""
    chain, exact, x, joint = simulated(91.1876)
    values, name = chain.parameters.values(), "sin2_theta_w"

    def log_sigma(value: Tensor) -> Tensor:
        total = chain.stages[0].cross_section({**values, name: value})
        assert total is not None
        return total.log()

    slope = torch.func.jvp(log_sigma, (values[name],), (torch.ones_like(values[name]),))[1]
    shape = estimator_information(exact, x, default(exact))
    both = shape.with_rate([joint.mean().item() + slope.item()])
    assert both.matrix[0, 0] - shape.matrix[0, 0] == pytest.approx(51.9, abs=0.7)
    assert both.data_set(100).sigmas()[name] == pytest.approx((100 * both.matrix[0, 0]) ** -0.5)


def matrix(size: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    a = np.random.default_rng(seed).normal(size=(size, 2 * size))
    return np.asarray(a @ a.T)


def test_profiling_is_the_inverse_of_a_block_of_the_inverse() -> None:
    full = FisherInformation(tuple("abcd"), matrix(4, 1), np.zeros((0, 4, 4)))
    expected = np.linalg.inv(np.linalg.inv(full.matrix)[np.ix_([2, 0], [2, 0])])
    found = full.profiled(["c", "a"])
    np.testing.assert_allclose(found.matrix, expected)
    assert found.names == ("c", "a")
    assert full.sigmas(4)["a"] == pytest.approx(np.sqrt(np.linalg.inv(full.matrix)[0, 0] / 4))
    np.testing.assert_allclose(full.of(["c"]).matrix, full.matrix[2:3, 2:3])


def test_constraints_count_once_for_a_data_set() -> None:
    parameters = ParameterSet(
        [Parameter("a", 0.0, prior=Uniform(-1, 1)), Parameter("b", 0.0, prior=Normal(0, 0.1))]
    )
    one = FisherInformation(("a", "b"), np.array([[2.0, 1.0], [1.0, 0.5]]), np.zeros((0, 2, 2)))
    with pytest.raises(DataError, match=r"direction .*·a.*constraint \(a normal prior\)"):
        one.sigmas()
    fitted = one.data_set(50).constrained(parameters).profiled(["a"]).matrix[0, 0]
    assert fitted == pytest.approx(100 - 50**2 / (25 + 100))


def test_errors_are_those_of_the_sample() -> None:
    """Of N(0, 1) scores the information is 1 ± √(2/N), and so is that of two, profiled."""
    generator = torch.Generator().manual_seed(1)
    t = torch.randn(20_000, 2, generator=generator, dtype=torch.float64)
    found = joint_information(t, ["a", "b"])
    expected = (2 / 20_000) ** 0.5
    # The error of an error from 40 batches is 11 %.
    assert found.error[0, 0] == pytest.approx(expected, rel=0.4)
    assert found.profiled(["a"]).error[0, 0] == pytest.approx(expected, rel=0.4)
    assert abs(found.matrix[0, 0] - 1) < 4.5 * expected
    twice = joint_information(torch.cat([t, t]), ["a", "b"])
    weighted = joint_information(t, ["a", "b"], torch.full((len(t),), 2.0))
    np.testing.assert_allclose(twice.matrix, weighted.matrix, rtol=1e-10)


def test_what_features_carry() -> None:
    """A feature of noise carries nothing, and costs nothing beside one that carries all."""
    events = pairs(16_000, seed=4).at_reference
    noise = torch.randn(len(events), 1, generator=torch.Generator().manual_seed(0)).double()
    both = dataclasses.replace(events, x=torch.cat([events.x, noise], 1))
    found = feature_information(
        both, (Feature("x_0"), Feature("noise")), PARAMETERS,
        {"x": ["x_0"], "noise": ["noise"], "both": ["x_0", "noise"]},
        epochs=12, batch_size=256, max_learning_rate=1e-2,
    )  # fmt: skip
    exact = MODEL.information()[0, 0].item()
    for label, expected in {"x": exact, "noise": 0.0, "both": exact}.items():
        value, error = found[label].value("theta_0")
        assert expected - 4.5 * error - 0.05 * exact < value < expected + 4.5 * error + 1e-9
    with pytest.raises(DataError, match=r"set 'wrong': no feature 'x_1'; did you mean 'x_0'"):
        feature_information(both, (Feature("x_0"), Feature("n")), PARAMETERS, {"wrong": ["x_1"]})


def test_what_cannot_be_used_is_refused() -> None:
    t = torch.zeros(4, 2, dtype=torch.float64)
    with pytest.raises(DataError, match="expected one column for each"):
        joint_information(t, ["a"])
    with pytest.raises(DataError, match="1 events; expected a sample"):
        joint_information(t[:1], ["a", "b"])
    one = FisherInformation(("a", "b"), np.eye(2), np.zeros((0, 2, 2)))
    with pytest.raises(ParameterError, match="no parameter 'c'"):
        one.profiled(["c"])
    with pytest.raises(DataError, match=r"gradient of shape \(1,\)"):
        one.with_rate([1.0])
