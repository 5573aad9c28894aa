"""What every posterior p(θ | data) answers, in the shapes that sbi's diagnostics expect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.parameters import ParameterSet


@dataclass(frozen=True)
class PosteriorSample:
    """Draws from a posterior, and what says whether to trust them.

    Arguments:
        theta: Physical parameters, shape ``(S, D)``, float64.
        names: The D columns.
        method: ``nuts``, ``importance`` or ``npe``.
        effective_samples: An entry a parameter: how many independent draws these are worth.
        r_hat: An entry a parameter: 1 where chains agree (Gelman and Rubin 1992, split);
            ``None`` where there are no chains.
        divergences: Transitions whose integration failed; 0 without chains.
    """

    theta: Tensor
    names: tuple[str, ...]
    method: str
    effective_samples: tuple[float, ...]
    r_hat: tuple[float, ...] | None = None
    divergences: int = 0

    def __len__(self) -> int:
        return len(self.theta)

    def column(self, name: str) -> Tensor:
        """The draws of one parameter, shape ``(S,)``."""
        return self.theta[:, self.names.index(name)]


class Posterior(ABC):
    """p(θ | data) over the free parameters, for a data set of independent events.

    One data set is a tensor of shape ``(N, d)`` and goes to :meth:`sample` and
    :meth:`log_prob`. Several data sets are a sequence of such tensors and go to
    :meth:`sample_batched`. Which is meant is never read off a shape.
    """

    def __init__(self, parameters: ParameterSet) -> None:
        self.parameters = parameters
        self.prior = parameters.prior()
        self.default_x: Tensor | None = None

    @abstractmethod
    def draw_batched(
        self,
        n: int,
        x: Sequence[Tensor],
        *,
        weight: Sequence[Tensor | None] | None = None,
        seed: int = 0,
    ) -> list[PosteriorSample]:
        """n draws with diagnostics for each of several data sets.

        Arguments:
            n: Draws a data set.
            x: Data sets, each of shape ``(N, d)``.
            weight: Event weights of each, shape ``(N,)``, or ``None`` for ones.
            seed: The result is a function of it.
        """

    @abstractmethod
    def log_prob(
        self, theta: Tensor, x: Tensor | None = None, *, weight: Tensor | None = None
    ) -> Tensor:
        """log p(θ | x), shape ``(K,)``, for physical θ of shape ``(K, D)`` or ``(D,)``."""

    def draw(
        self, n: int, x: Tensor | None = None, *, weight: Tensor | None = None, seed: int = 0
    ) -> PosteriorSample:
        """n draws with diagnostics for one data set, shape ``(N, d)``."""
        return self.draw_batched(n, [self.data(x)], weight=[weight], seed=seed)[0]

    def sample(
        self,
        sample_shape: Sequence[int] = (1,),
        x: Tensor | None = None,
        *,
        weight: Tensor | None = None,
        seed: int | None = None,
        **_: Any,
    ) -> Tensor:
        """Draws for one data set, shape ``(*sample_shape, D)``.

        Without a ``seed``, one is drawn from torch's global generator, as sbi would. Further
        keywords, such as sbi's ``show_progress_bars``, have no effect.
        """
        sample = self.draw(prod(sample_shape), x, weight=weight, seed=_seed(seed))
        return sample.theta.reshape(*sample_shape, -1)

    def sample_batched(
        self,
        sample_shape: Sequence[int],
        x: Sequence[Tensor] | Tensor,
        *,
        seed: int | None = None,
        **_: Any,
    ) -> Tensor:
        """Draws for each of B data sets, shape ``(*sample_shape, B, D)``.

        Arguments:
            sample_shape: Draws a data set.
            x: Data sets, each of shape ``(N, d)``; a tensor holds one in each entry of its
                first dimension.
            seed: As for :meth:`sample`.
        """
        samples = self.draw_batched(prod(sample_shape), list(x), seed=_seed(seed))
        draws = torch.stack([sample.theta for sample in samples], dim=1)
        return draws.reshape(*sample_shape, *draws.shape[1:])

    def set_default_x(self, x: Tensor) -> Posterior:
        """Use the data set ``x``, shape ``(N, d)``, where none is given."""
        self.default_x = x
        return self

    def data(self, x: Tensor | None) -> Tensor:
        """One data set: ``x``, or else the default."""
        chosen = self.default_x if x is None else x
        if chosen is None:
            raise DataError("no data: give x, of shape (N, d), or call set_default_x first")
        if chosen.ndim != 2:
            raise DataError(
                f"a data set of shape {tuple(chosen.shape)}; expected (N, d). "
                "For several data sets use sample_batched"
            )
        return chosen


def _seed(seed: int | None) -> int:
    return int(torch.randint(2**31, ()).item()) if seed is None else seed
