r"""Critical values of a test statistic over the parameters, learned by quantile regression.

A toy is a point θ and the statistic t of a data set drawn there. The quantile of t at θ minimises
the mean over toys of the pinball loss

.. math:: \ell_\tau(t, q) = \max[\tau (t - q), (\tau - 1)(t - q)]

(Koenker and Bassett, Econometrica 46 (1978) 33), so that no θ has to be simulated more than once
(Dalmasso, Masserano, Zhao, Izbicki and Lee, arXiv:2107.03920, section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hepgen.errors import DataError
from hepgen.nn.mlp import mlp
from hepgen.nn.rows import Table
from hepgen.nn.train import train

#: The quantiles that are learned: the usual levels, and enough between them for p-values.
LEVELS = (
    0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.6827,
    0.72, 0.76, 0.8, 0.84, 0.87, 0.9, 0.925, 0.95, 0.9545, 0.965, 0.975, 0.985, 0.99, 0.995,
)  # fmt: skip
_FEWEST = 500
_GAIN = 1.0
"""Standard errors by which networks must be better than the quantiles of all toys together."""


@dataclass(frozen=True)
class CriticalValues:
    r"""The distribution of a statistic at each θ, by its quantiles.

    The quantiles are those of all toys together, Q(τ), moved by a network of θ that keeps them in
    order; where networks do no better on toys that they have not seen, as they stand: a statistic
    with the same distribution everywhere has the precision of all toys at each θ. θ
    enters by hat functions over its range, which are narrow at the ends, where a boundary makes
    the quantiles fall fast. A statistic that is never negative is learned as its square root,
    which is nearer to Gaussian.

    For a statistic with an exact distribution (:math:`t` of a Gaussian, also with a boundary) the
    coverage of 68 % sets by 30,000 toys is off by 1 % in the root mean square and by up to 5 %
    at the very boundary, where 100,000 toys leave 2 %; for 95 % sets it is a third of that.

    Arguments:
        levels: τ, increasing, shape ``(L,)``.
        networks: θ to quantiles, averaged: trained on different parts of the toys.
        root: Whether the networks are of √t.

    >>> theta = torch.rand(20_000, 1, generator=torch.Generator().manual_seed(1)).double()
    >>> noise = torch.randn(20_000, generator=torch.Generator().manual_seed(2)).double()
    >>> critical = CriticalValues.fit(theta, (1 + theta[:, 0]) * noise.square(), members=1)
    >>> half = torch.tensor([[0.5]], dtype=torch.float64)
    >>> bool((critical(half, 0.6827) - 1.5).abs() < 0.15)
    True
    """

    levels: Tensor
    networks: tuple[Any, ...]
    root: bool

    @classmethod
    def fit(
        cls,
        theta: Tensor,
        statistic: Tensor,
        *,
        levels: Sequence[float] = LEVELS,
        hats: int = 12,
        hidden: Sequence[int] = (64,),
        members: int = 4,
        epochs: int = 20,
        seed: int = 0,
    ) -> CriticalValues:
        """Learn them from N toys.

        Arguments:
            theta: Where each toy was drawn, shape ``(N, D)``. Toys are to reach beyond the range
                in which sets are wanted, or to its end where θ itself ends.
            statistic: t of each toy at its own θ, shape ``(N,)``.
            levels: The quantiles.
            hats: Functions of each parameter.
            hidden, members, epochs, seed: Of the networks and their training.

        Raises:
            DataError: Too few toys, or statistics that are not finite.
        """
        _check(theta, statistic)
        root = bool(statistic.min() >= 0)
        height = (statistic.sqrt() if root else statistic).double()
        grid = torch.tensor(sorted(levels), dtype=torch.float64)
        numbers = range(seed * members, (seed + 1) * members)

        def start(number: int) -> _Quantiles:
            return _Quantiles(theta.double(), height, grid, hats, hidden, number)

        trained = [
            _train(start(number), theta.double(), height, grid, epochs, number)
            for number in numbers
        ]
        gains = np.array([gain for _, gain in trained])
        if gains.mean() < _GAIN * gains.std() / math.sqrt(members):
            return cls(grid, (start(numbers[0]).eval().requires_grad_(False),), root)
        return cls(grid, tuple(network for network, _ in trained), root)

    def __call__(self, theta: Tensor, level: float) -> Tensor:
        """The critical value at each θ, ``(*, D)`` to ``(*,)``: P(t ≤ c | θ) = ``level``."""
        low, high = self.levels[0].item(), self.levels[-1].item()
        if not low <= level <= high:
            raise DataError(f"level {level:g}; the quantiles were learned from {low:g} to {high:g}")
        quantiles = self._quantiles(theta)
        return _between(self.levels, quantiles, torch.full(quantiles.shape[:-1], level).double())

    def p_values(self, theta: Tensor, statistic: Tensor) -> Tensor:
        """P(T ≥ t | θ), for t of shape ``(*,)`` and θ of shape ``(*, D)``.

        Between the quantiles by a straight line. Beyond the outermost there is nothing known:
        no p-value is below one minus the largest level.
        """
        return 1 - _between(self._quantiles(theta), self.levels, statistic.double())

    def _quantiles(self, theta: Tensor) -> Tensor:
        """Shape ``(*, L)``."""
        found = torch.stack([one(theta.double()) for one in self.networks]).mean(0)
        return found.clamp(min=0).square() if self.root else found


def _train(
    network: _Quantiles, theta: Tensor, height: Tensor, levels: Tensor, epochs: int, seed: int
) -> tuple[_Quantiles, float]:
    """The trained network, and how much better it is than its start on toys it has not seen."""

    def pinball(batch: tuple[Tensor, ...]) -> Tensor:
        above = (batch[1][:, None] - network(batch[0])) / network.scale
        return torch.maximum(levels * above, (levels - 1) * above).mean(-1)

    curve = train(
        network, pinball, Table(theta, height), epochs=epochs, seed=seed, patience=None,
        batch_size=max(128, min(1024, len(theta) // 30)), max_learning_rate=1e-2, untrained=True,
        validation_fraction=0.2,
    )  # fmt: skip
    # Of the last epoch, not of the best, which is chosen on these toys.
    return network.eval().requires_grad_(False), curve.validation[0] - curve.validation[-1]


class _Quantiles(nn.Module):
    """L quantiles in order: that of the lowest level, and steps that are positive."""

    low: Tensor
    high: Tensor
    nodes: Tensor
    first: Tensor
    steps: Tensor
    scale: Tensor

    def __init__(
        self, theta: Tensor, height: Tensor, levels: Tensor, hats: int, hidden: Sequence[int],
        seed: int,
    ) -> None:  # fmt: skip
        super().__init__()
        pooled = torch.from_numpy(np.quantile(height.numpy(), levels.numpy()))
        scale = (pooled[-1] - pooled[0]).clamp(min=1e-9)
        self.register_buffer("low", theta.min(0).values)
        self.register_buffer("high", theta.max(0).values)
        angle = torch.linspace(0, torch.pi, hats, dtype=torch.float64)
        self.register_buffer("nodes", 0.5 - 0.5 * angle.cos())
        self.register_buffer("first", pooled[0])
        # An atom of the distribution has steps of zero, which the network may have to open.
        self.register_buffer("steps", pooled.diff().clamp(min=1e-3 * scale.item()))
        self.register_buffer("scale", scale)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = mlp(theta.shape[-1] * (hats + 1), len(levels), hidden).double()
        last = self.body[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, theta: Tensor) -> Tensor:
        moved = self.body(self._features(theta))
        steps = self.steps * nn.functional.softplus(moved[..., 1:]) / math.log(2)
        first = self.first + self.scale * moved[..., :1]
        return torch.cat([first, first + steps.cumsum(-1)], dim=-1)

    def _features(self, theta: Tensor) -> Tensor:
        """Hat functions of each parameter and its position, shape ``(*, D·(hats + 1))``."""
        share = ((theta - self.low) / (self.high - self.low).clamp(min=1e-12)).clamp(0.0, 1.0)
        right = torch.searchsorted(self.nodes, share.contiguous()).clamp(1, len(self.nodes) - 1)
        before, after = self.nodes[right - 1], self.nodes[right]
        part = ((share - before) / (after - before))[..., None]
        hats = share.new_zeros(*share.shape, len(self.nodes))
        hats = hats.scatter(-1, (right - 1)[..., None], 1 - part)
        hats = hats.scatter(-1, right[..., None], part)
        return torch.cat([2 * hats.flatten(-2), 2 * share - 1], dim=-1)


def _between(x: Tensor, y: Tensor, at: Tensor) -> Tensor:
    """y at a point, on the straight lines through (x, y); x ``(*, L)`` ascending, at ``(*,)``."""
    x, y = torch.broadcast_tensors(x, y)  # type: ignore[no-untyped-call]
    right = torch.searchsorted(x.contiguous(), at[..., None].contiguous())
    right = right.clamp(1, x.shape[-1] - 1)
    (x0, x1), (y0, y1) = (
        (v.gather(-1, right - 1)[..., 0], v.gather(-1, right)[..., 0]) for v in (x, y)
    )
    share = ((at - x0) / (x1 - x0).clamp(min=1e-300)).clamp(0.0, 1.0)
    return y0 + share * (y1 - y0)


def _check(theta: Tensor, statistic: Tensor) -> None:
    if theta.ndim != 2 or statistic.shape != theta.shape[:1]:
        raise DataError(
            f"θ of shape {tuple(theta.shape)} and statistics of shape {tuple(statistic.shape)}; "
            "expected (N, D) and (N,)"
        )
    if len(theta) < _FEWEST:
        raise DataError(f"{len(theta)} toys; expected {_FEWEST} at least, better tens of thousands")
    wrong = int((~torch.isfinite(statistic)).sum())
    if wrong:
        raise DataError(
            f"the statistic of {wrong} of {len(statistic)} toys is NaN or infinite: look at the "
            "fits that did not converge, or at a θ at the edge of its range"
        )
