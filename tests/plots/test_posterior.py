from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from hepgen.errors import DataError, ParameterError
from hepgen.parameters import Parameter
from hepgen.plots import plot_posterior, svg
from hepgen.plots.posterior import summary


def _legend(figure: Figure) -> list[str]:
    return [entry.get_text() for entry in _axes(figure).get_legend().get_texts()]


def _axes(figure: Figure) -> Any:
    return figure.axes[0]


def test_median_and_intervals_are_stated(parameters: list[Parameter]) -> None:
    draws = np.linspace(90.0, 91.0, 1001)
    figure = plot_posterior({"NLE": draws}, parameters[0], reference_error=0.0021)
    assert _legend(figure) == [
        "NLE: 90.50, [90.16, 90.84], [90.03, 90.97]",
        "Prior",
        "World average: 91.1876 ± 0.0021",
    ]
    assert _axes(figure).get_legend().get_title().get_text().endswith("[GeV]")
    assert figure.axes[0].get_xlabel() == "$m_Z$ [GeV]"
    assert figure.axes[0].get_ylabel() == "Posterior density [1/GeV]"
    assert "90.50, [90.16, 90.84]" in str(figure.get_label())


def test_the_shaded_bands_end_at_the_quantiles(
    draws: np.ndarray, parameters: list[Parameter]
) -> None:
    figure = plot_posterior({"NLE": draws[:, 0]}, parameters[0])
    outer, inner = _axes(figure).collections[:2]
    for band, ends in ((outer, [0.025, 0.975]), (inner, [0.16, 0.84])):
        x = np.concatenate([path.vertices[:, 0] for path in band.get_paths()])
        assert [x.min(), x.max()] == pytest.approx(np.quantile(draws[:, 0], ends), abs=0.02)


def test_a_near_reference_is_in_the_frame_and_a_far_one_does_not_squeeze_it(
    draws: np.ndarray, parameters: list[Parameter]
) -> None:
    near = replace(parameters[0], reference=92.5)
    low, high = plot_posterior({"NLE": draws[:, 0]}, near).axes[0].get_xlim()
    assert low < 92.5 < high
    far = replace(parameters[0], reference=140.0)
    low, high = plot_posterior({"NLE": draws[:, 0]}, far).axes[0].get_xlim()
    assert high - low < 3


def test_three_posteriors_of_a_parameter_without_prior_and_unit(draws: np.ndarray) -> None:
    three = dict.fromkeys(("NLE", "NPE", "NRE"), draws[:, 1])
    figure = plot_posterior(three, Parameter("scale", 0.0), data="501 events")
    assert len(_legend(figure)) == 3
    assert svg(figure)


def test_negative_numbers_round_like_positive_ones() -> None:
    assert summary(-np.linspace(0.0, 1.0, 1001)) == "-0.50, [-0.84, -0.16], [-0.97, -0.03]"


def test_wrong_draws_are_refused(parameters: list[Parameter]) -> None:
    with pytest.raises(ParameterError, match="expected one to 3"):
        plot_posterior({}, parameters[0])
    with pytest.raises(DataError, match="1 values that are not finite"):
        plot_posterior({"NLE": np.array([1.0, np.inf, 2.0])}, parameters[0])
    with pytest.raises(DataError, match="has 0 draws"):
        plot_posterior({"NLE": np.array([])}, parameters[0])
