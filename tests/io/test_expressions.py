"""Expressions mean what a physicist means by them, and nothing else is ever executed."""

from __future__ import annotations

import ast
import contextlib
import itertools
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgen.errors import DataError, InputError, WorkflowError
from hepgen.io.expressions import Expression

COLUMNS: dict[str, ak.Array] = {
    "M": ak.Array([91.0, 50.0, 130.0]),
    "pt1": ak.Array([30.0, 10.0, 25.0]),
    "Type": ak.Array(["GG", "GT", "GG"]),
    "Q1": ak.Array(np.array([1, -1, 1], dtype=np.int32)),
    "nMuon": ak.Array(np.array([2, 0, 1], dtype=np.uint32)),
    "isGlobal": ak.Array(np.array([1, 0, 2], dtype=np.uint8)),
    "fired": ak.Array([True, True, False]),
    "flags": ak.Array([8, 4, 9]),
    "Muon_pt": ak.Array([[40.0, 30.0], [], [25.0]]),
    "Muon_charge": ak.Array([[1, -1], [], [1]]),
    "Muon_jetIdx": ak.Array([[1, -1], [], [0]]),
    "Jet_pt": ak.Array([[10.0, 60.0], [70.0], []]),
    "Jet.PT": ak.Array([[1.0], [2.0, 3.0], []]),
    "p4": ak.Array([{"fP": {"fX": 1.0}}, {"fP": {"fX": 2.0}}, {"fP": {"fX": 3.0}}]),
    "pos": ak.Array(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])),
    "two words": ak.Array([1, 2, 3]),
    "vertices": ak.Array([[[1.0, 2.0], [3.0]], [[]], []]),
}


def value(text: str) -> list[Any]:
    result: list[Any] = Expression(text).evaluate(COLUMNS).tolist()
    return result


def mask(text: str) -> list[bool]:
    result: list[bool] = Expression(text).mask(COLUMNS).tolist()
    return result


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("M", [91.0, 50.0, 130.0]),
        ("M - pt1 * 2", [31.0, 30.0, 80.0]),
        ("-M + +M", [0.0, 0.0, 0.0]),
        ("M // 40", [2.0, 1.0, 3.0]),
        ("flags % 4", [0, 0, 1]),
        ("nMuon / 2", [1.0, 0.0, 0.5]),
        ("nMuon ** 2", [4.0, 0.0, 1.0]),
        ("2 ** -1 * M", [45.5, 25.0, 65.0]),
        ("pow(M, 1)", [91.0, 50.0, 130.0]),
        ("sqrt(pt1 - 5)", [5.0, 5**0.5, 20**0.5]),
        ("hypot(3, nMuon * 2)", [5.0, 3.0, 13**0.5]),
        ("atan2(0, M)", [0.0, 0.0, 0.0]),
        ("min(M, pt1, 20)", [20.0, 10.0, 20.0]),
        ("max(M, 100)", [100.0, 100.0, 130.0]),
        ("where(M > 60, 1, -1)", [1, -1, 1]),
        ("isfinite(1 / nMuon)", [True, False, True]),
        ("`two words` + 1", [2, 3, 4]),
        ("Jet.PT", [[1.0], [2.0, 3.0], []]),
        ("p4.fP.fX", [1.0, 2.0, 3.0]),
        ("TMath::Abs(Q1)", [1, 1, 1]),
        ("3", [3, 3, 3]),
        ("true", [True, True, True]),
    ],
)
def test_values(text: str, expected: list[Any]) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("60 < M < 120", [True, False, False]),
        ('Type == "GG"', [True, False, True]),
        ("Type != 'GG'", [False, True, False]),
        ('Type in ("GG", "XX")', [True, False, True]),
        ("flags in (4, 9)", [False, True, True]),
        ("flags not in [4, 9]", [True, False, False]),
        ("fired && nMuon", [True, False, False]),
        ("!fired || isGlobal == 2", [False, False, True]),
        ("~(M > 60)", [False, True, False]),
        ("not M > 60", [False, True, False]),
        ("fired + fired == 2", [True, True, False]),
        ("bitand(flags, 8) != 0", [True, False, True]),
        ("nMuon", [True, False, True]),
        ("1", [True, True, True]),
    ],
)
def test_cuts(text: str, expected: list[bool]) -> None:
    assert mask(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Muon_pt[0]", [40.0, None, 25.0]),
        ("Muon_pt[1]", [30.0, None, None]),
        ("Muon_pt[-1]", [30.0, None, 25.0]),
        ("Muon_pt[-2]", [40.0, None, None]),
        ("Muon_pt[:1]", [[40.0], [], [25.0]]),
        ("pos[1]", [2.0, 4.0, 6.0]),
        ("vertices[0][1]", [2.0, None, None]),
        ("Muon_pt[Muon_charge > 0]", [[40.0], [], [25.0]]),
        ("Muon_pt[Muon_charge < 0][0]", [30.0, None, None]),
        ("Muon_pt[M > 100]", [[], [], [25.0]]),
        ("Muon_pt[argmax(Muon_pt)]", [40.0, None, 25.0]),
        ("Jet_pt[Muon_jetIdx]", [[60.0, None], [], [None]]),
        ("Muon_pt * Q1", [[40.0, 30.0], [], [25.0]]),
        ("Muon_pt * Muon_charge", [[40.0, -30.0], [], [25.0]]),
        ("pos * M", [[91.0, 182.0], [150.0, 200.0], [650.0, 780.0]]),
        ("sum(Muon_pt)", [70.0, 0.0, 25.0]),
        ("max(Muon_pt)", [40.0, None, 25.0]),
        ("min(Muon_pt)", [30.0, None, 25.0]),
        ("mean(Muon_pt)", [35.0, None, 25.0]),
        ("count(Muon_pt)", [2, 0, 1]),
        ("len(vertices)", [3, 0, 0]),
        ("any(Muon_charge < 0)", [True, False, False]),
        ("all(Muon_charge > 0)", [False, True, True]),
        ("Sum$(Muon_pt > 26)", [2, 0, 0]),
        ("Max$(Muon_pt) - Min$(Muon_pt)", [10.0, None, 0.0]),
        ("Length$(Muon_pt)", [2, 0, 1]),
        ("alt(Muon_pt[0], -1)", [40.0, -1.0, 25.0]),
        ("Alt$(Muon_pt[1], M)", [30.0, 50.0, 130.0]),
        ("alt(M, 0)", [91.0, 50.0, 130.0]),
    ],
)
def test_jagged_columns(text: str, expected: list[Any]) -> None:
    assert value(text) == expected


@pytest.mark.parametrize("operator", ["&", "&&", " and "])
def test_every_and_binds_weaker_than_a_comparison(operator: str) -> None:
    assert mask(f"pt1 > 20{operator}60 < M < 120") == [True, False, False]


@pytest.mark.parametrize("operator", ["|", "||", " or "])
def test_every_or_binds_weaker_than_a_comparison(operator: str) -> None:
    assert mask(f"pt1 > 26{operator}M > 120") == [True, False, True]


def test_operators_inside_strings_are_text() -> None:
    columns = {"Type": ak.Array(["a&b", "a|b", "!"])}
    assert Expression("Type == 'a&b' || Type == \"!\"").mask(columns).tolist() == [
        True,
        False,
        True,
    ]


TRUTH = (True, False, None)


@pytest.mark.parametrize(("left", "right"), list(itertools.product(TRUTH, TRUTH)))
def test_logic_with_missing_values_is_kleenes(left: bool | None, right: bool | None) -> None:
    """A value is decided exactly if both ways of filling the missing ones agree."""

    def filled(function: Any) -> bool | None:
        lefts = (True, False) if left is None else (left,)
        rights = (True, False) if right is None else (right,)
        results = {function(a, b) for a, b in itertools.product(lefts, rights)}
        return results.pop() if len(results) == 1 else None

    # a jagged column of one element or none, indexed, is a truth value or missing
    columns = {
        "a": ak.Array([[] if left is None else [left], [True]]),
        "b": ak.Array([[] if right is None else [right], [True]]),
    }
    for text, function in (
        ("a[0] & b[0]", lambda a, b: a and b),
        ("a[0] | b[0]", lambda a, b: a or b),
        ("not a[0] and b[0]", lambda a, b: not a and b),
    ):
        assert Expression(text).evaluate(columns)[0] == filled(function)


def test_a_cut_on_a_missing_element_keeps_nothing() -> None:
    assert mask("Muon_pt[0] > 20") == [True, False, True]
    assert mask("not (Muon_pt[0] > 30)") == [False, False, True]
    assert mask("count(Muon_pt) == 0 or Muon_pt[0] > 30") == [True, True, False]


def test_integers_do_not_wrap_around() -> None:
    assert value("nMuon - 3") == [-1, -3, -2]
    columns = {"Run": ak.Array(np.array([300_000], dtype=np.int32))}
    assert Expression("Run * 1000000").evaluate(columns).tolist() == [300_000_000_000]
    bits = {"bit": ak.Array(np.full((1, 300), 1, dtype=np.uint8))}
    assert Expression("sum(bit)").evaluate(bits).tolist() == [300]


def test_a_float32_is_compared_as_the_double_it_is() -> None:
    column = {"x": ak.Array(np.array([20.1], dtype=np.float32))}
    assert float(np.float32(20.1)) > 20.1  # and ROOT compares so
    assert Expression("x > 20.1").mask(column).tolist() == [True]


def test_a_bare_column_keeps_its_type() -> None:
    columns = {"x": ak.Array(np.array([1.5], dtype=np.float32))}
    assert str(Expression("x").evaluate(columns).type) == "1 * float32"


def test_names_and_tested() -> None:
    expression = Expression("isfinite(`a b`) & sqrt(Jet.PT[0]) > 2 & Type in ('x',)")
    assert expression.names == {"a b", "Jet.PT", "Type"}
    assert expression.tested == {"a b"}


NUMBERS = {"x": np.array([-2.5, 0.5, 3.0]), "y": np.array([1.0, -4.0, 2.0])}
LEAVES = st.sampled_from(["x", "y", "2", "0.5"])


def _joined(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arithmetic = st.builds("({} {} {})".format, children, st.sampled_from("+-*"), children)
    return arithmetic | st.builds("(-{})".format, children)


SUMS = st.recursive(LEAVES, _joined, max_leaves=6)
COMPARISONS = st.builds("{} {} {}".format, SUMS, st.sampled_from(["<", ">=", "=="]), SUMS)


@given(st.lists(COMPARISONS, min_size=1, max_size=4), st.data())
@settings(derandomize=True, max_examples=100, deadline=None)
def test_logic_agrees_with_python_row_by_row(parts: list[str], data: st.DataObject) -> None:
    joints = [data.draw(st.sampled_from(["&", "|"])) for _ in parts[1:]]
    text = parts[0] + "".join(f" {j} {p}" for j, p in zip(joints, parts[1:], strict=True))
    python = text.replace("&", "and").replace("|", "or")
    columns = {name: ak.Array(numbers) for name, numbers in NUMBERS.items()}
    columns["z"] = ak.Array(np.zeros(3))  # the length, where a text has no column
    rows = [{n: float(v[i]) for n, v in NUMBERS.items()} for i in range(3)]
    tree = compile(ast.parse(python, mode="eval"), "", "eval")
    expected = [bool(eval(tree, {}, row)) for row in rows]
    assert Expression(text).mask({**columns}).tolist() == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("pt1 >", "cannot be read to its end"),
        ("pt1 > 20)", "at character 9, near ')'"),
        ("pt1 = 20", "write == to compare"),
        ("M > 60 ? 1 : 0", "where(condition, a, b)"),
        ("M ^ 2", "write ** for a power"),
        ("flags & 8", "bitand(flags, 8) != 0"),
        ("8 | flags", "bitand(flags, 8) != 0"),
        ("flags >> 3", "bitand"),
        ("Type == 'GG", "unterminated"),
        ("sqr(M)", "did you mean 'sqrt'?"),
        ("sqrt(M, 2)", "takes 1 argument"),
        ("M in (pt1, 2)", "'(pt1, 2)' (character 6)"),
        ("1 +" * 2000 + " 1", "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_explained(text: str, words: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        Expression(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("M > Muonpt", "no column 'Muonpt'; did you mean 'Muon_pt'"),
        ("Muon_pt + Jet_pt", "different lengths in an event"),
        ("Muon_pt[Jet_pt > 1]", "different lengths in an event"),
        ("M[0]", "one value in each event"),
        ("1 + any(M)", "'any(M)' (character 5) of expression '1 + any(M)'"),
        ("Type > 3", "compare strings with == or in"),
        ("Type == 3", "a string is compared with a number"),
        ("sum(Type)", "expected a jagged column"),
        ("Muon_pt[0.5]", "not a whole number"),
        ("Muon_pt[Muon_pt]", "a whole number or a condition"),
        ("bitand(M, 8)", "whole numbers"),
        ("M in ()", "empty list"),
    ],
)
def test_what_does_not_suit_the_columns_is_explained(text: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        Expression(text).evaluate(COLUMNS)
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["Muon_pt > 20", "Jet.PT"])
def test_a_jagged_cut_says_what_to_do(text: str) -> None:
    with pytest.raises(DataError, match=r"use any\(…\), all\(…\), or one element"):
        Expression(text).mask(COLUMNS)


def test_a_string_is_not_a_cut() -> None:
    with pytest.raises(DataError, match="cut 'Type'"):
        Expression("Type").mask(COLUMNS)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "M.__class__.__bases__[0].__subclasses__()",
        "(lambda: M)()",
        "[x for x in M]",
        "{1: M}",
        "f'{M}'",
        "(a := M)",
        "sqrt(*M)",
        "sqrt(x=M)",
        "M if M else M",
        "M is M",
        "()",
        "(1, 2)",
        "Muon_pt[0, 1]",
        "M in M",
        "10000000000000000000",
        "print(M)",
        "b'x'",
        "...",
        "None",
        "1j",
        "await M",
        "M; M",
        "import os",
    ],
)
def test_nothing_but_the_grammar_is_accepted(text: str) -> None:
    with pytest.raises(WorkflowError):
        Expression(text)


def test_an_attribute_is_a_column_and_never_an_attribute() -> None:
    with pytest.raises(DataError, match="no column"):
        Expression("M.layout").evaluate(COLUMNS)


@given(st.text(alphabet="Mpt1 <>=&|!()[].,'\"`+-*/0", max_size=20))
@settings(derandomize=True, max_examples=300, deadline=None)
def test_any_text_evaluates_or_is_refused_in_words(text: str) -> None:
    with contextlib.suppress(InputError):
        Expression(text).evaluate(COLUMNS)


def test_a_constant_needs_a_length() -> None:
    with pytest.raises(DataError, match="no length"):
        Expression("1 + 1").evaluate({})
