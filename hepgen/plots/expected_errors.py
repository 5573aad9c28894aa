"""Expected errors of a parameter, by what is looked at in the events."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from hepgen.information import ExpectedError, InformationTable
from hepgen.plots.style import (
    FIRST,
    GREY,
    SECOND,
    SMALL,
    StyledFigure,
    finish,
    new_figure,
    style,
    text,
)
from hepgen.results import rounded

_SIGNS = {"at least": "≥ ", "at most": "≤ ", "estimate": ""}
_FITTED, _KNOWN = "Nuisances fitted along", "Nuisances known"


def plot_expected_errors(table: InformationTable) -> StyledFigure:
    """A row for each source: the error with the nuisance parameters fitted, and with them known.

    A dotted line continues that of the whole history, which no analysis passes. At the right are
    the numbers with the nuisance parameters fitted.
    """
    rows = table.rows
    with style():
        figure = new_figure(width=7.2, height=1.8 + 0.5 * len(rows))
        axes = figure.add_subplot()
        for i, row in enumerate(rows):
            _draw(axes, i, row, first=i == 0)
            axes.annotate(
                _number(row), (1, i), xycoords=("axes fraction", "data"), xytext=(8, 0),
                textcoords="offset points", va="center", fontsize=SMALL, annotation_clip=False,
            )  # fmt: skip
        if rows[0].bound == "at least":
            axes.axvline(rows[0].profiled, color=GREY, linestyle=":", linewidth=1.2, zorder=0)
        known = [v for r in rows for v in (r.profiled, r.known) if math.isfinite(v)]
        axes.set_xlim(0, 1.12 * max(known, default=1.0))
        axes.set_yticks(range(len(rows)), [text(row.source) for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", which="both", left=False, right=False)
        axes.set_xlabel(f"Expected error of {text(table.axis)}")
        axes.set_title(f"{table.events} events", loc="right")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2,
                      fontsize=SMALL, handletextpad=0.3)  # fmt: skip
        finish(figure, _words(table))
    return figure


def _draw(axes: Axes, i: int, row: ExpectedError, *, first: bool) -> None:
    points = (
        (row.profiled, row.profiled_error, -0.13, "o", FIRST, FIRST, _FITTED),
        (row.known, row.known_error, 0.13, "D", "white", SECOND, _KNOWN),
    )
    for value, error, up, marker, face, colour, label in points:
        shown = value if math.isfinite(value) else math.nan
        axes.errorbar(
            shown, i + up, xerr=error, fmt=marker, color=colour, markerfacecolor=face, markersize=7,
            capsize=2.5, linewidth=1.3, label=label if first else "_",
        )  # fmt: skip


def _number(row: ExpectedError) -> str:
    if not math.isfinite(row.profiled):
        return "not fixed"
    return f"{_SIGNS[row.bound]}{rounded(row.profiled, 0.1 * row.profiled)}"


def _words(table: InformationTable) -> str:
    unit = f" {table.unit}" if table.unit else ""
    parts = "; ".join(
        f"{row.source} {_number(row)}{unit} (± {row.profiled_error:.2g}), with nuisances known "
        f"{row.known:.3g}{unit}"
        for row in table.rows
    )
    return (
        f"The error of {table.parameter} that {table.events} events are expected to leave, by the "
        f"Fisher information at the best fit from {table.simulated} simulated events: {parts}."
    )
