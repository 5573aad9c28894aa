"""What is made of a chunk: validity, cut, derived columns."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from hepgen.errors import DataError
from hepgen.io.cutflow import CutFlow
from hepgen.io.selection import Selection

NAN, INF = float("nan"), float("inf")
CHUNK = {
    "M": ak.Array([91.0, NAN, 80.0, 50.0]),
    "pt": ak.Array([30.0, 30.0, INF, 20.0]),
    "Muon_pt": ak.Array([[40.0, 30.0], [], [25.0], [NAN]]),
    "w": ak.Array(np.array([1, -1, 1, 1], dtype=np.float32)),
    "n": ak.Array([1, 2, 3, 4]),
}


def chunk(*names: str) -> dict[str, ak.Array]:
    return {name: CHUNK[name] for name in names}


def test_a_nan_or_an_infinity_in_a_needed_column_is_invalid_and_named() -> None:
    rows = Selection({"M": "M", "pt": "pt"}).apply(chunk("M", "pt"), 4)
    assert rows.flow == CutFlow(4, 2, 2, 2, 2, {"M": 1, "pt": 1})
    assert rows.columns["M"].tolist() == [91.0, 50.0]


def test_a_nan_in_a_list_makes_its_row_invalid() -> None:
    rows = Selection({"Muon_pt": "Muon_pt"}).apply(chunk("Muon_pt"), 4)
    assert rows.flow.invalid == {"Muon_pt": 1}
    assert rows.columns["Muon_pt"].tolist() == [[40.0, 30.0], [], [25.0]]


def test_a_cut_that_tests_a_column_itself_may_have_its_nan() -> None:
    rows = Selection({"n": "n"}, cut="isfinite(M) & M > 60").apply(chunk("M", "n"), 4)
    assert (rows.flow.valid, rows.flow.cut) == (4, 2)
    assert rows.flow.invalid == {}


def test_an_element_that_is_not_there_is_counted_after_the_cut() -> None:
    without = Selection({"lead": "Muon_pt[0]"}).apply(chunk("Muon_pt"), 4)
    assert without.flow.invalid == {"Muon_pt": 1, "lead = Muon_pt[0] has no value": 1}
    cut = Selection({"lead": "Muon_pt[0]"}, cut="count(Muon_pt) > 0").apply(chunk("Muon_pt"), 4)
    assert (cut.flow.cut, cut.flow.complete) == (2, 2)
    assert str(cut.columns["lead"].type) == "2 * float64"


def test_a_derived_value_that_is_not_finite_is_incomplete() -> None:
    rows = Selection({"x": "log(n - 1)"}).apply(chunk("n"), 4)
    assert (rows.flow.cut, rows.flow.complete) == (4, 3)
    assert rows.flow.refused == 1


def test_the_weight_keeps_its_sign_and_is_a_double() -> None:
    rows = Selection({"n": "n"}, weight="w").apply(chunk("n", "w"), 4)
    assert rows.columns["genWeight"].tolist() == [1.0, -1.0, 1.0, 1.0]
    assert str(rows.columns["genWeight"].type) == "4 * float64"


def test_expressions_are_joined_to_a_jagged_column() -> None:
    rows = Selection({"x": ["n", "10 * n"], "y": ["Muon_pt[0]", "n"]}, cut="n < 3").apply(
        chunk("n", "Muon_pt"), 4
    )
    assert rows.columns["x"].tolist() == [[1, 10], [2, 20]]
    assert rows.columns["y"].tolist() == [[40.0, 1.0], [2.0]]


def test_jagged_columns_are_joined_too() -> None:
    columns = {"a": ak.Array([[1.0], []]), "b": ak.Array([[2.0], [3.0]])}
    rows = Selection({"all": ["a", "b"]}).apply(columns, 2)
    assert rows.columns["all"].tolist() == [[1.0, 2.0], [3.0]]


def test_the_names_are_those_of_all_expressions() -> None:
    selection = Selection(
        {"x": "a + b", "y": ["c", "d"]}, cut="e > 0", weight="f", one_per=["g"], keep="h"
    )
    assert selection.names == set("abcdefgh")


def test_a_jagged_weight_or_key_is_refused() -> None:
    with pytest.raises(DataError, match="several values in each event"):
        Selection({"n": "n"}, weight="Muon_pt").apply(chunk("n", "Muon_pt"), 4)
    with pytest.raises(DataError, match="several values in each event"):
        Selection({"n": "n"}, one_per=["Muon_pt[:1]"]).apply(chunk("n", "Muon_pt"), 4)


def test_a_record_column_names_its_fields() -> None:
    with pytest.raises(DataError, match=r"expected one of these fields, such as p4\.x"):
        Selection({"p": "p4"}).apply({"p4": ak.Array([{"x": 1.0, "y": 2.0}])}, 1)


def test_no_columns_at_all() -> None:
    with pytest.raises(DataError, match="no columns"):
        Selection({})
