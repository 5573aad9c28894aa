"""Discrete flows and mixtures: bijections, Jacobians, tails, export."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from hepgen.errors import SurrogateError
from hepgen.surrogates.conditional import ConditionalDensity
from hepgen.surrogates.families import build
from hepgen.surrogates.flows import LAYERS, Flow
from hepgen.surrogates.mixture import Mixture
from tests.contracts.families import CASES, FamilyCase

every_kind = pytest.mark.parametrize("kind", list(LAYERS))
with_density = pytest.mark.parametrize(
    "case", [case for case in CASES if case.density is not None], ids=lambda case: case.method
)


Model = TypeVar("Model", bound=ConditionalDensity)


def shaken(model: Model, scale: float = 0.1) -> Model:
    """A model away from its start, in double precision."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return model.double().eval()


def flow(kind: str, features: int = 3, context: int = 2) -> Flow:
    return shaken(Flow(features, context, kind=kind, layers=3, hidden=(16,), bins=6))


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@every_kind
@pytest.mark.parametrize("context", [0, 2])
def test_the_inverse_of_the_inverse(kind: str, context: int) -> None:
    model, noise, c = flow(kind, context=context), numbers(200, 3), numbers(200, context, seed=1)
    with torch.no_grad():
        again = model.normalise(model.generate(noise, c), c)
    torch.testing.assert_close(again, noise, rtol=0, atol=1e-4)


@every_kind
def test_the_jacobian_is_that_of_autograd(kind: str) -> None:
    model, noise, c = flow(kind), numbers(20, 3), numbers(20, 2, seed=1)

    def one(z: Tensor, c: Tensor) -> Tensor:
        return model.generate(z[None], c[None])[0]

    rows = [jacobian(partial(one, c=c[i]), noise[i]) for i in range(20)]  # type: ignore[no-untyped-call]
    log_det = torch.stack(rows).slogdet().logabsdet
    normal = -0.5 * (noise.square().sum(-1) + 3 * math.log(2 * math.pi))
    u, density = model.generate_with_log_prob(noise, c)
    torch.testing.assert_close(density.value, normal - log_det, rtol=0, atol=1e-4)
    torch.testing.assert_close(model.log_prob(u, c).value, density.value, rtol=0, atol=1e-4)


@with_density
def test_outliers_have_a_density_and_a_gradient(case: FamilyCase) -> None:
    model = shaken(build(case.method, 2, 1, case.options)).train()
    u = torch.tensor([[50.0, 0.0], [0.0, -50.0], [50.0, 50.0], [5.0, -5.0]], dtype=torch.float64)
    u.requires_grad_()
    value = model.log_prob(u, torch.zeros(4, 1, dtype=torch.float64)).value
    assert bool(torch.isfinite(value).all())
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert u.grad is not None
    gradients = [u.grad, *(p.grad for p in model.parameters() if p.grad is not None)]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    assert bool((u.grad[:3].abs().amax(-1) > 0).all())


@pytest.mark.parametrize("kind", ["spline-coupling", "spline-autoregressive"])
def test_beyond_its_box_a_spline_flow_is_its_tail(kind: str) -> None:
    """z = s asinh(u/s): p(u) = N(z) (1 + u²/s²)^½ for each variable, whatever the weights."""
    u, s = torch.tensor([[50.0, -60.0, 70.0]], dtype=torch.float64), 3.0
    z = s * torch.asinh(u / s)
    each = -0.5 * (z.square() + math.log(2 * math.pi) + torch.log1p((u / s).square()))
    value = flow(kind).log_prob(u, torch.zeros(1, 2, dtype=torch.float64)).value
    torch.testing.assert_close(value, each.sum(-1), rtol=0, atol=1e-9)


def test_the_sample_fills_the_box_of_the_splines() -> None:
    model = Flow(2, 0, kind="spline-coupling")
    u = torch.stack([2 * torch.rand(20_000) - 1, 3 * torch.randn(20_000)], -1)
    model.prepare(u, u[:, :0])
    z = model.tails()(u).abs()
    assert 0.998 <= (z <= 4.5).float().mean() <= 0.9995
    assert bool((z.amax(0) >= 4.5).all())
    # A variable that is nearly always 0.
    model.prepare(torch.zeros(100, 2), u[:100, :0])
    assert bool((model.tails.stretch == 9).all())


def test_the_scale_of_an_affine_layer_is_bounded() -> None:
    model = flow("coupling", features=2, context=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e4)
    u = numbers(100, 2)
    _, log_jacobian = model._transform(torch.ones(100, 1).double()).call_and_ladj(u)
    layers = log_jacobian + 0.5 * torch.log1p((u / 3).square()).sum(-1)
    assert layers.abs().max() <= 3 * 2 * math.log(1000) + 1e-6


@pytest.mark.parametrize("kind", list(LAYERS))
def test_each_layer_has_a_network_of_its_own(kind: str) -> None:
    flow = Flow(2, 1, kind=kind, layers=3, hidden=(8,))
    layers = list(flow.transform.transforms)[1:]
    assert len(layers) == 3
    each = [{id(p) for p in layer.parameters()} for layer in layers]
    assert all(each)
    assert len(set.union(*each)) == sum(map(len, each))


def test_an_unknown_kind_or_tail_is_refused() -> None:
    with pytest.raises(SurrogateError, match="did you mean 'coupling'"):
        Flow(2, 0, kind="copling")
    with pytest.raises(SurrogateError, match="tail = 0"):
        Flow(2, 0, tail=0.0)


def test_a_mixture_samples_its_own_density() -> None:
    """Kolmogorov and Smirnov's test against the integral of the density; false alarm 10⁻⁴."""
    model, n = shaken(Mixture(1, 1, components=4, hidden=(8, 8)), 0.2), 20_000
    c = torch.full((n, 1), 0.7, dtype=torch.float64)
    with torch.no_grad():
        u = model.generate(numbers(n, 2), c)[:, 0].sort().values
        grid = torch.linspace(-100, 100, n, dtype=torch.float64)
        density = model.log_prob(grid[:, None], c).value.exp()
    cumulative = torch.cumulative_trapezoid(density, grid)
    assert abs(cumulative[-1] - 1) < 1e-4
    found = torch.searchsorted(u, grid[1:], right=True) / n
    assert (found - cumulative).abs().max() < math.sqrt(-0.5 * math.log(0.5e-4) / n)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("coupling", {"layers": 1, "hidden": [8]}),
        ("flow", {"layers": 1, "hidden": [8], "bins": 4}),
        ("flow-matching", {"width": 8, "blocks": 1, "steps": 2}),
    ],
)
def test_the_sampler_is_one_graph(method: str, options: dict[str, Any]) -> None:
    """It has no branch on data: one export holds for every size of a batch."""
    model = build(method, 2, 1, options).eval()

    class Sampler(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, noise: Tensor, context: Tensor) -> Tensor:
            return self.model.generate(noise, context)

    batch = {0: torch.export.Dim("batch", min=2, max=10_000)}
    with torch.no_grad():
        graph = torch.export.export(
            Sampler(), (torch.zeros(3, 2), torch.zeros(3, 1)), dynamic_shapes=(batch, batch)
        )
        noise, c = torch.randn(7, 2), torch.randn(7, 1)
        torch.testing.assert_close(graph.module()(noise, c), model.generate(noise, c))


@pytest.mark.parametrize("kind", [kind for kind in LAYERS if kind != "umnn"])
@pytest.mark.parametrize(("features", "context"), [(1, 0), (1, 2), (3, 0), (3, 2)])
def test_a_flow_may_start_as_the_identity(kind: str, features: int, context: int) -> None:
    model = Flow(features, context, kind=kind, layers=2, hidden=(8,), tail=1e3, identity=True)
    u, c = torch.randn(20, features), torch.randn(20, context)
    torch.testing.assert_close(model.generate(u, c), u, rtol=1e-4, atol=1e-4)
    assert model.options["identity"]


@torch.no_grad()
def test_no_component_of_a_mixture_reaches_far_beyond_its_sample() -> None:
    """Whatever the network says, no scale is above a tenth of the range of the sample."""
    model = shaken(Mixture(1, 1, components=4, hidden=(8, 8)), scale=0.7)
    c, noise = numbers(500, 1), torch.zeros(500, 2).double()
    moved = torch.tensor([0.0, 4.0]).double()
    logit = torch.special.log_ndtr(moved[1]) - torch.special.log_ndtr(-moved[1])
    free = (model.generate(noise + moved, c) - model.generate(noise, c)) / logit
    u = numbers(1000, 1, seed=1)
    model.prepare(u, c)
    held = (model.generate(noise + moved, c) - model.generate(noise, c)) / logit
    widest = 0.1 * float(u.max() - u.min())
    assert float(free.max()) > widest
    assert float(held.max()) < widest + 1e-4
