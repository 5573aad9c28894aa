"""Distribution functions of ranks: against the diagonal, or less it, with a band for all levels."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes

from hepgen.errors import DataError
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
from hepgen.results import UniformityTest

_LINES = ((FIRST, "-"), (SECOND, "--"), (PALETTE[2], "-."), (PALETTE[1], ":"))


def plot_ecdf_difference(tests: Mapping[str, UniformityTest], *, of: str = "") -> StyledFigure:
    """The distribution function of ranks less that of uniform ones, with its band.

    All of a calibrated posterior's line is in the band with the band's confidence. A line that
    is first above and then below is of ranks that pile up at both ends: a posterior that is too
    narrow. One that is above everywhere is of truths that lie too low: a biased posterior.

    Arguments:
        tests: Up to four by name, e.g. of NLE and of NPE; the band is of the fewest sets.
        of: What the ranks are of; the name of the first test where empty.
    """
    first = _checked(tests)
    words = of or first.name
    with style():
        figure = new_figure(height=4.2)
        axes = figure.add_subplot()
        axes.fill_between(
            first.levels, first.low - first.levels, first.high - first.levels,
            color=LIGHTER, linewidth=0, label=_band(first),
        )  # fmt: skip
        axes.axhline(0, color=GREY, linestyle=":", linewidth=1.2)
        for (colour, dash), (name, test) in zip(_LINES, tests.items(), strict=False):
            axes.plot(
                test.levels, test.observed - test.levels, color=colour, linestyle=dash,
                label=_legend(name, test),
            )  # fmt: skip
        axes.set_xlim(0, 1)
        reach = max(map(abs, axes.get_ylim()))
        axes.set_ylim(-reach, reach)
        headroom(axes, 0.12 + 0.07 * len(tests))
        axes.set_xlabel(f"Level of the {text(words)}")
        axes.set_ylabel("Share below the level − level")
        axes.legend(loc="upper right")
        finish(figure, _caption(f"Distribution of the {words} less a uniform one", tests))
    return figure


def plot_expected_coverage(tests: Mapping[str, UniformityTest]) -> StyledFigure:
    """How often credible sets hold the truth, against their level, with its band.

    For regions of highest density a line above the diagonal is of a conservative posterior, and
    one below of an overconfident one. TARP has balls about random points for regions: an
    overconfident posterior is above it at low levels and below it at high ones.

    Arguments:
        tests: Up to four by name, with the band of the fewest sets, from
            :mod:`hepgen.diagnostics.expected_coverage` or :mod:`hepgen.diagnostics.tarp`.
    """
    first = _checked(tests)
    with style():
        figure = new_figure(height=5.2)
        axes = figure.add_subplot()
        axes.fill_between(
            first.levels, first.low, first.high, color=LIGHTER, linewidth=0, label=_band(first)
        )
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2)
        for (colour, dash), (name, test) in zip(_LINES, tests.items(), strict=False):
            axes.plot(
                test.levels, test.observed, color=colour, linestyle=dash, label=_legend(name, test)
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        _axes_of_coverage(axes)
        finish(figure, _caption("Coverage of credible sets", tests))
    return figure


def _axes_of_coverage(axes: Axes) -> None:
    axes.set_xlabel("Credible level")
    axes.set_ylabel("Share of sets that hold the truth")
    axes.legend(loc="upper left")


def _checked(tests: Mapping[str, UniformityTest]) -> UniformityTest:
    """That of the fewest sets, whose band is the widest; some may be left out of one of them."""
    if not 1 <= len(tests) <= len(_LINES):
        raise DataError(f"{len(tests)} tests in one plot; expected one to {len(_LINES)}")
    return min(tests.values(), key=lambda test: test.sets)


def _band(test: UniformityTest) -> str:
    return f"{100 * test.confidence:.3g} % band, all levels"


def _legend(name: str, test: UniformityTest) -> str:
    p = f"p = {test.p_value:.2g}" if test.p_value >= 1e-4 else "p < 0.0001"
    return text(f"{name}: {p}")


def _caption(words: str, tests: Mapping[str, UniformityTest]) -> str:
    sizes = sorted({test.sets for test in tests.values()})
    number, of = " to ".join(map(str, {sizes[0]: 0, sizes[-1]: 0})), _checked(tests)
    found = "; ".join(_legend(name, test) for name, test in tests.items())
    return (
        f"{words}, of {number} pseudo-data sets. The band holds all of a calibrated "
        f"posterior's line with a probability of {of.confidence:.2g}. {found}."
    )
