"""What was measured of a surrogate: columns, classifiers, correlations, layers, closure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hepgen.errors import DataError
from hepgen.judgement import (
    ClassifierJudgement,
    Closure,
    Correlations,
    FeatureJudgement,
    Measured,
    TwoSampleTest,
)
from hepgen.plots.comparison import Binned, draw_main
from hepgen.plots.style import (
    FIRST,
    GREY,
    LIGHT,
    SECOND,
    SMALL,
    StyledFigure,
    finish,
    headroom,
    new_figure,
    style,
    text,
    with_ratio,
)

Array = NDArray[np.float64]

_SHADED: dict[str, Any] = {"facecolor": LIGHT, "alpha": 0.6}
_SHIFT, _WIDTH = 0.2, 0.1
_NUMBERS = 8
_NAMES = 24


def plot_feature_judgement(feature: FeatureJudgement, *, log: bool = False) -> StyledFigure:
    """Simulation (line, with its statistical error as a band) and surrogate, with their ratio.

    Arguments:
        feature: What to draw.
        log: Whether the counts are on a logarithmic scale; so is the x axis for bins that grow.
    """
    errors = (feature.surrogate_std, feature.surrogate_std)
    binned = Binned(feature.edges, feature.surrogate, errors, feature.truth, feature.truth_std)
    with style():
        figure, main, ratio = with_ratio()
        binned.draw_band(main, **_SHADED)
        main.stairs(feature.truth, feature.edges, baseline=None, color=FIRST, linewidth=1.8)
        centres = 0.5 * (feature.edges[1:] + feature.edges[:-1])
        points = main.errorbar(
            centres, feature.surrogate, feature.surrogate_std,
            fmt="o", markersize=4, color="black", elinewidth=1.2, zorder=4,
        )  # fmt: skip
        binned.draw_ratio(ratio, **_SHADED)
        ratio.set_ylabel("Surr. / sim.", loc="center")
        draw_main(main, binned, feature.unit, log)
        widths = np.diff(feature.edges)
        if log and widths[0] > 0 and widths[-1] > 2 * widths[0]:
            ratio.set_xscale("log")
        ratio.set_xlabel(text(feature.axis))
        band = (Patch(**_SHADED), Line2D([], [], color=FIRST))
        main.legend([band, points], ["Simulation", "Surrogate"], loc="upper right")
        main.set_title(_distance(feature), loc="left")
        main.set_title(_chi2(feature), loc="right")
        finish(figure, _feature_words(feature))
    return figure


def plot_roc(judged: ClassifierJudgement) -> StyledFigure:
    """True minus false positives over false positives, for the surrogate and the null.

    A diagonal says that nothing tells the samples apart; drawn as a difference from it, small
    deviations are seen. The band is the standard error at a fixed threshold.
    """
    with style():
        figure = new_figure()
        axes = figure.add_subplot()
        for test, name, look in (
            (judged.null, "Simulation, the null", {"color": GREY, "linestyle": "--"}),
            (judged.surrogate, "Surrogate", {"color": SECOND, "linestyle": "-"}),
        ):
            x, y = test.false_positive, test.true_positive
            error = np.sqrt((x * (1 - x) + y * (1 - y)) / test.events)
            label = f"{name}: AUC {test.auc.value:.4f} ± {test.auc.error:.4f}"
            axes.plot(x, y - x, label=label, **look)  # type: ignore[arg-type]
            axes.fill_between(x, y - x - error, y - x + error, color=look["color"], alpha=0.25)
        axes.axhline(0, color="black", linewidth=1)
        axes.set(xlabel="False positives: simulation taken for the surrogate",
                 ylabel="True − false positives", xlim=(0, 1))  # fmt: skip
        axes.xaxis.label.set_fontsize(13)
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, -0.01), max(high, 0.03))
        headroom(axes, 0.25)
        axes.legend(loc="upper right")
        axes.set_title(text(judged.name.capitalize()), loc="left")
        finish(figure, _roc_words(judged))
    return figure


def plot_classifier_output(judged: ClassifierJudgement) -> StyledFigure:
    """The calibrated output on simulation and on surrogate, with the ratio of the two.

    Under it the fraction of surrogate events in each bin, beside the output itself: on the
    diagonal where the classifier is calibrated.
    """
    test = judged.surrogate
    with style():
        figure, main, ratio = with_ratio()
        for counts, name, look in (
            (test.first, "Simulation", {"color": FIRST}),
            (test.second, "Surrogate", {"color": SECOND, "linestyle": "--"}),
        ):
            main.stairs(counts, test.edges, baseline=None, label=name, linewidth=1.8, **look)  # type: ignore[arg-type]
        _draw_calibration(ratio, test)
        main.set_ylabel("Test events / bin")
        main.set_ylim(0, None)
        headroom(main, 0.25)
        ratio.set_xlabel("Classifier output: probability of surrogate")
        ratio.set_ylabel("Fraction", loc="center")
        ratio.xaxis.set_major_locator(MaxNLocator(4))
        main.legend(loc="upper right")
        main.set_title(text(judged.name.capitalize()), loc="left")
        main.set_title(f"C2ST {test.accuracy.value:.4f} ± {test.accuracy.error:.4f}", loc="right")
        finish(figure, f"Output of the {judged.name}, calibrated, on events it was not trained "
               "on. Below: the fraction of surrogate events in each bin against the output "
               "(line): what a calibrated classifier gives.")  # fmt: skip
    return figure


def plot_correlations(found: Correlations) -> StyledFigure:
    """The correlations of the simulation, and how far those of the surrogate differ, in σ."""
    d = len(found.names)
    shown = [text(name) for name in found.names] if d <= _NAMES else [""] * d
    with style():
        figure = new_figure(width=12, height=5.6)
        panels = figure.subplots(1, 2)
        limit = max(5.0, float(np.abs(found.pulls).max()))
        for axes, values, reach, title in (
            (panels[0], found.truth, 1.0, r"Simulation: $\rho$"),
            (panels[1], found.pulls, limit, r"Surrogate − simulation, in $\sigma$"),
        ):
            image = axes.imshow(values, cmap="RdBu_r", vmin=-reach, vmax=reach)
            figure.colorbar(image, ax=axes, fraction=0.046, pad=0.02)
            axes.set_title(title, loc="left")
            axes.set_xticks(range(d), shown, rotation=90, fontsize=SMALL)
            axes.set_yticks(range(d), shown, fontsize=SMALL)
            axes.tick_params(which="both", length=0)
            if d <= _NUMBERS:
                _write_numbers(axes, values, reach)
        largest = found.largest
        finish(figure, "Correlations of the normal scores of the columns: of the simulation, and "
               "the difference of surrogate and simulation over its standard error. Largest "
               f"difference: {largest}.")  # fmt: skip
    return figure


def plot_layers(
    truth: Array, surrogate: Array, *, label: str = "Mean energy", unit: str = "GeV"
) -> StyledFigure:
    """Means over events in each layer, with standard errors, and their ratio.

    Arguments:
        truth, surrogate: Shapes ``(N, layers)`` and ``(M, layers)``.
        label, unit: Of what is averaged.
    """
    if truth.shape[1:] != surrogate.shape[1:] or min(len(truth), len(surrogate)) < 2:
        raise DataError(
            f"layers of shapes {truth.shape} and {surrogate.shape}; expected (N, L) and (M, L), "
            "with two events at least"
        )
    means = [x.mean(0) for x in (truth, surrogate)]
    errors = [x.std(0, ddof=1) / np.sqrt(len(x)) for x in (truth, surrogate)]
    edges = np.arange(truth.shape[1] + 1) - 0.5
    binned = Binned(edges, means[1], (errors[1], errors[1]), means[0], errors[0])
    with style():
        figure, main, ratio = with_ratio()
        main.stairs(means[0], edges, baseline=None, color=FIRST, label="Simulation")
        binned.draw_band(main, **_SHADED)
        main.errorbar(edges[1:] - 0.5, means[1], errors[1], fmt="o", markersize=5, color="black",
                      label="Surrogate", zorder=4)  # fmt: skip
        binned.draw_ratio(ratio, **_SHADED)
        ratio.set_ylabel("Surr. / sim.", loc="center")
        draw_main(main, binned, "", False)
        main.set_ylabel(text(f"{label} [{unit}]" if unit else label))
        ratio.set_xlabel("Layer")
        main.legend(loc="upper right")
        finish(figure, f"{label} in each layer, with standard errors, and the ratio.")
    return figure


def plot_closure(closures: Sequence[Closure]) -> StyledFigure:
    """Shifts of the posterior mean and ratios of its width, over data sets, by parameter."""
    if not closures:
        raise DataError("no closure to draw; expected one of a parameter at least")
    with style():
        figure = new_figure(width=12, height=4.6)
        left, right = figure.subplots(1, 2)
        looks = [(FIRST, "-"), (SECOND, "--"), (GREY, ":"), ("black", "-.")]
        for i, one in enumerate(closures):
            color, line = looks[i % len(looks)]
            look: dict[str, Any] = {"color": color, "linestyle": line, "histtype": "step", "lw": 2}
            name = one.label or text(one.name)
            bins = min(20, max(5, len(one.shifts) // 3))
            left.hist(one.shifts, bins=bins, label=f"{name}: {_signed(one.shift)}", **look)
            right.hist(one.widths, bins=bins, label=f"{name}: {_signed(one.width)}", **look)
        for axes, middle, half in ((left, 0.0, _SHIFT), (right, 1.0, _WIDTH)):
            axes.axvspan(middle - half, middle + half, zorder=0, **_SHADED)
            axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.xaxis.set_major_locator(MaxNLocator(5))
        left.set(xlabel=r"(mean − reference) / $\sigma$", ylabel="Data sets")
        right.set(xlabel=r"$\sigma$ / reference", ylabel="Data sets")
        for axes in (left, right):
            headroom(axes, 0.3)
            axes.legend(loc="upper right")
        finish(figure, f"Posteriors with the surrogate's likelihood against those with "
               f"{closures[0].reference}, over {len(closures[0].shifts)} pseudo-data sets: mean "
               "and its standard error in the legend. Shaded: less than 0.2 σ and 10 %, by which "
               "a surrogate hardly changes a result.")  # fmt: skip
    return figure


def _signed(number: Measured) -> str:
    return str(number).replace("-", "−")


def _draw_calibration(axes: Axes, test: TwoSampleTest) -> None:
    total = test.first + test.second
    some = total >= 10
    centres = 0.5 * (test.edges[1:] + test.edges[:-1])[some]
    fraction = test.second[some] / total[some]
    error = np.sqrt(np.maximum(fraction * (1 - fraction), 1 / total[some]) / total[some])
    axes.plot(test.edges, test.edges, color=GREY, linewidth=1.5)
    axes.errorbar(centres, fraction, error, fmt="o", markersize=4, color="black")
    half = max(0.02, float(np.abs(test.edges - 0.5).max()))
    axes.set_ylim(0.5 - 1.2 * half, 0.5 + 1.2 * half)
    axes.set_xlim(test.edges[0], test.edges[-1])


def _write_numbers(axes: Axes, values: Array, reach: float) -> None:
    for (i, j), value in np.ndenumerate(values):
        color = "white" if abs(value) > 0.6 * reach else "black"
        words = f"{value:.2f}" if reach == 1 else f"{value:.1f}"
        axes.text(j, i, words.replace("-", "−"), ha="center", va="center", color=color,
                  fontsize=SMALL)  # fmt: skip


def _distance(feature: FeatureJudgement) -> str:
    null = feature.wasserstein_null
    return rf"$W_1$ = {feature.wasserstein:.3g}$\sigma$ (null {null.value:.2g} ± {null.error:.1g})"


def _chi2(feature: FeatureJudgement) -> str:
    return rf"$\chi^2$/ndf = {feature.chi2:.1f}/{feature.ndf}"


def _feature_words(feature: FeatureJudgement) -> str:
    return (
        "Simulation that the surrogate was not trained on (band: its "
        "statistical error), events of the surrogate at as many contexts, and their ratio. "
        f"Separation power {feature.separation:.2g}, of simulation from simulation "
        f"{feature.separation_null:.2g}; χ² = {feature.chi2:.1f} for {feature.ndf} degrees of "
        f"freedom, p = {feature.p_value:.2g}."
    )


def _roc_words(judged: ClassifierJudgement) -> str:
    planted = judged.planted
    power = "" if planted is None else (
        f" A shift by {judged.shift:g} standard deviations, planted in one column, was seen with "
        f"an AUC of {planted.auc}; the best possible is {judged.optimum:.4f}."
    )  # fmt: skip
    return (
        f"How well the {judged.name} tells surrogate and simulation apart, beside simulation "
        f"against simulation, on events it was not trained on: zero where it cannot.{power}"
    )
