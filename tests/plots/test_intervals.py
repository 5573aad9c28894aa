from __future__ import annotations

from dataclasses import replace

import pytest

from hepgen.errors import DataError
from hepgen.parameters import Parameter
from hepgen.plots import plot_intervals
from hepgen.statements import Interval


def _intervals() -> list[Interval]:
    return [
        Interval("m_z", level, 91.0, ((91.0 - z * s, 91.0 + z * s),), method, unit="GeV")
        for method, s in (("posterior", 0.2), ("profile", 0.19), ("neyman", 0.21))
        for level, z in ((0.95, 1.96), (0.68, 1.0))
    ]


def test_each_method_has_a_row_with_its_numbers(parameters: list[Parameter]) -> None:
    axes = plot_intervals(_intervals(), parameters[0]).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        "Posterior", "Profile likelihood", "Neyman",
    ]  # fmt: skip
    assert axes.texts[0].get_text() == "[90.80, 91.20]\n[90.61, 91.39]"
    assert axes.get_xlabel() == "$m_Z$ [GeV]"
    low, high = axes.get_xlim()
    assert low < 90.6
    assert high > 91.42


@pytest.mark.parametrize(
    ("methods", "label"),
    [
        (("posterior",), "Mean"),
        (("profile", "neyman"), "Best fit"),
        (("posterior", "profile"), "Best fit or mean"),
    ],
)
def test_the_marker_is_what_the_methods_have(
    methods: tuple[str, ...], label: str, parameters: list[Parameter]
) -> None:
    chosen = [one for one in _intervals() if one.method in methods]
    figure = plot_intervals(chosen, parameters[0])
    assert label in [t.get_text() for t in figure.legends[0].get_texts()]
    assert ("Posterior, mean 91:" in str(figure.get_label())) == ("posterior" in methods)
    assert ("best fit 91:" in str(figure.get_label())) == (methods != ("posterior",))


def test_a_set_of_pieces_and_an_open_end_are_drawn_as_such(parameters: list[Parameter]) -> None:
    odd = replace(_intervals()[0], pieces=((90.5, 90.6), (90.7, 91.4)), open_high=True)
    figure = plot_intervals([odd], parameters[0])
    axes = figure.axes[0]
    assert axes.texts[0].get_text() == "[90.5, 90.6] ∪ [90.7, 91.4]"
    assert ">" in {line.get_marker() for line in axes.lines}
    assert "[90.5, 90.6] and [90.7, 91.4]" in str(figure.get_label())


def test_an_empty_set_says_so(parameters: list[Parameter]) -> None:
    sets = [_intervals()[1], replace(_intervals()[5], pieces=())]
    assert plot_intervals(sets, parameters[0]).axes[0].texts[1].get_text() == "empty"


def test_an_interval_of_another_parameter_is_refused(parameters: list[Parameter]) -> None:
    with pytest.raises(DataError, match="an interval of 'm_z' in a plot of 'scale'"):
        plot_intervals(_intervals(), parameters[1])
    with pytest.raises(DataError, match="no interval"):
        plot_intervals([], parameters[0])
