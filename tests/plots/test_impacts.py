from __future__ import annotations

from dataclasses import replace

import pytest
from matplotlib.patches import Rectangle

from hepgen.errors import DataError
from hepgen.plots import plot_impacts, svg
from tests.plots import statement_records as records


def test_the_largest_is_on_top_with_its_pull_and_its_bars() -> None:
    figure = plot_impacts(records.impacts(), data="1 fb$^{-1}$")
    left, right = figure.axes
    assert [t.get_text() for t in left.get_yticklabels()] == [
        r"$\nu_{0}$",
        r"$\nu_{1}$",
        r"$\nu_{2}$",
    ]
    assert left.get_ylim()[0] > left.get_ylim()[1]
    assert "Pull" in left.get_xlabel()
    assert right.get_xlabel() == r"Impact on $\mu$"
    widths = [p.get_width() for p in right.patches if isinstance(p, Rectangle)]
    assert widths[:4] == pytest.approx([0.24, 0.3, -0.24, -0.3])


def test_the_breakdown_is_the_headline() -> None:
    figure = plot_impacts(records.impacts())
    assert figure.get_suptitle() == r"$\mu$ = 1.2 ± 0.4 (stat.) ± 0.3 (syst.)"


def test_one_without_a_constraint_has_a_number_and_no_pull() -> None:
    left = plot_impacts(records.impacts()).axes[0]
    assert [t.get_text() for t in left.texts] == ["1.0 ± 0.8"]
    assert len(left.containers) == 2
    described = str(plot_impacts(records.impacts()).get_label())
    assert "no constraint" in described
    assert "nan" not in described


def test_only_the_top_is_shown_and_the_rest_is_counted() -> None:
    figure = plot_impacts(records.impacts(30), top=20)
    assert len(figure.axes[0].get_yticklabels()) == 20
    assert "10 smaller ones are not shown" in str(figure.get_label())
    assert svg(figure)


def test_shifts_to_one_side_stand_one_above_the_other() -> None:
    one = records.impacts(2)
    both = replace(one.ranking[0], post=(0.2, 0.1))
    right = plot_impacts(replace(one, ranking=(both,))).axes[1]
    bars = [
        p for p in right.patches if isinstance(p, Rectangle) and tuple(p.get_facecolor())[-1] == 1.0
    ]
    assert len({bar.get_y() for bar in bars[:2]}) == 2


def test_one_with_a_warning_has_a_star_and_its_words() -> None:
    one = records.impacts()
    plain = plot_impacts(one)
    assert not any("*" in t.get_text() for t in plain.legends[0].get_texts())
    at_bound = replace(one.ranking[1], warnings=("nu_1 is at its bound, 0",))
    figure = plot_impacts(replace(one, ranking=(one.ranking[0], at_bound, one.ranking[2])))
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert [label.endswith(" *") for label in labels] == [False, True, False]
    assert "* with a warning" in [t.get_text() for t in figure.legends[0].get_texts()]
    assert "Warnings: nu_1 is at its bound, 0." in str(figure.get_label())


def test_nothing_to_rank_is_refused() -> None:
    with pytest.raises(DataError, match="no nuisance parameters"):
        plot_impacts(replace(records.impacts(), ranking=()))
