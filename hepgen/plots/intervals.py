"""Intervals of one parameter by several methods, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from hepgen.errors import DataError
from hepgen.parameters import Parameter
from hepgen.plots.scan import mark_reference
from hepgen.plots.style import (
    FIRST,
    LIGHT,
    SMALL,
    StyledFigure,
    finish,
    new_figure,
    style,
    text,
)
from hepgen.results import rounded
from hepgen.statements import Interval

NAMES = {
    "posterior": "Posterior",
    "profile": "Profile likelihood",
    "minos": "Minos",
    "neyman": "Neyman",
}
CENTRES = {"posterior": "mean"}
"""What the best value of a method is; of all others, the best fit."""


def plot_intervals(
    intervals: Sequence[Interval],
    parameter: Parameter,
    *,
    reference_label: str = "World average",
    data: str = "",
) -> StyledFigure:
    """The 68 % and 95 % sets of each method in a row of its own, with its numbers.

    The thick bar is the set of the lowest level, thinner ones are those of higher levels; an
    arrow is an end at which the set goes on beyond where the parameter was allowed.

    Arguments:
        intervals: Of one parameter; those of a method share a row.
        parameter: Its label, unit and reference.
        reference_label: What the reference is.
        data: A few words on the data, above the frame.
    """
    rows = _rows(intervals, parameter)
    with style():
        figure = new_figure(width=7.2, height=1.75 + 0.55 * len(rows))
        axes = figure.add_subplot()
        for i, sets in enumerate(rows.values()):
            _draw(axes, i, sets)
            axes.annotate(
                _numbers(sets), (1, i), xycoords=("axes fraction", "data"), xytext=(8, 0),
                textcoords="offset points", va="center", fontsize=SMALL, annotation_clip=False,
            )  # fmt: skip
        _frame(axes, rows, parameter)
        handles = _handles(rows)
        mark_reference(
            axes, parameter.reference, parameter.reference_error, reference_label,
            (-0.5, len(rows) - 0.5),
        )  # fmt: skip
        handles += axes.get_legend_handles_labels()[0]
        axes.set_xlabel(text(parameter.axis))
        axes.set_title(text(data), loc="right")
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles),
                      fontsize=SMALL, columnspacing=1.2, handlelength=1.5)  # fmt: skip
        finish(figure, _words(rows, parameter))
    return figure


def _rows(intervals: Sequence[Interval], parameter: Parameter) -> dict[str, list[Interval]]:
    rows: dict[str, list[Interval]] = {}
    for one in sorted(intervals, key=lambda i: i.level):
        if one.parameter != parameter.name:
            raise DataError(
                f"an interval of {one.parameter!r} in a plot of {parameter.name!r}; expected one "
                "parameter"
            )
        rows.setdefault(one.method, []).append(one)
    if not rows:
        raise DataError(f"no interval of {parameter.name!r} to draw")
    return {method: rows[method] for method in dict.fromkeys(one.method for one in intervals)}


def _draw(axes: Axes, row: int, sets: Sequence[Interval]) -> None:
    for k, one in enumerate(sets):
        colour = FIRST if k == 0 else LIGHT
        for j, (low, high) in enumerate(one.pieces):
            axes.plot([low, high], [row, row], color=colour, linewidth=6 if k == 0 else 3,
                      solid_capstyle="butt", zorder=4 - k)  # fmt: skip
            last = j == len(one.pieces) - 1
            if one.open_low and j == 0:
                axes.plot(low, row, marker="<", color=colour, markersize=8, zorder=5)
            if one.open_high and last:
                axes.plot(high, row, marker=">", color=colour, markersize=8, zorder=5)
    best = sets[0].best
    if np.isfinite(best):
        axes.plot(best, row, marker="o", color="white", markeredgecolor="black", markersize=6,
                  zorder=6)  # fmt: skip


def _frame(axes: Axes, rows: dict[str, list[Interval]], parameter: Parameter) -> None:
    everything = [one for sets in rows.values() for one in sets]
    ends = [v for one in everything for v in (one.low, one.high, one.best) if np.isfinite(v)]
    low, high = min(ends), max(ends)
    width = high - low or 1.0
    near = parameter.reference is not None and low - width < parameter.reference < high + width
    if near and parameter.reference is not None:
        low, high = min(low, parameter.reference), max(high, parameter.reference)
    axes.set_xlim(low - 0.06 * width, high + 0.06 * width)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [text(NAMES.get(m, m)) for m in rows])
    axes.tick_params(axis="y", which="both", left=False, right=False)


def _numbers(sets: Sequence[Interval]) -> str:
    lines = []
    for one in sets:
        scale = 0.5 * sets[0].width
        pieces = " ∪ ".join(f"[{rounded(a, scale)}, {rounded(b, scale)}]" for a, b in one.pieces)
        lines.append((pieces or "empty").replace("-", "−"))
    return "\n".join(lines)


def _handles(rows: dict[str, list[Interval]]) -> list[Artist]:
    levels = sorted({one.level for sets in rows.values() for one in sets})
    looks = ((FIRST, 6.0), (LIGHT, 3.0))
    handles: list[Artist] = [
        Line2D([], [], color=colour, linewidth=width, label=f"{100 * level:.3g} %")
        for (colour, width), level in zip(looks, levels, strict=False)
    ]
    handles.append(
        Line2D([], [], marker="o", color="white", markeredgecolor="black", linestyle="none",
               markersize=6, label=_centre(rows))
    )  # fmt: skip
    return handles


def _centre(rows: dict[str, list[Interval]]) -> str:
    """What the marker is, of all methods that are drawn."""
    kinds = sorted({CENTRES.get(method, "best fit") for method in rows})
    return " or ".join(kinds).capitalize()


def _words(rows: dict[str, list[Interval]], parameter: Parameter) -> str:
    unit = f" {parameter.unit}" if parameter.unit else ""
    parts = []
    for method, sets in rows.items():
        found = ", ".join(
            f"{100 * one.level:.3g} % "
            + " and ".join(f"[{low:.6g}, {high:.6g}]" for low, high in one.pieces)
            for one in sets
        )
        centre = CENTRES.get(method, "best fit")
        parts.append(f"{NAMES.get(method, method)}, {centre} {sets[0].best:.6g}: {found}")
    return f"Intervals of {parameter.name}{unit}. " + "; ".join(parts) + "."
