"""The figure of a scan shows its p-values, and the global one at the largest excess."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from hepgen.plots import plot_p_values, svg
from hepgen.search import SearchScan


def test_local_p_values_and_the_global_one() -> None:
    values, q = np.array([1500.0, 2000.0, 2500.0]), np.array([0.0, 9.0, 1.0])
    scan = SearchScan(
        "mu", "m_x", values, q, norm.sf(np.sqrt(q)), np.array([-0.1, 1.0, 0.2]), (), 0.02, 0.001,
        "upcrossings", 10_000, "GeV", "$m_X$",
    )  # fmt: skip
    figure = plot_p_values(scan, data="1000 events")
    (axes,) = figure.axes
    assert scan.largest == 1
    assert axes.get_xlabel() == "$m_X$ [GeV]"
    assert axes.get_yscale() == "log"
    drawn = np.asarray(axes.lines[0].get_ydata(), dtype=np.float64)
    np.testing.assert_allclose(drawn, np.asarray(norm.sf([0.0, 3.0, 1.0])))
    assert float(np.asarray(axes.lines[1].get_xdata())[0]) == 2000.0
    legend = axes.get_legend()
    assert legend is not None
    assert "Global: p = 0.02" in legend.get_texts()[1].get_text()
    # A line for each whole σ up to beyond the excess.
    assert [t.get_text() for t in axes.texts] == [rf"{z}$\sigma$" for z in range(1, 5)]
    assert "global p = 0.02" in str(figure.get_label())
    assert svg(figure)
