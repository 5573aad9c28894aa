"""Column expressions: cuts and derived columns over flat and jagged columns.

An expression is parsed once (:mod:`hepgen.io.grammar`) into a tree of which only arithmetic,
comparisons, logic, indexing and a fixed list of functions are allowed, and evaluated with
:mod:`hepgen.io.operations`; nothing else is ever executed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgen.errors import DataError, InputError, nearest
from hepgen.io import operations
from hepgen.io.grammar import BOOLEANS, Grammar, literals
from hepgen.io.operations import FUNCTIONS

Columns = Mapping[str, ak.Array]

_ARITIES = {name: (function.low, function.high) for name, function in FUNCTIONS.items()}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operations.elementwise(np.add),
    ast.Sub: operations.elementwise(np.subtract),
    ast.Mult: operations.elementwise(np.multiply),
    ast.Div: operations.elementwise(np.true_divide),
    ast.FloorDiv: operations.elementwise(np.floor_divide),
    ast.Mod: operations.elementwise(np.remainder),
    ast.Pow: operations.power,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operations.elementwise(np.positive),
    ast.USub: operations.elementwise(np.negative),
    ast.Not: operations.logical_not,
    ast.Invert: operations.logical_not,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operations.ordered(np.less),
    ast.LtE: operations.ordered(np.less_equal),
    ast.Gt: operations.ordered(np.greater),
    ast.GtE: operations.ordered(np.greater_equal),
    ast.Eq: operations.equal,
    ast.NotEq: lambda left, right: np.logical_not(operations.equal(left, right)),
    ast.In: operations.contained,
    ast.NotIn: lambda left, right: np.logical_not(operations.contained(left, right)),
}


class Expression:
    r"""An expression over columns, in the notation of ``TTree::Draw`` and of Python.

    ================  ==================================================================
    columns           ``M``, dotted ``Jet.PT``, any other name in backticks
    numbers, strings  ``60``, ``1e-3``, ``"GG"``, ``true``, ``false``
    arithmetic        ``+ - * / // % **`` in float64 and int64, whatever the column's type
    comparison        ``< <= > >= == !=``, chained ``60 < M < 120``, ``Type in ("GG", "GT")``
    logic             ``and or not``, ``&& || !``, ``& | ~``
    one element       ``Muon_pt[0]``, ``Muon_pt[-1]``, ``Muon_pt[argmax(Muon_pt)]``
    some elements     ``Muon_pt[Muon_charge > 0]``, ``Muon_pt[:2]``, ``Jet_pt[Muon_jetIdx]``
    per event         ``sum any all count mean argmax argmin min max`` of a jagged column
    elementwise       ``abs sqrt exp log log10 log1p sin cos tan … arctan2 hypot min max``
    and also          ``where(c, a, b) alt isfinite isnan floor ceil round sign bitand``
    ================  ==================================================================

    **Logic binds weakest.** ``&`` and ``|`` are the logical and, or, and not Python's
    bitwise operators: ``pt > 20 & abs(eta) < 2.4`` is ``(pt > 20) and (abs(eta) < 2.4)``.
    Bits are tested with ``bitand(flags, 8) != 0``.

    **An element that is not there has no value.** ``Muon_pt[0]`` of an event without
    muons is missing; a comparison with it is neither true nor false, and a cut keeps an
    event only where it is true. Logic is Kleene's: ``nMuon == 0 or Muon_pt[0] > 20`` keeps
    events without muons, which ``TTree::Draw`` drops whatever else is true. ``alt(x, 0)``
    is 0 where x is missing. An index that is a column (``Jet_pt[Muon_jetIdx]``) and is
    negative or too large gives a missing element, as −1 means "none" in NanoAOD.

    ``Sum$``, ``Min$``, ``Max$``, ``Length$``, ``Alt$`` and ``TMath::Sqrt`` are understood.
    A NaN compares false, as everywhere; the reader refuses it before a cut can hide it.

    Arguments:
        text: The expression.

    Raises:
        WorkflowError: The text is not such an expression; the message has the position.

    >>> expression = Expression("pt1 > 20 & 60 < M < 120")
    >>> sorted(expression.names)
    ['M', 'pt1']
    >>> expression.evaluate({"pt1": ak.Array([30.0, 10.0]), "M": ak.Array([91, 91])}).tolist()
    [True, False]
    >>> muons = {"Muon_pt": ak.Array([[40.0, 30.0], [], [25.0]])}
    >>> Expression("Muon_pt[1]").evaluate(muons).tolist()
    [30.0, None, None]
    >>> Expression("sum(Muon_pt > 20) >= 1").evaluate(muons).tolist()
    [True, False, True]
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._grammar = Grammar(text, _ARITIES)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    @property
    def names(self) -> frozenset[str]:
        """The columns that the expression needs."""
        return self._grammar.names

    @property
    def tested(self) -> frozenset[str]:
        """The columns that the expression tests itself, with ``isfinite`` or ``isnan``."""
        return self._grammar.tested

    def evaluate(self, columns: Columns) -> ak.Array:
        """The value for each event, shape ``(N,)`` or jagged ``(N, var)``.

        Arguments:
            columns: At least the columns :attr:`names`, each of length N. A constant
                takes its length from any column that is there.

        Raises:
            DataError: A column is not there, or an operation does not suit its values.
        """
        with np.errstate(all="ignore"):
            value = _Evaluator(self._grammar, columns).visit(self._grammar.tree)
        return value if isinstance(value, ak.Array) else self._constant(value, columns)

    def mask(self, columns: Columns) -> NDArray[np.bool_]:
        """The events that the expression keeps as a cut, shape ``(N,)``.

        Raises:
            DataError: There is a list of values in each event, or no truth value.
        """
        value = self.evaluate(columns)
        if value.ndim > 1:
            raise DataError(
                f"cut {self.text!r} has a list of values in each event; expected one truth "
                f"value: use any(…), all(…), or one element such as name[0]"
            )
        try:
            kept = ak.fill_none(operations.truth(value), False)
        except TypeError as error:
            raise DataError(f"cut {self.text!r}: {error}") from error
        return np.asarray(ak.to_numpy(kept), dtype=np.bool_)

    def _constant(self, value: Any, columns: Columns) -> ak.Array:
        if not columns:
            raise DataError(f"expression {self.text!r} names no column, so it has no length")
        length = len(next(iter(columns.values())))
        return ak.Array([value] * length if isinstance(value, str) else np.full(length, value))


class _Evaluator(ast.NodeVisitor):
    """Walks a checked tree; every error names the part of the expression."""

    def __init__(self, grammar: Grammar, columns: Columns) -> None:
        self.grammar = grammar
        self.columns = columns

    def visit(self, node: ast.AST) -> Any:
        try:
            return super().visit(node)
        except InputError:
            raise
        except (TypeError, ValueError, IndexError, OverflowError, NotImplementedError) as error:
            raise DataError(f"{self.grammar.where(node)}: {_reason(error)}") from error

    def visit_Constant(self, node: ast.Constant) -> Any:
        return node.value

    def visit_Name(self, node: ast.Name) -> Any:
        return BOOLEANS[node.id] if node.id in BOOLEANS else self._column(node)

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        return self._column(node)

    def _column(self, node: ast.expr) -> ak.Array:
        name = self.grammar.name(node) or ""
        array = find_column(self.columns, name)
        if array is None:
            raise DataError(
                f"expression {self.grammar.text!r}: no column {name!r}; "
                f"{nearest(name, self.columns)}"
            )
        return ak.from_regular(array, axis=None) if array.ndim > 1 else array

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        return _BINARY[type(node.op)](self.visit(node.left), self.visit(node.right))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        return _UNARY[type(node.op)](self.visit(node.operand))

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        both = isinstance(node.op, ast.And)
        join = operations.logical_and if both else operations.logical_or
        return reduce(join, [self.visit(value) for value in node.values])

    def visit_Compare(self, node: ast.Compare) -> Any:
        parts: list[Any] = []
        left = self.visit(node.left)
        for operator, comparator in zip(node.ops, node.comparators, strict=True):
            among = isinstance(operator, (ast.In, ast.NotIn))
            right = literals(comparator) if among else self.visit(comparator)
            parts.append(_COMPARE[type(operator)](left, right))
            left = right
        return reduce(operations.logical_and, parts)

    def visit_Call(self, node: ast.Call) -> Any:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        return FUNCTIONS[name].call(*(self.visit(argument) for argument in node.args))

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        return operations.take(self.visit(node.value), self.visit(node.slice))

    def visit_Slice(self, node: ast.Slice) -> slice:
        ends = (node.lower, node.upper, node.step)
        return slice(*(None if end is None else int(self.visit(end)) for end in ends))


def find_column(columns: Columns, name: str) -> ak.Array | None:
    """The column ``name``, or the field of a record column that a dotted name means.

    >>> find_column({"p4": ak.Array([{"pt": 3.0}])}, "p4.pt").tolist()
    [3.0]
    """
    if name in columns:
        return columns[name]
    head, dot, field = name.rpartition(".")
    parent = find_column(columns, head) if dot else None
    return parent[field] if parent is not None and field in parent.fields else None


def _reason(error: Exception) -> str:
    text = str(error).strip()
    if "cannot broadcast nested list" in text or "cannot fit jagged slice" in text:
        return "the lists have different lengths in an event; expected equal lengths, or one value"
    return text.splitlines()[0] if text else type(error).__name__
