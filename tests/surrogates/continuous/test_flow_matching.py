"""Flow matching against the velocity field that is known for Gaussian data."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from hepgen.errors import SurrogateError
from hepgen.nn.rows import Table
from hepgen.nn.train import train
from hepgen.surrogates.conditional import log_normal
from hepgen.surrogates.continuous.divergence import exact
from hepgen.surrogates.continuous.flow_matching import FlowMatching
from hepgen.surrogates.continuous.ode import METHODS

NOTHING = torch.zeros(200, 0, dtype=torch.float64)


def closed_form(t: Tensor, x: Tensor, scale: Tensor | float) -> Tensor:
    """u* = [t s² − (1−t)] x / [(1−t)² + t² s²] for events N(0, s²)."""
    square = torch.as_tensor(scale) ** 2
    return (t * square - (1 - t)) / ((1 - t) ** 2 + t**2 * square) * x


class Exact(FlowMatching):
    """With the velocity of N(0, s²)."""

    def __init__(self, scale: float, steps: int = 32) -> None:
        super().__init__(1, 0, width=4, blocks=1, solver="rk4", steps=steps)
        self.scale = scale

    def velocity(self, t: Tensor, u: Tensor, context: Tensor) -> Tensor:  # noqa: ARG002
        return closed_form(t, u, self.scale)


def normal(u: Tensor, scale: float) -> Tensor:
    """log N(u; 0, s²), shape ``(B,)``."""
    return log_normal(u / scale) - u.shape[-1] * math.log(scale)


def points(d: int = 1) -> Tensor:
    return torch.randn(200, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0, 3.0])
def test_the_exact_velocity_gives_the_exact_law(scale: float) -> None:
    model, z = Exact(scale), points()
    torch.testing.assert_close(model.generate(z, NOTHING), scale * z, rtol=1e-3, atol=1e-6)
    u = scale * z
    truth = normal(u, scale)
    density = model.log_prob(u, NOTHING)
    torch.testing.assert_close(density.value, truth, rtol=0, atol=1e-3)
    made, on_the_way = model.generate_with_log_prob(z, NOTHING)
    again = normal(made, scale)
    torch.testing.assert_close(on_the_way.value, again, rtol=0, atol=1e-3)


def test_nothing_runs_away_where_the_network_has_learned_nothing() -> None:
    """A field that grows tenfold with every unit of x, as one may beyond all events."""

    class Growing(torch.nn.Module):
        def forward(self, t: Tensor, x: Any, context: Tensor) -> Any:  # noqa: ARG002
            return 1000 * x

    model, z = FlowMatching(2, 0).double(), points(2)
    model.network = Growing()  # type: ignore[assignment]
    for steps in (8, 64):
        model.steps = steps
        made = model.generate(z, NOTHING)
        # ∫ 10/s dt = 17.6, and what a standard normal would have moved.
        assert float((made.abs() - z.abs()).max()) < 25
    # Half-way the rest of the field vanishes, and there is no divergence.
    t, x = torch.full((200, 1), 0.5, dtype=torch.float64), points(2).sign()
    field = lambda u: model.velocity(t, u, NOTHING)  # noqa: E731
    value, trace = exact(field, x)
    torch.testing.assert_close(value, 10 * 2**0.5 * x)
    assert torch.equal(trace, torch.zeros_like(trace))


def test_it_starts_as_a_standard_normal() -> None:
    model, u = FlowMatching(2, 0).double(), points(2)
    torch.testing.assert_close(
        model.log_prob(u, NOTHING).value.detach(), normal(u, 1.0), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("time", ["uniform", "logit-normal"])
def test_the_closed_form_is_learned(time: str) -> None:
    """For events N(0, diag(0.5², 2²)), to 0.15 of the spread of u − z, which is at least 1."""
    torch.manual_seed(0)
    scale = torch.tensor([0.5, 2.0])
    u, model = scale * torch.randn(40_000, 2), FlowMatching(2, 0, width=32, blocks=1, time=time)
    train(
        model, lambda batch: model.loss(*batch), Table(u, torch.zeros(len(u), 0)),
        batch_size=500, epochs=5, max_learning_rate=1e-2,
    )  # fmt: skip
    t = torch.linspace(0.05, 0.95, 19).repeat_interleave(500)[:, None]
    x = (1 - t) * torch.randn(len(t), 2) + t * scale * torch.randn(len(t), 2)
    with torch.no_grad():
        wrong = model.velocity(t, x, torch.zeros(len(t), 0)) - closed_form(t, x, scale)
    assert wrong.square().mean().sqrt() < 0.15


def test_the_times_of_a_batch() -> None:
    torch.manual_seed(0)
    u = torch.zeros(1000, 1)
    even = FlowMatching(1, 0)._times(u).sort(0).values[:, 0]
    assert (even - (torch.arange(1000) + 0.5) / 1000).abs().max() < 1e-3
    middle = FlowMatching(1, 0, time="logit-normal")._times(u)
    assert abs(middle.logit().std() - 1) < 0.02


def test_unknown_times_are_refused() -> None:
    with pytest.raises(SurrogateError, match="did you mean 'uniform'"):
        FlowMatching(2, 0, time="unifrom")


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("solver", list(METHODS))
def test_few_events_are_those_of_the_sampler(solver: str, context: int) -> None:
    torch.manual_seed(3)
    model = FlowMatching(3, context, width=16, solver=solver, steps=4)
    torch.nn.init.normal_(model.network.output.weight)
    noise, c = torch.randn(5, 3), torch.randn(5, context)
    torch.testing.assert_close(model.generate_few(noise, c), model.generate(noise, c))
