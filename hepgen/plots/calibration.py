"""Calibration: ranks, expected coverage, pulls, and recovered against true parameters.

Of estimators with different numbers of sets, since some may be left out, counts are scaled to the
fewest, and bands are of these.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.stats import binom, norm

from hepgen.errors import ParameterError, nearest
from hepgen.parameters import Parameter
from hepgen.plots.style import (
    FIRST,
    GREY,
    LIGHTER,
    PALETTE,
    SECOND,
    StyledFigure,
    finish,
    headroom,
    new_figure,
    style,
    text,
)
from hepgen.results import Calibration

Array = NDArray[np.float64]

_LINES = ((FIRST, "-", "o"), (SECOND, "--", "s"), (PALETTE[2], "-.", "^"))
_REACH = 4.0


def plot_ranks(calibrations: Sequence[Calibration], parameter: Parameter) -> StyledFigure:
    """The ranks of the truth among the posterior draws, which are uniform if calibrated.

    The band holds 95 % of the counts of each bin for uniform ranks (Talts et al.,
    arXiv:1804.06788).

    Arguments:
        calibrations: Up to three, e.g. of NLE and of NPE.
        parameter: The parameter whose ranks are drawn.
    """
    sets = _checked(calibrations, parameter)
    size = _fewest(sets)
    bins = int(np.clip(size // 10, 4, 20))
    edges = np.linspace(0, 1, bins + 1)
    low, high = binom.ppf([0.025, 0.975], size, 1 / bins)
    with style():
        figure, axes = _panel(integer=True)
        axes.axhspan(low, high, color=LIGHTER, linewidth=0, label="95 % band, uniform")
        axes.axhline(size / bins, color=GREY, linestyle=":", linewidth=1.2)
        for (colour, dash, _), one in zip(_LINES, sets, strict=False):
            ranks = one.rank[:, one.column(parameter.name)]
            counts = np.histogram(ranks, edges)[0] * (size / len(one))
            axes.stairs(
                counts, edges, color=colour, linestyle=dash, linewidth=1.8, label=_name(one)
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, max(axes.get_ylim()[1], high))
        headroom(axes, 0.14 + 0.08 * len(sets))
        axes.set_xlabel(f"Fraction of draws below the true {text(_symbol(parameter))}")
        axes.set_ylabel(f"Pseudo-data sets / {1 / bins:.2g}")
        axes.legend(loc="upper right")
        finish(figure, f"Ranks of the true {parameter.name} in {_number(sets)} pseudo-data sets.")
    return figure


def plot_coverage(calibrations: Sequence[Calibration], parameter: Parameter) -> StyledFigure:
    """How often central credible intervals hold the truth, against their level.

    The bands hold 68 % and 95 % of binomial counts for a calibrated posterior; the point at
    68 % is marked and stated with its binomial error.

    Arguments:
        calibrations: Up to three.
        parameter: The parameter whose coverage is drawn.
    """
    sets = _checked(calibrations, parameter)
    levels = np.linspace(0, 1, 101)
    with style():
        figure, axes = _panel(height=5.2)
        _coverage_bands(axes, levels, _fewest(sets))
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2)
        for (colour, dash, marker), one in zip(_LINES, sets, strict=False):
            covered = [one.coverage(parameter.name, level) for level in levels]
            axes.plot(
                levels, covered, color=colour, linestyle=dash, drawstyle="steps-mid", zorder=3
            )
            value = one.coverage(parameter.name)
            error = one.coverage_error(parameter.name)
            axes.errorbar(
                0.68,
                value,
                yerr=error,
                fmt=marker,
                color=colour,
                markersize=7,
                zorder=4,
                markeredgecolor="white",
                capsize=3,
                label=f"{_name(one)}: {value:.3f} ± {error:.3f} at 68 %",
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel(f"Level of the interval of {text(_symbol(parameter))}")
        axes.set_ylabel("Fraction that holds the truth")
        axes.legend(loc="upper left")
        finish(figure, _coverage_words(sets, parameter))
    return figure


def plot_pulls(calibrations: Sequence[Calibration], parameter: Parameter) -> StyledFigure:
    """The pulls (mean − truth)/σ with their mean and width, against a unit Gaussian.

    Arguments:
        calibrations: Up to three.
        parameter: The parameter whose pulls are drawn.
    """
    sets = _checked(calibrations, parameter)
    size = _fewest(sets)
    edges = np.linspace(-_REACH, _REACH, 8 * int(np.clip(np.sqrt(size) / 6, 2, 5)) + 1)
    step = edges[1] - edges[0]
    with style():
        figure, axes = _panel(integer=True)
        for i, one in enumerate(sets):
            _draw_pulls(axes, one, parameter.name, edges, i, size / len(one))
        x = np.linspace(-_REACH, _REACH, 200)
        gauss = size * step * norm.pdf(x)
        axes.plot(x, gauss, color="black", linestyle=":", label="Unit Gaussian")
        axes.set_xlim(-_REACH, _REACH)
        axes.set_ylim(bottom=0)
        headroom(axes, 0.14 + 0.08 * len(sets))
        axes.set_xlabel(f"Pull of {text(_symbol(parameter))}, (mean − truth)/σ")
        axes.set_ylabel(f"Pseudo-data sets / {step:.2g}")
        axes.legend(loc="upper left")
        finish(
            figure,
            f"Pulls of {parameter.name}. "
            + "; ".join(_pull_text(one, parameter.name) for one in sets)
            + ".",
        )
    return figure


def plot_recovery(calibration: Calibration, parameter: Parameter) -> StyledFigure:
    """Posterior mean and standard deviation against the truth, with the difference below.

    Arguments:
        calibration: One calibration.
        parameter: The parameter that is drawn.
    """
    _checked([calibration], parameter)
    i = calibration.column(parameter.name)
    truth, mean, std = (a[:, i] for a in (calibration.truth, calibration.mean, calibration.std))
    low, high = float(truth.min()), float(truth.max())
    pad = 0.05 * (high - low)
    ends = [low - pad, high + pad]
    with style():
        figure, axes = _panel(height=5.2)
        axes.errorbar(
            truth,
            mean,
            yerr=std,
            fmt="o",
            color=FIRST,
            markersize=3.5,
            elinewidth=0.7,
            label=f"{_name(calibration)}: mean ± std",
            zorder=3,
        )
        axes.plot(
            ends, ends, color="black", linestyle="--", linewidth=1.2, label="Mean = truth", zorder=4
        )
        axes.set_xlim(*ends)
        unit = f" [{parameter.unit}]" if parameter.unit else ""
        axes.set_xlabel(f"True {text(_symbol(parameter))}{unit}")
        axes.set_ylabel(f"Posterior mean of {text(_symbol(parameter))}{unit}")
        axes.legend(loc="upper left")
        finish(
            figure,
            f"Posterior mean of {parameter.name} against the truth in "
            f"{len(calibration)} pseudo-data sets; bars are posterior standard deviations.",
        )
    return figure


def _checked(calibrations: Sequence[Calibration], parameter: Parameter) -> list[Calibration]:
    sets = list(calibrations)
    if not 1 <= len(sets) <= len(_LINES):
        raise ParameterError(f"{len(sets)} calibrations in one plot; expected one to {len(_LINES)}")
    for one in sets:
        if parameter.name not in one.parameters:
            raise ParameterError(
                f"no calibration of parameter {parameter.name!r}; "
                f"{nearest(parameter.name, one.parameters)}"
            )
        if len(one) < 2:
            raise ParameterError(
                f"a calibration of {len(one)} pseudo-data sets; expected 2 at least"
            )
    return sets


def _fewest(calibrations: Sequence[Calibration]) -> int:
    return min(map(len, calibrations))


def _number(calibrations: Sequence[Calibration]) -> str:
    fewest, most = _fewest(calibrations), max(map(len, calibrations))
    return str(most) if fewest == most else f"{fewest} to {most}"


def _panel(height: float = 4.6, integer: bool = False) -> tuple[StyledFigure, Axes]:
    figure = new_figure(height=height)
    axes = figure.add_subplot()
    axes.yaxis.set_major_locator(MaxNLocator(7, integer=integer, steps=[1, 2, 5, 10]))
    return figure, axes


def _symbol(parameter: Parameter) -> str:
    return parameter.label or parameter.name


def _draw_pulls(
    axes: Axes, calibration: Calibration, name: str, edges: Array, i: int, scale: float
) -> None:
    colour, dash, marker = _LINES[i]
    counts = np.histogram(calibration.pulls(name), edges)[0].astype(float)
    axes.stairs(scale * counts, edges, color=colour, linestyle=dash, linewidth=1.6)
    beside = (0.5, 0.35, 0.65)[i]
    points = np.where(counts > 0, counts, np.nan)
    axes.errorbar(
        edges[:-1] + beside * np.diff(edges),
        scale * points,
        yerr=scale * np.sqrt(points),
        fmt=marker,
        color=colour,
        markersize=5,
        elinewidth=1.2,
        label=_pull_text(calibration, name),
    )


def _name(calibration: Calibration) -> str:
    return text(f"{calibration.method.upper()} ({calibration.source})")


def _coverage_bands(axes: Axes, levels: Array, size: int) -> None:
    for mass, shade in ((0.95, LIGHTER), (0.68, "#a9c1f5")):
        low, high = (binom.ppf(q, size, levels) / size for q in ((1 - mass) / 2, (1 + mass) / 2))
        label = f"{mass:.0%} band".replace("%", " %")
        axes.fill_between(levels, low, high, color=shade, linewidth=0, step="mid", label=label)


def _coverage_words(sets: Sequence[Calibration], parameter: Parameter) -> str:
    parts = []
    for one in sets:
        value, error = one.coverage(parameter.name), one.coverage_error(parameter.name)
        parts.append(f"{one.method.upper()} ({one.source}) {value:.3f} ± {error:.3f}")
    return (
        f"Expected coverage of {parameter.name} in {_number(sets)} pseudo-data sets; 68 % "
        f"intervals: {'; '.join(parts)}. Bands are binomial, for a calibrated posterior."
    )


def _pull_text(calibration: Calibration, name: str) -> str:
    mean, mean_error = calibration.pull_mean(name)
    width, width_error = calibration.pull_width(name)
    words = f"mean {mean:.2f} ± {mean_error:.2f}, width {width:.2f} ± {width_error:.2f}"
    outside = int((np.abs(calibration.pulls(name)) > _REACH).sum())
    words += f", {outside} outside" if outside else ""
    return f"{_name(calibration)}: " + words.replace("-", "−")
