r"""Morphing: events of any couplings from events at a few.

Where amplitudes are linear in D couplings c, a density times its cross-section is quadratic,

.. math:: \sigma(c)\,p(x | c) = \sum_{i=1}^{n} w_i(c)\,\sigma(c_i)\,p(x | c_i),
          \qquad n = \tfrac12 (D + 1)(D + 2),

exactly, with weights that depend on c alone (ATL-PHYS-PUB-2015-047; Brehmer, Cranmer, Louppe,
Pavez, Phys. Rev. D 98 (2018) 052004, Eq. 9): three points for one coupling. The weights sum to
one and change sign, so events simulated at the basis points get signed weights w_i(c)σ(c_i)/n_i.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from hepgen.errors import SimulationError

_WORST = 1e12
"""The largest condition number of a basis."""


def monomials(c: Tensor) -> Tensor:
    """1, c_a, c_a c_b of all pairs a ≤ b, shape ``(*, n)`` for c of shape ``(*, D)``.

    >>> monomials(torch.tensor([2.0, 3.0]))
    tensor([1., 2., 3., 4., 6., 9.])
    """
    first, second = torch.triu_indices(c.shape[-1], c.shape[-1])
    return torch.cat([torch.ones_like(c[..., :1]), c, c[..., first] * c[..., second]], dim=-1)


class Morphing:
    """The weights w_i(c) for a basis of couplings.

    Arguments:
        points: c_i, shape ``(n, D)``, n = (D + 1)(D + 2)/2.

    Raises:
        SimulationError: Too few or too many points, or points that do not fix a quadratic form.

    >>> three = Morphing(torch.tensor([[-1.0], [0.0], [1.0]]))
    >>> three.weights(torch.tensor([2.0]))
    tensor([ 1., -3.,  3.], dtype=torch.float64)
    """

    def __init__(self, points: Tensor) -> None:
        self.points = points.double()
        n, couplings = self.points.shape
        expected = (couplings + 1) * (couplings + 2) // 2
        if n != expected:
            raise SimulationError(
                f"{n} basis points for {couplings} couplings; expected {expected}"
            )
        self._scale = self.points.abs().amax(0).clamp_min(1e-300)
        self._matrix = monomials(self.points / self._scale)
        condition = float(torch.linalg.cond(self._matrix))
        if not condition < _WORST:
            raise SimulationError(
                f"the basis {self.points.tolist()} does not determine a quadratic form "
                f"(condition number {condition:.1g}); expected points in general position, e.g. "
                "those of Morphing.around"
            )

    @classmethod
    def around(cls, scales: Sequence[float]) -> Morphing:
        """A basis of 0, ±s_a along each coupling, and (s_a, s_b) for each pair.

        >>> Morphing.around([0.5]).points.tolist()
        [[0.0], [0.5], [-0.5]]
        """
        axes = torch.diag(torch.tensor(scales, dtype=torch.float64))
        along = torch.stack([axes, -axes], dim=1).flatten(0, 1)
        pairs = [axes[a] + axes[b] for a, b in combinations(range(len(axes)), 2)]
        return cls(torch.cat([torch.zeros_like(axes[:1]), along, *(p[None] for p in pairs)]))

    def weights(self, c: Tensor) -> Tensor:
        """w_i(c), shape ``(*, n)`` for c of shape ``(*, D)``; they sum to one."""
        target = monomials(c.double() / self._scale)[..., None]
        weights: Tensor = torch.linalg.solve(self._matrix.mT, target).squeeze(-1)
        return weights

    def combine(self, c: Tensor, values: Tensor) -> Tensor:
        """Σ_i w_i(c) v_i, shape ``(*)``, for c of shape ``(D,)`` and values ``(n, *)``.

        The values are those at the basis points of anything that is quadratic in c: a
        cross-section, a spectrum in pb, or σ(c_i) p(x, z | c_i) of each event.
        """
        combined: Tensor = torch.tensordot(self.weights(c), values.double(), dims=1)
        return combined

    def event_weights(self, c: Tensor, cross_sections: Tensor, generated: Tensor) -> Tensor:
        """w_i(c)σ(c_i)/n_i, shape ``(n,)``: what each event of the i-th sample stands for at c.

        Arguments:
            c: Shape ``(D,)``.
            cross_sections: σ(c_i), shape ``(n,)``.
            generated: How many events were generated at each c_i, shape ``(n,)``.

        Returns:
            In the unit of the cross-sections. Some are negative.
        """
        return self.weights(c) * cross_sections / generated
