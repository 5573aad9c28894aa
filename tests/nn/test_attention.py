"""Attention over sets: permutations, and padding that nothing sees."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hepgen.errors import SurrogateError
from hepgen.nn.attention import SetNetwork
from hepgen.nn.rows import Table
from hepgen.nn.train import train
from hepgen.surrogates.families import build

K, F = 7, 3
COUNTS = torch.tensor([0, 1, 4, 7])


def network(**options: object) -> SetNetwork:
    """n is the second column of the context, in units of 2 above 3."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        result = SetNetwork(
            K * F, 2, K * F, points=K, multiplicity=1, scale=2.0, offset=3.0, hidden=16,
            **options,  # type: ignore[arg-type]
        )  # fmt: skip
        with torch.no_grad():
            for parameter in result.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return result.eval()


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, K * F, generator=generator)
    other = torch.randn(4, generator=generator)
    return x, torch.randn(4, generator=generator), torch.stack([other, (COUNTS - 3) / 2], -1)


def test_the_mask_is_the_multiplicity_of_the_context() -> None:
    _, _, c = inputs()
    assert network().mask(c).sum(-1).tolist() == COUNTS.tolist()
    everyone = SetNetwork(K * F, 0, K * F, points=K)
    assert everyone.mask(c[:, :0]).sum(-1).tolist() == [K] * 4


def test_padding_changes_nothing_and_gives_nothing() -> None:
    net, (x, gamma, c) = network(), inputs()
    padding = ~net.mask(c).repeat_interleave(F, -1)
    y = net(x, gamma, c)
    for wrong in (0.0, 1e6, float("nan")):
        assert torch.equal(net(x.where(~padding, wrong), gamma, c), y)
    assert not y[padding].any()
    assert bool((y[~padding] != 0).all())
    assert bool(torch.isfinite(y).all())


def test_no_gradient_comes_from_the_padding() -> None:
    net, (x, gamma, c) = network(), inputs()
    x.requires_grad_()
    net(x, gamma, c).square().sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad == 0, ~net.mask(c).repeat_interleave(F, -1))


def test_to_permute_the_points_permutes_the_output() -> None:
    net, (x, gamma, c) = network(), inputs()
    n = int(COUNTS[2])
    order = torch.cat([torch.randperm(n), torch.arange(n, K)])

    def permuted(points: Tensor) -> Tensor:
        return points[2:3].reshape(-1, K, F)[:, order].flatten(1)

    torch.testing.assert_close(
        net(permuted(x), gamma[2:3], c[2:3]), permuted(net(x, gamma, c)), rtol=1e-4, atol=1e-5
    )


def test_a_set_is_as_it_would_be_with_more_padding() -> None:
    net, (x, gamma, c) = network(), inputs()
    more = network()
    more.points = K + 5
    longer = torch.cat([x, torch.ones(4, 5 * F)], -1)
    torch.testing.assert_close(
        more(longer, gamma, c)[:, : K * F], net(x, gamma, c), rtol=1e-4, atol=1e-5
    )


def test_points_see_each_other() -> None:
    net, (x, gamma, c) = network(), inputs()
    moved = x.clone()
    moved[2, 0] += 1
    changed = (net(moved, gamma, c) != net(x, gamma, c)).any(-1)
    assert changed.tolist() == [False, False, True, False]
    assert bool((net(moved, gamma, c)[2, : 4 * F] != net(x, gamma, c)[2, : 4 * F]).all())


def test_a_diffusion_of_points_does_not_mind_their_order() -> None:
    """Equivariant from the noise to the events, with what is around the network."""
    architecture = {"points": K, "multiplicity": 1, "scale": 2.0, "offset": 3.0, "heads": 2}
    options = {
        "network": "set", "hidden": 8, "blocks": 1, "architecture": architecture,
        "whiten": False, "steps": 4,
    }  # fmt: skip
    model = build("diffusion", K * F, 2, options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    x, _, c = inputs()
    model.prepare(x, c)
    order = torch.tensor([3, 0, 2, 1, 4, 5, 6])

    def permuted(points: Tensor) -> Tensor:
        return points.reshape(-1, K, F)[:, order].flatten(1)

    u = model.generate(x, c)[2:]
    torch.testing.assert_close(
        model.generate(permuted(x), c)[2:], permuted(u), rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
def test_a_diffusion_learns_sets_of_any_size() -> None:
    """Points N(m, ½²) about a common m ~ N(0, 1): Var = 1.25 and a correlation of 0.8."""
    generator = torch.Generator().manual_seed(1)
    counts = torch.randint(2, 5, (20_000, 1), generator=generator)
    middle = torch.randn(len(counts), 1, generator=generator)
    x = middle + 0.5 * torch.randn(len(counts), 4, generator=generator)
    x = torch.where(torch.arange(4) < counts, x, 0.0)
    c = (counts - 3) / 0.8165
    architecture = {"points": 4, "multiplicity": 0, "scale": 0.8165, "offset": 3.0, "heads": 2}
    options = {
        "network": "set", "hidden": 16, "blocks": 1, "architecture": architecture,
        "whiten": False, "steps": 16,
    }  # fmt: skip
    model = build("diffusion", 4, 1, options)
    model.prepare(x, c)
    train(model, lambda batch: model.loss(*batch), Table(x, c), batch_size=500, epochs=10, seed=1)
    for n in (2, 3, 4):
        given = torch.full((4000, 1), (n - 3) / 0.8165)
        with torch.no_grad():
            u = model.generate(torch.randn(4000, model.noise, generator=generator), given)
        found = torch.cov(u[:, :n].mT)
        expected = torch.full((n, n), 1.0) + 0.25 * torch.eye(n)
        # Five errors of 4,000 sets are 0.14; the rest is the training's.
        torch.testing.assert_close(found, expected, rtol=0, atol=0.2)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SurrogateError, match="expected a divisor"):
        SetNetwork(7, 0, 7, points=3)
    with pytest.raises(SurrogateError, match="multiplicity = 2: no such column"):
        SetNetwork(6, 2, 6, points=3, multiplicity=2, scale=1.0)
