"""Events as few weighted nodes: moments, agreement with the events, and what is left as it is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from hepgen import Feature, Parameter, ParameterSet, Uniform
from hepgen.feature_space import FeatureSpace
from hepgen.inference.channel import Channel, Sample
from hepgen.inference.condensed import TOLERANCE, Condensed, quadrature, smooth_space
from hepgen.inference.density import ClosedForm
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.sampler import Inverse
from hepgen.inference.statistics.limits import upper_limit

PARAMETERS = ParameterSet(
    [
        Parameter("mu", 0.0, prior=Uniform(0.0, 0.2)),
        Parameter("slope", 1.0, prior=Uniform(0.5, 2.0)),
    ]
)
SPACE = FeatureSpace((Feature("x", low=0.0, high=1.0),), (0.0,), (1.0,))


def draws(events: int, sets: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(events, 1, generator=generator).double() ** 2 for _ in range(sets)]


def bump(x: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    """A Gaussian of width 0.03 at 0.4, of the share μ, on a falling exponential."""
    x, slope = x[..., 0], values["slope"]
    falling = slope * torch.exp(-slope * x) / -torch.expm1(-slope)
    z = (x - 0.4) / 0.03
    line = torch.exp(-0.5 * z**2) / (0.03 * (2 * torch.pi) ** 0.5)
    return torch.log((1 - values["mu"]) * falling + values["mu"] * line)


def step(x: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    """Twice as high above 1/2 for a slope of 2: not smooth."""
    high = values["slope"] * torch.ones_like(x[..., 0])
    return torch.where(x[..., 0] > 0.5, high, 1.0).log() - torch.log(0.5 + 0.5 * high)


def likelihood(formula: object = bump, columns: int = 1) -> EventLikelihood:
    names = [f"x{i}" for i in range(columns)]
    density = ClosedForm(PARAMETERS, names, formula)  # type: ignore[arg-type]
    sampler = Inverse(density, 0.0, 1.0) if columns == 1 else None
    sample = Sample("events", density, None, sampler)
    channel = Channel("data", (sample,), extended=False, events=20_000)
    return EventLikelihood(PARAMETERS, [channel])


def test_each_cell_keeps_its_first_four_moments_and_its_hull() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(3, 500, generator=generator).double()
    weight = torch.rand(3, 500, generator=generator).double()
    nodes, kept = quadrature(x, weight, 40)
    assert nodes.shape[1] <= 80
    assert bool((kept >= 0).all())
    width = (x.max() - x.min()) / 40
    for s in range(3):
        cell, own = ((x[s] - x.min()) / width).long(), ((nodes[s] - x.min()) / width).long()
        for c in set(cell.clamp(max=39).tolist()):
            inside = cell.clamp(max=39) == c
            near = (own.clamp(max=39) == c) & (kept[s] > 0)
            assert nodes[s, near].min() >= x[s, inside].min() - 1e-12
            assert nodes[s, near].max() <= x[s, inside].max() + 1e-12
            for k in range(4):
                wanted = (weight[s, inside] * x[s, inside] ** k).sum()
                found = (kept[s, near] * nodes[s, near] ** k).sum()
                assert found == pytest.approx(wanted.item(), rel=1e-9)


def test_one_place_and_two_events_stay_as_they_are() -> None:
    x = torch.tensor([[0.0, 0.01, 0.99, 0.99, 1.0]]).double()
    nodes, weight = quadrature(x, torch.ones_like(x), 3)
    order = nodes[0].argsort()
    assert nodes[0, order].tolist() == pytest.approx([0.0, 0.01, 0.99, 1.0])
    assert weight[0, order].tolist() == pytest.approx([1.0, 1.0, 2.0, 1.0])


def test_log_likelihoods_are_those_of_the_events() -> None:
    """At points that were not asked when the cells were chosen, with weights, of several sets."""
    model, x = likelihood(), draws(30_000, 3)
    weight = [torch.rand(30_000, generator=torch.Generator().manual_seed(s)) for s in range(3)]
    events = model.encode(x, weight)
    nodes = Condensed(model, SPACE).encode(x, weight)
    few, many = nodes.channels["data"], events.channels["data"]
    assert few.weight.shape[1] < 0.1 * many.weight.shape[1]
    assert torch.allclose(few.total, many.total)
    assert torch.allclose(few.effective, many.effective)
    theta = PARAMETERS.prior().sample((50,), torch.Generator().manual_seed(9)).expand(3, -1, -1)
    apart = model.log_likelihoods(nodes, theta) - model.log_likelihoods(events, theta)
    assert (apart - apart[:, :1]).abs().max() < 3 * TOLERANCE


def test_a_limit_is_that_of_the_events() -> None:
    model = likelihood()
    small, (x,) = Condensed(model, SPACE), draws(20_000, 1, seed=5)
    one = upper_limit(model, model.encode([x], [None]), "mu", points=2).limit
    other = upper_limit(small, small.encode([x], [None]), "mu", points=2).limit
    assert other.observed == pytest.approx(one.observed, rel=1e-4)
    assert other.expected == pytest.approx(one.expected, rel=1e-4)


@pytest.mark.parametrize("why", ["few", "two features", "negative", "not smooth"])
def test_what_cannot_be_condensed_is_left_as_it_is(why: str) -> None:
    model = likelihood(step if why == "not smooth" else bump, 2 if why == "two features" else 1)
    x = torch.rand(1000 if why == "few" else 30_000, 2 if why == "two features" else 1).double()
    weight = torch.ones(len(x))
    weight[0] = -1.0 if why == "negative" else 1.0
    if why == "not smooth":
        # All in one cell, both sides of the step, however many cells there are.
        x[:, 0] = 0.5 + 1e-9 * (x[:, 0] - 0.3)
        x[:2, 0] = torch.tensor([0.1, 0.9])
    data = Condensed(model, SPACE).encode([x], [weight]).channels["data"]
    assert torch.equal(data.events[0], x)
    assert torch.equal(data.weight[0], weight.double())


def test_a_space_is_that_of_one_continuous_feature() -> None:
    x = draws(100, 1)[0]
    assert smooth_space([Feature("x", low=0.0, high=1.0)], x) is not None
    assert smooth_space([Feature("x"), Feature("y")], torch.cat([x, x], 1)) is None
    assert smooth_space([Feature("x", low=0, high=5, kind="discrete")], x.round()) is None
    assert smooth_space([Feature("x")], torch.ones(10, 1)) is None
