"""The cells of a calorimeter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class CellGrid:
    """Rings in η, each cut into equal cells in φ; cells are numbered along the rings.

    Arguments:
        edges: Of the rings, increasing, B + 1 numbers.
        segments: How many cells each ring has, B numbers.

    >>> grid = CellGrid([-1.0, 0.0, 1.0], [4, 8])
    >>> grid.cell(torch.tensor([-0.5, 0.5, 2.0]), torch.tensor([0.1, -3.1, 0.0]))
    tensor([ 2,  4, -1])
    """

    def __init__(self, edges: Sequence[float], segments: Sequence[int]) -> None:
        self.edges = torch.tensor(edges, dtype=torch.float64)
        self.segments = torch.tensor(segments)
        self.first = self.segments.cumsum(0) - self.segments
        #: The number of cells.
        self.size = int(self.segments.sum())

    def cell(self, eta: Tensor, phi: Tensor) -> Tensor:
        """The number of the cell, −1 outside; any shape."""
        ring = torch.searchsorted(self.edges, eta.to(torch.float64).contiguous()) - 1
        outside = (ring < 0) | (ring >= len(self.segments))
        ring = ring.clamp(0, len(self.segments) - 1)
        turn = torch.remainder(phi + math.pi, 2 * math.pi) / (2 * math.pi)
        number = (turn * self.segments[ring]).long().clamp(max=self.segments[ring] - 1)
        return torch.where(outside, -1, self.first[ring] + number)

    def centre(self, cell: Tensor) -> tuple[Tensor, Tensor]:
        """(η, φ) of the middle of a cell; any shape."""
        ring = torch.searchsorted(self.first, cell.contiguous(), right=True) - 1
        eta = 0.5 * (self.edges[ring] + self.edges[ring + 1])
        turn = (cell - self.first[ring]).double().add(0.5) / self.segments[ring]
        return eta, (2 * turn - 1) * math.pi


def _steps(start: float, step: float, n: int) -> list[float]:
    return [start + step * i for i in range(n)]


def _ecal() -> CellGrid:
    """0.0174 × 1° up to |η| = 2.958, then 0.175 × 10° up to 5."""
    forward = [3.125, 3.3, 3.475, 3.65, 3.825, 4.0, 4.175, 4.35, 4.525, 4.7, 5.0]
    fine = _steps(-2.958, 0.0174, 341)
    edges = [-edge for edge in reversed(forward)] + fine + forward
    return CellGrid(edges, [36] * 11 + [360] * 340 + [36] * 11)


def _hcal() -> CellGrid:
    """0.087 × 5° up to |η| = 1.653, then coarser up to 5."""
    barrel = _steps(-1.653, 0.087, 39)
    endcap = [1.74, 1.83, 1.93, 2.043, 2.172, 2.322, 2.5, 2.65, 2.868, 2.95]
    endcap += [3.125, 3.3, 3.475, 3.65, 3.825, 4.0, 4.175, 4.35, 4.525]
    forward = [4.7, 5.0]
    outer = endcap + forward
    edges = [-edge for edge in reversed(outer)] + barrel + outer
    return CellGrid(edges, [18] * 2 + [36] * 19 + [72] * 38 + [36] * 19 + [18] * 2)


ECAL = _ecal()
HCAL = _hcal()
