"""What all pages share: the look, figures, tables of provenance, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined

from hepgen.judgement import Measured
from hepgen.report.symbols import symbol
from hepgen.results import Check, rounded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDE = 7.0
"""Inches from which a figure takes the whole width of the page."""


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
    return files("hepgen.report").joinpath(name).read_text(encoding="utf-8")


def _number(value: float | None, form: str = ".4g") -> str:
    if value is None or not math.isfinite(value):
        return "—"
    return minus(format(value, form))


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
    """Value and error, rounded by the error; an error that rounds to nothing is none."""
    if abs(number.error) < 1e-6:
        return _number(number.value)
    words = f"{rounded(number.value, number.error)} ± {rounded(number.error, number.error)}"
    return minus(words)


def minus(number: str) -> str:
    """A number with a true minus sign."""
    return number.replace("-", "−")
