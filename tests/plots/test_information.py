"""The figure of what simulations buy shows the numbers of its record."""

from __future__ import annotations

import numpy as np

from hepgen.plots.information import plot_budget
from hepgen.plots.style import svg
from hepgen.results import BudgetCurve


def curve(method: str, augmented: bool) -> BudgetCurve:
    return BudgetCurve(
        method, "alpha_s", augmented, np.array([1000, 10_000]), 100,
        np.array([0.002, 0.003]), np.array([0.004, 0.0031]), np.array([0.4, 0.66]),
    )  # fmt: skip


def test_a_line_for_each_estimator() -> None:
    curves = [curve("SCANDAL", True), curve("NLE", False)]
    figure = plot_budget(curves, reference=0.0029)
    width, rms, coverage = figure.axes
    assert [line.get_linestyle() for line in width.lines[:2]] == ["-", "--"]
    np.testing.assert_array_equal(rms.lines[0].get_ydata(), [0.004, 0.0031])
    np.testing.assert_array_equal(coverage.lines[0].get_xdata(), [1000, 10_000])
    assert width.lines[2].get_ydata()[0] == 0.0029  # type: ignore[index]
    legend = width.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["SCANDAL", "NLE"]
    assert "100 pseudo-data sets" in str(figure.get_label())
    assert svg(figure) == svg(plot_budget(curves, reference=0.0029))
