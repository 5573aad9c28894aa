"""The report: one result, its figures and everything behind it, on one self-contained page."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from hepgen import __version__
from hepgen.files import write_atomically
from hepgen.judgement import Measured
from hepgen.results import (
    Calibration,
    Check,
    InferenceResult,
    ParameterEstimate,
    TrainingCurve,
    rounded,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDE = 7.0
"""Inches from which a figure takes the whole width of the page."""


def write_report(
    path: str | Path,
    result: InferenceResult,
    figures: Mapping[str, Figure],
    *,
    title: str = "",
    curves: Mapping[str, TrainingCurve] | None = None,
    calibrations: Sequence[Calibration] = (),
    configuration: str = "",
    remarks: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
) -> Path:
    """Write one HTML file that needs no other file, no script and no network.

    The same arguments make the same bytes. The file appears complete or not at all.

    Arguments:
        path: Where to; folders that are missing are made.
        result: What is reported: its checks decide the banner.
        figures: Figures by title, in order; the first stands beside the headline number. The
            caption of a figure is its label, ``figure.get_label()``.
        title: Of the page; made from the result where empty.
        curves: Trainings by name.
        calibrations: Calibrations of which coverage and pulls are listed.
        configuration: The workflow, as TOML.
        remarks: Sentences under the headline number, e.g. on the world average.
        labels: LaTeX labels of parameters by name, e.g. ``{"m_z": "$m_Z$"}``.

    Returns:
        The path.
    """
    target = Path(path)
    page = render_report(
        result,
        figures,
        title=title,
        curves=curves,
        calibrations=calibrations,
        configuration=configuration,
        remarks=remarks,
        labels=labels,
    )
    write_atomically(target, page.encode("utf-8"))
    return target


def render_report(
    result: InferenceResult,
    figures: Mapping[str, Figure],
    *,
    title: str = "",
    curves: Mapping[str, TrainingCurve] | None = None,
    calibrations: Sequence[Calibration] = (),
    configuration: str = "",
    remarks: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
) -> str:
    """The page that :func:`write_report` writes, as text; arguments as there."""
    symbols = {name: symbol((labels or {}).get(name, name)) for name in result.parameters}
    rows = [
        _ParameterRow(name, symbols[name], estimate) for name, estimate in result.parameters.items()
    ]
    interest = [row for row in rows if row.estimate.role == "interest"]
    images = [embedded(name, figure) for name, figure in figures.items()]
    page: str = template("report_template.html").render(
        title=title or f"Posterior of {', '.join(row.name for row in interest or rows)}",
        result=result,
        failed=[check for check in result.checks if not check.passed],
        parameters=rows,
        symbols=symbols,
        version=__version__,
        headlines=interest,
        remarks=remarks,
        lead=images[:1],
        images=images[1:],
        curves=curves or {},
        calibrations=[(c, name) for c in calibrations for name in c.parameters],
        selection=list(_cut_flow(result.selection)),
        configuration=configuration,
        provenance=list(facts(result.provenance)),
    )
    return page


def symbol(label: str) -> Markup:
    r"""A LaTeX label as HTML: italic letters, sub- and superscripts, Greek letters.

    Everything else, and everything outside of dollar signs, is shown as it is, escaped.

    >>> symbol("$m_Z$")
    Markup('<i>m</i><sub><i>Z</i></sub>')
    >>> symbol(r"$\sigma_\mathrm{bkg}$ <b>")
    Markup('<i>σ</i><sub>bkg</sub> &lt;b&gt;')
    """
    parts = re.split(r"\$([^$]+)\$", label)
    return Markup("").join(_mathematics(p) if i % 2 else escape(p) for i, p in enumerate(parts))


_TOKEN = re.compile(r"\\(?P<command>[A-Za-z]+|.)|(?P<shift>[_^])|(?P<open>\{)|(?P<letter>.)", re.S)
_UPRIGHT = {"mathrm", "text", "mathsf", "rm", "operatorname"}
_GLYPHS = {"to": "→", "ell": "ℓ", "times": "×", "pm": "±", "cdot": "·", "prime": "′", "ast": "∗"}
_SPACES = {",", ";", " ", "quad"}


def _glyph(command: str) -> str:
    """The letter that a LaTeX command stands for; its name where it is not known."""
    if command in _SPACES:
        return " "
    case = "CAPITAL" if command[0].isupper() else "SMALL"
    name = command.removeprefix("var").upper().replace("LAMBDA", "LAMDA")
    try:
        return _GLYPHS.get(command) or unicodedata.lookup(f"GREEK {case} LETTER {name}")
    except KeyError:
        return command


def _mathematics(source: str, upright: bool = False) -> Markup:
    html = Markup("")
    at = 0
    while match := _TOKEN.match(source, at):
        at = match.end()
        if match["command"] in _UPRIGHT:
            inner, at = _argument(source, at)
            html += _mathematics(inner, upright=True)
        elif match["command"]:
            html += _letter(_glyph(match["command"]), upright)
        elif match["shift"]:
            inner, at = _argument(source, at)
            tag = Markup("<sub>{}</sub>" if match["shift"] == "_" else "<sup>{}</sup>")
            html += tag.format(_mathematics(inner, upright))
        elif match["open"]:
            inner, at = _argument(source, match.start())
            html += _mathematics(inner, upright)
        else:
            html += _letter(match["letter"], upright)
    return html


def _letter(letter: str, upright: bool) -> Markup:
    return escape(letter) if upright or not letter.isalpha() else Markup("<i>{}</i>").format(letter)


def _argument(source: str, at: int) -> tuple[str, int]:
    """What a command at ``at`` applies to, a group or one token, and where that ends."""
    if source[at : at + 1] != "{":
        match = _TOKEN.match(source, at)
        if match is None:
            return "", len(source)
        if match["command"] in _UPRIGHT:
            return source[at : _argument(source, match.end())[1]], _argument(source, match.end())[1]
        return match[0], match.end()
    depth = 0
    for end in range(at, len(source)):
        depth += {"{": 1, "}": -1}.get(source[end], 0)
        if depth == 0:
            return source[at + 1 : end], end + 1
    return source[at + 1 :], len(source)


@dataclass(frozen=True)
class _ParameterRow:
    """A parameter as the page shows it: every number rounded by the standard deviation."""

    name: str
    symbol: Markup
    estimate: ParameterEstimate

    def number(self, value: float) -> str:
        return _minus(rounded(value, self.estimate.std))

    def interval(self, ends: tuple[float, float]) -> str:
        return f"[{self.number(ends[0])}, {self.number(ends[1])}]"


@dataclass(frozen=True)
class Image:
    """A figure as the page shows it."""

    title: str
    caption: str
    address: str
    width: int
    height: int
    wide: bool


def embedded(title: str, figure: Figure) -> Image:
    """A figure as a page holds it; its label is the caption."""
    from hepgen.plots.style import data_uri, svg

    width, height = figure.get_size_inches().tolist()
    caption = str(figure.get_label() or "")
    address = data_uri(svg(figure))
    return Image(
        title, caption, address, round(96 * width), round(96 * height), bool(width > _WIDE)
    )


def _cut_flow(selection: Mapping[str, int]) -> Iterator[tuple[str, int, float, float]]:
    """Cut, events left, and their fraction of the cut before and of all."""
    first = before = None
    for name, count in selection.items():
        first = count if first is None else first
        before = count if before is None else before
        yield name, count, _fraction(count, before), _fraction(count, first)
        before = count


def _fraction(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def facts(entries: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Tables of provenance: plain values first, then one table for each group."""
    plain = {name: value for name, value in entries.items() if not isinstance(value, Mapping)}
    if plain:
        yield "Run", list(_flat(plain))
    for name, value in entries.items():
        if isinstance(value, Mapping):
            yield str(name).capitalize(), list(_flat(value))


def _flat(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in entries.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{name}", ", ".join(str(item) for item in value)
        else:
            yield f"{prefix}{name}", str(value)


def template(name: str) -> Any:
    """A page of this look, to be rendered: values are escaped, and none may be missing."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=FunctionLoader(_source),
    )  # fmt: skip
    environment.filters.update(
        number=_number,
        percent=_percent,
        required=_required,
        count=_count,
        signed=_signed,
        symbol=symbol,
        measured=_measured,
    )
    return environment.get_template(name)


def _source(name: str) -> str:
    return files("hepgen").joinpath(name).read_text(encoding="utf-8")


def _number(value: float | None, form: str = ".4g") -> str:
    if value is None or not math.isfinite(value):
        return "—"
    return _minus(format(value, form))


def _signed(value_and_error: tuple[float, float]) -> str:
    value, error = value_and_error
    return f"{_number(value, '.2f')} ± {_number(error, '.2f')}"


def _count(value: float | np.integer[Any] | None) -> str:
    """A whole number with narrow spaces between the thousands."""
    return (
        "—" if value is None or not math.isfinite(value) else f"{value:,.0f}".replace(",", "\u202f")
    )


def _percent(fraction: float) -> str:
    return "—" if not math.isfinite(fraction) else f"{100 * fraction:.1f} %"


def _required(check: Check) -> str:
    """What the value had to be: the side of the threshold follows from how the check ended."""
    threshold = _number(check.threshold)
    if not (math.isfinite(check.value) and math.isfinite(check.threshold)):
        return threshold
    if check.value == check.threshold:
        return threshold
    return f"{'≥' if (check.value > check.threshold) == check.passed else '≤'} {threshold}"


def _measured(number: Measured) -> str:
    """Value and error, rounded by the error."""
    words = f"{rounded(number.value, number.error)} ± {rounded(number.error, number.error)}"
    return _minus(words)


def _minus(number: str) -> str:
    return number.replace("-", "−")
