from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from hepgen.errors import DataError, ParameterError
from hepgen.parameters import Parameter
from hepgen.plots import plot_corner, svg
from hepgen.plots.corner import interval_text


def _grid(figure: Figure, size: int) -> Any:
    return np.array(figure.axes, dtype=object).reshape(size, size)


def test_only_the_lower_triangle_is_drawn(draws: np.ndarray, parameters: list[Parameter]) -> None:
    grid = _grid(plot_corner({"NLE": draws}, parameters), 2)
    visible = [[axes.get_visible() for axes in row] for row in grid]
    assert visible == [[True, False], [True, True]]


def test_axes_carry_labels_units_numbers_and_the_reference(
    draws: np.ndarray, parameters: list[Parameter]
) -> None:
    grid = _grid(plot_corner({"NLE": draws}, parameters), 2)
    assert grid[1, 0].get_xlabel() == "$m_Z$ [GeV]"
    assert grid[1, 0].get_ylabel() == r"$\delta_\mathrm{s}$"
    low, median, high = np.quantile(draws[:, 0], [0.16, 0.5, 0.84])
    assert grid[0, 0].get_title() == interval_text(low, median, high, draws[:, 0].std())
    marks = [line.get_xdata()[0] for line in grid[0, 0].lines if len(line.get_xdata()) == 2]
    assert marks == [91.1876]


def test_the_68_percent_region_holds_68_percent_of_the_draws(parameters: list[Parameter]) -> None:
    rng = np.random.default_rng(5)
    draws = rng.normal([90.9, 0.0], [0.2, 0.0018], (20_000, 2))
    axes = _grid(plot_corner({"NLE": draws}, parameters), 2)[1, 0]
    outer, inner = axes.collections[-1].get_paths()
    for path, mass in ((outer, 0.95), (inner, 0.68)):
        # The kernel widens each side by 2.8 %: 0.70 and 0.956 for a Gaussian.
        assert path.contains_points(draws).mean() == pytest.approx(mass, abs=0.03)


def test_a_second_posterior_adds_a_line_to_each_panel(
    draws: np.ndarray, parameters: list[Parameter]
) -> None:
    one = _grid(plot_corner({"NLE": draws}, parameters), 2)
    two = _grid(plot_corner({"NLE": draws, "NPE": draws + np.array([0.1, 0])}, parameters), 2)
    assert len(two[0, 0].lines) == len(one[0, 0].lines) + 1
    assert len(two[1, 0].collections) == len(one[1, 0].collections) + 1
    assert two[0, 0].lines[1].get_linestyle() != two[0, 0].lines[0].get_linestyle()


@pytest.mark.parametrize("size", [1, 2, 6])
def test_any_number_of_parameters_can_be_drawn(size: int) -> None:
    draws = np.random.default_rng(0).normal(size=(300, size))
    parameters = [Parameter(f"p{i}", 0.0, "GeV") for i in range(size)]
    assert svg(plot_corner({"NLE": draws}, parameters))


def test_a_parameter_that_does_not_vary_can_be_drawn(parameters: list[Parameter]) -> None:
    draws = np.column_stack([np.full(100, 91.0), np.zeros(100)])
    assert svg(plot_corner({"NLE": draws}, parameters))


def test_wrong_draws_are_refused(draws: np.ndarray, parameters: list[Parameter]) -> None:
    with pytest.raises(ParameterError, match=r"\(S, 2\): m_z, scale"):
        plot_corner({"NLE": draws[:, :1]}, parameters)
    with pytest.raises(ParameterError, match="one or two"):
        plot_corner({}, parameters)
    bad = draws.copy()
    bad[7, 1] = np.nan
    with pytest.raises(DataError, match="'NPE' has 3000 draws with 1 "):
        plot_corner({"NLE": draws, "NPE": bad}, parameters)
