"""The p-value along a search, with lines at whole standard deviations."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

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
from hepgen.search import SearchScan


def plot_p_values(scan: SearchScan, *, data: str = "") -> StyledFigure:
    """Local p-values along the hypothesis, and the global one of the largest excess.

    Arguments:
        scan: The tests.
        data: A few words on the data, above the frame.
    """
    k = scan.largest
    with style():
        figure = new_figure(height=5.0)
        axes = figure.add_subplot()
        local = f"Local: {_p(scan.p_value[k])}, {_sigmas(scan.local_significance)}"
        axes.plot(scan.values, scan.p_value, color="black", marker="o", markersize=4,
                  linewidth=1.5, label=local,
                  clip_on=False, zorder=3)  # fmt: skip
        label = f"Global: {_p(scan.global_p_value)}, {_sigmas(scan.global_significance)}"
        axes.plot(scan.values[k], scan.global_p_value, "D", color=SECOND, markersize=8, zorder=4,
                  clip_on=False, label=label)  # fmt: skip
        reach = max(2, math.floor(scan.local_significance + 0.5) + 1)
        axes.set_yscale("log")
        axes.set_ylim(0.6 * float(ndtr(-reach)), 8)
        for z in range(1, reach + 1):
            axes.axhline(ndtr(-z), color=GREY, linestyle=":", linewidth=1.1, zorder=1)
            axes.annotate(
                rf"{z}$\sigma$", (1, ndtr(-z)), xycoords=("axes fraction", "data"),
                xytext=(-6, 3), textcoords="offset points", ha="right", fontsize=SMALL,
                color=GREY,
            )  # fmt: skip
        axes.axhline(0.5, color=FIRST, linestyle="--", linewidth=1.0, zorder=1)
        axes.set_xlim(scan.values[0], scan.values[-1])
        unit = f" [{scan.along_unit}]" if scan.along_unit else ""
        axes.set_xlabel(text(f"{scan.along_label or scan.along}{unit}"))
        axes.set_ylabel(r"$p$-value of no signal")
        axes.set_title(text(data), loc="right")
        axes.legend(loc="upper right", fontsize=SMALL)
        finish(figure, _words(scan))
    return figure


def _p(value: float) -> str:
    return f"p = {value:.2g}"


def _sigmas(value: float) -> str:
    return rf"{value:.1f}$\sigma$" if np.isfinite(value) else r"0$\sigma$"


def _words(scan: SearchScan) -> str:
    k, unit = scan.largest, f" {scan.along_unit}" if scan.along_unit else ""
    return (
        f"p-values of no signal along {scan.along}. The largest excess is at "
        f"{scan.values[k]:g}{unit}: local p = {scan.p_value[k]:.3g} "
        f"({scan.local_significance:.2f} σ), global p = {scan.global_p_value:.3g} ± "
        f"{scan.global_error:.1g} ({scan.global_significance:.2f} σ) by {scan.method} of "
        f"{scan.toys} toys."
    )
