r"""The density of mixed variables at fixed points, for what must not draw random numbers.

:class:`~hepgen.surrogates.variables.mixed.Mixed` has integrals over what it draws beside an event:
a standard normal number η for each component that is zero, and u uniform in [0, 1) for each
dequantised count. Here the same average,

.. math:: p = P(k, z \mid c)\,\frac1K \sum_i \frac{q(v, \eta_i, u_i \mid c, k, z)}{N(\eta_i)},

is over the first K points of Sobol's sequence (USSR Comput. Math. Math. Phys. 7 (1967) 86), each
moved by 1/(2K) to the middle of its cell, with η = Φ⁻¹ of them: in one variable the midpoint rule.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality
from hepgen.surrogates.variables.mixed import Mixed

POINTS = 16
"""A power of two: each coordinate of the points then is in the middle of one of as many cells."""


class FixedPoints(ConditionalDensity):
    """What :class:`~.mixed.Mixed` gives for its ``exportable`` where its density is an integral.

    Arguments:
        mixed: With a base that can be exported.
        points: K, a power of two.
    """

    fill: Tensor
    uniform: Tensor

    def __init__(self, mixed: Mixed, points: int = POINTS) -> None:
        super().__init__(mixed.features, mixed.context)
        self.mixed, self.noise = mixed, mixed.noise
        zeros, counts = len(mixed.layout.zero), len(mixed.layout.dequantised)
        engine: Any = SobolEngine(zeros + counts)  # type: ignore[no-untyped-call]
        sobol = engine.draw(points, dtype=torch.float64) + 0.5 / points
        fill = torch.special.ndtri(sobol[:, :zeros])
        self.register_buffer("fill", fill.to(mixed.precision))
        self.register_buffer("uniform", sobol[:, zeros:].to(mixed.precision))

    @property
    def options(self) -> dict[str, Any]:
        """Those of the family."""
        return self.mixed.options

    @property
    def quality(self) -> Quality:
        """An estimate."""
        base = self.mixed.base
        assert base is not None
        return Quality("estimate", f"{base.quality.words}, {self._average}")

    @property
    def words(self) -> str:
        """How it differs from what draws."""
        return f"log_prob as {self._average}, not from {self.mixed.draws} draws"

    @property
    def _average(self) -> str:
        return f"an average over {self.fill.shape[0]} fixed points"

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        """That of what draws."""
        return self.mixed.loss(u, context)

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        """Events, as without fixed points."""
        return self.mixed.generate(noise, context)

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        """log p(u | c), shape ``(B,)``."""
        points = self.fill.shape[0]
        events, contexts = _repeated(u, points), _repeated(context, points)
        # All points of all events in one batch: a graph holds the family once.
        terms = self.mixed.log_integrand(
            events, contexts, _each(self.fill, u), _each(self.uniform, u)
        )
        value = terms.reshape(points, -1).logsumexp(0) - math.log(points)
        return LogDensity(value, torch.zeros_like(value), self.quality)


def _repeated(rows: Tensor, points: int) -> Tensor:
    """Shape ``(B, n)`` to ``(KB, n)``."""
    return rows.expand(points, *rows.shape).flatten(0, 1)


def _each(points: Tensor, events: Tensor) -> Tensor:
    """Shape ``(K, n)`` to ``(KB, n)``, in the order of :func:`_repeated`."""
    return points[:, None].expand(-1, events.shape[0], -1).flatten(0, 1)
