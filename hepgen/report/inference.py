"""The report: one result, its figures and everything behind it, on one self-contained page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from hepgen import __version__
from hepgen.files import write_atomically
from hepgen.report.page import embedded, facts, minus, template
from hepgen.report.symbols import symbol
from hepgen.results import (
    Calibration,
    InferenceResult,
    ParameterEstimate,
    TrainingCurve,
    rounded,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    page: str = template("inference.html").render(
        title=title or f"Posterior of {', '.join(row.name for row in interest or rows)}",
        result=result,
        failed=[check for check in result.checks if not check.passed],
        warned=[check for check in result.checks if check.warning],
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


@dataclass(frozen=True)
class _ParameterRow:
    """A parameter as the page shows it: every number rounded by the standard deviation."""

    name: str
    symbol: Markup
    estimate: ParameterEstimate

    def number(self, value: float) -> str:
        return minus(rounded(value, self.estimate.std))

    def interval(self, ends: tuple[float, float]) -> str:
        return f"[{self.number(ends[0])}, {self.number(ends[1])}]"


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
