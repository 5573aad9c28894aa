"""The density of a surrogate as a likelihood, against closed forms of the gaussian chain."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hepgen.errors import DataError, SurrogateError
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.inference.closure import closure
from hepgen.inference.event_sets import SetLikelihood
from hepgen.inference.exact import ExactLikelihood
from hepgen.inference.surrogate_likelihood import SurrogateLikelihood
from hepgen.parameters import ParameterSet, Uniform
from hepgen.results import TrainingCurve
from hepgen.simulators.linear_gaussian import LinearGaussian
from hepgen.simulators.processes.registry import process
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality
from hepgen.surrogates.families import build
from hepgen.surrogates.surrogate import Domain, Surrogate

NAMES = ("theta_0", "theta_1")
REACH = 2.0
CHAIN = process("gaussian", depth=1)
MODEL = LinearGaussian.standard(depth=1, dimension=2)


class GaussianDensity:
    """x of the gaussian chain, in closed form."""

    columns = ("x_0", "x_1")

    def log_prob(self, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        theta = torch.stack([parameters[name] for name in NAMES], dim=-1)
        return MODEL.log_prob(x, theta)

    def rate(self, parameters: Mapping[str, Tensor]) -> Tensor:
        return torch.ones_like(parameters["theta_0"])


PARAMETERS = ParameterSet(
    [
        dataclasses.replace(
            p,
            prior=Uniform(-REACH, REACH) if p.name in NAMES else None,
            role="interest" if p.name == "theta_0" else "nuisance",
        )
        for p in CHAIN.parameters
    ]
)
EXACT = ExactLikelihood(GaussianDensity(), PARAMETERS)


def events(n: int, seed: int, theta: Tensor) -> Tensor:
    """n events at each of G points, shape ``(G, n, 2)``."""
    values = CHAIN.parameters.values() | {name: theta[:, i : i + 1] for i, name in enumerate(NAMES)}
    return CHAIN.simulate(values, n, seed).sites["x"]


class KnownGaussian(ConditionalDensity):
    """p(x | θ) of the gaussian chain as a family: nothing to learn, nothing to tolerate."""

    quality = Quality("exact")
    options: dict[str, Any] = {}  # noqa: RUF012 (a constant)

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.shift = nn.Parameter(torch.zeros(2))

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        return -self.log_prob(u, context).value

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:  # noqa: ARG002
        raise AssertionError("only its density is asked for")

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        return LogDensity.exact(MODEL.log_prob((u + self.shift).double(), context.double()))


def identity(*names: str) -> FeatureSpace:
    return FeatureSpace(tuple(map(Feature, names)), (0.0,) * len(names), (1.0,) * len(names))


def surrogate() -> Surrogate:
    curve = TrainingCurve((0.0,), (0.0,), (0.0,), 0, 0.0, "")
    domain = Domain(NAMES, (-REACH,) * 2, (REACH,) * 2)
    return Surrogate(
        KnownGaussian(), "known", identity("x_0", "x_1"), identity(*NAMES), domain, curve
    )


def likelihood() -> SurrogateLikelihood:
    return SurrogateLikelihood(surrogate(), PARAMETERS)


THETA = torch.tensor([[0.5, -0.3], [0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)


def test_it_is_what_a_posterior_asks_for() -> None:
    assert isinstance(likelihood(), SetLikelihood)


def test_it_sums_the_density_of_the_surrogate() -> None:
    x = events(50, 2, THETA[:1])[0]
    weight = torch.linspace(0.5, 1.5, 50, dtype=torch.float64)
    found = likelihood().log_likelihood(x, THETA, weight)
    each = torch.stack([surrogate().log_prob(x, t.expand(50, 2)) for t in THETA]).detach()

    torch.testing.assert_close(likelihood().log_prob(x, THETA), each.mT, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, (each * weight).sum(-1), atol=1e-3, rtol=1e-5)


def test_its_columns_may_stand_in_another_order() -> None:
    swapped = ParameterSet([PARAMETERS["theta_1"], PARAMETERS["theta_0"],
                            *[p for p in PARAMETERS if p.name not in NAMES]])  # fmt: skip
    x = events(5, 2, THETA[:1])[0]
    torch.testing.assert_close(
        SurrogateLikelihood(surrogate(), swapped).log_likelihood(x, THETA.flip(-1)),
        likelihood().log_likelihood(x, THETA),
    )


def test_outside_of_the_domain_it_is_nothing() -> None:
    theta = torch.tensor([[0.0, 0.0], [0.0, 2.5]], dtype=torch.float64)
    found = likelihood().log_likelihood(events(5, 2, THETA[:1])[0], theta)
    assert math.isfinite(found[0])
    assert found[1] == -math.inf


def test_its_gradient_is_that_of_the_sum() -> None:
    x = events(20, 3, THETA[:1])[0]
    theta = THETA[:1].clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(likelihood().log_likelihood(x, theta).sum(), theta)
    step = torch.tensor([[1e-2, 0.0]], dtype=torch.float64)
    up, down = (likelihood().log_likelihood(x, THETA[:1] + s) for s in (step, -step))
    assert gradient[0, 0].item() == pytest.approx(((up - down) / 2e-2).item(), rel=0.02)


@pytest.mark.parametrize("grid", [2, 0])
def test_closure_with_the_exact_posterior(grid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The density is exact, and so are both posteriors, to rounding: on a grid and by draws."""
    monkeypatch.setattr("hepgen.inference.closure._GRID", grid)
    points = torch.tensor([[0.2, -0.4], [-0.8, 0.6], [0.9, 0.3]], dtype=torch.float64)
    sets = list(events(25, 4, points))
    found = closure(likelihood(), EXACT, sets, name="the closed form", draws=500)

    assert [one.name for one in found] == ["theta_0"]
    assert found[0].largest < 0.01
    assert abs(found[0].width.value - 1) < 0.01


def test_a_likelihood_closes_with_itself() -> None:
    (one,) = closure(EXACT, EXACT, list(events(10, 5, THETA)), name="itself", draws=10)
    assert one.shifts.tolist() == [0, 0, 0]
    assert one.widths.tolist() == [1, 1, 1]


def test_a_surrogate_of_something_else_is_refused() -> None:
    other = dataclasses.replace(surrogate(), domain=Domain(("theta_0", "pt"), (0, 0), (1, 1)))
    with pytest.raises(SurrogateError, match="theta_1, pt"):
        SurrogateLikelihood(other, PARAMETERS)


def test_a_surrogate_without_density_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KnownGaussian, "quality", Quality("none"))
    with pytest.raises(SurrogateError, match="no density"):
        likelihood()


def test_closure_without_data_is_refused() -> None:
    with pytest.raises(DataError, match="0 data sets"):
        closure(EXACT, EXACT, [], name="itself")


def test_every_theta_sees_the_same_random_numbers() -> None:
    """Else the likelihood of a bound would be noise on top of a function of theta."""
    model = build("vae", 2, 2, {"samples": 3, "hidden": [8]}, seed=1)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    features = FeatureSpace((Feature("x_0"), Feature("x_1")), (0.0,) * 2, (1.0,) * 2)
    inputs = FeatureSpace(tuple(Feature(n) for n in NAMES), (0.0,) * 2, (1.0,) * 2)
    domain = Domain(NAMES, (-REACH,) * 2, (REACH,) * 2)
    curve = TrainingCurve((), (), (), 0, 0.0, "")
    surrogate = Surrogate(model, "vae", features, inputs, domain, curve)
    likelihood = SurrogateLikelihood(surrogate, PARAMETERS)
    x = torch.randn(50, 2, dtype=torch.float64)
    theta = torch.tensor([[0.5, 0.1], [-1.0, 0.3], [0.5, 0.1]], dtype=torch.float64)
    together = likelihood.log_likelihood(x, theta)
    assert together[0] == together[2]
    torch.testing.assert_close(together[1:2], likelihood.log_likelihood(x, theta[1:2]))
