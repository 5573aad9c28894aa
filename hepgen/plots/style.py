"""The look of every figure, and how a figure becomes a file.

mplhep's CMS style, scaled so that a figure 6 inches wide stays legible at half the width of a
page. A :class:`StyledFigure` carries the style with it: nothing global is changed, and no
figure is known to pyplot, so none has to be closed.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import mplhep
from matplotlib import style as mpl_style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser

WIDTH = 6.0
"""Inches; the fonts are chosen for this width."""

# Colours of Petroff (arXiv:2107.02270), distinct to colour-blind readers; wherever two curves
# meet they also differ in dash or marker, so that a print in grey can be read.
FIRST = "#3063c9"
SECOND = "#c8431d"
LIGHT = "#86a8f2"
LIGHTER = "#ccdafb"
GREY = "#7c7c83"
PALETTE = ("#5790fc", "#f89c20", "#964a8b", "#9c9ca1", "#e42536", "#7a21dd")

SMALL = 12.0
_SIZE = 15.0
_LONG = 64
_SALT = "hepgen"


@lru_cache(maxsize=1)
def _settings() -> dict[str, Any]:
    return {
        **mplhep.style.CMS,
        "figure.figsize": (WIDTH, 0.8 * WIDTH),
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "font.family": ["TeX Gyre Heros", "DejaVu Sans"],
        "font.size": _SIZE,
        "axes.labelsize": _SIZE,
        "axes.titlesize": SMALL,
        "xtick.labelsize": 13.0,
        "ytick.labelsize": 13.0,
        "legend.fontsize": SMALL,
        "axes.linewidth": 1.2,
        "lines.linewidth": 1.8,
        "patch.linewidth": 1.2,
        "hatch.linewidth": 0.7,
        **{f"{axis}tick.major.size": 7.0 for axis in "xy"},
        **{f"{axis}tick.minor.size": 3.5 for axis in "xy"},
        **{f"{axis}tick.major.width": 1.0 for axis in "xy"},
        **{f"{axis}tick.minor.width": 0.8 for axis in "xy"},
        "axes.formatter.useoffset": False,
        "axes.unicode_minus": True,
        "mathtext.fontset": "custom",
        "mathtext.default": "it",
        "mathtext.fallback": "stixsans",
        "svg.fonttype": "path",
        "svg.hashsalt": _SALT,
    }


@contextmanager
def style() -> Iterator[None]:
    """The style, for as long as the context is open; what was set before comes back."""
    with mpl_style.context(_settings(), after_reset=True), warnings.catch_warnings():
        # A column may be called anything: a letter that no font has is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


class StyledFigure(Figure):
    """A figure that is drawn in hepgen's style wherever, and by whatever, it is drawn."""

    def draw(self, renderer: Any) -> None:
        """Draw with the style in force."""
        with style():
            super().draw(renderer)


def new_figure(
    width: float = WIDTH, height: float = 0.8 * WIDTH, constrained: bool = True
) -> StyledFigure:
    """An empty figure of a size in inches; call it, and fill it, inside :func:`style`."""
    figure = StyledFigure(figsize=(width, height), layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)
    return figure


def with_ratio(width: float = WIDTH, height: float = WIDTH) -> tuple[StyledFigure, Axes, Axes]:
    """A figure with a main panel and a ratio panel under it, which share the x axis."""
    figure = new_figure(width, height)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(hspace=0.0, h_pad=0.015)  # type: ignore[call-arg]
    grid = figure.add_gridspec(2, 1, height_ratios=(3, 1.15), hspace=0.0)
    main = figure.add_subplot(grid[0])
    ratio = figure.add_subplot(grid[1], sharex=main)
    main.tick_params(labelbottom=False)
    return figure, main, ratio


def text(label: str) -> str:
    """``label`` as it can be drawn: what is not valid mathematics is shown letter by letter.

    A label that would fill the figure is cut.

    >>> text("$m_Z$"), text(r"$\\nonsense$ [GeV]")
    ('$m_Z$', '\\\\$\\\\nonsense\\\\$ [GeV]')
    """
    label = " ".join(label.split())
    if label.count("$") < 2 or len(label) > _LONG:
        return (label if len(label) <= _LONG else label[: _LONG - 1] + "…").replace("$", r"\$")
    try:
        MathTextParser("path").parse(label)
    except ValueError:
        return label.replace("$", r"\$")
    return label


def headroom(axes: Axes, fraction: float) -> None:
    """Leave the top ``fraction`` of a panel free, for a legend."""
    low, high = axes.get_ylim()
    if axes.get_yscale() == "log":
        axes.set_ylim(low, low * (high / low) ** (1 / (1 - fraction)))
    else:
        axes.set_ylim(low, low + (high - low) / (1 - fraction))


def finish(figure: Figure, caption: str) -> None:
    """Settle the layout, so every copy is the same, and keep the caption as the figure's label."""
    figure.set_label(caption)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def svg(figure: Figure) -> bytes:
    """The figure as SVG with its letters as outlines: the same bytes for the same figure."""
    return _printed(figure, "svg", metadata={"Date": None, "Creator": None})


def png(figure: Figure, dpi: float = 200.0) -> bytes:
    """The figure as PNG."""
    return _printed(figure, "png", dpi=dpi, metadata={"Software": None})


def data_uri(image: bytes, kind: str = "image/svg+xml") -> str:
    """An image as the address of itself, for a page without other files.

    >>> data_uri(b"<svg/>")
    'data:image/svg+xml;base64,PHN2Zy8+'
    """
    return f"data:{kind};base64,{base64.b64encode(image).decode('ascii')}"


def _printed(figure: Figure, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()
