"""The figure of what bins cost shows the numbers of its record."""

from __future__ import annotations

import numpy as np

from hepgen.binning import BinnedFit
from hepgen.plots import plot_binning, svg


def test_the_workspace_is_marked_among_the_others() -> None:
    fitted = BinnedFit(
        "m_z", "Dimuon_mass", 91.47, 0.22, 91.5, 0.2, np.array([10, 20, 40]),
        np.array([0.3, 0.22, np.inf]), 0.2, 20, "GeV", "$m_Z$",
    )  # fmt: skip
    (axes,) = plot_binning(fitted).axes
    drawn = np.asarray(axes.lines[1].get_ydata(), dtype=np.float64)
    np.testing.assert_allclose(drawn, np.array([1.5, 1.1, np.nan]))
    assert axes.get_xlabel() == "Bins of Dimuon_mass"
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_texts()[-1].get_text() == "Workspace: 20 bins, +10.0 %"
    assert "91.47 ± 0.22 GeV" in str(plot_binning(fitted).get_label())
    assert svg(plot_binning(fitted))
