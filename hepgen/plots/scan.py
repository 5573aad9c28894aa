"""The profile likelihood of one parameter, as −2Δln L with its 68 % and 95 % crossings."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hepgen.errors import DataError
from hepgen.plots.style import (
    FIRST,
    GREY,
    LIGHT,
    LIGHTER,
    SECOND,
    SMALL,
    StyledFigure,
    finish,
    new_figure,
    style,
    text,
)
from hepgen.results import rounded
from hepgen.statements import Interval, ProfileScan

Array = NDArray[np.float64]

LEVELS = {0.68: 0.98894, 0.95: 3.84146}
"""Quantiles of χ² with one degree of freedom, where a scan has no intervals of its own."""

_TOP = 8.0


def plot_scan(
    scan: ProfileScan,
    *,
    statistical: ProfileScan | None = None,
    reference: float | None = None,
    reference_error: float = 0.0,
    reference_label: str = "World average",
    data: str = "",
) -> StyledFigure:
    """−2Δln L along one parameter, the other ones at their conditional best fit.

    Dotted lines are the quantiles of χ² at the levels of the scan's intervals, which are shaded
    below the curve.

    Arguments:
        scan: All nuisance parameters profiled.
        statistical: The same with the nuisance parameters held, drawn broken.
        reference, reference_error: A value to mark.
        reference_label: What it is.
        data: A few words on the data, above the frame.
    """
    _check(scan)
    with style():
        figure = new_figure(height=5.0)
        axes = figure.add_subplot()
        for interval in sorted(scan.intervals, key=lambda one: -one.level):
            _shade(axes, scan, interval)
        label = f"{_name(scan)}: {best_text(scan)}"
        top = _frame(axes, scan)
        axes.plot(scan.values, _below(scan, top), color=FIRST, zorder=3, label=text(label))
        if statistical is not None:
            words = f"Statistics only: {best_text(statistical)}"
            axes.plot(statistical.values, _below(statistical, top), color=SECOND, linestyle="--",
                      zorder=3, label=text(words))  # fmt: skip
        _thresholds(axes, scan, top)
        mark_reference(axes, reference, reference_error, reference_label, (0.0, top))
        axes.set_xlabel(text(scan.axis))
        axes.set_ylabel(r"$-2\,\Delta\ln L$")
        axes.set_title(text(data), loc="right")
        axes.legend(loc="upper center", fontsize=SMALL)
        finish(figure, _words(scan, statistical))
    return figure


def best_text(scan: ProfileScan) -> str:
    """The best fit with its 68 % interval and the unit; the curvature's error without one.

    >>> x = np.linspace(0, 2, 3)
    >>> best_text(ProfileScan("mu", x, x, 1.0, 0.21))
    '1.00 ± 0.21'
    """
    one = next((i for i in scan.intervals if abs(i.level - 0.68) < 0.01), None)
    unit = f" {scan.unit}" if scan.unit else ""
    if one is None or len(one.pieces) != 1 or not np.isfinite(scan.best):
        if not np.isfinite(scan.error):
            return f"{scan.best:.6g}{unit}".replace("-", "−")
        return (
            f"{rounded(scan.best, scan.error)} ± {rounded(scan.error, scan.error)}{unit}".replace(
                "-", "−"
            )
        )
    return f"{interval_text(one)}{unit}"


def interval_text(interval: Interval) -> str:
    r"""The best fit with its distances to the ends of the interval; ± where they round alike.

    >>> print(interval_text(Interval("mu", 0.68, 1.0, ((0.79, 1.25),), "profile")))
    $\mathrm{1.00^{+0.25}_{−0.21}}$
    """
    down, up = interval.errors
    scale = 0.5 * abs(interval.high - interval.low)
    best, less, more = (rounded(value, scale) for value in (interval.best, down, up))
    if less == more:
        return f"{best} ± {more}".replace("-", "−")
    number = f"{best}^{{+{more}}}_{{-{less}}}".replace("-", "−")
    return rf"$\mathrm{{{number}}}$"


def mark_reference(
    axes: Axes, value: float | None, error: float, label: str, ends: tuple[float, float]
) -> None:
    """A value to compare with, as a vertical line between ``ends``, with its band."""
    if value is None:
        return
    words = f"{rounded(value, error)} ± {rounded(error, error)}" if error else f"{value:.6g}"
    if error:
        axes.fill_betweenx(ends, value - error, value + error, color=GREY, alpha=0.5, lw=0)
    axes.plot(
        [value, value], ends, color="black", linestyle="-.", linewidth=1.3, zorder=2,
        label=text(f"{label}: {words}".replace("-", "−")),
    )  # fmt: skip


def _check(scan: ProfileScan) -> None:
    known = int(np.isfinite(scan.statistic).sum())
    if known < 3:
        raise DataError(
            f"scan of {scan.parameter!r}: {known} of {len(scan.values)} points have a value; "
            "expected three at least"
        )


def _name(scan: ProfileScan) -> str:
    return {"profile": "Profile likelihood", "asimov": "Expected (Asimov)"}.get(
        scan.method, scan.method
    )


def _shade(axes: Axes, scan: ProfileScan, interval: Interval) -> None:
    colour = LIGHT if interval.level < 0.8 else LIGHTER
    for low, high in interval.pieces:
        inside = scan.values[(scan.values > low) & (scan.values < high)]
        x = np.concatenate([[low], inside, [high]])
        known = np.isfinite(scan.statistic)
        y = np.interp(x, scan.values[known], scan.statistic[known])
        axes.fill_between(x, 0, y, color=colour, linewidth=0, zorder=1)


def _frame(axes: Axes, scan: ProfileScan) -> float:
    """The limits of the frame, with room for the legend; the height that the curve reaches."""
    largest = float(np.nanmax(scan.statistic))
    top = min(max(largest, 1.25 * max(_heights(scan).values())), _TOP)
    axes.set_xlim(scan.values[0], scan.values[-1])
    axes.set_ylim(0, 1.5 * top)
    return top


def _below(scan: ProfileScan, top: float) -> Array:
    """The curve up to ``top``: above it is the legend."""
    return np.where(scan.statistic <= top, scan.statistic, np.nan)


def _heights(scan: ProfileScan) -> dict[float, float]:
    from scipy.stats import chi2

    return {i.level: float(chi2.ppf(i.level, 1)) for i in scan.intervals} or LEVELS


def _thresholds(axes: Axes, scan: ProfileScan, top: float) -> None:
    for level, height in _heights(scan).items():
        if height > top:
            continue
        axes.axhline(height, color=GREY, linestyle=":", linewidth=1.2, zorder=2)
        axes.annotate(
            f"{100 * level:.3g} %", (1, height), xycoords=("axes fraction", "data"),
            xytext=(-6, 3), textcoords="offset points", ha="right", fontsize=SMALL, color="0.3",
        )  # fmt: skip


def _words(scan: ProfileScan, statistical: ProfileScan | None) -> str:
    parts = [f"{_name(scan)} of {scan.parameter}, best fit {scan.best:.6g} {scan.unit}".rstrip()]
    for one in scan.intervals:
        pieces = " and ".join(f"[{low:.6g}, {high:.6g}]" for low, high in one.pieces)
        parts.append(f"{100 * one.level:.3g} %: {pieces or 'empty'}")
    if statistical is not None:
        parts.append(f"with the nuisance parameters held: ± {statistical.error:.3g}")
    return "; ".join(parts) + "." + "".join(f" {word}." for word in scan.warnings)
