"""Pulls of the nuisance parameters, and their impacts on a parameter of interest, ranked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hepgen.errors import DataError
from hepgen.plots.style import (
    LIGHTER,
    SMALL,
    StyledFigure,
    finish,
    new_figure,
    style,
    text,
)
from hepgen.results import rounded
from hepgen.statements import Impact, Impacts

_UP, _DOWN = "#e8775c", "#3063c9"
_ROW = 0.27


def plot_impacts(impacts: Impacts, *, top: int = 20, data: str = "") -> StyledFigure:
    r"""The ranking plot of CMS and ATLAS.

    Left, the pull (ν̂ − a)/σ with its post-fit error in units of σ, within a band of ± 1; a
    nuisance parameter without a constraint has its value as a number there. Right, the shift of
    the parameter of interest when it is moved by ± its error: filled after the fit, an outline
    with the error before it. The largest are on top. A star marks those with a warning, such as a
    bound or a fit that did not converge; the description of the figure has its words.

    Arguments:
        impacts: Ranked.
        top: How many are shown.
        data: A few words on the data, above the frame.
    """
    ranking = impacts.ranking[:top]
    if not ranking:
        raise DataError(f"no nuisance parameters with an impact on {impacts.parameter!r}")
    rows = len(ranking)
    with style():
        figure = new_figure(width=7.6, height=1.9 + _ROW * max(rows, 4))
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.0, 1.35))
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.set(wspace=0.03, w_pad=0.03)  # type: ignore[call-arg]
        _pulls(left, ranking)
        _bars(right, impacts, ranking)
        left.set_yticks(range(rows), [_name(one) for one in ranking])
        left.set_ylim(rows - 0.4, -0.6)
        for axes in (left, right):
            axes.tick_params(axis="y", which="both", left=False, right=False)
        left.tick_params(axis="y", labelsize=SMALL)
        _legend(figure, ranking)
        figure.suptitle(_headline(impacts), fontsize=SMALL + 1)
        right.set_title(text(data), loc="right")
        finish(figure, _words(impacts, ranking))
    return figure


def _name(one: Impact) -> str:
    return text(one.label or one.parameter) + (" *" if one.warnings else "")


def _pulls(axes: Axes, ranking: Sequence[Impact]) -> None:
    axes.axvspan(-1, 1, color=LIGHTER, linewidth=0, zorder=0)
    axes.axvline(0, color="0.5", linewidth=0.8, linestyle=":", zorder=1)
    reach = 1.6
    for row, one in enumerate(ranking):
        if not math.isfinite(one.pull):
            words = f"{rounded(one.value, one.error)} ± {rounded(one.error, one.error)}"
            axes.text(0, row, words.replace("-", "−"), ha="center", va="center", fontsize=SMALL - 2)
            continue
        axes.errorbar(
            one.pull, row, xerr=one.constraint, fmt="o", color="black", markersize=4,
            elinewidth=1.3, capsize=0, zorder=3,
        )  # fmt: skip
        reach = max(reach, 1.15 * (abs(one.pull) + one.constraint))
    axes.set_xlim(-reach, reach)
    axes.set_xlabel(r"Pull $(\hat\nu - \nu_0)/\sigma$", loc="center")


def _bars(axes: Axes, impacts: Impacts, ranking: Sequence[Impact]) -> None:
    for row, one in enumerate(ranking):
        both = zip((_UP, _DOWN), one.post, one.pre, strict=True)
        same = one.post[0] * one.post[1] > 0
        for i, (colour, after, before) in enumerate(both):
            # Two shifts to the same side stand one above the other.
            place, height = (row + 0.19 * (2 * i - 1), 0.36) if same else (row, 0.66)
            axes.barh(place, after, height, color=colour, linewidth=0, zorder=2)
            if math.isfinite(before):
                axes.barh(place, before, height, facecolor="none", edgecolor=colour,
                          linewidth=1.0, zorder=3)  # fmt: skip
    sizes = [abs(v) for one in ranking for v in (*one.post, *one.pre) if math.isfinite(v)]
    reach = 1.12 * max(sizes, default=1.0) or 1.0
    axes.axvline(0, color="0.5", linewidth=0.8, linestyle=":", zorder=1)
    axes.set_xlim(-reach, reach)
    unit = f" [{impacts.unit}]" if impacts.unit else ""
    name = impacts.label or impacts.parameter
    axes.set_xlabel(text(f"Impact on {name}{unit}"), loc="center")
    axes.tick_params(labelleft=False)


def _legend(figure: StyledFigure, ranking: Sequence[Impact]) -> None:
    handles: list[Patch | Line2D] = [
        Line2D([], [], marker="o", color="black", markersize=4, linewidth=1.3, label="Pull"),
        Patch(facecolor=LIGHTER, label="Constraint"),
        Patch(facecolor=_UP, label="+1σ, after the fit"),
        Patch(facecolor=_DOWN, label="−1σ"),
    ]
    if any(math.isfinite(v) for one in ranking for v in one.pre):
        handles.append(Patch(facecolor="none", edgecolor="0.3", label="±1σ, before it"))
    if any(one.warnings for one in ranking):
        handles.append(Line2D([], [], linestyle="none", label="* with a warning"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), fontsize=SMALL - 1,
        columnspacing=1.1, handlelength=1.4, handletextpad=0.5,
    )  # fmt: skip


def _headline(impacts: Impacts) -> str:
    total, parts = impacts.breakdown.total, impacts.breakdown
    name, unit = impacts.label or impacts.parameter, f" {impacts.unit}" if impacts.unit else ""
    words = f"{name} = {rounded(impacts.best, total)} ± {rounded(total, total)}"
    if np.isfinite(parts.statistical) and np.isfinite(parts.systematic):
        stat, syst = (rounded(v, total) for v in (parts.statistical, parts.systematic))
        words = f"{name} = {rounded(impacts.best, total)} ± {stat} (stat.) ± {syst} (syst.)"
    return text(f"{words}{unit}".replace("-", "−"))


def _words(impacts: Impacts, ranking: Sequence[Impact]) -> str:
    parts = [
        f"{one.parameter}: {_pull(one)}, impact {one.post[0]:+.3g} and {one.post[1]:+.3g}"
        for one in ranking
    ]
    left = len(impacts.ranking) - len(ranking)
    more = f" {left} smaller ones are not shown." if left else ""
    warned = [word for one in ranking for word in one.warnings]
    notes = f" Warnings: {'; '.join(warned)}." if warned else ""
    return f"Pulls, and impacts on {impacts.parameter}: " + "; ".join(parts) + "." + more + notes


def _pull(one: Impact) -> str:
    if not np.isfinite(one.pull):
        return "no constraint"
    return f"pull {one.pull:.2f} ± {one.constraint:.2f}"
