"""From the text of a column expression to a checked syntax tree.

The text is translated to Python's grammar (``&&``, ``&`` → ``and``; ``||``, ``|`` → ``or``;
``!`` → ``~``; names in backticks → placeholders), parsed with :mod:`ast`, and refused unless
every node is on a list. Messages point into the text as it was written.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hepgen.errors import WorkflowError, nearest

_TOKEN = re.compile(
    r"""(?P<string>'[^']*'|"[^"]*")"""
    r"""|`(?P<quoted>[^`]+)`"""
    r"""|(?P<operator>&&|\|\||!=|&|\||!)"""
    r"""|\b(?:TMath|std)::(?P<qualified>\w+)"""
    r"""|\b(?P<draw>Sum|Min|Max|Length|Alt)\$"""
    r"""|(?P<space>\s)"""
)
_OPERATORS = {"&&": " and ", "&": " and ", "||": " or ", "|": " or ", "!": "~", "!=": "!="}
_DRAW = {"Sum": "sum", "Min": "min", "Max": "max", "Length": "count", "Alt": "alt"}
_QUALIFIED = {"power": "pow"}
BOOLEANS = {"true": True, "false": False}

_ALLOWED = (
    ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.Constant, ast.Name,
    ast.Attribute, ast.Subscript, ast.Slice,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow,
    ast.UAdd, ast.USub, ast.Invert, ast.Not, ast.And, ast.Or,
    ast.Load,
)  # fmt: skip
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
_INSTEAD: dict[type[ast.AST], str] = {
    ast.BitXor: "^ is not an operator here: write ** for a power",
    ast.LShift: "<< is not an operator here: write the number, such as 8 for 1 << 3",
    ast.RShift: ">> is not an operator here: test a bit with bitand(flags, 8) != 0",
    ast.IfExp: "write where(condition, a, b)",
    ast.Tuple: "several values belong after 'in'; for an index of an index write x[0][1]",
    ast.List: "several values belong after 'in'",
    ast.Set: "several values belong after 'in'",
}
_TESTS = ("isfinite", "isnan")


class Grammar:
    """A parsed expression: its tree, the columns in it, and the way back to its text.

    Arguments:
        text: The expression.
        functions: The functions it may call, each with its least and most arguments.

    Raises:
        WorkflowError: The text is not an expression; the message has the position.

    >>> grammar = Grammar("`pt 1` > 20 && sqrt(x) < 3", {"sqrt": (1, 1)})
    >>> sorted(grammar.names)
    ['pt 1', 'x']
    """

    def __init__(self, text: str, functions: Mapping[str, tuple[int, int]]) -> None:
        self.text = text
        self._quoted: dict[str, str] = {}
        self._python = ""
        self._starts: list[int] = []  # of each translated character, in the text
        self._ends: list[int] = []
        self._translate()
        self.tree = self._parse()
        checker = _Checker(self, functions)
        try:
            checker.visit(self.tree)
        except RecursionError:
            raise WorkflowError(f"expression {_shown(text)} is nested too deeply") from None
        self.names = frozenset(checker.names)
        self.tested = frozenset(checker.tested)

    def name(self, node: ast.expr) -> str | None:
        """The column that ``node`` names, if it is a name or a dotted name."""
        if isinstance(node, ast.Name):
            return self._quoted.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            parent = self.name(node.value)
            return None if parent is None else f"{parent}.{node.attr}"
        return None

    def where(self, node: ast.AST) -> str:
        """Words for a message: which part of which expression."""
        whole = f"expression {_shown(self.text)}"
        if not isinstance(node, ast.expr):
            return whole
        start, end = self._span(node)
        part = self.text[start:end]
        return whole if part == self.text.strip() else (
            f"{part!r} (character {start + 1}) of {whole}"
        )  # fmt: skip

    def between(self, left: ast.expr, right: ast.expr) -> str:
        """The text between two nodes: the operator, and parentheses."""
        return self.text[self._span(left)[1] : self._span(right)[0]]

    def _translate(self) -> None:
        end = 0
        for match in _TOKEN.finditer(self.text):
            self._append(self.text[end : match.start()], end, match.start())
            self._append(self._translated(match), match.start(), match.end())
            end = match.end()
        self._append(self.text[end:], end, len(self.text))
        skipped = len(self._python) - len(self._python.lstrip())
        self._python = self._python[skipped:]
        self._starts, self._ends = self._starts[skipped:], self._ends[skipped:]

    def _append(self, piece: str, start: int, end: int) -> None:
        self._python += piece
        self._starts += [min(start + i, end - 1) for i in range(len(piece))]
        self._ends += [min(start + i, end) for i in range(1, len(piece))] + [end] * bool(piece)

    def _translated(self, match: re.Match[str]) -> str:
        if match["quoted"] is not None:
            placeholder = f"_quoted{len(self._quoted)}_"
            self._quoted[placeholder] = match["quoted"]
            return placeholder
        if match["operator"] is not None:
            return _OPERATORS[match["operator"]]
        if match["qualified"] is not None:
            name = match["qualified"].lower()
            return _QUALIFIED.get(name, name)
        if match["draw"] is not None:
            return _DRAW[match["draw"]]
        return " " if match["space"] is not None else match[0]

    def _parse(self) -> ast.expr:
        if not self._python.strip():
            raise WorkflowError("an empty expression; expected columns, such as 'pt1 > 20'")
        try:
            return ast.parse(self._python, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self._unreadable(getattr(error, "offset", None) or 0, error) from None

    def _unreadable(self, offset: int, error: Exception) -> WorkflowError:
        place = "to its end"
        if 0 < offset <= len(self._starts):
            start = self._starts[offset - 1]
            place = f"at character {start + 1}, near {self.text[start : start + 12]!r}"
        reason = getattr(error, "msg", None) or str(error)
        return WorkflowError(
            f"expression {_shown(self.text)} cannot be read {place}: {reason}{_hint(self.text)}"
        )

    def _span(self, node: ast.expr) -> tuple[int, int]:
        start, end = self._character(node.col_offset), self._character(node.end_col_offset or 1)
        return self._starts[start], self._ends[end - 1]

    def _character(self, byte: int) -> int:
        return len(self._python.encode()[:byte].decode())


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")


def _hint(text: str) -> str:
    if "?" in text:
        return "; write where(condition, a, b) for condition ? a : b"
    if re.search(r"(?<![<>=!])=(?!=)", text):
        return "; write == to compare"
    return ""


class _Checker(ast.NodeVisitor):
    """Refuses what is not on the list, and collects the columns."""

    def __init__(self, grammar: Grammar, functions: Mapping[str, tuple[int, int]]) -> None:
        self.grammar = grammar
        self.functions = functions
        self.names: set[str] = set()
        self.tested: set[str] = set()

    def generic_visit(self, node: ast.AST) -> None:
        if not isinstance(node, _ALLOWED):
            raise self._refused(node, _INSTEAD.get(type(node), "not part of the grammar"))
        super().generic_visit(node)

    def _refused(self, node: ast.AST, why: str) -> WorkflowError:
        return WorkflowError(f"{self.grammar.where(node)}: {why}")

    def visit_Name(self, node: ast.Name) -> None:
        if node.id not in BOOLEANS:
            self.names.add(self.grammar.name(node) or node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self.grammar.name(node)
        if name is None:
            raise self._refused(node, "a dot joins the parts of a column's name, such as Jet.PT")
        self.names.add(name)

    def visit_Constant(self, node: ast.Constant) -> None:
        if not isinstance(node.value, (bool, int, float, str)):
            raise self._refused(node, "expected a number or a string")
        if isinstance(node.value, int) and node.value >= 2**63:
            raise self._refused(node, "a whole number is less than 2⁶³; write 1e19 or the like")

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else "?"
        if name not in self.functions:
            raise self._refused(node, f"no such function; {nearest(name, self.functions)}")
        low, high = self.functions[name]
        if node.keywords or not low <= len(node.args) <= high:
            some = str(low) if low == high else f"{low} or more"
            raise self._refused(node, f"{name}(…) takes {some} argument(s), without names")
        for argument in node.args:
            self.visit(argument)
        if name in _TESTS:
            self.tested |= {n for a in node.args for n in _names(a, self.grammar)}

    def visit_Compare(self, node: ast.Compare) -> None:
        self.visit(node.left)
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, (ast.In, ast.NotIn)):
                self._check_literals(right)
            elif isinstance(operator, _COMPARISONS):
                self.visit(right)
            else:
                raise self._refused(node, "write == or != to compare")

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in zip(node.values, node.values[1:], strict=False):
            bitwise = self.grammar.between(left, right).strip(" ()") in ("&", "|")
            if bitwise and any(isinstance(side, ast.Constant) for side in (left, right)):
                raise self._refused(
                    node,
                    "& and | are the logical and, or; test bits with bitand(flags, 8) != 0",
                )
        self.generic_visit(node)

    def _check_literals(self, node: ast.expr) -> None:
        try:
            ast.literal_eval(node)
        except (ValueError, TypeError):
            raise self._refused(node, "expected literals, such as (11, 13)") from None


def _names(node: ast.AST, grammar: Grammar) -> Iterator[str]:
    for part in ast.walk(node):
        name = grammar.name(part) if isinstance(part, ast.expr) else None
        if name is not None:
            yield name


def literals(node: ast.expr) -> tuple[Any, ...]:
    """The values of a checked literal, or tuple, list or set of them.

    >>> literals(ast.parse("(11, -13)", mode="eval").body)
    (11, -13)
    """
    value = ast.literal_eval(node)
    return tuple(value) if isinstance(value, (tuple, list, set)) else (value,)
