"""Continuous flows against closed forms: linear fields, discrete limits, probes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from hepgen.errors import SurrogateError
from hepgen.surrogates.conditional import log_normal
from hepgen.surrogates.continuous.cnf import CNF
from hepgen.surrogates.continuous.flow import ContinuousFlow

MATRIX = torch.tensor([[0.4, 0.9], [-0.6, -0.1]], dtype=torch.float64)
NOTHING = torch.zeros(50, 0, dtype=torch.float64)


class Linear(ContinuousFlow):
    """du/dt = Au: u(1) = exp(A) z, so that u is normal with covariance exp(A) exp(A)ᵀ."""

    def __init__(self, matrix: Tensor = MATRIX, **options: Any) -> None:
        settings = {"solver": "rk4", "steps": 8, "tolerance": 1e-7, "trace": "exact", "probes": 16}
        super().__init__(len(matrix), 0, **{**settings, **options})
        self.matrix = matrix

    def velocity(self, t: Tensor, u: Tensor, context: Tensor) -> Tensor:  # noqa: ARG002
        return u @ self.matrix.T

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        return -self.log_prob(u, context).value

    def truth(self, u: Tensor) -> Tensor:
        forward = torch.linalg.matrix_exp(self.matrix)
        mean = torch.zeros(len(self.matrix), dtype=torch.float64)
        value: Tensor = MultivariateNormal(mean, forward @ forward.T).log_prob(u)  # type: ignore[no-untyped-call]
        return value


def points(d: int = 2) -> Tensor:
    return torch.randn(50, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def neural(**options: Any) -> CNF:
    torch.manual_seed(0)
    model = CNF(2, 0, width=16, **options).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def test_a_linear_field_loses_its_trace() -> None:
    """Δ log p = −T tr A, whatever the path."""
    model, u = Linear(), points()
    density = model.log_prob(u, NOTHING)
    torch.testing.assert_close(density.value, model.truth(u), rtol=0, atol=1e-6)
    made, fixed = model.generate_with_log_prob(u, NOTHING)
    change = fixed.value - log_normal(u)
    torch.testing.assert_close(change, -MATRIX.trace().expand(50), rtol=0, atol=1e-12)
    assert torch.equal(made, model.generate(u, NOTHING))


def test_the_exact_trace_is_the_limit_of_discrete_layers() -> None:
    """Of n layers u ← u + v/n the log-determinant is ∫tr + O(1/n)."""
    model, noise = neural(tolerance=1e-6, steps=32), points()[:5]
    _, density = model.generate_with_log_prob(noise, NOTHING[:5])
    continuous = model.log_prob(model.generate(noise, NOTHING[:5]), NOTHING[:5]).value

    def discrete(n: int) -> Tensor:
        u, total = noise, torch.zeros(5, dtype=torch.float64)
        for step in range(n):
            t = torch.full((5, 1), (step + 0.5) / n, dtype=torch.float64)

            def layer(u: Tensor, t: Tensor = t, n: int = n) -> Tensor:
                return u + model.velocity(t, u, NOTHING[:5]) / n

            jacobian = torch.autograd.functional.jacobian(layer, u)  # type: ignore[no-untyped-call]
            own = torch.stack([jacobian[i, :, i] for i in range(5)])
            total, u = total + own.slogdet().logabsdet, layer(u).detach()
        return total

    errors = [
        (log_normal(noise) - discrete(n) - density.value).abs().max().item() for n in (20, 40)
    ]
    assert errors[1] < 0.03
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.4)
    torch.testing.assert_close(continuous, density.value, rtol=0, atol=1e-3)


@torch.no_grad()
def test_hutchinson_states_its_error() -> None:
    exact = neural(tolerance=1e-6).log_prob(points(), NOTHING).value
    errors = {}
    for probes in (24, 96):
        model = neural(trace="hutchinson", probes=probes, tolerance=1e-6)
        torch.manual_seed(1)
        density = model.log_prob(points(), NOTHING)
        pulls = (density.value - exact) / density.error
        assert 0.5 < pulls.square().mean().sqrt() < 2
        errors[probes] = density.error.mean()
    # Averaged, not summed: four times the probes, half of the error.
    assert errors[24] / errors[96] == pytest.approx(2, rel=0.2)


def test_hutchinson_is_exact_for_a_diagonal_field() -> None:
    matrix, u = torch.diag(torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64)), points(3)
    model = Linear(matrix, trace="hutchinson", probes=2)
    density = model.log_prob(u, NOTHING)
    torch.testing.assert_close(density.value, model.truth(u), rtol=0, atol=1e-5)
    assert density.error.max() < 1e-4


@torch.no_grad()
def test_too_few_steps_show_in_the_error() -> None:
    model, noise = neural(), points()
    errors = []
    for steps in (2, 4, 16):
        model.steps = steps
        u, density = model.generate_with_log_prob(noise, NOTHING)
        off = (density.value - model.log_prob(u, NOTHING).value).abs().mean()
        errors.append(density.error.mean().item())
        assert off < 2 * errors[-1]
        assert f"{steps} steps of rk4" in str(density.quality)
    assert errors[0] > errors[1] > 10 * errors[2] > 0


@torch.no_grad()
def test_a_looser_tolerance_states_a_larger_error() -> None:
    errors = []
    for tolerance in (1e-2, 1e-4, 1e-6):
        model = neural(tolerance=tolerance)
        density = model.log_prob(points(), NOTHING)
        errors.append(density.error.mean().item())
        assert f"tolerance {tolerance:g}, exact trace" in str(density.quality)
        assert density.quality.kind == "estimate"
    assert errors[0] > errors[1] > errors[2] > 0


def test_the_loss_is_the_negative_log_density() -> None:
    """Without the cost of the path and with many steps."""
    model = neural(kinetic=0.0, stiffness=0.0, training_steps=40)
    torch.testing.assert_close(
        -model.loss(points(), NOTHING).double(), model.log_prob(points(), NOTHING).value,
        rtol=0, atol=2e-3,
    )  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("stiff", [1.0, 10.0, 100.0])
def test_no_field_beats_the_entropy_in_training(stiff: float) -> None:
    """What a step maximises is the density of an invertible map, whatever its steps miss.

    N(0, 1) in two dimensions has the entropy 1 + ln 2π. Of the field −ku the trace promises 2k
    nats, of which steps that are longer than 1/k cannot make anything.
    """
    model = CNF(2, 0, width=2, blocks=0, kinetic=0.0, stiffness=0.0).double()
    network = model.network
    network.inputs.weight.copy_(torch.eye(2))
    network.inputs.bias.fill_(30.0)  # where silu(x) = x to 10⁻¹²
    network.output.weight.copy_(-stiff * torch.eye(2))
    network.output.bias.fill_(30.0 * stiff)
    u = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss = model.loss(u, torch.zeros(len(u), 0, dtype=torch.float64))
    error = loss.std() / math.sqrt(len(u))
    assert loss.mean() > 1 + math.log(2 * math.pi) - 4 * error  # 3·10⁻⁵ of one that is right fail


def test_a_step_of_the_training_has_its_own_determinant() -> None:
    """log|det ∂F/∂u| of one midpoint step, against autograd's Jacobian."""
    model, u, h = neural(), points()[:5], 0.5
    late, middle = torch.ones(5, 1).double(), torch.full((5, 1), 0.75).double()

    def back(u: Tensor) -> Tensor:
        centre = u - 0.5 * h * model.velocity(late, u, NOTHING[:5])
        return u - h * model.velocity(middle, centre, NOTHING[:5])

    earlier, log_det, square = model._determined(late, u, NOTHING[:5], h)
    jacobian = torch.autograd.functional.jacobian(back, u)  # type: ignore[no-untyped-call]
    own = torch.stack([jacobian[i, :, i] for i in range(5)])
    torch.testing.assert_close(earlier, back(u))
    torch.testing.assert_close(log_det, own.slogdet().logabsdet)
    torch.testing.assert_close(square, (torch.eye(2) - own).square().sum((-1, -2)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trace": "exakt"}, "did you mean 'exact'"),
        ({"steps": 3}, "steps = 3: expected an even number"),
        ({"probes": 1}, "probes = 1"),
        ({"tolerance": 0.0}, "tolerance = 0"),
        ({"solver": "rk5"}, "did you mean 'rk4'"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SurrogateError, match=words):
        CNF(2, 0, **options)
