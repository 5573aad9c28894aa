r"""What a selection does to the joint score and ratio of the events that it keeps.

The chain knows :math:`\log p(x, z | \theta)` of every event it generates. Data are selected
events, and their density is :math:`p(x | \theta)/\varepsilon(\theta)`, with the efficiency ε.
Given a history z, whether an event is selected does not depend on θ, so that only ε enters, through
the normalisation:

.. math:: t_{sel} = t - \nabla\log\varepsilon(\theta), \qquad
          \log r_{sel} = \log r - \log\varepsilon(\theta) + \log\varepsilon(\theta_{ref}).

The mean of the joint score over the selected events of one θ is its efficiency's,

.. math:: E_{sel}[t\,|\,\theta] = \frac{1}{\varepsilon}\int_{sel} \nabla p(x, z | \theta)
          = \nabla\log\varepsilon(\theta),

which makes log ε, up to a constant, the function h(θ) with the smallest sum of squares of
∇h(θᵢ) − tᵢ. Here h is a polynomial, so that this is linear least squares, and the corrected scores
have mean zero. Without a selection log ε is constant, and what is found is noise that the scores
had in their mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.errors import DataError
from hepgen.inference.monomials import monomials, powers_of
from hepgen.nn.columns import Column

_ROWS, _SAMPLE = 65_536, 500_000


@dataclass(frozen=True)
class SelectionEfficiency:
    """log ε(θ) up to a constant, as a polynomial in (θ − location)/scale.

    Arguments:
        location, scale: Shape ``(D,)``.
        coefficients: Of the monomials, shape ``(M,)``.
        degree: Of the polynomial; with 0, ε does not depend on θ.

    >>> theta = torch.linspace(1, 2, 101, dtype=torch.float64)[:, None]
    >>> found = SelectionEfficiency.fit(theta, 2 * theta, degree=2)  # ε ∝ exp(θ²)
    >>> found.score(torch.tensor([[1.5]], dtype=torch.float64))
    tensor([[3.]], dtype=torch.float64)
    """

    location: Tensor
    scale: Tensor
    coefficients: Tensor
    degree: int

    @classmethod
    def fit(
        cls, theta: Column, score: Column, weight: Column | None = None, *, degree: int = 3
    ) -> SelectionEfficiency:
        """From the joint scores of selected events.

        Arguments:
            theta: What made them, shape ``(N, D)``. A component that all have in common gets a
                constant derivative.
            score: t = ∇ log p(x, z | θ), shape ``(N, D)``.
            weight: Signed event weights, shape ``(N,)``.
            degree: Of the polynomial.
        """
        shapes = [(len(column), *column[:1].shape[1:]) for column in (theta, score)]
        if shapes[0] != shapes[1] or len(shapes[0]) != 2:
            raise DataError(
                f"θ of shape {shapes[0]} and scores of shape {shapes[1]}; expected (N, D) of both"
            )
        # The units change no result: some of the events, evenly spaced, are enough for them.
        some = theta[:: max(1, len(theta) // _SAMPLE)].double()
        location, spread = some.mean(0), some.std(0, correction=0)
        varies = spread > 1e-12 * location.abs()
        scale = torch.where(varies, spread, 1.0)
        powers = powers_of(varies, degree)
        size = len(powers)
        gram, right = torch.zeros(size, size).double(), torch.zeros(size).double()
        for start in range(0, len(theta), _ROWS):
            rows = slice(start, start + _ROWS)
            t = score[rows].double()
            w = torch.ones(len(t)).double() if weight is None else weight[rows].double()
            slopes = _slopes((theta[rows].double() - location) / scale, powers)
            gram += torch.einsum("n,ndm,ndk->mk", w, slopes, slopes)
            right += torch.einsum("n,ndm,nd->m", w, slopes, t * scale)
        coefficients = torch.linalg.lstsq(gram, right[:, None], driver="gelsd").solution[:, 0]
        return cls(location, scale, _on_all(coefficients, powers, len(location), degree), degree)

    def log(self, theta: Tensor) -> Tensor:
        """log ε(θ) up to a constant, shape ``(*,)``, for θ of shape ``(*, D)``."""
        u = (theta.double() - self.location) / self.scale
        powers = powers_of(torch.ones(len(self.location), dtype=torch.bool), self.degree)
        return monomials(u, powers) @ self.coefficients

    def score(self, theta: Tensor) -> Tensor:
        """∇ log ε(θ), shape ``(N, D)``, for θ of shape ``(N, D)``."""
        u = (theta.double() - self.location) / self.scale
        powers = powers_of(torch.ones(len(self.location), dtype=torch.bool), self.degree)
        return _slopes(u, powers) @ self.coefficients / self.scale


def _slopes(u: Tensor, powers: list[tuple[int, ...]]) -> Tensor:
    """The derivative of every monomial in every column, shape ``(N, D, M)``."""
    slopes = u.new_zeros((*u.shape, len(powers)))
    for m, columns in enumerate(powers):
        for c in set(columns):
            rest = list(columns)
            rest.remove(c)
            slopes[..., c, m] = columns.count(c) * u[..., rest].prod(-1)
    return slopes


def _on_all(values: Tensor, powers: list[tuple[int, ...]], columns: int, degree: int) -> Tensor:
    """The coefficients of all monomials, those that were left out zero."""
    everything = powers_of(torch.ones(columns, dtype=torch.bool), degree)
    found = dict(zip(powers, values.tolist(), strict=True))
    return torch.tensor([found.get(p, 0.0) for p in everything], dtype=torch.float64)
