"""Event shapes: numbers that say how an e⁺e⁻ event is spread over the sphere."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hepgen.simulators.coordinates import momenta
from hepgen.simulators.detectors.species import charge
from hepgen.simulators.jets import durham_y, library, particles
from hepgen.simulators.stage import Stage, State
from hepgen.simulators.thrust import thrust

#: What the stage adds, with unit and label.
EVENT_SHAPES = {
    "Thrust": ("", r"$T$"),
    "Sphericity": ("", r"$S$"),
    "C_parameter": ("", r"$C$"),
    "Heavy_jet_mass": ("", r"$M_H^2/E_\mathrm{vis}^2$"),
    "Durham_y23": ("", r"$y_{23}$"),
    "nCharged": ("", r"$n_\mathrm{ch}$"),
}


class EventShapes(Stage):
    r"""Thrust, sphericity, C-parameter, heavy jet mass, Durham y₂₃ and charged multiplicity.

    .. math:: S = \tfrac32(\lambda_2 + \lambda_3) \text{ of } \frac{\sum p^a p^b}{\sum p^2}, \quad
        C = 3(\lambda_1\lambda_2 + \lambda_2\lambda_3 + \lambda_3\lambda_1) \text{ of }
        \frac{\sum p^a p^b/|p|}{\sum |p|}, \quad
        \rho_H = \frac{\max(M_1^2, M_2^2)}{E_\mathrm{vis}^2}

    with M₁, M₂ the masses of the two sides of the plane normal to the thrust axis (ALEPH, Eur.
    Phys. J. C 35 (2004) 457). ``Heavy_jet_mass`` is ρ_H. Neutrinos do not count. An event
    without objects has zeros. Deterministic.

    Arguments:
        source: The prefix of the objects: ``Flow``, ``Particle`` or ``Parton``.
        charged: With ``nCharged``. Of particle-flow objects it is the number of tracks, and a
            chain may have that of its hadrons under this name.
    """

    name = "event_shapes"

    def __init__(self, source: str = "Flow", charged: bool = True) -> None:
        library()
        self.source, self.charged = source, charged
        self.provides = tuple(n for n in EVENT_SHAPES if charged or n != "nCharged")
        self.requires = tuple(f"{source}_{c}" for c in ("px", "py", "pz", "e", "id"))

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Add the shapes of every event."""
        events, mask = particles(state, self.source)
        px, py, pz, e = (torch.where(mask, c, 0.0) for c in momenta(state, self.source))
        p, energy = torch.stack((px, py, pz), dim=-1).flatten(0, 1), e.flatten(0, 1)
        value, axis = thrust(p)
        columns = {
            "Thrust": value,
            "Sphericity": sphericity(p),
            "C_parameter": c_parameter(p),
            "Heavy_jet_mass": heavy_jet_mass(p, energy, axis),
            "Durham_y23": torch.from_numpy(durham_y(events, 2)),
        }
        shaped = {name: column.reshape(mask.shape[:2]) for name, column in columns.items()}
        if self.charged:
            shaped["nCharged"] = charged_multiplicity(state[f"{self.source}_id"])
        return state | shaped


class ChargedMultiplicity(Stage):
    """``nCharged``, the number of charged stable particles. Deterministic."""

    name = "charged_multiplicity"
    requires = ("Particle_id",)
    provides = ("nCharged",)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Count those of every event."""
        return state | {"nCharged": charged_multiplicity(state["Particle_id"])}


def charged_multiplicity(pdg_id: Tensor) -> Tensor:
    """How many of an event's objects are charged, shape ``(G, E)``, by PDG id, ``(G, E, K)``.

    >>> charged_multiplicity(torch.tensor([[[211, 22, -13, 0]]]))
    tensor([[2]])
    """
    return (charge(pdg_id) != 0).sum(-1)


def _tensor(p: Tensor, power: int) -> Tensor:
    """Σ p^a p^b |p|^(power − 2) / Σ|p|^power, shape ``(B, 3, 3)``."""
    size = p.norm(dim=-1)
    weight = torch.where(size > 0, size.clamp_min(1e-300) ** (power - 2), 0.0)
    total: Tensor = (size**power).sum(-1).clamp_min(1e-300)
    products: Tensor = torch.einsum("bk,bki,bkj->bij", weight, p, p)
    return products / total[:, None, None]


def sphericity(p: Tensor) -> Tensor:
    """S of momenta of shape ``(B, N, 3)``: 0 for a line, 1 for a sphere; shape ``(B,)``.

    >>> sphericity(torch.eye(3)[None])
    tensor([1.])
    """
    values = torch.linalg.eigvalsh(_tensor(p, 2))
    spread: Tensor = 1.5 * (values[:, 0] + values[:, 1])
    return spread.clamp_min(0)


def c_parameter(p: Tensor) -> Tensor:
    """C of momenta of shape ``(B, N, 3)``: 0 for a line, ¾ for the symmetric three-jet event.

    >>> c_parameter(torch.tensor([[[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]]))
    tensor([0.])
    """
    tensor = _tensor(p, 1)
    trace = torch.einsum("bii->b", tensor)
    return (1.5 * (trace.square() - tensor.square().sum((-2, -1)))).clamp_min(0)


def heavy_jet_mass(p: Tensor, energy: Tensor, axis: Tensor) -> Tensor:
    """ρ_H of momenta ``(B, N, 3)`` and energies ``(B, N)`` about an axis ``(B, 3)``."""
    forward = (torch.einsum("bkc,bc->bk", p, axis) > 0).to(p.dtype)
    masses = []
    for side in (forward, 1 - forward):
        total = torch.einsum("bk,bkc->bc", side, p)
        masses.append((side * energy).sum(-1).square() - total.square().sum(-1))
    visible_energy = energy.sum(-1).square().clamp_min(1e-300)
    return torch.maximum(*masses).clamp_min(0) / visible_energy
