from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import matplotlib
import pytest
from matplotlib.figure import Figure

from hepgen.parameters import Parameter
from hepgen.plots import plot_comparison, plot_training, png, svg
from hepgen.plots.style import headroom, new_figure, style, text
from hepgen.results import FeatureComparison, TrainingCurve

HOSTILE = [
    r"$\frac$ [GeV]", r"$\nonsense{$", "$$", "a$b", "cost_$_$", "質量 λ", "<b>&amp;", "{}_^%",
    "", "\\", "two\nlines", "x" * 200,
]  # fmt: skip


def _draw(label: str) -> Figure:
    with style():
        figure = new_figure()
        figure.add_subplot().set_xlabel(text(label))
    return figure


def test_the_same_figure_gives_the_same_bytes(
    feature: FeatureComparison, curve: TrainingCurve
) -> None:
    makers: list[Callable[[], Figure]] = [
        lambda: plot_comparison(feature),
        lambda: plot_training(curve),
    ]
    for make in makers:
        figure = make()
        assert svg(figure) == svg(figure) == svg(make())


def test_svg_has_no_date_and_no_text_that_needs_a_font(curve: TrainingCurve) -> None:
    image = svg(plot_training(curve)).decode()
    assert "<dc:date>" not in image
    assert "<text" not in image
    assert "matplotlib" not in image.lower().split("<defs>")[0]


def test_a_figure_keeps_its_look_under_the_settings_of_a_user(curve: TrainingCurve) -> None:
    expected = png(plot_training(curve), dpi=50)
    changed: Any = {"font.size": 40.0, "axes.facecolor": "red", "lines.linewidth": 9.0}
    with matplotlib.rc_context(changed):
        assert png(plot_training(curve), dpi=50) == expected


def test_the_style_comes_off_after_an_error() -> None:
    before = dict(matplotlib.rcParams)
    with pytest.raises(KeyError), style():
        raise KeyError
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("label", HOSTILE)
def test_any_label_can_be_drawn(label: str) -> None:
    assert svg(_draw(label))


def test_mathematics_stays_mathematics_and_the_rest_stays_as_written() -> None:
    assert text("$p_T$ [GeV]") == "$p_T$ [GeV]"
    assert text("price_$") == r"price_\$"
    assert text(r"$\nonsense$") == r"\$\nonsense\$"
    assert text("x" * 70) == "x" * 63 + "…"


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_headroom_leaves_the_fraction_that_was_asked_for(scale: str) -> None:
    with style():
        axes = new_figure().add_subplot()
        axes.set_yscale(scale)
        axes.set_ylim(1.0, 100.0)
        headroom(axes, 0.3)
        top = axes.transAxes.inverted().transform(axes.transData.transform((0.5, 100.0)))[1]
    assert top == pytest.approx(0.7)


def test_a_parameter_without_a_label_is_drawn_by_its_name() -> None:
    assert text(Parameter("my_scale", 0.0, "GeV").axis) == "my_scale [GeV]"


def test_the_report_does_not_import_matplotlib_until_it_has_a_figure() -> None:
    code = "import sys, hepgen.report.inference; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
