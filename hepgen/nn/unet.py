"""A U-Net for images in layers: residual blocks, and self-attention where the image is smallest.

The layers of a calorimeter are the channels of two-dimensional convolutions: a 3 × 3 kernel then
sees all depths at once, which costs a CPU a fraction of a three-dimensional one. On the way down
the image is halved level by level, on the way up each level is joined with what it was on the way
down (Ronneberger et al., arXiv:1505.04597). The noise level and the context scale and shift the
features of every block (Nichol and Dhariwal, arXiv:2102.09672, Sec. 4; for showers Amram and
Pedro, arXiv:2308.03876). The last layer starts at zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, scaled_dot_product_attention, silu

from hepgen.errors import SurrogateError
from hepgen.nn.condition import Condition


class Convolution(nn.Module):
    """3 × 3, with zeros around the image, or in φ with what is at the other edge.

    >>> Convolution(1, 2, wrap=True)(torch.zeros(1, 1, 4, 6)).shape
    torch.Size([1, 2, 4, 6])
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, wrap: bool = False) -> None:
        super().__init__()
        self.wrap = wrap
        self.kernel = nn.Conv2d(inputs, outputs, 3, stride, padding=(1, 0 if wrap else 1))

    def forward(self, image: Tensor) -> Tensor:
        """Shape ``(B, inputs, H, W)`` to ``(B, outputs, H / stride, W / stride)``."""
        result: Tensor = self.kernel(pad(image, (1, 1, 0, 0), "circular") if self.wrap else image)
        return result


class ImageBlock(nn.Module):
    """s(h) + K₂ silu((1 + a) norm(K₁ silu(norm h)) + b), with a and b linear in the condition."""

    def __init__(self, inputs: int, outputs: int, condition: int, *, wrap: bool) -> None:
        super().__init__()
        self.first, self.second = _norm(inputs), _norm(outputs)
        self.into = Convolution(inputs, outputs, wrap=wrap)
        self.out = Convolution(outputs, outputs, wrap=wrap)
        self.condition = nn.Linear(condition, 2 * outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """Shapes ``(B, inputs, H, W)`` and ``(B, K)`` to ``(B, outputs, H, W)``."""
        scale, shift = self.condition(condition)[..., None, None].chunk(2, 1)
        inner = (1 + scale) * self.second(self.into(silu(self.first(h)))) + shift
        result: Tensor = self.skip(h) + self.out(silu(inner))
        return result


class ImageAttention(nn.Module):
    """Every cell of an image looks at all others (Vaswani et al., arXiv:1706.03762)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = _norm(width)
        self.into, self.out = nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, width, 1)

    def forward(self, h: Tensor) -> Tensor:
        """Shape ``(B, width, H, W)``."""
        q, k, v = self.into(self.norm(h).flatten(2)).unflatten(1, (3, self.heads, -1)).mT.unbind(1)
        seen = scaled_dot_product_attention(q, k, v).mT.flatten(1, 2)
        result: Tensor = h + self.out(seen).reshape(h.shape)
        return result


class UNet(nn.Module):
    """y = f(x, γ, c) for images x.

    Arguments:
        features: The length d = layers · H · W of x.
        context: The length C of c; 0 for none.
        outputs: The length of y, a multiple of d.
        shape: Layers, H and W of an image.
        hidden: The channels at the finest level; twice as many below it.
        blocks: Residual blocks in each level, on each way.
        levels: How many sizes of the image there are.
        heads: Of the attention.
        wrap: Whether the last axis is an angle, all around.

    Raises:
        SurrogateError: The shape is not that of d numbers, or cannot be halved so often.

    >>> network = UNet(32, 1, 32, shape=(2, 4, 4), hidden=8, blocks=1, levels=2)
    >>> network(torch.ones(3, 32), torch.zeros(3), torch.ones(3, 1)).abs().max().item()
    0.0
    """

    def __init__(
        self,
        features: int,
        context: int,
        outputs: int,
        shape: Sequence[int],
        hidden: int = 32,
        blocks: int = 1,
        levels: int = 3,
        heads: int = 4,
        wrap: bool = False,
    ) -> None:
        super().__init__()
        _check(features, shape, levels)
        self.shape = tuple(shape)
        widths = [hidden, *[2 * hidden] * (levels - 1)]
        condition = 2 * hidden
        self.condition = Condition(context, condition)
        self.first = Convolution(self.shape[0], hidden, wrap=wrap)
        self.down = nn.ModuleList(_blocks([w] * (blocks + 1), condition, wrap) for w in widths)
        self.shrink = nn.ModuleList(Convolution(a, b, 2, wrap=wrap) for a, b in pairwise(widths))
        self.attention = ImageAttention(widths[-1], heads)
        self.last = _blocks([widths[-1]] * 2, condition, wrap)
        self.grow = nn.ModuleList(Convolution(b, a, wrap=wrap) for a, b in pairwise(widths))
        self.up = nn.ModuleList(
            _blocks([2 * w, *[w] * blocks], condition, wrap) for w in widths[:-1]
        )
        self.gate = nn.Linear(condition, outputs // math.prod(shape[1:]))
        self.norm = _norm(hidden)
        self.out = Convolution(hidden, outputs // math.prod(shape[1:]), wrap=wrap)
        for last in (self.gate, self.out.kernel):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, gamma: Tensor, context: Tensor) -> Tensor:
        """Shapes ``(B, d)``, ``(B,)`` and ``(B, C)`` to ``(B, outputs)``."""
        condition = self.condition(gamma, context)
        h = self.first(x.reshape(-1, *self.shape))
        finer: list[Tensor] = []
        for level, blocks in enumerate(self.down):
            h = self.shrink[level - 1](h) if level else h
            h = _run(blocks, h, condition)
            finer.append(h)
        h = _run(self.last, self.attention(finer.pop()), condition)
        for level in reversed(range(len(finer))):
            h = self.grow[level](interpolate(h, scale_factor=2.0))
            h = _run(self.up[level], torch.cat([h, finer[level]], 1), condition)
        y: Tensor = self.out(silu(self.norm(h))) + self._linear(x, condition)
        return y.flatten(1)

    def _linear(self, x: Tensor, condition: Tensor) -> Tensor:
        """x itself, times a number for each layer: what noise and context alone can say."""
        image = x.reshape(-1, *self.shape)
        gate: Tensor = self.gate(condition)[..., None, None]
        return gate * image.repeat(1, gate.shape[1] // image.shape[1], 1, 1)


def _blocks(widths: Sequence[int], condition: int, wrap: bool) -> nn.ModuleList:
    return nn.ModuleList(ImageBlock(a, b, condition, wrap=wrap) for a, b in pairwise(widths))


def _run(blocks: nn.Module, h: Tensor, condition: Tensor) -> Tensor:
    for block in blocks.children():
        h = block(h, condition)
    return h


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, width), width)


def _check(features: int, shape: Sequence[int], levels: int) -> None:
    if len(shape) != 3 or math.prod(shape) != features:
        raise SurrogateError(
            f"shape = {list(shape)} for {features} numbers; expected [layers, eta, phi] of them"
        )
    if levels < 1 or any(n % 2 ** (levels - 1) for n in shape[1:]):
        raise SurrogateError(
            f"levels = {levels} for an image of {shape[1]} x {shape[2]}: each level below the "
            "first halves it; expected sides that can be halved so often"
        )
