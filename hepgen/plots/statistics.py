"""Statistics of tests beside what they would be if all were well."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hepgen.errors import DataError
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
    new_figure,
    style,
    text,
)

Array = NDArray[np.float64]
_COLOURS = (FIRST, SECOND, PALETTE[2], PALETTE[1])
_ROW = 0.42
_BINS = 12


def plot_null(tests: Mapping[str, tuple[float, Array]], *, of: str) -> StyledFigure:
    """A statistic of the data, as a line, among its values where the hypothesis holds.

    Both are in units of the mean of the latter, so that several tests fit into one frame.

    Arguments:
        tests: The statistic, and its values under the hypothesis, shape ``(P,)``, by name.
        of: What the statistic is of.
    """
    _some(tests, len(_COLOURS))
    with style():
        figure = new_figure(height=4.2)
        axes = figure.add_subplot()
        scaled = {n: (t / null.mean(), null / null.mean()) for n, (t, null) in tests.items()}
        last = max(max(t, float(np.quantile(null, 0.995))) for t, null in scaled.values())
        edges = np.linspace(0, 1.1 * last, 60).tolist()
        for colour, (name, (statistic, null)) in zip(_COLOURS, scaled.items(), strict=False):
            axes.hist(
                null, edges, density=True, histtype="step", color=colour, linewidth=1.3,
                label=text(f"{name}: p = {_p_value(statistic, null):.2g}"),
            )  # fmt: skip
            axes.axvline(statistic, color=colour, linestyle="--", linewidth=1.6)
        axes.set_xlim(0, edges[-1])
        axes.set_xlabel(text(f"{of} / mean under the hypothesis"))
        axes.set_ylabel("Density")
        axes.legend(loc="best")
        found = "; ".join(f"{n}: p = {_p_value(t, null):.2g}" for n, (t, null) in scaled.items())
        finish(
            figure,
            f"{of} of the data (broken lines) among its values where the posterior is right "
            f"(histograms). {found}.",
        )
    return figure


def plot_statistics(tests: Mapping[str, tuple[float, Array]]) -> StyledFigure:
    """Statistics of the data beside those of replications: a row for each.

    A row is in units of the standard deviation of the replications about their mean. The bands
    are of one and two of them, the small marks single replications.

    Arguments:
        tests: The statistic, and that of each replication, shape ``(R,)``, by name.
    """
    _some(tests, 40)
    with style():
        figure = new_figure(height=1.7 + _ROW * max(len(tests), 3))
        axes = figure.add_subplot()
        for reach, colour in ((2, LIGHTER), (1, LIGHT)):
            axes.axvspan(-reach, reach, color=colour, linewidth=0, zorder=0)
        furthest = 3.0
        for row, (observed, replicated) in enumerate(tests.values()):
            spread = float(replicated.std(ddof=1)) or 1.0
            away = (observed - float(replicated.mean())) / spread
            others = (replicated - replicated.mean()) / spread
            axes.plot(others, np.full(len(others), row), "|", color=GREY, markersize=7)
            axes.plot(away, row, "o", color="black", markersize=6, zorder=3)
            furthest = max(furthest, 1.15 * abs(away))
        axes.set_xlim(-furthest, furthest)
        axes.set_ylim(len(tests) - 0.4, -0.6)
        axes.set_yticks(range(len(tests)), [text(name) for name in tests])
        axes.tick_params(axis="y", which="both", left=False, right=False, labelsize=SMALL)
        axes.set_xlabel("(Statistic − mean of replications)/std. dev.")
        finish(
            figure,
            "Statistics of the data (points) among those of replications at posterior draws "
            "(marks), with bands of one and two standard deviations of these.",
        )
    return figure


def plot_ratio_calibration(
    samples: Mapping[str, tuple[Array, Array]],
    recalibrated: Mapping[str, tuple[Array, Array]] = {},
) -> StyledFigure:
    """The log-ratio that events have, by the log-ratio that was learned: the diagonal is right.

    In bins with equally many events, log(n₁/n₀) with the error √(1/n₁ + 1/n₀).

    Arguments:
        samples: Learned log-ratios of equally many events of the numerator and of the denominator,
            shape ``(N,)`` each, by name.
        recalibrated: The same in the same order after a repair, with other events: open points.
    """
    _some(samples, len(_COLOURS))
    with style():
        figure = new_figure(height=5.2)
        axes = figure.add_subplot()
        for colour, (name, (above, below)) in zip(_COLOURS, samples.items(), strict=False):
            _reliability(axes, above, below, colour, name, filled=True)
        for colour, (name, (above, below)) in zip(_COLOURS, recalibrated.items(), strict=False):
            _reliability(axes, above, below, colour, name, filled=False)
        low, high = axes.get_xlim()
        axes.plot([low, high], [low, high], color=GREY, linestyle=":", linewidth=1.2)
        axes.set_xlim(low, high)
        axes.set_xlabel(r"Learned $\log r$")
        axes.set_ylabel(r"$\log r$ of the events in a bin of it")
        axes.legend(loc="upper left")
        finish(
            figure,
            "Calibration of learned ratios, with events they were not trained on: the log-ratio "
            "of the numbers of events of both hypotheses in bins of the learned one. The dotted "
            "diagonal is that of a ratio of two densities."
            + (" Open points: after a line through the other events." if recalibrated else ""),
        )
    return figure


def _reliability(
    axes: Axes, above: Array, below: Array, colour: str, name: str, *, filled: bool
) -> None:
    pooled = np.concatenate([above, below])
    edges = np.unique(np.quantile(pooled, np.linspace(0, 1, _BINS + 1)))
    first, second = (np.histogram(one, edges)[0] for one in (above, below))
    total, _ = np.histogram(pooled, edges, weights=pooled)
    used = (first > 0) & (second > 0)
    first, second = first[used], second[used]
    axes.errorbar(
        total[used] / (first + second), np.log(first / second),
        yerr=np.sqrt(1 / first + 1 / second), fmt="o", color=colour, markersize=5, linewidth=1.3,
        markerfacecolor=colour if filled else "white", label=text(name),
    )  # fmt: skip


def _p_value(statistic: float, null: Array) -> float:
    return float((1 + np.sum(null >= statistic)) / (1 + len(null)))


def _some(tests: Mapping[str, object], most: int) -> None:
    if not 1 <= len(tests) <= most:
        raise DataError(f"{len(tests)} tests in one plot; expected one to {most}")
