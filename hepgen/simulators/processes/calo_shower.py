"""An electron or a photon in a segmented electromagnetic calorimeter."""

from __future__ import annotations

from hepgen.simulators.calorimeter.digitisation import Digitisation
from hepgen.simulators.calorimeter.material import Geometry
from hepgen.simulators.calorimeter.profile import ShowerProfile
from hepgen.simulators.calorimeter.reconstruction import (
    CALO_COLUMNS,
    CELL_COLUMNS,
    CalorimeterReconstruction,
)
from hepgen.simulators.calorimeter.spots import Spots
from hepgen.simulators.chain import Chain


def calo_shower(
    particle: str = "electron",
    layers: int = 10,
    eta_cells: int = 12,
    phi_cells: int = 12,
    depth: float = 25.0,
    cell_size: float = 22.0,
    slices: int = 4,
    light_yield: float = 4500.0,
    adc_step: float = 0.001,
    adc_bits: int = 16,
    threshold: float = 0.009,
) -> Chain:
    """An electron or a photon into lead tungstate: profile, spots, digitisation, cells.

    Arguments:
        particle: ``electron`` or ``photon``.
        layers: In depth.
        eta_cells, phi_cells: Cells in each layer.
        depth: Of all layers, in X₀.
        cell_size: The side of a cell, mm.
        slices: Steps in depth for each layer, in which the radial profile is constant.
        light_yield: Photo-electrons in each GeV.
        adc_step: GeV in a count of the converter.
        adc_bits: The converter has 2^bits counts.
        threshold: Readings above it are kept, GeV; 0 keeps every cell.
    """
    geometry = Geometry(layers, eta_cells, phi_cells, depth, cell_size)
    stages = [
        ShowerProfile(particle),
        Spots(geometry, slices=slices),
        Digitisation(light_yield),
        CalorimeterReconstruction(geometry, adc_step, adc_bits, threshold=threshold),
    ]
    return Chain(
        stages,
        observables=CALO_COLUMNS | CELL_COLUMNS,
        name="calo_shower",
        image=geometry.shape,
    )
