"""What binning costs: the error of a parameter by the number of bins."""

from __future__ import annotations

import numpy as np

from hepgen.binning import BinnedFit
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


def plot_binning(fitted: BinnedFit) -> StyledFigure:
    """The error with bins over that without, by their number; that of the workspace is marked."""
    ratio = np.where(np.isfinite(fitted.errors), fitted.errors, np.nan) / fitted.unbinned
    with style():
        figure = new_figure()
        axes = figure.add_subplot()
        axes.axhline(1, color=GREY, linestyle="--", linewidth=1.3, label="Without bins")
        axes.plot(fitted.bins, ratio, "o-", color=FIRST, markersize=5, label="With bins")
        axes.plot(
            fitted.chosen, ratio[fitted.bins == fitted.chosen], "D", color=SECOND, markersize=9,
            zorder=4, label=f"Workspace: {fitted.chosen} bins, {100 * fitted.cost:+.1f} %",
        )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(fitted.bins, [str(n) for n in fitted.bins])
        axes.minorticks_off()
        known = ratio[np.isfinite(ratio)]
        top = max(1.05, float(known.max(initial=1.0)))
        axes.set_ylim(1 - 0.08 * (top - 1), top + 0.3 * (top - 1))
        axes.set_xlabel(f"Bins of {text(fitted.observable)}")
        axes.set_ylabel(f"Expected error of {text(fitted.label or fitted.parameter)} over unbinned")
        axes.legend(loc="upper right", fontsize=SMALL)
        finish(figure, _words(fitted))
    return figure


def _words(fitted: BinnedFit) -> str:
    unit = f" {fitted.unit}" if fitted.unit else ""
    return (
        f"The expected error of {fitted.parameter} from counts of {fitted.observable} in bins over "
        f"that from the events. Fit of the workspace, {fitted.chosen} bins: {fitted.value:.6g} ± "
        f"{fitted.error:.3g}{unit}; fit of the events {fitted.unbinned_value:.6g} ± "
        f"{fitted.unbinned_error:.3g}{unit}."
    )
