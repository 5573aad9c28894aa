"""What simulations buy: width, error and coverage by the number of simulated events."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hepgen.plots.style import GREY, LIGHTER, PALETTE, WIDTH, finish, new_figure, style, text
from hepgen.results import BudgetCurve

_MARKERS = "osD^vP"
_LEVEL = 0.68


def plot_budget(
    curves: Sequence[BudgetCurve], *, reference: float | None = None, axis: str = ""
) -> Figure:
    """Width, error and coverage of one parameter, a line for each estimator.

    Estimators that use the joint score have full lines, the others dashed ones.

    Arguments:
        curves: Of the same parameter.
        reference: The width of the best posterior that the data allow, where it is known.
        axis: The unit of width and error, for the label.
    """
    with style():
        figure = new_figure(1.9 * WIDTH, 0.72 * WIDTH)
        panels = list(figure.subplots(1, 3))
        for i, curve in enumerate(curves):
            _draw(panels, curve, i)
        unit = f" [{axis}]" if axis else ""
        for panel, label in zip(
            panels, ("Mean width", "RMS error", "Coverage of 68 %"), strict=True
        ):
            panel.set(xscale="log", xlabel="Simulated events", ylabel=label)
        for panel in panels[:2]:
            panel.set(yscale="log", ylabel=panel.get_ylabel() + unit)
            if reference is not None:
                panel.axhline(reference, color=GREY, linestyle=":", zorder=0)
        _band(panels[2], curves[0].sets)
        panels[0].legend(fontsize=10)
        finish(figure, _words(curves))
    return figure


def _draw(panels: Sequence[Axes], curve: BudgetCurve, i: int) -> None:
    dash = "-" if curve.augmented else "--"
    for panel, values in zip(panels, (curve.width, curve.rms, curve.coverage), strict=True):
        panel.plot(
            curve.events, values, dash, marker=_MARKERS[i % len(_MARKERS)], markersize=5,
            color=PALETTE[i % len(PALETTE)], label=text(curve.method),
        )  # fmt: skip


def _band(panel: Axes, sets: int) -> None:
    error = np.sqrt(_LEVEL * (1 - _LEVEL) / sets)
    panel.axhspan(_LEVEL - error, _LEVEL + error, color=LIGHTER, zorder=0)
    panel.axhline(_LEVEL, color=GREY, linewidth=1)
    panel.set_ylim(0, 1)


def _words(curves: Sequence[BudgetCurve]) -> str:
    return (
        f"Posterior of {curves[0].parameter} in {curves[0].sets} pseudo-data sets, by the number "
        "of simulated events: mean width, error of the mean, and coverage of the central 68 % "
        "interval with its binomial band. Full lines: estimators with the joint score."
    )
