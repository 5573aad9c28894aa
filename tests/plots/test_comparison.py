from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import poisson

from hepgen.errors import DataError
from hepgen.plots import plot_comparison, plot_spectrum, svg
from hepgen.plots.comparison import half_width, poisson_interval
from hepgen.results import FeatureComparison


def _panels(figure: Figure) -> tuple[Any, Any]:
    main, ratio = figure.axes
    return main, ratio


def test_poisson_intervals_have_equal_tails() -> None:
    counts = np.array([1.0, 4.0, 30.0, 400.0])
    below, above = poisson_interval(counts)
    assert poisson.sf(counts - 1, counts - below) == pytest.approx(np.full(4, 0.158655))
    assert poisson.cdf(counts, counts + above) == pytest.approx(np.full(4, 0.158655))


def test_the_interval_of_no_events_starts_at_zero() -> None:
    below, above = poisson_interval(np.array([0.0]))
    assert below[0] == 0
    assert np.exp(-above[0]) == pytest.approx(0.158655)


def test_panels_are_labelled_and_share_their_axis(feature: FeatureComparison) -> None:
    main, ratio = plot_comparison(feature).axes
    assert main.get_ylabel() == "Events / 2 GeV"
    assert ratio.get_xlabel() == r"$M_{\mu\mu}$ [GeV]"
    assert main.get_xlim() == ratio.get_xlim() == (86.0, 96.0)
    assert main.get_title("left") == "In the likelihood"
    assert "$p$ = 0.43" in main.get_title("right")


def test_a_control_says_so(feature: FeatureComparison) -> None:
    figure = plot_comparison(replace(feature, in_likelihood=False, p_value=float("nan")))
    assert figure.axes[0].get_title("left") == "Control, not in the likelihood"
    assert "$p$" not in figure.axes[0].get_title("right")
    assert "a control" in str(figure.get_label())


def test_bins_of_different_widths_are_not_given_one(feature: FeatureComparison) -> None:
    uneven = replace(feature, edges=np.array([0.0, 1.0, 2.0, 4.0, 8.0, 16.0]), unit="")
    assert plot_comparison(uneven).axes[0].get_ylabel() == "Events / bin"


def test_the_ratio_is_data_over_prediction_and_skips_empty_bins(
    feature: FeatureComparison,
) -> None:
    _, ratio = _panels(plot_comparison(feature))
    points = ratio.containers[0].lines[0].get_ydata()
    assert points == pytest.approx([1.2, 0.95, 85 / 80, 0.9, np.nan], nan_ok=True)


def test_a_point_outside_the_ratio_panel_is_marked_at_its_edge(
    feature: FeatureComparison,
) -> None:
    observed = np.array([12.0, 38.0, 85.0, 36.0, 60.0])
    _, ratio = _panels(plot_comparison(replace(feature, observed=observed)))
    low, high = ratio.get_ylim()
    up, down = (line for line in ratio.lines if line.get_marker() in ("^", "v"))
    assert list(up.get_xdata()) == [95.0]
    assert list(down.get_xdata()) == []
    assert low < up.get_ydata()[0] < high < 6.0


@pytest.mark.parametrize(("spread", "half"), [(0.05, 0.12), (0.2, 0.3), (0.4, 0.6), (3.0, 0.95)])
def test_the_ratio_panel_is_as_high_as_it_has_to_be(spread: float, half: float) -> None:
    assert half_width(np.array([1 - spread, 1 + spread]), np.array([0.01, 0.01])) == half


def test_errors_of_weighted_data_are_their_own(feature: FeatureComparison) -> None:
    std = np.full(5, 2.5)
    main, _ = _panels(plot_comparison(replace(feature, observed_std=std)))
    segments = main.containers[0].lines[2][0].get_segments()
    assert [segment[1, 1] - segment[0, 1] for segment in segments] == pytest.approx([5.0] * 5)


def test_empty_predictions_and_logarithmic_scales_draw(feature: FeatureComparison) -> None:
    empty = replace(feature, predicted=np.zeros(5), uncertainty=np.zeros(5), training=None)
    for one in (feature, empty):
        for log in (False, True):
            assert svg(plot_comparison(one, log=log))


def test_a_spectrum_stacks_its_components(feature: FeatureComparison) -> None:
    parts = {"Background": np.full(5, 2.0), "Signal": feature.predicted - 2.0}
    figure = plot_spectrum(
        feature.edges, feature.observed, parts, axis="M [GeV]", unit="GeV",
        uncertainty=feature.uncertainty,
    )  # fmt: skip
    main, ratio = _panels(figure)
    tops = [patch.get_data().values for patch in main.patches[:2]]
    assert tops[0] == pytest.approx(np.full(5, 2.0))
    assert tops[1] == pytest.approx(feature.predicted)
    legend = [entry.get_text() for entry in main.get_legend().get_texts()]
    assert legend == ["Data", "Signal", "Background", "Uncertainty"]
    assert ratio.get_xlabel() == "M [GeV]"
    assert svg(figure)


def test_a_spectrum_needs_a_component(feature: FeatureComparison) -> None:
    with pytest.raises(DataError, match="at least one"):
        plot_spectrum(feature.edges, feature.observed, {}, axis="M")
