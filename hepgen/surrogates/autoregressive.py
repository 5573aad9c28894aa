"""An autoregressive layer, z_i = f(u_i; u_{<i}, c), whose inverse maps each variable once.

zuko's maps all d variables in each of d passes, and keeps the one whose turn it was. Where the
inverse of f costs more than the network, as of a spline or a search, that is d times the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import zuko
from torch import Tensor
from torch.distributions import Transform


class Autoregressive(zuko.flows.MaskedAutoregressiveTransform):  # type: ignore[misc]
    """zuko's layer, with its arguments but ``passes``: there are d.

    Where d = 1 it is zuko's layer without a network, as there.

    >>> layer = Autoregressive(3, 1, hidden_features=(8,))
    >>> u = torch.randn(5, 3)
    >>> transform = layer(torch.zeros(5, 1))
    >>> torch.allclose(transform.inv(transform(u)), u, atol=1e-5)
    True
    """

    def __init__(self, features: int, context: int = 0, **arguments: Any) -> None:
        super().__init__(features, context, **arguments)
        self.turns: list[int] = self.order.argsort().tolist()

    def forward(self, c: Tensor | None = None) -> Transform:
        """The transform of u, shape ``(B, d)``, for contexts of shape ``(B, C)``."""

        def one(x: Tensor, i: int) -> Transform:
            inputs = x if c is None else torch.cat(zuko.utils.broadcast(x, c, ignore=1), dim=-1)
            phi = self.hyper(inputs).unflatten(-1, (-1, self.total))[..., i : i + 1, :]
            transform: Transform = self.univariate(*zuko.utils.unpack(phi, self.shapes))
            return transform

        return _InTurn(lambda x: self.meta(c, x), one, self.turns)


class _InTurn(zuko.transforms.AutoregressiveTransform):  # type: ignore[misc]
    """All variables at once forwards, and one after the other back.

    Arguments:
        meta: The map of all variables, given them.
        one: The map of variable i alone.
        turns: The order of the variables.
    """

    def __init__(
        self,
        meta: Callable[[Tensor], Transform],
        one: Callable[[Tensor, int], Transform],
        turns: Sequence[int],
    ) -> None:
        super().__init__(meta, passes=len(turns))
        self.one, self.turns = one, turns

    def _inverse(self, y: Tensor) -> Tensor:
        x = [torch.zeros_like(column) for column in torch.split(y, 1, dim=-1)]
        for i in self.turns:
            x[i] = self.one(torch.cat(x, dim=-1), i).inv(y[..., i : i + 1])
        return torch.cat(x, dim=-1)
