"""Figures of a judgement, from records that are made up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from hepgen.errors import DataError
from hepgen.judgement import (
    ClassifierJudgement,
    Closure,
    Correlations,
    FeatureJudgement,
    Measured,
    TwoSampleTest,
)
from hepgen.plots import (
    plot_classifier_output,
    plot_closure,
    plot_correlations,
    plot_feature_judgement,
    plot_layers,
    plot_roc,
    svg,
)

COUNTS = np.array([20.0, 80.0, 100.0, 40.0])
FEATURE = FeatureJudgement(
    "mass", "$m$", "GeV", np.linspace(0, 4, 5), COUNTS, COUNTS * 1.1, np.sqrt(COUNTS),
    np.sqrt(COUNTS), 0.1, Measured(0.02, 0.01), 0.01, 0.001, 12.0, 3, 0.01,
)  # fmt: skip
LINE = np.linspace(0, 1, 11)
TEST = TwoSampleTest(
    Measured(0.6, 0.01), Measured(0.65, 0.01), Measured(0.05, 0.01), 0.001, 240,
    np.linspace(0.3, 0.7, 5), COUNTS, COUNTS[::-1], LINE, np.sqrt(LINE),
)  # fmt: skip
NULL = replace(TEST, auc=Measured(0.5, 0.01), true_positive=LINE)
JUDGED = ClassifierJudgement("perceptron", TEST, NULL, TEST, 0.5)
CLOSURE = Closure("m_z", "NLE", np.array([0.1, -0.1, 0.2]), np.array([1.0, 1.1, 0.9]))


def test_a_column_has_its_ratio_and_its_numbers() -> None:
    main, ratio = plot_feature_judgement(FEATURE).axes
    assert ratio.get_xlabel() == "$m$ [GeV]"
    assert main.get_ylabel() == "Events / 1 GeV"
    assert ratio.get_ylabel() == "Surr. / sim."
    assert "0.1" in main.get_title("left")
    assert "12.0/3" in main.get_title("right")
    points: Any = ratio.containers[0]
    assert points.lines[0].get_ydata() == pytest.approx([1.1] * 4)


def test_bins_that_grow_have_a_logarithmic_axis() -> None:
    cells = replace(FEATURE, edges=np.geomspace(0.01, 10, 5))
    main, ratio = plot_feature_judgement(cells, log=True).axes
    assert main.get_yscale() == ratio.get_xscale() == "log"
    assert plot_feature_judgement(FEATURE, log=True).axes[1].get_xscale() == "linear"


def test_the_curve_is_drawn_as_a_difference_beside_the_null() -> None:
    (axes,) = plot_roc(JUDGED).axes
    null, found, _ = axes.get_lines()
    assert np.asarray(null.get_ydata()) == pytest.approx(0)
    assert np.asarray(found.get_ydata()).max() == pytest.approx(np.max(np.sqrt(LINE) - LINE))
    label = str(plot_roc(JUDGED).get_label())
    assert f"{JUDGED.optimum:.4f}" in label
    assert "planted" not in str(plot_roc(replace(JUDGED, planted=None)).get_label())


def test_the_output_shows_its_calibration() -> None:
    main, ratio = plot_classifier_output(JUDGED).axes
    assert "0.6000" in main.get_title("right")
    low, high = ratio.get_ylim()
    assert low < 0.3 < 0.7 < high


@pytest.mark.parametrize("d", [2, 30])
def test_correlations_of_few_columns_are_written_out(d: int) -> None:
    rho, error = np.eye(d), np.full((d, d), 0.01) * (1 - np.eye(d))
    found = Correlations(tuple(f"c{i}" for i in range(d)), rho, rho + error, error)
    left = plot_correlations(found).axes[0]
    assert len(left.texts) == (4 if d == 2 else 0)
    assert left.get_xticklabels()[0].get_text() == ("c0" if d == 2 else "")


def test_layers_have_the_errors_of_their_means() -> None:
    rng = np.random.default_rng(1)
    truth, surrogate = rng.gamma(3, 1, (2, 100, 6))
    main, ratio = plot_layers(truth, surrogate).axes
    assert main.get_ylabel() == "Mean energy [GeV]"
    assert ratio.get_xlabel() == "Layer"
    with pytest.raises(DataError, match="expected"):
        plot_layers(truth, surrogate[:, :3])


def test_closure_names_its_reference() -> None:
    figure = plot_closure([CLOSURE])
    assert "NLE" in str(figure.get_label())
    with pytest.raises(DataError, match="no closure"):
        plot_closure([])


@pytest.mark.parametrize("make", [plot_roc, plot_classifier_output])
def test_the_same_record_makes_the_same_bytes(make: Any) -> None:
    first, second = make(JUDGED), make(JUDGED)
    assert isinstance(first, Figure)
    assert svg(first) == svg(second)
