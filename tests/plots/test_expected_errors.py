"""The figure of expected errors shows the numbers of its record."""

from __future__ import annotations

import math

import numpy as np

from hepgen.information import ExpectedError, InformationTable
from hepgen.plots import plot_expected_errors, svg


def test_a_row_for_each_source_and_none_for_what_is_not_fixed() -> None:
    rows = (
        ExpectedError("whole history", "at least", 0.07, 0.001, 0.06, 0.001),
        ExpectedError("NLE", "at most", 0.2, 0.01, 0.15, 0.01),
        ExpectedError("Dimuon_pt", "at most", math.inf, 0.0, 0.3, 0.02),
    )
    table = InformationTable("m_z", 1000, {"m_z": 91.2}, rows, 40_000, "GeV", "$m_Z$")
    figure = plot_expected_errors(table)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "Expected error of $m_Z$ [GeV]"
    assert [t.get_text() for t in axes.get_yticklabels()] == [row.source for row in rows]
    assert [t.get_text() for t in axes.texts] == ["≥ 0.070", "≤ 0.200", "not fixed"]
    drawn = [
        float(np.asarray(line.get_xdata())[0]) for line in axes.lines if line.get_marker() == "o"
    ]
    assert drawn[:2] == [0.07, 0.2]
    assert math.isnan(drawn[2])
    assert "1000 events" in str(figure.get_label())
    assert svg(figure)
