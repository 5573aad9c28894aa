"""Corner plot: every parameter of a posterior, and every pair of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import AutoMinorLocator, MaxNLocator
from numpy.typing import NDArray

from hepgen.errors import ParameterError
from hepgen.parameters import Parameter
from hepgen.plots.density import credible_levels, density_1d, density_2d
from hepgen.plots.posterior import draw_prior, finite, span
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

Array = NDArray[np.float64]
Span = tuple[float, float]


def plot_corner(
    posteriors: Mapping[str, Array],
    parameters: Sequence[Parameter],
    *,
    reference_label: str = "World average",
) -> StyledFigure:
    """Marginals p(θᵢ | data) on the diagonal, p(θᵢ, θⱼ | data) below it.

    The first posterior is filled: contours hold 68 % and 95 % of it (highest density), the
    band on the diagonal is its central 68 %, and the median with that interval stands above.
    A second posterior is drawn as broken lines. Priors are thin dotted lines; a parameter with
    a ``reference`` has it marked.

    Arguments:
        posteriors: One or two sets of draws by name, e.g. ``{"NLE": ..., "NPE": ...}``, each of
            shape ``(S, D)``, in the units of the parameters.
        parameters: D parameters, in the order of the columns.
        reference_label: What the references are.
    """
    sets = _checked(posteriors, parameters)
    spans = [span([s[:, i] for s in sets], p, room=0.05) for i, p in enumerate(parameters)]
    with style():
        figure, grid = _grid(len(parameters))
        for row, parameter in enumerate(parameters):
            _draw_marginal(grid[row, row], [s[:, row] for s in sets], parameter, spans[row])
            for column in range(row):
                pair = [s[:, [column, row]] for s in sets]
                _draw_pair(grid[row, column], pair, (spans[column], spans[row]))
                _mark_pair(grid[row, column], parameters[column], parameter)
            for column in range(row + 1, len(parameters)):
                grid[row, column].set_visible(False)
        _label(grid, parameters)
        _legend(figure, grid, list(posteriors), parameters, reference_label)
        finish(figure, _words(list(posteriors), parameters, reference_label))
    return figure


def _checked(posteriors: Mapping[str, Array], parameters: Sequence[Parameter]) -> list[Array]:
    if not 1 <= len(posteriors) <= 2:
        raise ParameterError(f"{len(posteriors)} posteriors in one plot; expected one or two")
    for name, draws in posteriors.items():
        if draws.ndim != 2 or draws.shape[1] != len(parameters):
            raise ParameterError(
                f"posterior {name!r} has draws of shape {draws.shape}; expected "
                f"(S, {len(parameters)}): {', '.join(p.name for p in parameters)}"
            )
    return [finite(name, draws) for name, draws in posteriors.items()]


def _grid(size: int) -> tuple[StyledFigure, NDArray[np.object_]]:
    """Square panels of one size, with room for labels and numbers, in inches."""
    panel = float(np.clip(5.0 / size, 1.55, 3.2))
    gap, left, bottom, right, top = 0.13, 1.25, 1.1, 0.35, 0.4
    inside = size * panel + (size - 1) * gap
    width, height = left + inside + right, bottom + inside + top
    figure = new_figure(width, height, constrained=False)
    grid = figure.subplots(size, size, squeeze=False)
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=gap / panel,
        hspace=gap / panel,
    )
    return figure, grid


def _draw_marginal(
    axes: Axes, columns: Sequence[Array], parameter: Parameter, limits: Span
) -> None:
    styles = ((FIRST, "-"), (SECOND, "--"))
    for (colour, dash), column in zip(styles, columns, strict=False):
        x, density = density_1d(column, limits)
        axes.plot(x, density, color=colour, linestyle=dash, zorder=3)
    x, density = density_1d(columns[0], limits)
    low, median, high = np.quantile(columns[0], [0.16, 0.5, 0.84]).tolist()
    axes.fill_between(x, density, where=(x >= low) & (x <= high), color=LIGHTER, linewidth=0)
    draw_prior(axes, parameter, limits)
    if parameter.reference is not None:
        axes.axvline(parameter.reference, color="black", linestyle="-.", linewidth=1.0, zorder=2)
    axes.set_title(interval_text(low, median, high, float(columns[0].std())), fontsize=SMALL)
    axes.set_xlim(limits)
    axes.set_ylim(bottom=0)
    axes.set_yticks([])


def interval_text(low: float, median: float, high: float, std: float) -> str:
    r"""The median with its distances to the ends of an interval, as mathematics.

    >>> print(interval_text(90.70, 90.91, 91.13, 0.213))
    $\mathrm{90.91^{+0.22}_{−0.21}}$
    """
    up, down = rounded(high - median, std), rounded(median - low, std)
    number = f"{rounded(median, std)}^{{+{up}}}_{{-{down}}}".replace("-", "−")
    return rf"$\mathrm{{{number}}}$"


def _draw_pair(axes: Axes, pairs: Sequence[Array], spans: tuple[Span, Span]) -> None:
    for first, pair in zip((True, False), pairs, strict=False):
        x, y, density = density_2d(pair, spans)
        one, two = credible_levels(density, [0.68, 0.95])
        two = min(two, 0.999 * one)
        if first:
            axes.contourf(x, y, density.T, [two, one, 2 * density.max()], colors=[LIGHTER, LIGHT])
        colour = FIRST if first else SECOND
        axes.contour(
            x,
            y,
            density.T,
            [two, one],
            colors=colour,
            linewidths=(1.0, 1.5),
            linestyles="solid" if first else "dashed",
        )
    axes.set_xlim(spans[0])
    axes.set_ylim(spans[1])


def _mark_pair(axes: Axes, across: Parameter, up: Parameter) -> None:
    if across.reference is not None:
        axes.axvline(across.reference, color="black", linestyle="-.", linewidth=1.0)
    if up.reference is not None:
        axes.axhline(up.reference, color="black", linestyle="-.", linewidth=1.0)


def _label(grid: NDArray[np.object_], parameters: Sequence[Parameter]) -> None:
    last = len(parameters) - 1
    for row in range(last + 1):
        for column in range(row + 1):
            axes: Axes = grid[row, column]
            axes.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
            axes.xaxis.set_minor_locator(AutoMinorLocator(2))
            if row < last:
                axes.tick_params(labelbottom=False)
            else:
                axes.set_xlabel(text(parameters[column].axis), loc="center")
                axes.tick_params(axis="x", labelrotation=45)
            if row == column:
                continue
            axes.yaxis.set_major_locator(MaxNLocator(3, prune="both"))
            axes.yaxis.set_minor_locator(AutoMinorLocator(2))
            if column > 0:
                axes.tick_params(labelleft=False)
            else:
                axes.set_ylabel(text(parameters[row].axis), loc="center")
    figure = grid[0, 0].figure
    figure.align_ylabels(list(grid[:, 0]))
    figure.align_xlabels(list(grid[-1, :]))


def _legend(
    figure: StyledFigure,
    grid: NDArray[np.object_],
    names: list[str],
    parameters: Sequence[Parameter],
    reference_label: str,
) -> None:
    handles: list[Line2D | Patch] = [
        Patch(facecolor=LIGHT, edgecolor=FIRST, label=f"{names[0]}, 68 %"),
        Patch(facecolor=LIGHTER, edgecolor=FIRST, label=f"{names[0]}, 95 %"),
    ]
    if len(names) > 1:
        handles.append(
            Line2D([], [], color=SECOND, linestyle="--", label=f"{names[1]}, 68 %, 95 %")
        )
    if any(p.prior is not None for p in parameters):
        handles.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1.2, label="Prior"))
    if any(p.reference is not None for p in parameters):
        handles.append(
            Line2D([], [], color="black", linestyle="-.", linewidth=1.0, label=reference_label)
        )
    if len(parameters) > 1:
        figure.legend(handles=handles, loc="upper right", bbox_to_anchor=(0.98, 0.97))
    else:
        grid[0, 0].legend(handles=handles, loc="upper right")


def _words(names: list[str], parameters: Sequence[Parameter], reference_label: str) -> str:
    words = (
        f"Posterior of {', '.join(p.name for p in parameters)}. Contours hold 68 % and 95 % of "
        f"the {names[0]} posterior; bands and numbers on the diagonal are the median and the "
        "central 68 %."
    )
    if len(names) > 1:
        words += f" Broken lines: {names[1]}."
    if any(p.reference is not None for p in parameters):
        words += f" Dash-dotted lines: {reference_label.lower()}."
    return words + " Dotted lines: prior."
