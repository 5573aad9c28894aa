"""Upper limits: the Brazil band over a mass, and CLs over the strength."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatterSciNotation
from numpy.typing import NDArray

from hepgen.errors import DataError
from hepgen.plots.style import (
    FIRST,
    SECOND,
    SMALL,
    StyledFigure,
    finish,
    headroom,
    new_figure,
    style,
    text,
)
from hepgen.statements import Limit, LimitScan

Array = NDArray[np.float64]

# The colours that CMS gives the bands now, with those of the colour-blind palette.
INNER, OUTER = "#607641", "#f5bb54"


def plot_limits(
    limits: Sequence[Limit],
    *,
    along: str = "",
    unit: str = "",
    log: bool = False,
    level_one: bool = True,
    data: str = "",
) -> StyledFigure:
    """The Brazil band: limits over what they are limits for, e.g. a mass.

    Arguments:
        limits: With ``at``, of one parameter and level.
        along, unit: The abscissa and its unit, e.g. ``$m_X$`` and ``GeV``.
        log: Whether limits are on a logarithmic scale.
        level_one: Mark a strength of one, where it is in the frame.
        data: A few words on the data, above the frame.
    """
    ordered = _checked(limits)
    at = np.array([one.at for one in ordered])
    bands = np.stack([one.expected for one in ordered], axis=1)
    observed = np.array([one.observed for one in ordered])
    with style():
        figure = new_figure(height=5.0)
        axes = figure.add_subplot()
        draw_bands(axes, at, bands, "Expected")
        if np.isfinite(observed).any():
            points = "o" if len(at) <= 40 else ""
            axes.plot(at, observed, color="black", marker=points, markersize=4, linewidth=1.5,
                      zorder=4, label="Observed", clip_on=False)  # fmt: skip
        _scale(axes, log, bands, observed)
        low, high = axes.get_ylim()
        if level_one and low < 1 < high:
            axes.axhline(1, color=SECOND, linestyle=(0, (1, 1.5)), linewidth=1.4, zorder=3)
        headroom(axes, 0.3)
        axes.set_xlim(at[0], at[-1])
        one = ordered[0]
        axes.set_xlabel(text(f"{along} [{unit}]" if unit else along))
        axes.set_ylabel(text(_ordinate(one)))
        axes.set_title(text(data), loc="right")
        axes.legend(loc="upper right", fontsize=SMALL, title=_method(one), title_fontsize=SMALL)
        finish(figure, _words(ordered, along, unit))
    return figure


def plot_cls(scan: LimitScan, *, data: str = "") -> StyledFigure:
    """CLs over the values of a parameter; where it crosses 1 − level is the limit.

    Arguments:
        scan: The values of CLs.
        data: A few words on the data, above the frame.
    """
    limit, alpha = scan.limit, 1 - scan.limit.level
    if len(scan.values) < 2:
        raise DataError(f"CLs at {len(scan.values)} values; expected two at least")
    with style():
        figure = new_figure(height=5.0)
        axes = figure.add_subplot()
        draw_bands(axes, scan.values, scan.expected.T, "Expected")
        if np.isfinite(scan.observed).any():
            axes.plot(scan.values, scan.observed, color="black", zorder=4, label="Observed",
                      linewidth=1.6)  # fmt: skip
            if scan.observed_error is not None:
                axes.errorbar(scan.values, scan.observed, scan.observed_error, fmt="o",
                              color="black", markersize=3.5, zorder=4)  # fmt: skip
        axes.axhline(alpha, color=SECOND, linestyle=(0, (1, 1.5)), linewidth=1.4, zorder=3)
        axes.annotate(
            rf"$\mathrm{{CL_s = {alpha:.2g}}}$", (0, alpha), xycoords=("axes fraction", "data"),
            xytext=(8, 4), textcoords="offset points", fontsize=SMALL, color=SECOND,
        )  # fmt: skip
        for value, colour in ((limit.observed, "black"), (limit.median, FIRST)):
            if np.isfinite(value):
                axes.plot([value, value], [0, alpha], color=colour, linewidth=1.0, linestyle=":")
        axes.set_xlim(scan.values[0], scan.values[-1])
        axes.set_ylim(0, 1.05)
        axes.set_xlabel(text(limit.axis))
        axes.set_ylabel(r"$\mathrm{CL_s}$")
        axes.set_title(text(data), loc="right")
        axes.legend(
            loc="upper right", fontsize=SMALL, title=text(_summary(limit)), title_fontsize=SMALL
        )
        finish(figure, f"CLs of {limit.parameter}; {_summary(limit)}.")
    return figure


def draw_bands(axes: Axes, x: Array, bands: Array, name: str) -> None:
    """The median of five quantiles, shape ``(5, K)``, with the bands of 68 % and 95 %."""
    axes.fill_between(x, bands[0], bands[4], color=OUTER, linewidth=0, zorder=1,
                      label=r"95 % expected")  # fmt: skip
    axes.fill_between(x, bands[1], bands[3], color=INNER, linewidth=0, zorder=2,
                      label=r"68 % expected")  # fmt: skip
    axes.plot(x, bands[2], color="black", linestyle="--", linewidth=1.5, zorder=3, label=name)


def _checked(limits: Sequence[Limit]) -> list[Limit]:
    if len(limits) < 2:
        raise DataError(f"a band of {len(limits)} limits; expected two at least")
    first = limits[0]
    for one in limits:
        if (one.parameter, one.level) != (first.parameter, first.level):
            raise DataError(
                f"limits of {one.parameter!r} at {one.level:g} and of {first.parameter!r} at "
                f"{first.level:g} in one band; expected one parameter and level"
            )
        if not np.isfinite(one.at):
            raise DataError(f"a limit of {one.parameter!r} that is for nothing: at = {one.at}")
    return sorted(limits, key=lambda one: one.at)


def _scale(axes: Axes, log: bool, bands: Array, observed: Array) -> None:
    known = np.concatenate([bands.ravel(), observed])
    known = known[np.isfinite(known)]
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(LogFormatterSciNotation())
        axes.set_ylim(0.6 * known[known > 0].min(), 1.5 * known.max())
    else:
        axes.set_ylim(min(0.0, 1.1 * known.min()), 1.05 * known.max())


def _ordinate(limit: Limit) -> str:
    name = limit.label or limit.parameter
    unit = f" [{limit.unit}]" if limit.unit else ""
    return f"{100 * limit.level:.3g} % CL upper limit on {name}{unit}"


def _method(limit: Limit) -> str:
    name, _, how = limit.method.partition(" ")
    return rf"$\mathrm{{CL_s}}$, {how}" if name == "CLs" and how else limit.method


def _summary(limit: Limit) -> str:
    unit = f" {limit.unit}" if limit.unit else ""
    name = limit.label or limit.parameter
    words = f"expected {limit.median:.3g}"
    if np.isfinite(limit.observed):
        words = f"{limit.observed:.3g} ({words})"
    return f"{name} < {words}{unit} at {100 * limit.level:.3g} % CL"


def _words(limits: Sequence[Limit], along: str, unit: str) -> str:
    parts = []
    for one in limits:
        seen = f"observed {one.observed:.4g}, " if np.isfinite(one.observed) else ""
        low, high = one.expected[1], one.expected[3]
        parts.append(f"{one.at:g}: {seen}expected {one.median:.4g} [{low:.4g}, {high:.4g}]")
    first = limits[0]
    return (
        f"Upper limits on {first.parameter} at {100 * first.level:.3g} % CL ({first.method}) "
        f"over {along} {unit}. " + "; ".join(parts) + "."
    )
