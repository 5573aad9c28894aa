from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from hepgen.errors import DataError
from hepgen.plots import plot_bias, plot_ecdf_difference, plot_expected_coverage, svg
from hepgen.results import UniformityTest

LEVELS = np.linspace(0.05, 0.95, 19)


def made(observed: np.ndarray, sets: int = 200, p_value: float = 0.031) -> UniformityTest:
    half = 0.08 * (200 / sets) ** 0.5
    return UniformityTest(
        "ranks of m_z", LEVELS, observed, LEVELS - half, LEVELS + half, sets, 0.95, p_value
    )


def _axes(figure: Figure) -> Any:
    return figure.axes[0]


def _legend(figure: Figure) -> list[str]:
    return [entry.get_text() for entry in _axes(figure).get_legend().get_texts()]


def test_the_difference_is_drawn_with_its_band_and_p_value() -> None:
    tests = {"NLE": made(LEVELS + 0.03), "NPE": made(LEVELS - 0.1, p_value=1e-7)}
    figure = plot_ecdf_difference(tests)
    assert _legend(figure) == ["95 % band, all levels", "NLE: p = 0.031", "NPE: p < 0.0001"]
    lines = [line for line in _axes(figure).lines if len(line.get_xdata()) == len(LEVELS)]
    assert lines[0].get_ydata() == pytest.approx(np.full(19, 0.03))
    assert lines[1].get_ydata() == pytest.approx(np.full(19, -0.1))
    band = _axes(figure).collections[0].get_paths()[0]
    assert band.contains_point((0.5, 0.07))
    assert not band.contains_point((0.5, 0.09))
    assert "ranks of m_z" in _axes(figure).get_xlabel()


def test_coverage_is_drawn_against_the_diagonal() -> None:
    figure = plot_expected_coverage({"Highest density": made(LEVELS**2)})
    line = next(line for line in _axes(figure).lines if len(line.get_xdata()) == len(LEVELS))
    assert line.get_ydata() == pytest.approx(LEVELS**2)
    assert "of 200 pseudo-data sets" in str(figure.get_label())
    assert svg(figure) == svg(plot_expected_coverage({"Highest density": made(LEVELS**2)}))


@pytest.mark.parametrize("draw", [plot_ecdf_difference, plot_expected_coverage])
def test_the_band_is_that_of_the_fewest_sets(draw: Any) -> None:
    """Of one of two estimators a set may be left out; nothing is narrower for it."""

    def height(figure: Figure) -> float:
        return float(np.ptp(_axes(figure).collections[0].get_paths()[0].vertices[:, 1]))

    few, many = made(LEVELS, sets=100), made(LEVELS)
    both = draw({"a": many, "b": few})
    assert height(both) == height(draw({"b": few})) > height(draw({"a": many}))
    assert "100 to 200 pseudo-data sets" in str(both.get_label())
    with pytest.raises(DataError, match="0 tests in one plot"):
        draw({})


def test_the_bias_is_drawn_on_two_logarithms() -> None:
    figure = plot_bias({"NLE": [(100, 0.02), (10_000, 0.2)], "corrected": [(100, 0.02)]})
    axes = _axes(figure)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.lines[0].get_xdata() == pytest.approx([100, 10_000])
    assert _legend(figure) == ["NLE", "corrected", "Asked: 0.2"]
    with pytest.raises(DataError, match="5 curves"):
        plot_bias({str(i): [(1, 1.0)] for i in range(5)})
