from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hepgen.errors import DataError
from hepgen.plots import plot_cls, plot_limits, svg
from tests.plots import statement_records as records

MASSES = (2000.0, 1500.0, 2500.0)


def test_the_brazil_band_has_its_axes_bands_and_lines() -> None:
    limits = [records.limit(at, 2000.0 / at) for at in MASSES]
    axes = plot_limits(limits, along="$m_X$", unit="GeV").axes[0]
    assert axes.get_xlabel() == "$m_X$ [GeV]"
    assert axes.get_ylabel() == r"95 % CL upper limit on $\mu$"
    legend = axes.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == [
        "95 % expected", "68 % expected", "Expected", "Observed",
    ]  # fmt: skip
    assert legend.get_title().get_text() == r"$\mathrm{CL_s}$, asymptotics"
    median = np.asarray(axes.lines[0].get_ydata())
    # In the order of the masses, whatever that of the limits.
    assert median == pytest.approx([4 / 3, 1.0, 0.8])
    outer = np.asarray(axes.collections[0].get_paths()[0].vertices)[:, 1]
    assert [outer.min(), outer.max()] == pytest.approx([0.4, 8 / 3])


def test_without_data_there_is_no_observed_line() -> None:
    limits = [records.limit(at, observed=math.nan) for at in MASSES]
    figure = plot_limits(limits, along="$m_X$", unit="GeV", log=True)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert "Observed" not in [t.get_text() for t in legend.get_texts()]
    assert "observed" not in str(figure.get_label())
    assert svg(figure)


def test_limits_of_different_things_are_refused() -> None:
    one = records.limit(1500.0)
    with pytest.raises(DataError, match="two at least"):
        plot_limits([one])
    with pytest.raises(DataError, match=r"at 0\.9 and of .* in one band"):
        plot_limits([one, replace(one, level=0.9)])
    with pytest.raises(DataError, match="for nothing"):
        plot_limits([one, replace(one, at=math.nan)])


def test_cls_crosses_at_the_limit() -> None:
    axes = plot_cls(records.cls_scan(), data="Toys").axes[0]
    assert axes.get_xlabel() == r"$\mu$"
    assert axes.get_ylabel() == r"$\mathrm{CL_s}$"
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == r"$\mu$ < 3 (expected 2.8) at 95 % CL"
    ends = [np.asarray(line.get_xdata())[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert ends == pytest.approx([3.0, 2.8])
    scan = records.cls_scan()
    with pytest.raises(DataError, match="two at least"):
        plot_cls(replace(scan, values=scan.values[:1]))
