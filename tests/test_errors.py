"""The exception tree, its exit codes, and the words that offer the nearest name."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgen import errors
from hepgen.errors import HepgenError, InputError, nearest

CLASSES = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, HepgenError)]
every_class = pytest.mark.parametrize("error", CLASSES, ids=lambda c: c.__name__)

words = st.text(st.characters(codec="ascii", categories=["Ll", "Lu", "Nd"]), min_size=1)


@every_class
def test_bad_input_is_exit_code_2_and_everything_else_1(error: type[HepgenError]) -> None:
    assert error.exit_code == (2 if issubclass(error, InputError) else 1)


@every_class
def test_an_error_survives_the_way_from_a_worker(error: type[HepgenError]) -> None:
    back = pickle.loads(pickle.dumps(error("a sentence")))
    assert type(back) is error
    assert str(back) == "a sentence"


@every_class
def test_the_tree_in_the_documentation_has_every_class(error: type[HepgenError]) -> None:
    lines = (errors.__doc__ or "").splitlines()
    (drawn,) = [line for line in lines if error.__name__ in line.split()]
    assert ("exit code 2" in drawn) == (error is InputError)


def test_the_nearest_names_come_first() -> None:
    assert nearest("m_zz", ["alpha_s", "m_z", "gamma_z"]).startswith("did you mean 'm_z'")


def test_case_does_not_matter() -> None:
    assert nearest("dimuon_MASS", ["Dimuon_mass", "x"]) == "did you mean 'Dimuon_mass'?"


def test_where_nothing_is_near_the_known_names_are_listed() -> None:
    assert nearest("qqqq", ["b", "a", "b"]) == "known: a, b"
    assert nearest("a", []) == "there are none"
    assert nearest("qqqq", [f"x{i:02d}" for i in range(13)]).endswith("x11, …")


@settings(deadline=None, derandomize=True)
@given(name=words, known=st.lists(words, max_size=30), most=st.integers(1, 4))
def test_only_known_names_are_offered_and_not_too_many(
    name: str, known: list[str], most: int
) -> None:
    message = nearest(name, known, most)
    if message.startswith("did you mean"):
        offered = message.removeprefix("did you mean ").removesuffix("?").split(" or ")
        assert 1 <= len(offered) <= most
        assert {o.strip("'") for o in offered} <= set(known)
    if name in known:
        assert message.startswith("did you mean")
