"""The hadron table as tensors: particles by index, their decays, and what comes off a jet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hepgen.simulators.hadron_table import (
    ANTIDIQUARK,
    MASS,
    channels,
    charge,
    conjugate,
    outcomes,
)


class Menus:
    """Lists of choices with fixed weights, all in one sorted list.

    Arguments:
        weights: Of each list; a list may be empty.

    >>> menus = Menus([[1.0, 3.0], [], [2.0]])
    >>> menus.draw(torch.tensor([0, 0, 2]), torch.tensor([0.1, 0.9, 0.5]))
    tensor([0, 1, 2])
    >>> menus.log_chance.exp()
    tensor([0.2500, 0.7500, 1.0000], dtype=torch.float64)
    """

    def __init__(self, weights: Sequence[Sequence[float]]) -> None:
        rows = [torch.tensor(row, dtype=torch.float64) / sum(row) for row in weights if row]
        starts = [i for i, row in enumerate(weights) if row]
        self.log_chance = torch.cat(rows).log()
        self.owner = torch.cat(
            [torch.full((len(row),), i) for i, row in zip(starts, rows, strict=True)]
        )
        ends = [i + row.cumsum(0) for i, row in zip(starts, rows, strict=True)]
        for i, end in zip(starts, ends, strict=True):
            end[-1] = i + 1
        self.ends = torch.cat(ends)

    def draw(self, row: Tensor, u: Tensor) -> Tensor:
        """A choice from each list, for u in (0, 1), as its place among all."""
        return torch.searchsorted(self.ends, row + u.clamp_max(1 - 1e-9), right=True)


class Species:
    """All particles by index, with their decays.

    Arguments:
        stable: PDG ids that could decay and do not.
    """

    def __init__(self, stable: Sequence[int] = ()) -> None:
        self.ids = [p for m in MASS for p in sorted({m, conjugate(m)})]
        index = {particle: i for i, particle in enumerate(self.ids)}
        self.pdg = torch.tensor(self.ids)
        self.mass = torch.tensor([MASS[abs(p)] for p in self.ids], dtype=torch.float64)
        self.is_charged = torch.tensor([int(charge(p) != 0) for p in self.ids])
        modes = [[] if abs(p) in stable else channels(p) for p in self.ids]
        self.decays = torch.tensor([bool(mode) for mode in modes])
        self.menus = Menus([[p for p, _, _ in mode] for mode in modes])
        self.daughters = torch.tensor([[index[a], index[b]] for m in modes for _, a, b in m])
        m, m1, m2 = self.mass[self.menus.owner], *self.mass[self.daughters].unbind(-1)
        #: Momentum of both bodies of each decay, and the energy of the first, GeV.
        self.momentum = ((m * m - (m1 + m2) ** 2) * (m * m - (m1 - m2) ** 2)).sqrt() / (2 * m)
        self.energy = (m * m + m1 * m1 - m2 * m2) / (2 * m)
        self.index = index


class JetEnds:
    """What comes off each end of a jet, by the code of the end; see ``hadron_table``."""

    def __init__(self, species: Species) -> None:
        codes = range(-ANTIDIQUARK, ANTIDIQUARK + 1)
        self.menus = Menus([[p for p, _, _ in outcomes(code)] for code in codes])
        flat = [one for code in codes for one in outcomes(code)]
        self.hadron = torch.tensor([species.index[hadron] for _, hadron, _ in flat])
        self.left = torch.tensor([code + ANTIDIQUARK for _, _, code in flat])

    @staticmethod
    def row(pdg: Tensor) -> Tensor:
        """The list of a parton: a quark by its id, or a gluon."""
        return torch.where(pdg.abs() > ANTIDIQUARK, 0, pdg) + ANTIDIQUARK
