"""The parts of an error, beside one another."""

from __future__ import annotations

import math

from hepgen.plots.style import (
    GREY,
    LIGHT,
    SMALL,
    StyledFigure,
    finish,
    new_figure,
    style,
    text,
)
from hepgen.results import rounded
from hepgen.statements import ErrorBudget

_SIMULATION = "finite simulation"


def plot_error_budget(budget: ErrorBudget) -> StyledFigure:
    """A bar for each part of the error of one parameter, and for all in quadrature.

    The part of the finite simulation has its own error as a line; where it is not known, the row
    says so.
    """
    unit = f" {budget.unit}" if budget.unit else ""
    rows = {**budget.parts, _SIMULATION: budget.simulation, "all in quadrature": budget.total}
    with style():
        figure = new_figure(height=1.5 + 0.5 * len(rows))
        axes = figure.add_subplot()
        for row, (name, size) in enumerate(rows.items()):
            own = budget.simulation_error if name == _SIMULATION else 0.0
            words, end = "not known: one training", 0.0
            if math.isfinite(size):
                words, end = f"{rounded(size, budget.total)}{unit}", size + own
                axes.barh(row, size, height=0.6, color=GREY if row == len(rows) - 1 else LIGHT)
            if own > 0:
                axes.errorbar(size, row, xerr=own, color="black", linewidth=1.3, capsize=3)
            axes.text(end + 0.015 * budget.total, row, words, va="center", fontsize=SMALL)
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, 1.3 * budget.total)
        axes.tick_params(axis="y", which="both", left=False, right=False)
        axes.set_xlabel(f"Error of {text(budget.axis)}")
        finish(figure, _caption(budget, unit))
    return figure


def _caption(budget: ErrorBudget, unit: str) -> str:
    parts = ", ".join(
        f"{rounded(s, budget.total)}{unit} {name}" for name, s in budget.parts.items()
    )
    simulation = (
        f"the finite simulation by the spread of {budget.trainings} trainings"
        if math.isfinite(budget.simulation)
        else "what the finite simulation adds is not known from one training"
    )
    return (
        f"The error of {budget.parameter} by the curvature of the posterior "
        f"({budget.method.upper()}): {parts}; {simulation}."
    )
