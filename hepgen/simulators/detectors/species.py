"""What a detector makes of a PDG id."""

from __future__ import annotations

import torch
from torch import Tensor

#: Ids of what can leave a track, where the positive id has charge +1, and where −1.
POSITIVE = (211, 321, 2212, 3222)
NEGATIVE = (11, 13, 3112, 3312, 3334)
NEUTRINOS = (12, 14, 16)
#: γ and π⁰ make electromagnetic showers; K⁰_S and Λ leave a share of 0.3 in the ECAL.
ELECTROMAGNETIC = (11, 22, 111)
MIXED = (310, 3122)
ELECTRON, MUON, PHOTON, NEUTRAL_HADRON = 11, 13, 22, 130


def among(pdg_id: Tensor, ids: tuple[int, ...]) -> Tensor:
    """Whether the absolute id is one of these; shape as ``pdg_id``."""
    return torch.isin(pdg_id.abs(), torch.tensor(ids))


def charge(pdg_id: Tensor) -> Tensor:
    """Electric charge in units of e, float64; shape as ``pdg_id``.

    >>> charge(torch.tensor([211, -211, 13, -11, 22, 0]))
    tensor([ 1., -1., -1.,  1.,  0.,  0.], dtype=torch.float64)
    """
    value = among(pdg_id, POSITIVE).double() - among(pdg_id, NEGATIVE).double()
    return value * pdg_id.sign()


def visible(pdg_id: Tensor) -> Tensor:
    """All but neutrinos and padding; shape as ``pdg_id``."""
    return (pdg_id != 0) & ~among(pdg_id, NEUTRINOS)


def electromagnetic_share(pdg_id: Tensor) -> Tensor:
    """The share of the energy that goes into the ECAL; shape as ``pdg_id``."""
    return among(pdg_id, ELECTROMAGNETIC).double() + 0.3 * among(pdg_id, MIXED).double()


def hadronic_share(pdg_id: Tensor) -> Tensor:
    """The share that goes into the HCAL: the rest, but nothing of muons and neutrinos."""
    seen = visible(pdg_id) & (pdg_id.abs() != MUON)
    return torch.where(seen, 1 - electromagnetic_share(pdg_id), 0.0)
