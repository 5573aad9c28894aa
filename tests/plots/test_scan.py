from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hepgen.errors import DataError
from hepgen.plots import plot_scan, svg
from hepgen.plots.scan import best_text
from hepgen.statements import Interval
from tests.plots import statement_records as records


def _axes(**options: Any) -> Any:
    return plot_scan(records.parabola(), **options).axes[0]


def test_axes_and_the_best_fit_are_named_with_units() -> None:
    axes = _axes(data="CMS, 501 pairs")
    assert axes.get_xlabel() == "$m_Z$ [GeV]"
    assert axes.get_ylabel() == r"$-2\,\Delta\ln L$"
    entries = [t.get_text() for t in axes.get_legend().get_texts()]
    assert entries == ["Profile likelihood: 91.05 ± 0.20 GeV"]


def test_dotted_lines_are_the_quantiles_of_chi_squared() -> None:
    axes = _axes()
    heights = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert heights == pytest.approx([0.98894, 3.84146], abs=1e-4)
    assert {t.get_text() for t in axes.texts} == {"68 %", "95 %"}


def test_the_shaded_regions_end_at_the_intervals() -> None:
    outer, inner = _axes().collections[:2]
    for band, z in ((outer, 1.959964), (inner, 0.994458)):
        x = np.concatenate([path.vertices[:, 0] for path in band.get_paths()])
        assert [x.min(), x.max()] == pytest.approx([91.05 - 0.2 * z, 91.05 + 0.2 * z], abs=1e-6)


def test_statistics_only_and_the_reference_stand_beside_it() -> None:
    axes = _axes(statistical=records.parabola(error=0.1), reference=91.1876, reference_error=0.0021)
    entries = [t.get_text() for t in axes.get_legend().get_texts()]
    assert entries[1:] == [
        "Statistics only: 91.05 ± 0.10 GeV",
        "World average: 91.1876 ± 0.0021",
    ]
    dashes = {line.get_linestyle() for line in axes.lines}
    assert {"-", "--", "-."} <= dashes


def test_an_interval_that_is_not_symmetric_says_so() -> None:
    scan = records.parabola()
    uneven = Interval("m_z", 0.68, 91.05, ((90.85, 91.35),), "profile")
    assert best_text(replace(scan, intervals=(uneven,))).startswith(
        r"$\mathrm{91.05^{+0.30}_{−0.20}}$"
    )
    alone = replace(scan, intervals=(), best=-1.0)
    assert best_text(alone) == "−1.00 ± 0.20 GeV"


def test_fits_that_failed_leave_a_gap_and_too_many_are_refused() -> None:
    scan = records.parabola(points=21)
    holes = scan.statistic.copy()
    holes[5] = np.nan
    assert svg(plot_scan(replace(scan, statistic=holes)))
    holes[2:] = np.nan
    with pytest.raises(DataError, match="2 of 21 points"):
        plot_scan(replace(scan, statistic=holes))
