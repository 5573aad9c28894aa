"""From signals to cells, and from cells to the observables of a shower."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.events import Events
from hepgen.images import CELL_ENERGY, CELL_INDEX, dense_images
from hepgen.simulators.calorimeter.digitisation import digitise
from hepgen.simulators.calorimeter.material import Geometry
from hepgen.simulators.stage import Stage, State

#: The cells that are read, with unit and label; the index counts layer, η, φ, the last fastest.
CELL_COLUMNS = {
    CELL_INDEX: ("", "cell"),
    CELL_ENERGY: ("GeV", "$E$ of a cell"),
}
#: What is made of them.
CALO_COLUMNS = {
    "Layer_energy": ("GeV", "$E$ of a layer"),
    "Calo_energy": ("GeV", r"$E_\mathrm{reco}$"),
    "Calo_eta": ("cell", r"$\langle\eta\rangle$"),
    "Calo_phi": ("cell", r"$\langle\phi\rangle$"),
    "Calo_width": ("cell", r"lateral width"),
    "Calo_depth": ("X0", r"$\langle t\rangle$"),
    "Calo_length": ("X0", r"longitudinal width"),
}


@dataclass(frozen=True)
class CalorimeterReconstruction(Stage):
    r"""The cells above threshold, and energy, centre and widths of the shower.

    With e_i the readings and x_i, y_i (in cells from the centre of the calorimeter), t_i (X₀)
    the middles of their cells: ``Calo_energy`` = Σe, ``Calo_eta`` and ``Calo_phi`` = ⟨x⟩ and ⟨y⟩,
    ``Calo_width`` = √(var x + var y), ``Calo_depth`` = ⟨t⟩, ``Calo_length`` = √var t, weighted
    with e; all but the energy are 0 where Σe ≤ 0. No correction for leakage.

    A deterministic stage: the same code reconstructs simulated and measured events.

    Arguments:
        geometry: The cells.
        adc_step: GeV in a count.
        adc_bits: The converter has 2^bits counts.
        pedestal: Counts at no signal.
        threshold: Readings above it are kept, GeV; 0 keeps every cell.
    """

    geometry: Geometry = field(default_factory=Geometry)
    adc_step: float = 0.001
    adc_bits: int = 16
    pedestal: int = 100
    threshold: float = 0.009

    name = "reconstruction"
    requires = ("cell_signal",)
    provides = ("nCell", *CELL_COLUMNS, *CALO_COLUMNS)
    measured = tuple(CELL_COLUMNS)

    def __post_init__(self) -> None:
        if not (self.adc_step > 0 and 0 <= self.pedestal < 2**self.adc_bits <= 2**40):
            raise WorkflowError(
                f"a converter of {self.adc_bits} bits of {self.adc_step} GeV with its pedestal at "
                f"{self.pedestal}: expected a positive step and a pedestal in its range"
            )
        if self.threshold < 0:
            raise WorkflowError(f"threshold = {self.threshold} GeV: expected 0 or more")

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Add the cells that are read and the observables of every event."""
        reading = digitise(
            state["cell_signal"], self.adc_step, self.adc_bits, self.pedestal, self.threshold
        )
        kept = reading > 0 if self.threshold > 0 else torch.ones_like(reading, dtype=torch.bool)
        return state | sparse(reading, kept) | self.observables(reading)

    def observables(self, reading: Tensor) -> State:
        """Columns of shape ``(*,)``, and ``Layer_energy`` of shape ``(*, layers)``.

        Arguments:
            reading: GeV, zero where nothing is read, shape ``(*, voxels)``.
        """
        image = reading.reshape(*reading.shape[:-1], *self.geometry.shape)
        total = image.sum((-3, -2, -1))
        depth, eta, phi = self.geometry.middles
        t, long = moments(image.sum((-2, -1)), depth)
        x, wide = moments(image.sum((-3, -1)), eta)
        y, high = moments(image.sum((-3, -2)), phi)
        return {
            "Layer_energy": image.sum((-2, -1)),
            "Calo_energy": total,
            "Calo_eta": x,
            "Calo_phi": y,
            "Calo_width": (wide + high).clamp_min(0).sqrt(),
            "Calo_depth": t,
            "Calo_length": long.clamp_min(0).sqrt(),
        }

    def reconstruct(self, events: Events) -> Events:
        """Events with jagged ``Cell_*`` columns, with the observables added."""
        dense = torch.from_numpy(dense_images(events, self.geometry.voxels))
        new = {name: value.numpy() for name, value in self.observables(dense).items()}
        columns = {name: events[name] for name in events.fields}
        return Events.from_columns(columns | new, events.provenance)


def moments(weight: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of positions with weights, 0 where their sum is not positive.

    Arguments:
        weight: Shape ``(*, K)``.
        at: Shape ``(K,)``.
    """
    total = weight.sum(-1)
    some = total > 0
    norm = torch.where(some, total, 1.0)
    mean = torch.where(some, (weight * at).sum(-1) / norm, 0.0)
    spread = (weight * (at - mean[..., None]).square()).sum(-1) / norm
    return mean, torch.where(some, spread, 0.0)


def sparse(reading: Tensor, kept: Tensor) -> State:
    """The kept cells of dense images, first in their rows, with their number."""
    number = kept.sum(-1)
    width = max(int(number.max()), 1)
    slot = (kept.cumsum(-1) - 1)[kept]
    *event, index = kept.nonzero(as_tuple=True)
    energy = torch.zeros(*number.shape, width, dtype=reading.dtype)
    cell = torch.zeros(*number.shape, width, dtype=torch.int64)
    energy[(*event, slot)] = reading[kept]
    cell[(*event, slot)] = index
    return {"nCell": number, CELL_INDEX: cell, CELL_ENERGY: energy}
