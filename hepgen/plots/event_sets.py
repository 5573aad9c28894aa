"""How far a learned likelihood is off, against the number of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hepgen.errors import DataError
from hepgen.plots.style import (
    FIRST,
    GREY,
    PALETTE,
    SECOND,
    StyledFigure,
    finish,
    new_figure,
    style,
    text,
)

_COLOURS = (FIRST, SECOND, PALETTE[2], PALETTE[1])
_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D")


def plot_bias(
    curves: Mapping[str, Sequence[tuple[int, float]]], *, asked: float = 0.2
) -> StyledFigure:
    """The distance of posterior means from the exact ones in exact widths, on two logarithms.

    A score that is wrong on average by a fixed amount is off by √N of it: a line of slope ½.

    Arguments:
        curves: For each likelihood, the number of events and the distance.
        asked: A line to stay below.
    """
    if not 1 <= len(curves) <= len(_COLOURS):
        raise DataError(f"{len(curves)} curves in one plot; expected one to {len(_COLOURS)}")
    with style():
        figure = new_figure(height=4.6)
        axes = figure.add_subplot()
        looks = zip(_COLOURS, _DASHES, _MARKERS, strict=True)
        for (colour, dash, marker), (name, points) in zip(looks, curves.items(), strict=False):
            events, off = np.array(points, dtype=np.float64).T
            axes.plot(
                events, off, color=colour, linestyle=dash, marker=marker, markersize=6,
                label=text(name),
            )  # fmt: skip
        axes.axhline(asked, color=GREY, linestyle=":", linewidth=1.4, label=f"Asked: {asked:g}")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("Events in the data set")
        axes.set_ylabel("|mean − exact mean| / exact width")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** (0.08 * (len(curves) + 1)))
        axes.legend(loc="upper left")
        finish(
            figure,
            "Distance of posterior means from those of the exact likelihood (rms over data sets), "
            "in standard deviations of the exact posterior.",
        )
    return figure
