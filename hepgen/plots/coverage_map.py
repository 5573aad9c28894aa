"""How often confidence sets hold the truth, over the parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from hepgen.errors import ParameterError
from hepgen.parameters import Parameter
from hepgen.plots.intervals import NAMES
from hepgen.plots.style import (
    FIRST,
    GREY,
    LIGHTER,
    PALETTE,
    SECOND,
    SMALL,
    StyledFigure,
    finish,
    headroom,
    new_figure,
    style,
    text,
)
from hepgen.statements import CoverageMap

Array = NDArray[np.float64]

_LINES = ((FIRST, "o"), (SECOND, "s"), (PALETTE[2], "^"))


def plot_coverage_map(
    maps: Sequence[CoverageMap], parameters: Sequence[Parameter], *, tolerance: float = 0.03
) -> StyledFigure:
    """Coverage over one parameter with binomial errors, or over two in colours.

    Lines are the nominal levels, bands the tolerance around them. Over more than two parameters
    take the points of one or two.

    Arguments:
        maps: Over one parameter, up to three methods and any number of levels; over two, one map.
        parameters: Those of the maps.
        tolerance: Absolute.
    """
    names = tuple(p.name for p in parameters)
    for one in maps:
        if one.parameters != names:
            raise ParameterError(
                f"coverage over {', '.join(one.parameters)}; expected {', '.join(names)}"
            )
    if not maps or len(names) > 2 or (len(names) == 2 and len(maps) > 1):
        raise ParameterError(
            f"{len(maps)} coverage maps over {len(names)} parameters; expected any over one, or "
            "one over two"
        )
    with style():
        draw = _line if len(names) == 1 else _plane
        figure = draw(maps, parameters, tolerance)
        finish(figure, _words(maps))
    return figure


def _line(
    maps: Sequence[CoverageMap], parameters: Sequence[Parameter], tolerance: float
) -> StyledFigure:
    methods = list(dict.fromkeys(one.method for one in maps))
    if len(methods) > len(_LINES):
        raise ParameterError(f"coverage of {len(methods)} methods; expected up to {len(_LINES)}")
    figure = new_figure(height=5.0)
    axes = figure.add_subplot()
    for level in sorted({one.level for one in maps}):
        axes.axhspan(level - tolerance, level + tolerance, color=LIGHTER, linewidth=0)
        axes.axhline(level, color=GREY, linestyle=":", linewidth=1.3)
        axes.annotate(
            f"{100 * level:.3g} %", (1, level), xycoords=("axes fraction", "data"),
            xytext=(5, 0), textcoords="offset points", va="center", fontsize=SMALL, color="0.3",
            annotation_clip=False,
        )  # fmt: skip
    span = np.ptp(np.concatenate([one.theta[:, 0] for one in maps]))
    for one in maps:
        i = methods.index(one.method)
        # Beside each other, so that the errors of two methods can be told apart.
        shift = 0.006 * span * (i - 0.5 * (len(methods) - 1))
        first = next(m for m in maps if m.method == one.method)
        _points(axes, one, shift, *_LINES[i], first=one is first)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    axes.set_ylabel("Coverage [%]")
    axes.set_xlabel(text(f"True {parameters[0].axis}"))
    _limits(axes, maps, tolerance)
    axes.set_title(_toys(maps), loc="right")
    if len({one.level for one in maps}) > 1:
        axes.legend(loc="center", fontsize=SMALL)
    else:
        headroom(axes, 0.08 + 0.06 * len(methods))
        axes.legend(loc="upper left", fontsize=SMALL)
    return figure


def _points(
    axes: Axes, one: CoverageMap, shift: float, colour: str, marker: str, *, first: bool
) -> None:
    order = np.argsort(one.theta[:, 0])
    axes.errorbar(
        one.theta[order, 0] + shift, one.coverage[order], yerr=one.error[order], fmt=marker,
        color=colour, markersize=4.5, elinewidth=1.2, zorder=3,
        label=text(NAMES.get(one.method, one.method)) if first else "_",
    )  # fmt: skip


def _limits(axes: Axes, maps: Sequence[CoverageMap], tolerance: float) -> None:
    low = min(min(float((m.coverage - m.error).min()), m.level - tolerance) for m in maps)
    high = max(max(float((m.coverage + m.error).max()), m.level + tolerance) for m in maps)
    pad = 0.06 * (high - low)
    axes.set_ylim(max(0.0, low - pad), high + pad)


def _plane(
    maps: Sequence[CoverageMap], parameters: Sequence[Parameter], tolerance: float
) -> StyledFigure:
    one = maps[0]
    off = 100 * (one.coverage - one.level)
    reach = max(2 * 100 * tolerance, float(np.abs(off).max()))
    figure = new_figure(width=6.8, height=5.4)
    axes = figure.add_subplot()
    x, y = one.theta.T
    ordered = [np.unique(v) for v in (x, y)]
    norm = TwoSlopeNorm(0.0, -reach, reach)
    if len(ordered[0]) * len(ordered[1]) == len(x):
        grid = np.full((len(ordered[0]), len(ordered[1])), np.nan)
        grid[np.searchsorted(ordered[0], x), np.searchsorted(ordered[1], y)] = off
        drawn = axes.pcolormesh(
            *ordered, grid.T, cmap="RdBu", norm=norm, shading="nearest", edgecolors="white",
            linewidth=0.6,
        )  # fmt: skip
    else:
        drawn = axes.scatter(x, y, c=off, cmap="RdBu", norm=norm, s=420, edgecolors="0.3")  # type: ignore[assignment]
    for place, value, error in zip(one.theta, one.coverage, one.error, strict=True):
        outside = abs(value - one.level) > max(tolerance, 2 * error)
        axes.annotate(
            f"{100 * value:.0f}", tuple(place), ha="center", va="center", fontsize=SMALL - 1,
            color="white" if abs(100 * (value - one.level)) > 0.6 * reach else "black",
            fontweight="bold" if outside else "normal",
        )  # fmt: skip
    bar = figure.colorbar(drawn, ax=axes, pad=0.02)
    bar.set_label(text(f"Coverage − {100 * one.level:.3g} [%]"))
    axes.tick_params(which="both", top=False, right=False)
    axes.set_xlabel(text(f"True {parameters[0].axis}"))
    axes.set_ylabel(text(f"True {parameters[1].axis}"))
    axes.set_title(text(f"{NAMES.get(one.method, one.method)}, {_toys(maps)}"), loc="right")
    return figure


def _toys(maps: Sequence[CoverageMap]) -> str:
    toys = {one.toys for one in maps}
    if toys == {0}:
        return "Exact"
    return f"{' or '.join(f'{n:,}' for n in sorted(toys))} toys a point"


def _words(maps: Sequence[CoverageMap]) -> str:
    parts = [
        f"{one.method} at {100 * one.level:.3g} %: mean {100 * one.mean:.1f} %, farthest "
        f"{100 * one.worst:.1f} % off, {len(one.theta)} points"
        for one in maps
    ]
    return f"Coverage over {', '.join(maps[0].parameters)}. " + "; ".join(parts) + "."
