from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from scipy.stats import binom

from hepgen.errors import ParameterError
from hepgen.parameters import Parameter
from hepgen.plots import plot_coverage, plot_pulls, plot_ranks, plot_recovery, svg
from hepgen.results import Calibration


def _axes(figure: Figure) -> Any:
    return figure.axes[0]


def _legend(figure: Figure) -> list[str]:
    return [entry.get_text() for entry in _axes(figure).get_legend().get_texts()]


def test_ranks_are_counted_within_the_binomial_band(
    calibration: Calibration, parameters: list[Parameter]
) -> None:
    axes = _axes(plot_ranks([calibration], parameters[0]))
    counts = axes.patches[-1].get_data().values
    assert counts.sum() == 200
    assert counts == pytest.approx(np.histogram(calibration.rank[:, 0], len(counts), (0, 1))[0])
    band = axes.patches[0].get_bbox()
    p = 1 / len(counts)
    assert [band.y0, band.y1] == list(binom.ppf([0.025, 0.975], 200, p))


def test_coverage_states_the_68_percent_point_with_its_error(
    calibration: Calibration, parameters: list[Parameter]
) -> None:
    exact = replace(calibration, rank=np.tile(((np.arange(200) + 0.5) / 200)[:, None], 2))
    figure = plot_coverage([exact], parameters[0])
    assert "NLE (chain): 0.680 ± 0.033 at 68 %" in _legend(figure)
    curve = next(line for line in _axes(figure).lines if len(line.get_xdata()) == 101)
    assert curve.get_ydata() == pytest.approx(curve.get_xdata(), abs=0.0101)


def test_an_overconfident_posterior_leaves_the_coverage_band(
    calibration: Calibration, parameters: list[Parameter]
) -> None:
    narrow = replace(calibration, rank=np.tile([[0.001], [0.999], [0.4], [0.6]], (50, 2)))
    figure = plot_coverage([narrow], parameters[0])
    assert "NLE (chain): 0.500 ± 0.035 at 68 %" in _legend(figure)
    band = _axes(figure).collections[0].get_paths()[0]
    assert not band.contains_point((0.68, 0.50))
    assert band.contains_point((0.68, binom.ppf(0.05, 200, 0.68) / 200))


def test_pulls_state_their_mean_and_width(
    calibration: Calibration, parameters: list[Parameter]
) -> None:
    half = calibration.truth + np.tile([[0.6], [-0.4]], (100, 2)) * calibration.std
    figure = plot_pulls([replace(calibration, mean=half)], parameters[0])
    assert "NLE (chain): mean 0.10 ± 0.04, width 0.50 ± 0.03" in _legend(figure)


def test_pulls_outside_the_frame_are_counted(
    calibration: Calibration, parameters: list[Parameter]
) -> None:
    mean = calibration.mean.copy()
    mean[0] += 100 * calibration.std[0]
    assert "1 outside" in _legend(plot_pulls([replace(calibration, mean=mean)], parameters[0]))[1]


def test_recovery_draws_every_set_and_the_diagonal(
    calibration: Calibration, parameters: list[Parameter]
) -> None:
    axes = _axes(plot_recovery(calibration, parameters[0]))
    points = axes.containers[0].lines[0]
    assert points.get_xdata() == pytest.approx(calibration.truth[:, 0])
    assert points.get_ydata() == pytest.approx(calibration.mean[:, 0])
    assert axes.get_xlabel() == "True $m_Z$ [GeV]"
    diagonal = axes.lines[-1]
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())


def test_up_to_three_calibrations_can_be_compared(
    calibration: Calibration, parameters: list[Parameter]
) -> None:
    three = [replace(calibration, method=method) for method in ("nle", "npe", "nre")]
    for plot in (plot_ranks, plot_coverage, plot_pulls):
        assert svg(plot(three, parameters[0]))
        with pytest.raises(ParameterError, match="4 calibrations"):
            plot([*three, calibration], parameters[0])


def test_few_sets_can_be_drawn(calibration: Calibration, parameters: list[Parameter]) -> None:
    few = Calibration(
        "npe", "pythia", calibration.parameters, calibration.events[:3], calibration.truth[:3],
        calibration.mean[:3], calibration.std[:3], calibration.rank[:3],
    )  # fmt: skip
    for plot in (plot_ranks, plot_coverage, plot_pulls):
        assert svg(plot([few], parameters[1]))
    with pytest.raises(ParameterError, match="1 pseudo-data sets; expected 2 at least"):
        plot_ranks([times(few, 1 / 3)], parameters[0])


@pytest.mark.parametrize("plot", [plot_ranks, plot_pulls])
def test_counts_of_different_numbers_of_sets_are_of_the_fewest(
    calibration: Calibration, parameters: list[Parameter], plot: Any
) -> None:
    """Of half as many sets, twice: the same curve."""
    twice = times(calibration, 2)
    axes = plot([calibration, twice], parameters[0]).axes[0]
    first, second = (p.get_data()[0] for p in axes.patches if isinstance(p, StepPatch))
    assert np.allclose(first, second)
    assert svg(plot_coverage([twice, calibration], parameters[0]))


def times(calibration: Calibration, number: float) -> Calibration:
    """The sets so many times."""

    def rows(values: np.ndarray) -> np.ndarray:
        return np.resize(values, (round(number * len(values)), *values.shape[1:]))

    return Calibration(
        calibration.method, calibration.source, calibration.parameters, rows(calibration.events),
        rows(calibration.truth), rows(calibration.mean), rows(calibration.std),
        rows(calibration.rank),
    )  # fmt: skip


def test_an_unknown_parameter_is_named(calibration: Calibration) -> None:
    with pytest.raises(ParameterError, match="did you mean 'm_z'"):
        plot_ranks([calibration], Parameter("m_zz", 0.0))
