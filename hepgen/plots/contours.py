"""Confidence regions of two parameters by the profile likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from hepgen.errors import DataError, ParameterError
from hepgen.plots.style import (
    FIRST,
    LIGHT,
    LIGHTER,
    SECOND,
    SMALL,
    StyledFigure,
    finish,
    headroom,
    new_figure,
    style,
    text,
)
from hepgen.statements import ProfileContour

Array = NDArray[np.float64]

Dash = Literal["solid", "dashed"]
_STYLES: tuple[tuple[str, Dash, str], ...] = ((FIRST, "solid", "P"), (SECOND, "dashed", "X"))


def plot_contours(
    contours: Mapping[str, ProfileContour],
    *,
    reference: tuple[float, float] | None = None,
    reference_label: str = "Reference",
    data: str = "",
) -> StyledFigure:
    """Regions of −2Δln L over two parameters, with the best fit.

    The first is filled, a second one drawn as broken lines.

    Arguments:
        contours: One or two by name, of the same two parameters.
        reference: A point to mark.
        reference_label: What it is.
        data: A few words on the data, above the frame.
    """
    first = _checked(contours)
    with style():
        figure = new_figure(height=5.4)
        axes = figure.add_subplot()
        handles: list[Line2D | Patch] = []
        for i, (name, one) in enumerate(contours.items()):
            handles += _draw(axes, name, one, filled=i == 0, look=_STYLES[i])
        if reference is not None:
            star = {"marker": "*", "color": "black", "linestyle": "none", "markersize": 13.0}
            axes.plot(*[[v] for v in reference], zorder=5, **star)  # type: ignore[arg-type]
            handles.append(Line2D([], [], label=text(reference_label), **star))  # type: ignore[arg-type]
        axes.set_xlim(_span([one.x for one in contours.values()], contours, 0, reference))
        axes.set_ylim(_span([one.y for one in contours.values()], contours, 1, reference))
        headroom(axes, 0.09 + 0.06 * ((len(handles) + 1) // 2))
        axes.set_xlabel(text(first.axes[0]))
        axes.set_ylabel(text(first.axes[1]))
        axes.set_title(text(data), loc="right")
        axes.legend(handles=handles, loc="upper left", ncols=2, fontsize=SMALL, columnspacing=1.2)
        finish(figure, _words(contours))
    return figure


def _checked(contours: Mapping[str, ProfileContour]) -> ProfileContour:
    if not 1 <= len(contours) <= len(_STYLES):
        raise ParameterError(f"{len(contours)} contours in one plot; expected one or two")
    first = next(iter(contours.values()))
    for name, one in contours.items():
        if one.parameters != first.parameters:
            raise ParameterError(
                f"contour {name!r} is of {' and '.join(one.parameters)}; expected "
                f"{' and '.join(first.parameters)}, as the first"
            )
        if one.statistic.shape != (len(one.x), len(one.y)):
            raise DataError(
                f"contour {name!r} has values of shape {one.statistic.shape}; expected "
                f"({len(one.x)}, {len(one.y)})"
            )
    return first


def _span(
    lines: Sequence[Array], contours: Mapping[str, ProfileContour], axis: int,
    reference: tuple[float, float] | None,
) -> tuple[float, float]:  # fmt: skip
    """The range that the regions take, with the reference where that is near."""
    low, high = [], []
    for line, one in zip(lines, contours.values(), strict=True):
        inside = np.nan_to_num(one.statistic, nan=np.inf) <= max(one.thresholds)
        held = line[inside.any(axis=1 - axis)] if inside.any() else line
        low.append(float(held[0]))
        high.append(float(held[-1]))
    first, last = min(low), max(high)
    width = last - first
    if reference is not None and first - width < reference[axis] < last + width:
        first, last = min(first, reference[axis]), max(last, reference[axis])
    edge = (min(float(line[0]) for line in lines), max(float(line[-1]) for line in lines))
    return max(edge[0], first - 0.15 * width), min(edge[1], last + 0.15 * width)


def _draw(
    axes: Axes, name: str, one: ProfileContour, filled: bool, look: tuple[str, Dash, str]
) -> list[Line2D | Patch]:
    colour, dash, marker = look
    order = np.argsort(one.thresholds)
    heights: Sequence[float] = [one.thresholds[i] for i in order]
    levels = [one.levels[i] for i in order]
    # A fit that did not converge leaves a hole, which must not become a wall.
    surface = np.ma.masked_invalid(one.statistic.T)
    shades = (LIGHT, LIGHTER)[: len(heights)]
    if filled:
        axes.contourf(one.x, one.y, surface, [-1.0, *heights], colors=shades)
    axes.contour(one.x, one.y, surface, heights, colors=colour, linestyles=dash,
                 linewidths=(1.6, 1.2))  # fmt: skip
    axes.plot(*[[v] for v in one.best], marker=marker, color=colour, markersize=9,
              markeredgecolor="white", linestyle="none", zorder=4)  # fmt: skip
    words = [f"{name}, {100 * level:.3g} %" for level in levels]
    entries: list[Line2D | Patch] = (
        [Patch(facecolor=shade, edgecolor=colour, label=text(word))
         for shade, word in zip(shades, words, strict=True)]
        if filled
        else [Line2D([], [], color=colour, linestyle=dash,
                     label=text(f"{name}, {' and '.join(f'{100 * v:.3g}' for v in levels)} %"))]
    )  # fmt: skip
    entries.append(
        Line2D([], [], marker=marker, color=colour, markersize=9, markeredgecolor="white",
               linestyle="none", label=text(f"{name}, best fit"))
    )  # fmt: skip
    return entries


def _words(contours: Mapping[str, ProfileContour]) -> str:
    parts = []
    for name, one in contours.items():
        a, b = one.parameters
        rho = one.covariance[0, 1] / np.sqrt(one.covariance[0, 0] * one.covariance[1, 1])
        parts.append(
            f"{name}: {a} = {one.best[0]:.6g} {one.units[0]}, {b} = {one.best[1]:.6g} "
            f"{one.units[1]}, correlation {rho:.2f}"
        )
    levels = " and ".join(f"{100 * v:.3g} %" for v in next(iter(contours.values())).levels)
    return f"Profile likelihood, regions of {levels}. " + "; ".join(parts) + "."
