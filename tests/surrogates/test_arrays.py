"""The arrays of columnar analyses go in and come out, and say what is wrong with them."""

from __future__ import annotations

import re
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch

from hepgen.errors import DataError, HepgenError, SurrogateError
from hepgen.events import Events
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.results import TrainingCurve
from hepgen.surrogates.arrays import EventSurrogate, matrix, records
from hepgen.surrogates.surrogate import Domain, Surrogate
from tests.surrogates.toys import Gaussian, toy

NAMES = ("Z_pt", "Z_eta", "Z_phi", "Z_mass", "njet")


def dimuons() -> EventSurrogate:
    """Five columns, N(m_z + tune, 1) each, of which four are one vector."""
    features = tuple(Feature(name, "GeV") for name in NAMES)
    given = (Feature("m_z", "GeV"), Feature("tune"))
    return EventSurrogate(
        Surrogate(
            Gaussian(5, 2).eval(), "gaussian",
            FeatureSpace(features, (0.0,) * 5, (1.0,) * 5),
            FeatureSpace(given, (0.0, 0.0), (1.0, 1.0)),
            Domain(("m_z", "tune"), (85.0, -1.0), (95.0, 1.0)),
            TrainingCurve((1.0,), (1.0,), (1.0,), 0, 1.0, "epochs"),
        )
    )  # fmt: skip


THETA = {"m_z": 91.2, "tune": 0.5}


def test_events_are_records_with_a_vector() -> None:
    events = dimuons().sample(10, THETA, seed=3)
    assert len(events) == 10
    assert events.fields == ["Z", "njet"]
    assert events.Z.fields == ["pt", "eta", "phi", "mass"]
    assert ak.parameters(events.Z)["__record__"] == "Momentum4D"


def test_vector_computes_with_them() -> None:
    pytest.importorskip("vector")
    z = dimuons().sample(10, THETA, seed=3).Z
    np.testing.assert_allclose(z.px, z.pt * np.cos(z.phi))
    expected = np.sqrt(z.mass**2 + (z.pt * np.cosh(z.eta)) ** 2)
    np.testing.assert_allclose(z.E, expected)


def test_vectors_in_other_coordinates_come_back() -> None:
    vector = pytest.importorskip("vector")
    names = ("Z_pt", "Z_eta", "Z_phi", "Z_mass")
    values = np.array([[40.0, 0.5, 1.0, 91.0], [50.0, -1.0, 2.0, 90.0]])
    z = records(dict(zip(names, values.T, strict=True))).Z
    cartesian = ak.zip(
        {"px": z.px, "py": z.py, "pz": z.pz, "E": z.E},
        with_name="Momentum4D",
        behavior=vector.backends.awkward.behavior,
    )
    events = ak.zip({"Z": cartesian}, depth_limit=1)
    np.testing.assert_allclose(matrix(events, names), values)


def test_every_form_of_events_has_the_same_density() -> None:
    surrogate = dimuons()
    records, log_prob = surrogate.sample_and_log_prob(10, THETA, seed=3)
    table = surrogate.sample(10, THETA, seed=3, library="np")
    assert table.dtype.names == NAMES
    columns = {name: table[name] for name in NAMES}
    plain = np.stack(list(columns.values()), -1)
    lists = {name: column.tolist() for name, column in columns.items()}
    flat = ak.zip(columns)
    for events in (records, table, columns, lists, plain, flat, Events.from_columns(columns)):
        np.testing.assert_allclose(surrogate.log_prob(events, THETA), log_prob, atol=1e-3)


def test_every_form_of_theta_means_the_same() -> None:
    surrogate = dimuons()
    expected = surrogate.sample(3, THETA, library="np")
    each = {"m_z": np.full(3, 91.2), "tune": 0.5}
    prefixed = ak.zip({"theta_m_z": np.full(3, 91.2), "theta_tune": np.full(3, 0.5)})
    structured = np.array([(0.5, 91.2)] * 3, dtype=[("tune", float), ("m_z", float)])
    for theta in (each, prefixed, structured, [91.2, 0.5], np.tile([91.2, 0.5], (3, 1))):
        assert np.array_equal(surrogate.sample(3, theta, library="np"), expected)


def test_a_theta_for_each_event() -> None:
    surrogate = dimuons()
    m_z = np.linspace(86, 94, 5000)
    events = surrogate.sample(5000, {"m_z": m_z, "tune": 0.0}, library="np")
    # N(m_z, 1): the residuals have a mean of zero to within five standard errors.
    assert abs(np.mean(events["Z_mass"] - m_z)) < 5 / np.sqrt(5000)


BAD: dict[str, tuple[Any, str]] = {
    "unknown": ({"m_z": 91.0, "tun": 0.0}, r"'tun'; did you mean 'tune'"),
    "missing": ({"m_z": 91.0}, r"no column 'tune'"),
    "text": ({"m_z": "heavy", "tune": 0.0}, "expected numbers"),
    "length": ({"m_z": [91.0, 91.0], "tune": 0.0}, r"m_z has 2 values for 4 events"),
    "outside": ({"m_z": 99.0, "tune": 0.0}, r"m_z = 99 .* outside the range \[85, 95\]"),
    "nan": ({"m_z": float("nan"), "tune": 0.0}, "outside the range"),
    "nothing": (None, "a value for each of m_z, tune"),
    "columns": ([91.0, 0.0, 1.0], r"shape \(4, 3\); expected \(N, 2\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_theta_is_named(name: str) -> None:
    theta, words = BAD[name]
    with pytest.raises(HepgenError, match=words):
        dimuons().sample(4, theta)


def test_no_events_are_refused() -> None:
    with pytest.raises(SurrogateError, match="0 events"):
        dimuons().sample(0, THETA)


def test_wrong_events_are_named() -> None:
    surrogate = toy()
    front = EventSurrogate(surrogate)
    for events, words in (
        ({"mas": [1.0]}, "no column 'mass'.*did you mean 'mas'"),
        ({"mass": [1.0, np.nan]}, "1 of 2 values are NaN"),
        ({"mass": ak.Array([1.0, None])}, "no value in 1 of 2"),
        ({"mass": ak.Array([[1.0], [2.0, 3.0]])}, "jagged"),
        ({"mass": ["heavy"]}, "expected numbers"),
        (np.ones((2, 3)), re.escape("shape (2, 3); expected (N, 1)")),
    ):
        with pytest.raises(DataError, match=words):
            front.log_prob(events, {"shift": 0.0})


def test_without_a_context_there_is_no_theta() -> None:
    surrogate = toy()
    free = Surrogate(
        Gaussian(1, 0).eval(), "gaussian", surrogate.features, None, Domain((), (), ()),
        surrogate.curve,
    )  # fmt: skip
    front = EventSurrogate(free)
    events = front.sample(2000, library="np")
    assert abs(events["mass"].mean()) < 5 / np.sqrt(2000)
    normal = -0.5 * events["mass"] ** 2 - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(front.log_prob(events), normal, atol=1e-5)


def test_objects_with_fewer_columns() -> None:
    columns = {"Met_pt": [1.0], "Met_phi": [2.0], "Jet_btag": [0.5], "Jet_mass": [5.0], "ht": [9.0]}
    found = records(columns)
    assert found.fields == ["Met", "Jet_btag", "Jet_mass", "ht"]
    assert ak.parameters(found.Met)["__record__"] == "Momentum2D"


def test_the_noise_is_that_of_the_surrogate() -> None:
    front = dimuons()
    theta = torch.tensor([91.2, 0.5], dtype=torch.float64)
    x = front.surrogate.sample(6, theta, seed=9)
    assert np.array_equal(matrix(front.sample(6, THETA, seed=9), NAMES), x.numpy())
    assert front.context == ("m_z", "tune")
    assert front.quality.kind == "exact"
    assert repr(front).startswith("EventSurrogate(gaussian: p(Z_pt")
