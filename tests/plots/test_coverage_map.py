from __future__ import annotations

import numpy as np
import pytest

from hepgen.errors import ParameterError
from hepgen.parameters import Parameter
from hepgen.plots import plot_coverage_map, svg
from tests.plots import statement_records as records

LINE = np.linspace(90, 92, 5)[:, None]
GRID = np.stack(np.meshgrid(np.linspace(90, 92, 4), [-1.0, 0.0, 1.0], indexing="ij"), -1).reshape(
    -1, 2
)


def test_over_one_parameter_there_are_levels_bands_and_errors(parameters: list[Parameter]) -> None:
    maps = [
        records.coverage(level, method, LINE, off)
        for level in (0.68, 0.95)
        for method, off in (("neyman", 0.0), ("profile", -0.05))
    ]
    axes = plot_coverage_map(maps, parameters[:1]).axes[0]
    assert axes.get_xlabel() == "True $m_Z$ [GeV]"
    assert axes.get_ylabel() == "Coverage [%]"
    assert axes.get_title(loc="right") == "1,000 toys a point"
    assert [t.get_text() for t in axes.texts] == ["68 %", "95 %"]
    legend = axes.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["Neyman", "Profile likelihood"]
    bands = [patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches]
    assert [bands[0].y0, bands[0].y1] == pytest.approx([0.65, 0.71])


def test_over_two_there_is_a_number_in_each_field(parameters: list[Parameter]) -> None:
    one = records.coverage(0.68, "profile", GRID)
    figure = plot_coverage_map([one], parameters)
    axes, bar = figure.axes
    assert axes.get_ylabel() == r"True $\delta_\mathrm{s}$"
    assert [t.get_text() for t in axes.texts] == ["68"] * 12
    assert bar.get_ylabel() == "Coverage − 68 [%]"


def test_points_that_are_no_grid_can_be_drawn(parameters: list[Parameter]) -> None:
    points = GRID + 0.01 * np.random.default_rng(1).normal(size=GRID.shape)
    assert svg(plot_coverage_map([records.coverage(0.95, "neyman", points)], parameters))


def test_maps_of_other_parameters_are_refused(parameters: list[Parameter]) -> None:
    with pytest.raises(ParameterError, match="expected scale"):
        plot_coverage_map([records.coverage(0.68, "neyman", LINE)], parameters[1:])
    with pytest.raises(ParameterError, match="one over two"):
        plot_coverage_map([records.coverage(0.68, "neyman", GRID)] * 2, parameters)
    with pytest.raises(ParameterError, match="0 coverage maps"):
        plot_coverage_map([], parameters)
