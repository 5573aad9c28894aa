"""The columnar record of events."""

from __future__ import annotations

import itertools

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgen.errors import DataError
from hepgen.events import Events

EVENTS = Events.from_columns(
    {
        "Dimuon_mass": np.array([91.0, 88.5, 90.2]),
        "Muon_pt": ak.Array([[40.0, 30.0], [], [25.0]]),
        "nMuon": np.array([2, 0, 1]),
        "selected": np.array([True, False, True]),
        "theta_m_z": np.array([90.0, 91.0, 92.0]),
        "Type": np.array(["GG", "GT", "GG"]),
    },
    {"seed": 7},
)


def test_columns_come_back_as_they_were_given() -> None:
    assert EVENTS.fields == [
        "Dimuon_mass", "Muon_pt", "nMuon", "selected", "theta_m_z", "Type",
    ]  # fmt: skip
    assert len(EVENTS) == 3
    assert "Muon_pt" in EVENTS
    assert "Muon_eta" not in EVENTS
    assert EVENTS["Muon_pt"].to_list() == [[40.0, 30.0], [], [25.0]]
    assert ak.type(EVENTS["selected"]).content == ak.types.NumpyType("bool")


def test_jagged_columns_of_other_lengths_stand_side_by_side() -> None:
    events = Events.from_columns(
        {"Muon_pt": ak.Array([[1.0], []]), "Jet_pt": ak.Array([[], [2.0, 3.0]])}
    )
    assert events["Muon_pt"].to_list() == [[1.0], []]
    assert events["Jet_pt"].to_list() == [[], [2.0, 3.0]]


def test_columns_have_one_length() -> None:
    with pytest.raises(DataError, match=r"different lengths: \{'a': 2, 'b': 3\}"):
        Events.from_columns({"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(DataError, match="at least one column"):
        Events.from_columns({})


def test_an_unknown_column_is_answered_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"no column 'Dimuon_mas'.*'Dimuon_mass'"):
        EVENTS["Dimuon_mas"]
    with pytest.raises(DataError, match="theta_m_z"):
        EVENTS.theta(["m_zz"])


def test_flat_is_a_matrix_in_the_order_asked_for() -> None:
    matrix = EVENTS.flat(["nMuon", "Dimuon_mass", "selected"])
    assert matrix.dtype == np.float64
    assert matrix.tolist() == [[2.0, 91.0, 1.0], [0.0, 88.5, 0.0], [1.0, 90.2, 1.0]]
    assert EVENTS.flat([]).shape == (3, 0)
    assert EVENTS.theta(["m_z"]).tolist() == [[90.0], [91.0], [92.0]]


def test_a_column_that_is_no_number_an_event_is_refused() -> None:
    with pytest.raises(DataError, match=r"'Muon_pt' is jagged.*Muon_pt\[0\]"):
        EVENTS.flat(["Muon_pt"])
    with pytest.raises(DataError, match=r"'Type'.*expected numbers"):
        EVENTS.flat(["Type"])


def test_the_weight_is_one_where_it_is_absent_and_keeps_its_sign() -> None:
    assert EVENTS.weight.tolist() == [1.0, 1.0, 1.0]
    weighted = Events.from_columns({"genWeight": np.array([1, -2], dtype=np.int32)})
    assert weighted.weight.tolist() == [1.0, -2.0]
    with pytest.raises(DataError, match="genWeight"):
        _ = Events.from_columns({"genWeight": ak.Array([[1.0, 2.0]])}).weight


def test_selection_keeps_the_provenance() -> None:
    some = EVENTS.select(np.array([True, False, True]))
    assert some["Muon_pt"].to_list() == [[40.0, 30.0], [25.0]]
    assert some.provenance == {"seed": 7}
    assert len(EVENTS.select(slice(1, None))) == 2


def test_a_mask_of_another_length_is_refused() -> None:
    with pytest.raises(DataError, match="mask of 2 for 3 events"):
        EVENTS.select(np.array([True, False]))


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=5))
def test_parts_that_are_put_together_are_the_whole(lengths: list[int]) -> None:
    n = sum(lengths)
    whole = Events.from_columns(
        {"x": np.arange(n), "y": ak.unflatten(np.arange(2.0 * n), np.full(n, 2))}, {"seed": 1}
    )
    edges = np.cumsum([0, *lengths])
    parts = [whole.select(slice(*pair)) for pair in itertools.pairwise(edges)]
    again = Events.concatenate(parts)
    assert ak.array_equal(again.columns, whole.columns)
    assert again.provenance == {"seed": 1}


def test_only_like_things_are_put_together() -> None:
    with pytest.raises(DataError, match="at least one set"):
        Events.concatenate([])
    with pytest.raises(DataError, match=r"\['b'\] cannot follow events with \['a'\]"):
        Events.concatenate(
            [Events.from_columns({"a": np.zeros(1)}), Events.from_columns({"b": np.zeros(1)})]
        )
