"""A network over sets of up to K points: what it gives for a point depends on all others.

Points are the tokens of a transformer without positions (Lee et al., arXiv:1810.00825): to permute
them permutes what comes out. Of a set of n points the slots beyond n are padding, which nothing
looks at, so that what is in them changes nothing, and which is zero in what comes out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from hepgen.errors import SurrogateError
from hepgen.nn.condition import Condition
from hepgen.nn.residual import ResidualBlock


class SetBlock(nn.Module):
    """h + attention(h), then a residual block for each point with the condition."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.point = ResidualBlock(width)

    def forward(self, h: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        """Shapes ``(B, K, width)``, ``(B, width)`` and ``(B, K)``, true where a point is."""
        qkv = self.into(self.norm(h)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()
        # A set without points looks at its padding; what it sees goes nowhere.
        seen = scaled_dot_product_attention(q, k, v, attn_mask=_someone(mask)[:, None, None])
        h = h + self.out(seen.transpose(1, 2).flatten(2))
        result: Tensor = self.point(h, condition[:, None])
        return result


class SetNetwork(nn.Module):
    """y = f(x, γ, c) for sets x of up to K points of F numbers each, flattened.

    Arguments:
        features: The length d = K · F of x.
        context: The length C of c.
        outputs: The length of y, a multiple of d.
        points: K.
        multiplicity: The column of c that tells the number of points n of a set.
        scale, offset: n = round(``scale`` · column + ``offset``), where c is standardised: the
            standard deviation and the mean of n. ``scale`` 0 takes all K.
        hidden: The width.
        blocks: How many.
        heads: Of the attention.

    Raises:
        SurrogateError: K points do not make d numbers, or there is no such column.

    >>> network = SetNetwork(6, 1, 6, points=3, hidden=8, blocks=1, heads=2, scale=1.0)
    >>> network(torch.ones(2, 6), torch.zeros(2), torch.ones(2, 1)).abs().max().item()
    0.0
    """

    def __init__(
        self,
        features: int,
        context: int,
        outputs: int,
        points: int,
        multiplicity: int = 0,
        scale: float = 0.0,
        offset: float = 0.0,
        hidden: int = 64,
        blocks: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if points < 1 or features % points:
            raise SurrogateError(f"points = {points} for {features} numbers; expected a divisor")
        if scale and not 0 <= multiplicity < context:
            raise SurrogateError(
                f"multiplicity = {multiplicity}: no such column in a context of {context}"
            )
        self.points = points
        self.multiplicity, self.scale, self.offset = multiplicity, scale, offset
        self.point = nn.Linear(features // points, hidden)
        self.condition = Condition(context, hidden)
        self.blocks = nn.ModuleList(SetBlock(hidden, heads) for _ in range(blocks))
        self.last = nn.Linear(hidden, outputs // points)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, gamma: Tensor, context: Tensor) -> Tensor:
        """Shapes ``(B, d)``, ``(B,)`` and ``(B, C)`` to ``(B, outputs)``, zero in the padding."""
        mask = self.mask(context)
        condition = self.condition(gamma, context)
        points = x.reshape(len(x), self.points, -1)
        h = self.point(points.where(mask[..., None], 0.0))
        for block in self.blocks:
            h = block(h, condition, mask)
        y: Tensor = self.last(silu(h)) * mask[..., None]
        return y.flatten(1)

    def mask(self, context: Tensor) -> Tensor:
        """Which slots have a point, shape ``(B, K)``, for contexts ``(B, C)``."""
        slot = torch.arange(self.points, device=context.device)
        if not self.scale:
            return (slot >= 0).expand(len(context), self.points)
        number = self.scale * context[:, self.multiplicity] + self.offset
        return slot < number.round()[:, None]


def _someone(mask: Tensor) -> Tensor:
    return mask | ~mask.any(-1, keepdim=True)
