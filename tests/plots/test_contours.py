from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hepgen.errors import DataError, ParameterError
from hepgen.plots import plot_contours, svg
from tests.plots import statement_records as records


def test_axes_the_best_fit_and_the_levels_are_named() -> None:
    figure = plot_contours({"Observed": records.ellipse()}, reference=(91.1876, 0.0))
    axes = figure.axes[0]
    assert axes.get_xlabel() == "$m_Z$ [GeV]"
    assert axes.get_ylabel() == r"$\delta_\mathrm{s}$"
    legend = axes.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == [
        "Observed, 68 %", "Observed, 95 %", "Observed, best fit", "Reference",
    ]  # fmt: skip
    assert "correlation -0.60" in str(figure.get_label())


def test_a_region_holds_the_share_of_a_gaussian_that_it_says() -> None:
    one = records.ellipse()
    axes = plot_contours({"Observed": one}).axes[0]
    draws = np.random.default_rng(3).multivariate_normal(one.best, one.covariance, 20_000)
    inner, outer = axes.collections[-1].get_paths()
    for path, level in ((inner, 0.68), (outer, 0.95)):
        # Three binomial standard deviations are 0.01.
        assert path.contains_points(draws).mean() == pytest.approx(level, abs=0.012)


def test_the_frame_is_that_of_the_regions_and_not_of_the_grid() -> None:
    one = records.ellipse()
    low, high = plot_contours({"Observed": one}).axes[0].get_xlim()
    assert one.x[0] < low < 91.0 - 2.4477 * 0.2
    assert 91.0 + 2.4477 * 0.2 < high < one.x[-1]


def test_a_second_one_is_broken_lines_and_holes_can_be_drawn() -> None:
    first, second = records.ellipse(), records.ellipse((91.2, 0.0))
    holes = first.statistic.copy()
    holes[40:43, 40:43] = np.nan
    figure = plot_contours({"Observed": replace(first, statistic=holes), "Expected": second})
    assert svg(figure)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert "Expected, 68 and 95 %" in [t.get_text() for t in legend.get_texts()]


def test_what_does_not_belong_together_is_refused() -> None:
    one = records.ellipse()
    with pytest.raises(ParameterError, match="one or two"):
        plot_contours({})
    with pytest.raises(ParameterError, match="'b' is of m_z and width"):
        plot_contours({"a": one, "b": replace(one, parameters=("m_z", "width"))})
    with pytest.raises(DataError, match=r"expected \(101, 91\)"):
        plot_contours({"a": replace(one, statistic=one.statistic.T)})
