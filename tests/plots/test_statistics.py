from __future__ import annotations

import numpy as np
import pytest

from hepgen.errors import DataError
from hepgen.plots import plot_error_budget, plot_null, plot_ratio_calibration, plot_statistics, svg
from hepgen.statements import ErrorBudget


def test_a_statistic_stands_among_those_of_the_hypothesis() -> None:
    null = np.random.default_rng(1).chisquare(2, 99)
    figure = plot_null(
        {"NLE": (3 * null.max(), null), "NPE": (float(null[0]), null)}, of="Distance"
    )
    (axes,) = figure.axes
    assert [line.get_linestyle() for line in axes.lines] == ["--", "--"]
    assert np.ravel(axes.lines[0].get_xdata())[0] == pytest.approx(3 * null.max() / null.mean())
    assert "NLE: p = 0.01" in str(figure.get_label())
    assert axes.get_xlim()[1] > 3 * null.max() / null.mean()
    assert svg(figure)


def test_statistics_are_in_units_of_their_replications() -> None:
    replicated = np.array([1.0, 2.0, 3.0])
    figure = plot_statistics({"mean of x": (5.0, replicated), "mean of y": (2.0, replicated)})
    (axes,) = figure.axes
    data = [np.ravel(line.get_xdata()) for line in axes.lines]
    points = [float(x[0]) for x in data if len(x) == 1]
    assert points == [3.0, 0.0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["mean of x", "mean of y"]


def test_a_ratio_that_is_right_is_on_the_diagonal() -> None:
    rng = np.random.default_rng(2)
    above, below = rng.normal(1, 1, 50_000) - 0.5, rng.normal(0, 1, 50_000) - 0.5
    figure = plot_ratio_calibration({"NRE": (2 * above, 2 * below)}, {"line": (above, below)})
    raw, line = (c.lines[0].get_xydata() for c in figure.axes[0].containers)  # type: ignore[attr-defined]
    # The bins at the ends are wide.
    assert np.abs(raw[2:-2, 1] - raw[2:-2, 0] / 2).max() < 0.1
    assert np.abs(line[2:-2, 1] - line[2:-2, 0]).max() < 0.1


def test_the_parts_of_an_error_have_a_bar_each() -> None:
    budget = ErrorBudget("m_z", "nle", 3.0, 4.0, 12.0, 1.0, 5, unit="GeV", label="$m_Z$")
    figure = plot_error_budget(budget)
    (axes,) = figure.axes
    assert [p.get_width() for p in axes.patches] == [3.0, 4.0, 12.0, 13.0]  # type: ignore[attr-defined]
    assert axes.get_xlabel() == "Error of $m_Z$ [GeV]"
    assert "the spread of 5 trainings" in str(figure.get_label())
    alone = plot_error_budget(ErrorBudget("m_z", "nle", 3.0, 0.0))
    assert "not known: one training" in [t.get_text() for t in alone.axes[0].texts]
    assert [t.get_text() for t in alone.axes[0].get_yticklabels()] == [
        "data", "finite simulation", "all in quadrature",
    ]  # fmt: skip


def test_nothing_to_plot_is_refused() -> None:
    with pytest.raises(DataError, match="0 tests"):
        plot_null({}, of="Distance")
    with pytest.raises(DataError, match="0 tests"):
        plot_statistics({})
