"""The headline: the marginal posterior of one parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hepgen.errors import DataError, ParameterError
from hepgen.parameters import Parameter
from hepgen.plots.density import density_1d, grid_range
from hepgen.plots.style import (
    FIRST,
    GREY,
    LIGHT,
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
from hepgen.results import rounded

Array = NDArray[np.float64]

_LINES = ((FIRST, "-"), (SECOND, "--"), (PALETTE[2], "-."))


def plot_posterior(
    posteriors: Mapping[str, Array],
    parameter: Parameter,
    *,
    reference_error: float = 0.0,
    reference_label: str = "World average",
    data: str = "",
) -> StyledFigure:
    """p(θ | data) of one parameter, with its median and central 68 % and 95 % intervals.

    The intervals of the first posterior are shaded; those of all are stated in the legend.

    Arguments:
        posteriors: Draws by the name of the method, each of shape ``(S,)``, in the unit of
            the parameter; one to three of them.
        parameter: Its label, unit, prior and reference.
        reference_error: The uncertainty of the reference.
        reference_label: What the reference is.
        data: A few words on the data, drawn above the frame, e.g. ``CMS, 501 events``.
    """
    if not 1 <= len(posteriors) <= len(_LINES):
        raise ParameterError(
            f"{len(posteriors)} posteriors in one plot; expected one to {len(_LINES)}"
        )
    sets = {name: finite(name, draws) for name, draws in posteriors.items()}
    limits = span(list(sets.values()), parameter, room=0.15)
    with style():
        figure = new_figure(height=4.9)
        axes = figure.add_subplot()
        for i, (name, draws) in enumerate(sets.items()):
            _draw(axes, name, draws, limits, i)
        draw_prior(axes, parameter, limits)
        _draw_reference(axes, parameter, reference_error, reference_label)
        axes.set_xlim(limits)
        axes.set_ylim(bottom=0)
        headroom(axes, 0.075 * (len(posteriors) + 3))
        axes.set_xlabel(text(parameter.axis))
        per = f" [1/{parameter.unit}]" if parameter.unit else ""
        axes.set_ylabel(text(f"Posterior density{per}"))
        axes.set_title(text(data), loc="right")
        unit = f" [{parameter.unit}]" if parameter.unit else ""
        title = f"Median, central 68 % and 95 % interval{unit}"
        axes.legend(loc="upper left", title=text(title), title_fontsize=SMALL, alignment="left")
        finish(figure, _words(sets, parameter, reference_error, reference_label))
    return figure


def span(columns: Sequence[Array], parameter: Parameter, room: float) -> tuple[float, float]:
    """A range that holds all draws of a parameter, with its reference where that is near.

    Arguments:
        columns: Sets of draws, each of shape ``(S,)``.
        parameter: Its prior bounds the range.
        room: The space beyond the reference, in units of the width that the draws take.
    """
    prior = parameter.prior
    bounds = (-np.inf, np.inf) if prior is None else (prior.low, prior.high)
    ends = [grid_range(column, *bounds) for column in columns]
    low, high = min(e[0] for e in ends), max(e[1] for e in ends)
    width, reference = high - low, parameter.reference
    if reference is not None and low - width < reference < high + width:
        low, high = min(low, reference - room * width), max(high, reference + room * width)
    return low, high


def finite(name: str, draws: Array) -> Array:
    """The draws of the posterior ``name`` in float64, refused where there is a NaN or none."""
    draws = np.asarray(draws, dtype=np.float64)
    bad = int((~np.isfinite(draws)).sum())
    if bad or len(draws) < 2:
        raise DataError(
            f"posterior {name!r} has {len(draws)} draws with {bad} values that are not finite; "
            "expected at least 2 draws and only finite values"
        )
    return draws


def summary(draws: Array) -> str:
    """The median, and the central 68 % and 95 % intervals, rounded by the standard deviation.

    >>> summary(np.linspace(0.0, 1.0, 1001))
    '0.50, [0.16, 0.84], [0.03, 0.97]'
    """
    low95, low, median, high, high95 = (
        rounded(value, float(draws.std()))
        for value in np.quantile(draws, [0.025, 0.16, 0.5, 0.84, 0.975]).tolist()
    )
    return f"{median}, [{low}, {high}], [{low95}, {high95}]"


def _draw(axes: Axes, name: str, draws: Array, limits: tuple[float, float], i: int) -> None:
    x, density = density_1d(draws, limits, bins=256)
    colour, dash = _LINES[i]
    label = text(f"{name}: {summary(draws)}")
    axes.plot(x, density, color=colour, linestyle=dash, label=label, zorder=3)
    if i > 0:
        return
    low95, low, median, high, high95 = np.quantile(draws, [0.025, 0.16, 0.5, 0.84, 0.975])
    for first, last, shade in ((low95, high95, LIGHTER), (low, high, LIGHT)):
        axes.fill_between(x, density, where=(x >= first) & (x <= last), color=shade, linewidth=0)
    axes.vlines(median, 0, np.interp(median, x, density), color=colour, linewidth=1.2)


def draw_prior(axes: Axes, parameter: Parameter, limits: tuple[float, float]) -> None:
    """The density of the prior, thin and dotted."""
    if parameter.prior is None:
        return
    x = np.linspace(*limits, 300)
    density = parameter.prior.log_prob(torch.from_numpy(x)).exp().numpy()
    axes.plot(x, density, color=GREY, linestyle=":", linewidth=1.3, label="Prior", zorder=2)


def _draw_reference(axes: Axes, parameter: Parameter, error: float, label: str) -> None:
    value = parameter.reference
    if value is None:
        return
    top = max(float(np.max(np.asarray(line.get_ydata()))) for line in axes.lines)
    words = text(f"{label}: {_reference_text(value, error)}")
    if error:
        axes.fill_betweenx([0, top], value - error, value + error, color=GREY, linewidth=0)
    look: dict[str, Any] = {"color": "black", "linestyle": "-.", "linewidth": 1.3}
    axes.plot([value, value], [0, top], **look, label=words, zorder=2)


def _reference_text(value: float, error: float) -> str:
    return f"{rounded(value, error)} ± {rounded(error, error)}" if error else f"{value:.6g}"


def _words(posteriors: Mapping[str, Array], parameter: Parameter, error: float, label: str) -> str:
    unit = f" {parameter.unit}" if parameter.unit else ""
    parts = [f"{name}: {summary(draws)}{unit}" for name, draws in posteriors.items()]
    words = f"Posterior of {parameter.name}. Median, central 68 % and 95 % interval: "
    words += "; ".join(parts) + "."
    words += " Shaded: the central 68 % and 95 % of the first."
    if parameter.reference is not None:
        words += f" {label}: {_reference_text(parameter.reference, error)}{unit}."
    return words
