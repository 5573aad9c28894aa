"""The U-Net: shapes, what it is equivariant under, and what its output depends on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hepgen.errors import SurrogateError
from hepgen.nn.unet import UNet

SHAPE = (3, 8, 12)
D = 3 * 8 * 12


def unet(context: int = 2, outputs: int = D, **options: object) -> UNet:
    """With weights that are not at their start, where the output is zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet(D, context, outputs, shape=SHAPE, hidden=8, **options)  # type: ignore[arg-type]
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def inputs(n: int = 4, context: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, D, generator=generator)
    return x, torch.randn(n, generator=generator), torch.randn(n, context, generator=generator)


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("factor", [1, 2])
def test_shapes(context: int, factor: int) -> None:
    assert unet(context, factor * D)(*inputs(context=context)).shape == (4, factor * D)


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    network, (x, gamma, c) = unet(), inputs()
    alone = [network(x[i : i + 1], gamma[i : i + 1], c[i : i + 1]) for i in range(len(x))]
    torch.testing.assert_close(network(x, gamma, c), torch.cat(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("levels", "shift"), [(1, 1), (1, 5), (3, 4)])
def test_an_image_that_is_turned_in_phi_gives_one_that_is_turned(levels: int, shift: int) -> None:
    """By any number of cells on one level, by 2^(levels − 1) where the image is halved."""
    network, (x, gamma, c) = unet(levels=levels, wrap=True), inputs()

    def turned(image: Tensor) -> Tensor:
        return image.reshape(-1, *SHAPE).roll(shift, -1).flatten(1)

    torch.testing.assert_close(
        network(turned(x), gamma, c), turned(network(x, gamma, c)), rtol=1e-4, atol=1e-5
    )
    edges = unet(levels=levels, wrap=False)
    assert not torch.allclose(edges(turned(x), gamma, c), turned(edges(x, gamma, c)), atol=1e-3)


def test_every_input_counts_and_every_weight_learns() -> None:
    network, (x, gamma, c) = unet(), inputs(1)
    for tensor in (x, gamma, c):
        tensor.requires_grad_()
    network(x, gamma, c).square().sum().backward()
    for tensor in (x, gamma, c):
        assert tensor.grad is not None
        assert bool((tensor.grad != 0).all())
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in network.parameters())


def test_the_attention_sees_the_whole_image() -> None:
    """With one level and no block, a cell in one corner reaches the other through it alone."""
    network, (x, gamma, c) = unet(levels=1, blocks=0), inputs(1)
    moved = x.clone()
    moved[0, 0] += 1
    # The last of the blocks has two kernels of 3 × 3: it reaches no farther than four cells.
    far = (network(moved, gamma, c) - network(x, gamma, c)).unflatten(-1, SHAPE)[0, :, -1, -1]
    assert bool((far != 0).all())


@pytest.mark.parametrize(
    ("shape", "levels", "message"),
    [([3, 8, 10], 3, "for 288 numbers"), ([288], 1, "expected"), (list(SHAPE), 4, "halved")],
)
def test_what_does_not_fit_is_refused(shape: list[int], levels: int, message: str) -> None:
    with pytest.raises(SurrogateError, match=message):
        UNet(D, 0, D, shape=shape, levels=levels)
