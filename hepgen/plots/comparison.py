"""Data beside a prediction, with a ratio panel: posterior predictive checks and spectra."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray
from scipy.stats import chi2

from hepgen.errors import DataError
from hepgen.plots.style import (
    FIRST,
    GREY,
    LIGHT,
    StyledFigure,
    finish,
    headroom,
    style,
    text,
    with_ratio,
)
from hepgen.results import FeatureComparison

Array = NDArray[np.float64]

# Fills that differ in lightness, so they stay apart in grey.
_FILLS = ("#33518f", "#f7c873", "#964a8b", "#dcdce0", "#c8431d", "#86a8f2")
# Half the height of a ratio panel, and the step of its ticks.
_HALVES = {0.12: 0.1, 0.3: 0.2, 0.6: 0.5, 0.95: 0.5}
_HATCHED: dict[str, Any] = {"facecolor": "none", "edgecolor": "0.25", "hatch": "//////"}
_SHADED: dict[str, Any] = {"facecolor": LIGHT, "alpha": 0.6}


def plot_comparison(feature: FeatureComparison, *, log: bool = False) -> StyledFigure:
    """Data against the posterior predictive of one feature, with their ratio.

    Points are data with central 68 % Poisson intervals (or the errors of weighted data); the
    line is the mean of the prediction and the band its standard deviation over the posterior.
    The training sample, where given, is a thin dotted line. Triangles at the edge of the ratio
    panel are points outside it.

    Arguments:
        feature: What to draw.
        log: Whether the counts are on a logarithmic scale.
    """
    binned = Binned(
        feature.edges,
        feature.observed,
        _errors(feature.observed, feature.observed_std),
        feature.predicted,
        feature.uncertainty,
    )
    with style():
        figure, main, ratio = with_ratio()
        entries: list[Any] = [_points(main, binned.edges, binned.observed, binned.errors)]
        binned.draw_band(main, **_SHADED)
        main.stairs(binned.predicted, binned.edges, baseline=None, color=FIRST, linewidth=1.8)
        entries.append((Patch(**_SHADED), Line2D([], [], color=FIRST)))
        names = ["Data", "Posterior predictive"]
        if feature.training is not None:
            dotted: dict[str, Any] = {"color": GREY, "linestyle": ":", "linewidth": 1.5}
            main.stairs(feature.training, binned.edges, baseline=None, **dotted)
            entries.append(Line2D([], [], **dotted))
            names.append("Training sample (prior)")
        binned.draw_ratio(ratio, **_SHADED)
        draw_main(main, binned, feature.unit, log)
        ratio.set_xlabel(text(feature.axis))
        main.legend(entries, names, loc="upper right")
        used = "In the likelihood" if feature.in_likelihood else "Control, not in the likelihood"
        main.set_title(used, loc="left")
        main.set_title(_agreement(feature), loc="right")
        finish(figure, _words(feature))
    return figure


def plot_spectrum(
    edges: Array,
    observed: Array,
    components: Mapping[str, Array],
    *,
    axis: str,
    unit: str = "",
    uncertainty: Array | None = None,
    log: bool = False,
) -> StyledFigure:
    """Data over the stacked components of a model, with the ratio to their sum.

    Arguments:
        edges: Bin edges, shape ``(B + 1,)``.
        observed: Counts, shape ``(B,)``.
        components: Expected counts by name, each of shape ``(B,)``; the first is at the bottom.
        axis: The label of the x axis, with its unit.
        unit: The unit alone, for the y axis.
        uncertainty: The standard deviation of the sum, shape ``(B,)``.
        log: Whether the counts are on a logarithmic scale.
    """
    if not components:
        raise DataError("a spectrum without components; expected at least one")
    total = np.sum(list(components.values()), axis=0)
    spread = np.zeros_like(total) if uncertainty is None else uncertainty
    binned = Binned(edges, observed, _errors(observed, None), total, spread)
    with style():
        figure, main, ratio = with_ratio()
        entries: list[Any] = [_points(main, edges, observed, binned.errors)]
        entries += reversed(_stack(main, edges, components))
        names = ["Data", *(text(name) for name in reversed(list(components)))]
        main.stairs(total, edges, baseline=None, color="black", linewidth=1.2)
        if uncertainty is not None:
            binned.draw_band(main, **_HATCHED)
            entries.append(Patch(**_HATCHED, linewidth=0))
            names.append("Uncertainty")
        binned.draw_ratio(ratio, **_HATCHED)
        draw_main(main, binned, unit, log)
        ratio.set_xlabel(text(axis))
        main.legend(entries, names, loc="upper right")
        finish(figure, f"Data and the fitted model ({', '.join(components)}), and their ratio.")
    return figure


def poisson_interval(counts: Array) -> tuple[Array, Array]:
    """Distances from n to the ends of its central 68.27 % interval (Garwood 1936), shape ``(B,)``.

    >>> low, high = poisson_interval(np.array([0.0, 1.0]))
    >>> low.round(2).tolist(), high.round(2).tolist()
    ([0.0, 0.83], [1.84, 2.3])
    """
    tail = 0.158655
    low = np.where(counts > 0, chi2.ppf(tail, 2 * np.maximum(counts, 0.5)) / 2, 0.0)
    high = chi2.isf(tail, 2 * (np.maximum(counts, 0) + 1)) / 2
    return counts - low, high - counts


def half_width(ratio: Array, error: Array) -> float:
    """Half the height of a ratio panel: the least that holds every well-measured bin.

    >>> half_width(np.array([1.1, 3.0]), np.array([0.05, 2.0]))
    0.3
    """
    good = np.isfinite(ratio) & (error < 0.4)
    if not good.any():
        return 0.95
    reach = float(np.max(np.abs(ratio[good] - 1) + error[good]))
    return next((half for half in _HALVES if reach < half), 0.95)


@dataclass(frozen=True)
class Binned:
    """Data with errors (below, above) and a prediction with its standard deviation, per bin."""

    edges: Array
    observed: Array
    errors: tuple[Array, Array]
    predicted: Array
    uncertainty: Array

    def draw_band(self, axes: Axes, **look: Any) -> None:
        """The prediction, one standard deviation up and down."""
        low = np.clip(self.predicted - self.uncertainty, 0, None)
        _band(axes, self.edges, low, self.predicted + self.uncertainty, **look)

    def draw_ratio(self, axes: Axes, **look: Any) -> None:
        """Data over prediction in the bins that have both."""
        scale = np.where(self.predicted > 0, self.predicted, np.nan)
        band = np.nan_to_num(self.uncertainty / scale)
        _band(axes, self.edges, 1 - band, 1 + band, **look)
        axes.axhline(1, color=FIRST, linewidth=1.2, zorder=2)
        ratio = np.where(self.observed != 0, self.observed / scale, np.nan)
        below, above = (error / scale for error in self.errors)
        half = half_width(ratio, np.maximum(below, above))
        _points(axes, self.edges, ratio, (below, above))
        centres = (self.edges[1:] + self.edges[:-1]) / 2
        for outside, place, marker in (
            (ratio > 1 + half, 1 + 0.88 * half, "^"),
            (ratio < 1 - half, 1 - 0.88 * half, "v"),
        ):
            axes.plot(centres[outside], np.full(outside.sum(), place), marker, color="black")
        axes.set_ylim(1 - half, 1 + half)
        axes.yaxis.set_major_locator(MultipleLocator(_HALVES[half]))
        axes.set_ylabel("Data / pred.", loc="center")


def _errors(observed: Array, std: Array | None) -> tuple[Array, Array]:
    return poisson_interval(observed) if std is None else (std, std)


def _band(axes: Axes, edges: Array, low: Array, high: Array, **look: Any) -> None:
    axes.stairs(high, edges, baseline=low, fill=True, linewidth=0, zorder=1.5, **look)


def _points(axes: Axes, edges: Array, values: Array, errors: tuple[Array, Array]) -> Any:
    return axes.errorbar(
        (edges[1:] + edges[:-1]) / 2,
        values,
        yerr=np.clip(np.stack(errors), 0, None),
        fmt="o",
        markersize=4.5,
        color="black",
        elinewidth=1.2,
        zorder=4,
    )


def _stack(axes: Axes, edges: Array, components: Mapping[str, Array]) -> list[Patch]:
    base = np.zeros(len(edges) - 1)
    entries = []
    for i, values in enumerate(components.values()):
        fill = _FILLS[i % len(_FILLS)]
        axes.stairs(base + values, edges, baseline=base, fill=True, color=fill, zorder=1)
        entries.append(Patch(facecolor=fill, edgecolor="none"))
        base = base + values
    return entries


def draw_main(main: Axes, binned: Binned, unit: str, log: bool) -> None:
    """Limits and labels of the main panel, with room for a legend."""
    top = float(np.max(np.concatenate([binned.observed + binned.errors[1], binned.predicted])))
    if log:
        positive = binned.predicted[binned.predicted > 0]
        floor = float(np.clip(0.5 * positive.min(initial=top), 1e-3 * top, 0.5 * top))
        main.set_yscale("log", nonpositive="clip")
        main.set_ylim(floor, top)
    else:
        main.set_ylim(0, top)
    headroom(main, 0.28)
    main.set_xlim(binned.edges[0], binned.edges[-1])
    main.set_ylabel(text(_per_bin(binned.edges, unit)))


def _per_bin(edges: Array, unit: str) -> str:
    """``Events / 2 GeV`` where the bins are of one width, ``Events / bin`` where they are not."""
    widths = np.diff(edges)
    if not np.allclose(widths, widths[0], rtol=1e-6):
        return "Events / bin"
    return f"Events / {widths[0]:.3g}" + (f" {unit}" if unit else "")


def _agreement(feature: FeatureComparison) -> str:
    total, bins = feature.chi2()
    words = rf"$\chi^2$/bins = {total:.1f}/{bins}"
    return words if np.isnan(feature.p_value) else f"$p$ = {feature.p_value:.2g},  {words}"


def _words(feature: FeatureComparison) -> str:
    total, bins = feature.chi2()
    used = "used in the likelihood" if feature.in_likelihood else "a control"
    p_value = "" if np.isnan(feature.p_value) else f", p = {feature.p_value:.2g}"
    return (
        f"{feature.name}, {used}: data against the posterior predictive distribution (band: its "
        f"standard deviation over the posterior), and their ratio. χ² = {total:.1f} for {bins} "
        f"bins{p_value}."
    )
