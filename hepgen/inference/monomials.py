"""The monomials of several variables up to a total degree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations_with_replacement

import torch
from torch import Tensor


def powers_of(varies: Tensor, degree: int) -> list[tuple[int, ...]]:
    """The monomials, each as the columns that it multiplies; those that stand still only once.

    >>> powers_of(torch.tensor([True, False]), 2)
    [(0,), (1,), (0, 0)]
    """
    columns = range(len(varies))
    return [
        columns_of
        for order in range(1, degree + 1)
        for columns_of in combinations_with_replacement(columns, order)
        if order == 1 or all(bool(varies[c]) for c in columns_of)
    ]


def monomials(u: Tensor, powers: list[tuple[int, ...]]) -> Tensor:
    """Their values, shape ``(*, M)``, for u ``(*, D)``; without the constant.

    >>> monomials(torch.tensor([2.0, 3.0]), [(0,), (0, 1)])
    tensor([2., 6.])
    """
    if not powers:
        return u.new_zeros((*u.shape[:-1], 0))
    return torch.stack([u[..., list(columns)].prod(-1) for columns in powers], dim=-1)


def polynomial(u: Tensor, powers: list[tuple[int, ...]]) -> Tensor:
    """1 and the monomials, shape ``(*, 1 + M)``, for u ``(*, D)``.

    >>> polynomial(torch.tensor([2.0, 3.0]), powers_of(torch.tensor([True, True]), 2))
    tensor([1., 2., 3., 4., 6., 9.])
    """
    return torch.cat([torch.ones_like(u[..., :1]), monomials(u, powers)], dim=-1)


def degree_within(dimension: int, terms: int, degrees: Sequence[int]) -> int:
    """The largest degree of which a polynomial in D variables has so few terms, or the first.

    >>> degree_within(1, 36, (2, 3, 4, 5, 6)), degree_within(6, 36, (2, 3, 4, 5, 6))
    (6, 2)
    """
    few = (d for d in degrees if math.comb(dimension + d, d) <= terms)
    return max(few, default=degrees[0])
