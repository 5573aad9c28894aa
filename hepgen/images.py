"""Images of a calorimeter: sparse cells of events to dense rows."""

from __future__ import annotations

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgen.errors import DataError
from hepgen.events import Events

#: The columns of the cells that are read: the index in the flattened image, and GeV.
CELL_INDEX, CELL_ENERGY = "Cell_index", "Cell_energy"


def dense_images(events: Events, voxels: int) -> NDArray[np.float64]:
    """The images of events with the jagged columns ``Cell_index`` and ``Cell_energy``.

    Arguments:
        events: N of them, with any number of cells each.
        voxels: Of a whole image.

    Returns:
        Shape ``(N, voxels)``, in the unit of ``Cell_energy``; a cell that is listed twice has
        the sum.

    Raises:
        DataError: The columns are not of the same cells, or a cell is not in the image.

    >>> dense_images(Events.from_columns({
    ...     "Cell_index": ak.Array([[1], []]), "Cell_energy": ak.Array([[0.5], []])}), 3)
    array([[0. , 0.5, 0. ],
           [0. , 0. , 0. ]])
    """
    index, energy = events[CELL_INDEX], events[CELL_ENERGY]
    if index.ndim != 2 or energy.ndim != 2 or bool(ak.any(ak.num(index) != ak.num(energy))):
        raise DataError(
            f"columns {CELL_INDEX!r} and {CELL_ENERGY!r} do not list the same cells; map them "
            "from the same collection"
        )
    row = np.repeat(np.arange(len(events)), ak.to_numpy(ak.num(index)))
    cell = np.asarray(ak.to_numpy(ak.flatten(index)))
    if len(cell) and not (cell.min() >= 0 and cell.max() < voxels):
        raise DataError(
            f"{CELL_INDEX!r} goes from {cell.min()} to {cell.max()}; expected 0 to {voxels - 1}, "
            "the cells of this calorimeter"
        )
    values = np.asarray(ak.to_numpy(ak.flatten(energy)), dtype=np.float64)
    place = row * voxels + cell.astype(np.int64)
    flat = np.bincount(place, weights=values, minlength=len(events) * voxels)
    return np.asarray(flat, dtype=np.float64).reshape(len(events), voxels)
