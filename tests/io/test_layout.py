"""Columns become branches in the style of NanoAOD."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import pytest

from hepgen.errors import DataError
from hepgen.io.layout import Layout, writable


def columns(**arrays: Any) -> dict[str, ak.Array]:
    return {name: writable(name, ak.Array(array)) for name, array in arrays.items()}


def test_columns_with_a_prefix_and_the_same_lengths_share_a_counter() -> None:
    layout = Layout.of(columns(Muon_pt=[[1.0], []], Muon_eta_sys=[[2.0], []], x=[1, 2]))
    assert layout.counters == {"Muon_pt": "nMuon", "Muon_eta_sys": "nMuon"}
    assert layout.types["x"] == "int64"


def test_other_lengths_are_another_counter() -> None:
    layout = Layout.of(columns(Muon_pt=[[1.0], []], Muon_hits=[[2.0], [1.0]]))
    assert layout.counters == {"Muon_pt": "nMuon", "Muon_hits": "nMuon_hits"}


def test_latents_of_different_things_are_different_groups() -> None:
    layout = Layout.of(columns(latent_Photon_x=[[1.0]], latent_Muon_pt=[[1.0, 2.0]]))
    assert set(layout.counters.values()) == {"nlatent_Photon", "nlatent_Muon"}


def test_a_counter_that_agrees_is_written_once() -> None:
    layout = Layout.of(columns(nMuon=np.array([1, 0], dtype=np.uint32), Muon_pt=[[1.0], []]))
    assert list(layout.types) == ["Muon_pt"]
    assert layout.branches == {"nMuon": "int32", "Muon_pt": "var * float64"}


def test_a_counter_that_disagrees_is_refused() -> None:
    with pytest.raises(DataError, match="'nMuon' is not the number of elements"):
        Layout.of(columns(nMuon=[2, 2], Muon_pt=[[1.0], []]))


@pytest.mark.parametrize(
    ("later", "words"),
    [
        ({"Muon_pt": [[1.0]], "Muon_eta": [[1.0, 2.0]], "x": [1]}, "different numbers"),
        ({"Muon_pt": [[1.0]], "Muon_eta": [[1.0]]}, r"missing \['x'\]"),
        ({"Muon_pt": [[1.0]], "Muon_eta": [[1.0]], "x": [1], "y": [1]}, r"new \['y'\]"),
        ({"Muon_pt": [[1.0]], "Muon_eta": [[1.0]], "x": [1.5]}, "is float64 now and was int64"),
        ({"Muon_pt": [1.0], "Muon_eta": [[1.0]], "x": [1]}, r"was var \* float64"),
        ({"Muon_pt": [[1.0]], "Muon_eta": [[1.0]], "x": ["a"]}, "is string now"),
    ],
)
def test_later_columns_have_to_fit(later: dict[str, Any], words: str) -> None:
    layout = Layout.of(columns(Muon_pt=[[1.0], []], Muon_eta=[[2.0], []], x=[1, 2]))
    with pytest.raises(DataError, match=words):
        layout.check(columns(**later))


def test_a_narrower_type_fits_a_wider_one() -> None:
    layout = Layout.of(columns(x=[1, 2]))
    layout.check(columns(x=np.array([1], dtype=np.int16)))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        ([1.0, None], "no value in 1 of 2 events"),
        ([[[1.0]]], "cannot be written"),
        ([["a"]], "cannot be written"),
        ([{"x": 1}], "cannot be written"),
        (np.array([1j]), "cannot be written"),
    ],
)
def test_what_a_branch_cannot_hold(array: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        writable("x", ak.Array(array))


def test_a_slice_is_packed() -> None:
    assert writable("s", ak.Array(["a", "bb", "ccc"])[1:]).layout.offsets.data[0] == 0
